"""Use cases of workloads: each authorizes, loads, decides, saves, records."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Unpack

from runai_core import ports, wire
from runai_core.lifecycle.members import members_of, scaled
from runai_core.lifecycle.phases import CLAIMS_QUOTA, Signal
from runai_core.lifecycle.secrets import private_secrets
from runai_core.model.errors import (
    Conflict,
    FieldError,
    InvalidRequest,
    NotFound,
    PolicyViolation,
    StaleVersion,
    Unavailable,
    Unsupported,
)
from runai_core.model.organization import TENANT, Action, Actor, Scope
from runai_core.model.roles import resource_of
from runai_core.model.workload import TYPE_DEFAULTS, HistoryRecord, Pod, Workload, WorkloadType
from runai_core.policy.tree import get_at
from runai_core.ports import (
    Backend,
    Change,
    ExecOptions,
    ExecSession,
    Filter,
    Frameworks,
    LogOptions,
    Op,
    Page,
    Query,
    RemovesPods,
)
from runai_core.service.access import AccessService
from runai_core.service.asking import Asking, require_inference
from runai_core.service.explaining import Explanation, Judge, explained
from runai_core.service.journal import Journal
from runai_core.service.revisions import Revisions, Story
from runai_core.service.sight import Sight
from runai_core.service.submission import Submission, of_workload
from runai_core.service.submissions import Preview, Submissions

RESOURCE = "workloads"


class WorkloadService:
    """What can be done with workloads."""

    def __init__(
        self,
        backend: Backend,
        access: AccessService,
        journal: Journal,
        submissions: Submissions,
        reconciler: Judge,
    ) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._runtime = backend.runtime
        self._clock = backend.clock
        self._ignores = backend.ignores
        self._backend_name = backend.name
        self._frameworks = backend.frameworks
        self._access = access
        self._journal = journal
        self._submissions = submissions
        self._reconciler = reconciler
        self._revisions = Revisions(backend)
        self._asking = Asking(backend, journal, submissions, reconciler, self._revisions)

    async def submit(self, actor: Actor, submission: Submission) -> Workload:
        """Accept a workload: once this returns, it is not lost.

        Raises:
            InvalidRequest: a field is wrong. PolicyViolation: a policy forbids a value.
            NotFound: no such project or node pool. AlreadyExists: the name is taken.
        """
        await self._access.require(actor, Action.CREATE, resource_of(submission.type), _in(submission.project))
        workload, preview = await self._submissions.resolve(actor, submission)
        if preview.violations:
            raise PolicyViolation("; ".join(str(error) for error in preview.violations), preview.violations)
        created = await self._store.create(workload)
        await self._journal.transition(
            created, None, created.phase, signal="Submitted", cause=f"submitted by {actor.name}", actor=actor.name
        )
        if unused := [path for path in self._ignores if _is_asked(path, submission, preview)]:
            message = f"The {self._backend_name} backend keeps these fields and does not use them: {', '.join(unused)}."
            await self._journal.event(created, "FieldsNotUsed", message, warning=True)
        await self.note_revision(created)
        self._reconciler.poke(created.meta.uid)
        return created

    async def take_over(self, actor: Actor, workload: Workload) -> Workload:
        """Keep a workload that a control plane has completed and judged, under its id if this store can.

        Idempotent by the id. Raises:
            AlreadyExists: the name is taken by another workload. InvalidRequest: it cannot run here.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE, Scope("project", workload.meta.project))
        await self._submissions.check_runnable(workload)
        created = await self._store.create(workload)
        message = f"received from the control plane, where {workload.meta.created_by or actor.name} submitted it"
        await self._journal.event(created, "Received", message)
        await self.note_revision(created)
        self._reconciler.poke(created.meta.uid)
        return created

    async def check(self, actor: Actor, submission: Submission) -> Preview:
        """Say what a submission would become, without keeping anything."""
        await self._access.require(actor, Action.CREATE, resource_of(submission.type), _in(submission.project))
        workload, preview = await self._submissions.resolve(actor, submission)
        if preview.violations:
            return preview
        if self._frameworks_of(workload) is not None:
            return preview  # what pods its controller will make is not known before
        try:
            verdict = await self._reconciler.would_wait(workload)
        except Unavailable:
            return preview  # the cluster that would run it cannot be asked now
        return replace(preview, starts_now=verdict is None, verdict=verdict)

    async def get(self, actor: Actor, uid: str, action: Action = Action.READ) -> Workload:
        """Return the workload with this id, also a deleted one that is still kept, to one who may do this to it."""
        return await self._owned(actor, action, uid)

    async def find(self, actor: Actor, name: str, project: str, of_type: WorkloadType | None = None) -> Workload:
        """Return the workload of this name.

        Raises:
            NotFound: no such workload in the project, or it is of another type.
        """
        await self._access.require(actor, Action.READ, RESOURCE, _in(project))
        workload = await self._store.get(Workload, name, project)
        await self._access.require(actor, Action.READ, resource_of(workload.type), _in(workload.meta.project))
        if of_type is not None and workload.type != of_type:
            raise NotFound(f"{workload.key} is a {workload.type} workload, not {of_type}")
        return workload

    async def list(self, actor: Actor, query: Query) -> Page[Workload]:
        """Return the workloads that match."""
        await self._access.require(actor, Action.READ, RESOURCE, _scope(query))
        hidden = tuple(
            Filter("type", Op.NE, kind.value)
            for kind in WorkloadType
            if not self._access.scopes(actor, Action.READ, resource_of(kind))
        )
        query = replace(query, filters=(*query.filters, *hidden))
        return await self._store.list(Workload, await self._seen(actor, query))

    async def stop(self, actor: Actor, uid: str) -> Workload:
        """Stop a workload: its pods end, its resources are free, the object stays. Idempotent."""
        workload = await self._owned(actor, Action.UPDATE, uid)
        if (frameworks := self._frameworks_of(workload)) is not None:
            return await self._asking.act(
                actor, workload, Signal.STOP_ASKED, frameworks.stop, f"stopped by {actor.name}"
            )
        if not TYPE_DEFAULTS[workload.type].can_stop:
            raise Unsupported(f"{workload.key}: {workload.type} workloads cannot be stopped; delete it instead")
        return await self._asking.signal(actor, workload, Signal.STOP_ASKED, cause=f"stopped by {actor.name}")

    async def resume(self, actor: Actor, uid: str) -> Workload:
        """Run a stopped workload again: it waits in its queue like a new one. Idempotent."""
        workload = await self._owned(actor, Action.UPDATE, uid)
        if (frameworks := self._frameworks_of(workload)) is not None:
            return await self._asking.act(
                actor, workload, Signal.RESUME_ASKED, frameworks.run, f"resumed by {actor.name}"
            )
        return await self._asking.signal(actor, workload, Signal.RESUME_ASKED, cause=f"resumed by {actor.name}")

    async def delete(self, actor: Actor, uid: str) -> Workload:
        """Delete a workload and its pods; its record and story are kept for a while. Idempotent."""
        workload = await self._owned(actor, Action.DELETE, uid)
        if workload.meta.deleted_at is not None:
            return workload
        if (frameworks := self._frameworks_of(workload)) is not None:
            asked = await self._asking.act(
                actor, workload, Signal.DELETE_ASKED, frameworks.delete, f"deleted by {actor.name}"
            )
            with contextlib.suppress(NotFound):  # it went before it could be kept for the record
                await self._store.delete(Workload, uid)
            return asked
        return await self._asking.signal(actor, workload, Signal.DELETE_ASKED, cause=f"deleted by {actor.name}")

    async def update(
        self, actor: Actor, uid: str, changes: Mapping[str, Any] | None, *, revision: int | None = None
    ) -> Workload:
        """Change the specification of an inference workload; its pods are replaced, unless only their number changes.

        Without changes it gets back the whole specification of one of its revisions. Either makes a new revision.

        Raises:
            Unsupported: other types keep the specification that they were submitted with.
            NotFound: there is no such revision. PolicyViolation: a policy forbids it by now.
        """
        workload = await self._owned(actor, Action.UPDATE, uid)
        require_inference(workload)
        spec, keeps = wire.encode(workload.spec), private_secrets(workload.spec)
        if revision is not None:
            earlier = (await self._revisions.numbered(workload, revision)).workload.spec
            spec, keeps = wire.encode(earlier), keeps | private_secrets(earlier)
        cause = f"changed by {actor.name}" if revision is None else f"{actor.name} went back to revision {revision}"
        wanted = of_workload(workload, spec={**spec, **(changes or {})}, keeps=keeps)
        return await self._asking.respecify(actor, workload, wanted, cause)

    async def respecify(self, actor: Actor, uid: str, spec: Mapping[str, Any]) -> Workload:
        """Give an inference workload this whole specification; what it does not say is as if it had never been said."""
        workload = await self._owned(actor, Action.UPDATE, uid)
        require_inference(workload)
        wanted = of_workload(workload, spec=spec, keeps=private_secrets(workload.spec))
        return await self._asking.respecify(actor, workload, wanted, f"changed by {actor.name}")

    async def change_object(self, actor: Actor, uid: str, wanted: Submission) -> Workload:
        """Change the object of a framework: its manifest, if there is one, and what was chosen besides.

        Raises:
            Unsupported: it runs as a native workload, of a type that keeps the specification it was submitted with.
            Conflict: somebody else decides a field. InvalidRequest: a field is wrong, or cannot be changed.
        """
        workload = await self._owned(actor, Action.UPDATE, uid)
        if not workload.kind:
            message = f"{workload.key} is no object of a framework: change it as the {workload.type} that it is"
            raise Unsupported(message)
        if wanted.manifest is not None and (wanted.kind, wanted.name) != (workload.kind, workload.name):
            message = f"must be that of the {workload.kind} {workload.name}"
            raise InvalidRequest.of(FieldError("manifest", message, f"{wanted.kind} {wanted.name}"[:80]))
        cause = f"changed by {actor.name}"
        if workload.type is not WorkloadType.EXTERNAL:
            require_inference(workload)
            return await self._asking.respecify(actor, workload, wanted, cause)
        wanted = replace(wanted, project=workload.meta.project, api_version=workload.api_version, kind=workload.kind)
        return await self._asking.change_object(actor, workload, wanted, cause)

    async def note_revision(self, workload: Workload) -> None:
        """Keep the revision that an inference workload is now, for when it is another. Idempotent."""
        await self._asking.note_revision(workload)

    async def revisions(self, actor: Actor, uid: str) -> Sequence[Story]:
        """Return the revisions of an inference workload, the first one first; raise Unsupported for another type."""
        workload = await self.get(actor, uid)
        require_inference(workload)
        return await self._revisions.stories(workload, await self._cluster.pods(workload))

    async def revision(self, actor: Actor, uid: str) -> Story:
        """Return what is known of a revision, by its own id; raise NotFound."""
        found = await self.revisions(actor, await self._revisions.workload_of(uid))
        return next(story for story in found if story.revision.meta.uid == uid)

    async def scale(self, actor: Actor, uid: str, *, add: int = 0, remove: Sequence[str] = ()) -> Workload:
        """Let workers of a distributed workload join and leave, where they come and go on demand.

        `remove` names pods; those that are gone already are no error.

        Raises:
            Unsupported: the number of workers is fixed. InvalidRequest: too few or too many.
            Conflict: the workload has ended, or was stopped.
        """
        if isinstance(self._cluster, ports.Scales):
            workload = await self._owned(actor, Action.UPDATE, uid)
            await self._cluster.scale(workload, add=add, remove=remove, actor=actor.name)
            return await self._store.get_by_uid(Workload, uid)
        if not isinstance(self._cluster, RemovesPods):
            raise Unsupported(f"workers cannot come and go on the {self._backend_name} backend")
        while True:
            workload = await self._owned(actor, Action.UPDATE, uid)
            if workload.phase not in CLAIMS_QUOTA or workload.meta.deleted_at is not None:
                raise Conflict(f"{workload.key} is {workload.phase}: its workers can change while it waits or runs")
            ranks = [pod.spec.rank for pod in await self._cluster.pods(workload) if pod.name in remove]
            changed = scaled(workload, add=add, remove=ranks)
            if changed.members == members_of(workload):
                return workload
            try:
                saved = await self._store.update(changed)
                break
            except StaleVersion:
                continue
        message = f"{actor.name} let {add} workers join and {len(ranks)} leave"
        await self._journal.event(saved, "Scaled", message)
        self._reconciler.poke(saved.meta.uid)
        return saved

    async def pods(self, actor: Actor, uid: str) -> Sequence[Pod]:
        """Return the pods of a workload."""
        return await self._cluster.pods(await self.get(actor, uid))

    async def all_pods(self, actor: Actor, query: Query) -> Page[Pod]:
        """Return the pods of all workloads that match."""
        await self._access.require(actor, Action.READ, RESOURCE, _scope(query))
        return await self._store.list(Pod, await self._seen(actor, query))

    async def history(self, actor: Actor, uid: str, query: Query) -> Page[HistoryRecord]:
        """Return the story of a workload: changes of phase and events."""
        return await self._journal.read(await self.get(actor, uid), query)

    async def events(self, actor: Actor, uid: str, query: Query) -> Page[HistoryRecord]:
        """Return only the events of a workload."""
        return await self._journal.events(await self.get(actor, uid), query)

    async def why(self, actor: Actor, uid: str) -> Explanation:
        """Explain where a workload is: why it waits and what would start it, or what it does."""
        return await explained(self._store, self._reconciler, await self.get(actor, uid))

    async def pod(self, actor: Actor, uid: str, name: str | None) -> Pod:
        """Return the named pod of a workload, or its first one.

        Raises:
            NotFound: no such pod. Conflict: the workload has no pod now.
        """
        workload = await self.get(actor, uid)
        pods = sorted(await self._cluster.pods(workload), key=lambda pod: (-pod.attempt, pod.spec.rank, pod.name))
        if name is None:
            if not pods:
                raise Conflict(f"{workload.key} is {workload.phase} and has no pod now")
            return pods[0]
        for pod in pods:
            if pod.name == name:
                return pod
        has = ", ".join(pod.name for pod in pods[:20]) or "none"
        raise NotFound(f"{workload.key} has no pod {name}; it has: {has}")

    async def logs(self, actor: Actor, uid: str, pod: str | None, options: LogOptions) -> AsyncIterator[bytes]:
        """Return the log of one pod, as a stream."""
        return self._runtime.logs(await self.pod(actor, uid, pod), options)

    async def exec(
        self, actor: Actor, uid: str, pod: str | None, argv: Sequence[str], **how: Unpack[ExecOptions]
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Return a context that runs a command beside a pod's process; `how` is as in `ports.Runtime.exec`."""
        workload = await self._owned(actor, Action.UPDATE, uid)
        found = await self.pod(actor, workload.meta.uid, pod)
        return self._runtime.exec(found, argv, **how)

    async def version(self, actor: Actor) -> int:
        """Return the resource version from which a watch can start."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._store.version()

    async def watch(self, actor: Actor, from_version: int) -> AsyncIterator[Change[Workload]]:
        """Yield each change of a workload after the version."""
        await self._access.require(actor, Action.READ, RESOURCE)
        sight = Sight(self._access, self._clock, actor)
        async for change in self._store.watch(Workload, from_version):
            if await sight.sees(resource_of(change.object.type), change.object.meta.project):
                yield change

    async def _owned(self, actor: Actor, action: Action, uid: str) -> Workload:
        """Return the workload; what the actor may not see is as if it were not there."""
        workload = await self._store.get_by_uid(Workload, uid)
        missing = NotFound(f"there is no Workload {uid[:80]}")
        resource = resource_of(workload.type)
        await self._access.require_seen(actor, action, resource, _in(workload.meta.project), missing)
        await self._access.require_author(actor, action, workload)
        return workload

    async def _seen(self, actor: Actor, query: Query) -> Query:
        """Return the query for projects that the actor may see."""
        return replace(query, projects=await self._access.visible(actor, Action.READ, RESOURCE))

    def _frameworks_of(self, workload: Workload) -> Frameworks | None:
        """Return who acts on the workload's object, where others' controllers make its pods."""
        return self._frameworks if workload.type is WorkloadType.EXTERNAL else None


def _in(project: str) -> Scope:
    return Scope("project", project)


def _is_asked(path: str, submission: Submission, preview: Preview) -> bool:
    """Return whether the user, or what he refers to, gave the field; volumes also where a policy did."""
    if get_at(submission.spec, path) is not None:
        return True
    return bool(get_at(preview.spec, path)) and (path.startswith("storage.") or bool(submission.assets))


def _scope(query: Query) -> Scope:
    return _in(query.project) if query.project else TENANT
