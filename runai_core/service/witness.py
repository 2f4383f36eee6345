"""The story of workloads that others' controllers move: what was seen is recorded, nothing is decided."""

from runai_core.model.workload import Phase, RecordType, Workload
from runai_core.ports import Filter, Op, Query
from runai_core.service.journal import Journal

OBSERVED = "Observed"
"""Signal of a change that somebody else's controller made."""

LAST_CHANGE = Query(
    filters=(Filter("type", Op.EQ, RecordType.PHASE_UPDATE.value),),
    sort_by="meta.created_at",
    descending=True,
    limit=1,
)


class Witness:
    """Records each change of phase of a workload once, and tells the observers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._phases: dict[str, Phase] = {}

    async def look(self, workload: Workload) -> None:
        """Record the phase if it is another than the one that was recorded last, here or before a start of ours."""
        uid = workload.meta.uid
        if workload.meta.deleted_at is not None:
            self._phases.pop(uid, None)
            return
        known = self._phases.get(uid) or await self._recorded(workload)
        if known is not workload.phase:
            cause = workload.phase_message or f"its {workload.kind or 'object'} and its pods say so"
            await self._journal.transition(
                workload, known, workload.phase, signal=OBSERVED, cause=cause, actor="system"
            )
        self._phases[uid] = workload.phase

    async def _recorded(self, workload: Workload) -> Phase | None:
        last = (await self._journal.read(workload, LAST_CHANGE)).items
        return last[0].to_phase if last else None
