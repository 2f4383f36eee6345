"""Taking up what people write with kubectl: new workloads, ``active: false``, and deletions.

An object without ``status.phase`` is what somebody asks for. It is completed
and judged like a submission (`service.submissions`), gets a status, and is a
workload from then on; where it cannot be one, its status says why, until it is
changed. What our API created has its status a moment later: it is left alone,
unless that moment passes.

Level-triggered over the informers: whatever changed, an object is looked at again.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec import workloads as codec
from runai_core.backends.kubernetes.codec.patches import patched
from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.backends.kubernetes.keepers import INVALID
from runai_core.backends.kubernetes.names import SUBMITTED_ANNOTATION, SYSTEM_NAMESPACE
from runai_core.backends.kubernetes.store import KubernetesStore
from runai_core.backends.kubernetes.tenancy import project_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import (
    FieldError,
    IllegalTransition,
    InvalidRequest,
    NotFound,
    PolicyViolation,
    RunaiError,
)
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Actor
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import TERMINAL, Phase, Workload
from runai_core.ports import Clock
from runai_core.service.agenda import Agenda
from runai_core.service.asking import INFERENCE
from runai_core.service.journal import Journal
from runai_core.service.submissions import Submission, Submissions
from runai_core.service.workloads import WorkloadService

log = logging.getLogger(__name__)

WORKERS = 8
"""Objects that are looked at side by side."""

OURS_SECONDS = 10.0
"""How long an object that our API created may be without its status."""

EDIT_SECONDS = 2.0
"""How long a specification must be newer than its status before somebody else is taken to have changed it."""

FIRST_RETRY, LONGEST_RETRY = 0.5, 30.0
"""Seconds until an object that could not be handled is looked at again; doubled at each failure."""

STOPS = frozenset({Phase.STOPPING, Phase.STOPPED})
ENDS = frozenset({Phase.DELETING, Phase.TERMINATING})


class Adoption:
    """Looks at each workload object that changed and does what its author asks for."""

    def __init__(
        self,
        world: World,
        store: KubernetesStore,
        *,
        submissions: Submissions,
        workloads: WorkloadService,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._world = world
        self._store = store
        self._submissions = submissions
        self._workloads = workloads
        self._journal = journal
        self._clock = clock
        self._agenda: Agenda[str] = Agenda(clock, "workload object", first=FIRST_RETRY, longest=LONGEST_RETRY)
        self._hopeful: set[str] = set()  # refused for what somebody else may yet make
        self._edits: dict[str, tuple[int, float]] = {}  # uid -> generation that the status does not know, until when

    async def run(self) -> None:
        """Work until cancelled: first everything that is there, then whatever changes."""
        await self._world.synced(codec.RESOURCES.values())
        with contextlib.ExitStack() as until_the_end:  # who leads later hears of changes by itself
            for resource in codec.RESOURCES.values():
                until_the_end.callback(self._world.crd(resource).on_change(self._changed))
            for item in self._store.found():
                self._agenda.poke(item["metadata"]["uid"])
            await self._agenda.run(self._handle, workers=WORKERS)

    def _changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        self._agenda.poke((new or old or {})["metadata"]["uid"])

    async def _handle(self, uid: str) -> None:
        item = self._find(uid)
        if item is None:
            self._forget(uid)
            return
        if codec.is_template(item):
            return
        if not codec.is_workload(item):
            if item["metadata"].get("deletionTimestamp"):
                return
            wait = _ours_until(item) - self._clock.now()
            if wait > 0:
                self._agenda.after(uid, wait)
                return
            await self._take_up(item)
        elif _was_changed(item) or uid in self._hopeful:
            await self._take_up(item)
        else:
            await self._follow(item)

    def _find(self, uid: str) -> Object | None:
        for resource in codec.RESOURCES.values():
            item = self._world.crd(resource).by_uid(uid)
            if item is not None:
                return item
        return None

    def _forget(self, uid: str) -> None:
        self._agenda.forget(uid)
        self._hopeful.discard(uid)
        self._edits.pop(uid, None)

    async def _follow(self, item: Object) -> None:
        """Do what the object asks of a workload that exists: end, stop, or run again."""
        workload = await self._store.get_by_uid(Workload, item["metadata"]["uid"])
        actor = _actor(workload.meta.created_by)
        if item["metadata"].get("deletionTimestamp"):
            if workload.phase not in ENDS:
                await self._workloads.delete(actor, workload.meta.uid)
            return
        if workload.phase in TERMINAL | ENDS:
            return
        if workload.type in INFERENCE and self._was_edited(item):
            log.info("%s was changed: generation %s", workload.key, item["metadata"].get("generation"))
            await self._workloads.update(actor, workload.meta.uid, {})  # its specification is the new one already
            return
        try:
            if codec.wants_stop(item) and workload.phase not in STOPS:
                await self._workloads.stop(actor, workload.meta.uid)
            elif not codec.wants_stop(item) and workload.phase in STOPS:
                await self._workloads.resume(actor, workload.meta.uid)
        except IllegalTransition as error:
            log.info("%s: %s", workload.key, error.message)

    def _was_edited(self, item: Object) -> bool:
        """Return whether somebody else changed the specification since we wrote the status.

        Between two writes of ours it looks as if: only what stays so for a moment counts.
        """
        meta = item["metadata"]
        uid, generation = meta["uid"], meta.get("generation", 0)
        if not _unseen(item):
            self._edits.pop(uid, None)
            return False
        known = self._edits.get(uid)
        if known is None or known[0] != generation:
            known = self._edits[uid] = (generation, self._clock.now() + EDIT_SECONDS)
        wait = known[1] - self._clock.now()
        if wait > 0:
            self._agenda.after(uid, wait)
        return wait <= 0

    async def _take_up(self, item: Object) -> None:
        """Make the object a workload, or say on it why it cannot be one."""
        project = project_of(self._world, item["metadata"].get("namespace", ""))
        try:
            workload = await self._resolve(item, project)
        except (InvalidRequest, NotFound) as error:
            await self._refuse(item, project, error)
            if isinstance(error, NotFound):  # its project, say, may be made after it
                self._hopeful.add(item["metadata"]["uid"])
                self._agenda.again(item["metadata"]["uid"])
            return
        self._hopeful.discard(item["metadata"]["uid"])
        adopted = await self._store.adopt(item, workload)
        await self._journal.transition(
            adopted,
            None,
            adopted.phase,
            signal="Submitted",
            cause=f"found in namespace {item['metadata'].get('namespace', '')}",
            actor=adopted.meta.created_by or SYSTEM.name,
        )
        await self._workloads.note_revision(adopted)

    async def _resolve(self, item: Object, project: str) -> Workload:
        asked = codec.request_of(item)
        if not project:
            namespace = item["metadata"].get("namespace", "")
            message = f"namespace {namespace} belongs to no project: label it runai/queue=<project>"
            raise InvalidRequest.of(FieldError("metadata.namespace", message, namespace))
        spec, master = self._completed(item, asked)
        submission = Submission(
            name=asked.name,
            project=project,
            type=asked.type,
            spec=spec,
            master_spec=master,
            has_master=asked.has_master,
            name_is_prefix=asked.name_is_prefix,
            source="Other",
        )
        workload, preview = await self._submissions.resolve(_actor(asked.username), submission)
        if preview.violations:
            raise PolicyViolation("; ".join(str(error) for error in preview.violations), preview.violations)
        await self._check_name(item, workload)
        kept = item["metadata"]
        meta = Meta(
            name=workload.name,
            project=project,
            created_by=asked.username,
            labels=dict(kept.get("labels") or {}),
            annotations={
                name: value for name, value in (kept.get("annotations") or {}).items() if name not in codec.NOTES
            },
        )
        if asked.active:
            return replace(workload, meta=meta)
        return replace(workload, meta=meta, phase=Phase.STOPPED, stop_requested=True, phase_reason="StopAsked")

    async def _check_name(self, item: Object, workload: Workload) -> None:
        try:
            other = await self._store.get(Workload, workload.name, workload.meta.project)
        except NotFound:
            return
        if other.meta.uid != item["metadata"]["uid"]:
            message = f"a {other.type} workload has this name already: choose another one, or delete that one first"
            raise InvalidRequest.of(FieldError("spec.name", message, workload.name))

    def _completed(self, item: Object, asked: codec.Request) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Return the specification over that of its template; fields and items that it gives win."""
        if not asked.base:
            return asked.spec, asked.master_spec
        namespace = item["metadata"].get("namespace", "")
        informer = self._world.crd(codec.RESOURCES[asked.type])
        for where in (namespace, SYSTEM_NAMESPACE):
            base = informer.get(asked.base, where)
            if base is not None and codec.is_template(base):
                template = codec.request_of(base)
                master = asked.master_spec
                if template.master_spec is not None:
                    master = _over(template.master_spec, master or {})
                return _over(template.spec, asked.spec), master
        message = f"there is no template of this kind in {namespace} or {SYSTEM_NAMESPACE}"
        raise InvalidRequest.of(FieldError("spec.baseWorkload", message, asked.base))

    async def _refuse(self, item: Object, project: str, error: RunaiError) -> None:
        """Say on the object what is wrong with it; it is looked at again when it is changed."""
        status = item.get("status") or {}
        generation = item["metadata"].get("generation", 0)
        if status.get("phaseReason") == INVALID and status.get("observedGeneration") == generation:
            return
        kind = codec.TYPES[str(item.get("kind"))]
        workload = Workload(
            meta=Meta(name=codec.name_of(item), project=project),
            type=kind,
            spec=WorkloadSpec(),
            phase=Phase.FAILED,
            phase_message=error.message[:2000],
            phase_reason=INVALID,
            phase_updated_at=self._clock.now(),
            completed_at=self._clock.now(),
            source="Other",
            stop_requested=codec.wants_stop(item),
        )
        await self._store.adopt(item, workload, keep_spec=True)
        log.info("%s/%s is refused: %s", project, codec.name_of(item), error.message)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template with a submission's fields over it; lists go entry by entry, by name."""
    merged = patched(base, {name: value for name, value in own.items() if not isinstance(value, list)})
    for name, value in own.items():
        if isinstance(value, list):
            merged[name] = _entries(base.get(name), value)
        elif isinstance(value, Mapping) and isinstance(base.get(name), Mapping):
            merged[name] = _over(base[name], value)
    return merged


