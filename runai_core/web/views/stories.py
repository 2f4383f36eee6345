"""What became of workloads, and what would become of one: model objects -> answers of the API."""

from runai_core import wire
from runai_core.model.clusters import CLUSTER
from runai_core.model.workload import HistoryRecord, RecordType
from runai_core.service.explaining import Explanation
from runai_core.service.submissions import Preview
from runai_core.web.answers.workloads import (
    Event,
    HistoryItem,
    InvolvedObject,
    PhaseUpdate,
    PreviewAnswer,
    RecordMeta,
    RecordSpec,
    WhyAnswer,
)
from runai_core.web.views.units import Directory, field_error_items, iso


def event_item(record: HistoryRecord, directory: Directory) -> Event:
    """Return an event of a workload's story."""
    kind, _, name = record.involved.partition("/")
    return Event(
        id=record.meta.uid,
        created_at=iso(record.meta.created_at),
        type=record.severity,
        cluster_id=record.meta.annotations.get(CLUSTER, directory.cluster_id),
        message=record.message,
        reason=record.reason,
        source=record.actor,
        involved_object=InvolvedObject(
            uid=record.meta.owner if kind == "workload" else "",
            kind=kind.capitalize(),
            name=name,
            namespace=f"runai-{record.meta.project}",
        ),
    )


def history_item(record: HistoryRecord, directory: Directory) -> HistoryItem:
    """Return one line of a workload's story."""
    meta = RecordMeta(creation_timestamp=iso(record.meta.created_at), type=record.type.value)
    if record.type is RecordType.EVENT or record.to_phase is None:
        return HistoryItem(meta=meta, spec=RecordSpec(event=event_item(record, directory)))
    update = PhaseUpdate(
        phase=record.to_phase.value,
        phase_message=record.message,
        from_phase=record.from_phase.value if record.from_phase else None,
        cause=record.cause,
        signal=record.signal,
        actor=record.actor,
    )
    return HistoryItem(meta=meta, spec=RecordSpec(phase_update=update))


def why_answer(found: Explanation) -> WhyAnswer:
    """Return why a workload is where it is."""
    return WhyAnswer(
        sentence=found.sentence,
        workload_id=found.workload.meta.uid,
        name=found.workload.name,
        phase=found.workload.phase.value,
        position=found.position,
        verdict=None if found.verdict is None else wire.encode(found.verdict),
    )


def preview_answer(found: Preview) -> PreviewAnswer:
    """Return what a submission would become."""
    return PreviewAnswer(
        spec=dict(found.spec),
        origins=dict(found.origins),
        violations=field_error_items(found.violations),
        starts_now=found.starts_now,
        verdict=None if found.verdict is None else wire.encode(found.verdict),
    )
