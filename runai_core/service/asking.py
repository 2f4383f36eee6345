"""What is asked of a workload: decided, saved once nobody changed it meanwhile, and told."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from runai_core.lifecycle.machine import advance
from runai_core.lifecycle.phases import Signal
from runai_core.model.errors import NotFound, PolicyViolation, StaleVersion, Unsupported
from runai_core.model.organization import Actor
from runai_core.model.workload import Workload, WorkloadType
from runai_core.ports import Backend, ChangesObjects
from runai_core.service.changing import respecified, signals_of_change
from runai_core.service.explaining import Judge
from runai_core.service.journal import Journal
from runai_core.service.revisions import Revisions, launched, next_edition
from runai_core.service.submission import Submission
from runai_core.service.submissions import Submissions

INFERENCE = frozenset({WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE})
"""Types whose specification can be changed."""

Onto = Callable[[Workload], Awaitable[Workload]]


class Asking:
    """Carries out what somebody asks for who may; `WorkloadService` has asked that."""

    def __init__(
        self, backend: Backend, journal: Journal, submissions: Submissions, judge: Judge, revisions: Revisions
    ) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._frameworks = backend.frameworks
        self._backend_name = backend.name
        self._journal = journal
        self._submissions = submissions
        self._judge = judge
        self._revisions = revisions

    async def note_revision(self, workload: Workload) -> None:
        """Keep the revision that an inference workload is now, for when it is another. Idempotent."""
        if workload.type in INFERENCE:
            await self._revisions.keep(workload)

    async def respecify(self, actor: Actor, workload: Workload, wanted: Submission, cause: str) -> Workload:
        """Give an inference workload another specification, which is a new revision of it; whole or not at all.

        Raises:
            PolicyViolation: a policy forbids it. InvalidRequest: a field is wrong. NotFound: it was deleted.
        """
        resolved, preview = await self._submissions.resolve(actor, wanted)
        if preview.violations:
            raise PolicyViolation("; ".join(str(error) for error in preview.violations), preview.violations)

        async def changed(present: Workload) -> Workload:
            is_new = (await self._revisions.keep(present)).workload.spec != resolved.spec
            edition = next_edition(present, self._clock.now(), actor.name) if is_new else present.edition
            manifest = present.manifest if wanted.manifest is None else wanted.manifest
            return replace(present, edition=edition, manifest=manifest, **respecified(present, resolved))

        signals = signals_of_change(self._cluster, workload, resolved)
        saved = await self.signal(actor, workload, *signals, cause=cause, onto=changed)
        await self.note_revision(saved)
        return saved

    async def change_object(self, actor: Actor, workload: Workload, wanted: Submission, cause: str) -> Workload:
        """Change an object that others' controllers follow; raise as `ports.Frameworks.change`."""
        resolved, _ = await self._submissions.resolve(actor, wanted)
        changed = replace(resolved, meta=workload.meta)
        if isinstance(self._cluster, ChangesObjects):
            await self._cluster.change_object(changed, actor.name)
        elif self._frameworks is None:
            raise Unsupported(f"objects of frameworks cannot be changed on the {self._backend_name} backend")
        else:
            await self._frameworks.change(changed)
        await self._journal.event(workload, "Changed", cause, actor=actor.name)
        return await self._store.get_by_uid(Workload, workload.meta.uid)

    async def act(
        self, actor: Actor, workload: Workload, signal: Signal, act: Callable[[Workload], Awaitable[None]], cause: str
    ) -> Workload:
        """Have the framework's object changed; its phase follows from what its controller makes of that."""
        await act(workload)
        await self._journal.event(workload, str(signal), cause, actor=actor.name)
        try:
            return await self._store.get_by_uid(Workload, workload.meta.uid)
        except NotFound:
            return workload  # it is gone already

    async def signal(
        self, actor: Actor, workload: Workload, *signals: Signal, cause: str, onto: Onto | None = None
    ) -> Workload:
        """Follow what a user asked for; asking again for what is so already changes nothing.

        `onto` makes of the workload, as it is now, what it shall be besides.
        """
        if workload.meta.deleted_at is not None:
            raise NotFound(f"{workload.key} was deleted")
        while True:
            changed, effects = workload if onto is None else await onto(workload), 0
            for signal in signals:
                changed, transition = advance(changed, signal, now=self._clock.now(), cause=cause)
                effects += len(transition.effects)
            if changed.phase is workload.phase and not effects:
                return workload
            try:
                saved = await self._store.update(launched(changed))
                break
            except StaleVersion:
                workload = await self._store.get_by_uid(Workload, workload.meta.uid)
        before, after, asked = workload.phase, saved.phase, str(signals[0])
        if before is after:
            await self._journal.event(saved, asked, cause, actor=actor.name)
        else:
            await self._journal.transition(saved, before, after, signal=asked, cause=cause, actor=actor.name)
        self._judge.poke(saved.meta.uid)
        return saved


def require_inference(workload: Workload) -> None:
    """Raise Unsupported for a workload that keeps the specification it was submitted with."""
    if workload.type not in INFERENCE:
        message = f"{workload.key}: a {workload.type} workload cannot be changed; delete and submit it again"
        raise Unsupported(message)