def _entries(base: Any, own: list[Any]) -> list[Any]:
    def key(entry: Any) -> Any:
        named = isinstance(entry, Mapping)
        return entry.get("name") or entry.get("resource") or _likeness(entry) if named else entry

    found = {key(entry): entry for entry in (*(base if isinstance(base, list) else ()), *own)}
    return list(found.values())


def _likeness(entry: Mapping[str, Any]) -> str:
    """Return what tells an entry without a name from others."""
    return repr(sorted(entry.items(), key=lambda item: item[0]))


def _was_changed(item: Object) -> bool:
    """Return whether an object that was refused has been changed since."""
    status = item.get("status") or {}
    refused = status.get("phaseReason") == INVALID and status.get("phase") == str(Phase.FAILED)
    return refused and status.get("observedGeneration") != item["metadata"].get("generation", 0)


def _unseen(item: Object) -> bool:
    """Return whether somebody else changed the specification since we wrote the status."""
    seen = (item.get("status") or {}).get("observedGeneration")
    return seen is not None and seen != item["metadata"].get("generation", 0)


def _ours_until(item: Object) -> float:
    """Return until when an object without a status is waited for: our API may be about to write it."""
    noted = seconds_of((item["metadata"].get("annotations") or {}).get(SUBMITTED_ANNOTATION))
    return 0.0 if noted is None else noted + OURS_SECONDS


def _actor(name: str) -> Actor:
    """Return who asks; what they may do was judged by Kubernetes' own rights."""
    return Actor(name=name or "kubectl", kind="user", grants=SYSTEM.grants)
