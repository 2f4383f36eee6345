"""Why a workload is where it is, in a sentence."""

from dataclasses import dataclass
from typing import Protocol

from runai_core.model.decision import Verdict
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Query, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a workload is where it is: one sentence first, the numbers after it."""

    workload: Workload
    sentence: str
    verdict: Verdict | None = None
    position: int | None = None  # among the waiting workloads of its project, 1 = next


class Judge(Protocol):
    """Who looks at workloads after a request: the reconciler, or who asks the cluster that has it."""

    def poke(self, uid: str) -> None:
        """Ask for a look at a workload."""
        ...

    async def explain(self, workload: Workload) -> Verdict | None:
        """Return why the workload waits, and what would start it."""
        ...

    async def would_wait(self, workload: Workload) -> Verdict | None:
        """Return why the workload would wait if it were submitted now; None if it would start."""
        ...


async def explained(store: Store, judge: Judge, workload: Workload) -> Explanation:
    """Return why the workload waits and what would start it, or what it does."""
    if workload.phase is not Phase.PENDING:
        reason = f": {workload.phase_message}" if workload.phase_message else ""
        return Explanation(workload=workload, sentence=f"{workload.key} is {workload.phase}{reason}")
    verdict = await judge.explain(workload) or workload.verdict
    sentence = verdict.message if verdict else "waits for the next scheduling cycle"
    return Explanation(
        workload=workload,
        sentence=f"{workload.key} is {workload.phase}: {sentence}",
        verdict=verdict,
        position=await _position(store, workload),
    )


async def _position(store: Store, workload: Workload) -> int:
    waiting = await store.list(Workload, Query(project=workload.meta.project, sort_by="meta.created_at"))
    ahead = [
        other
        for other in waiting.items
        if other.phase is Phase.PENDING
        and (-other.priority, other.meta.created_at, other.meta.uid)
        < (-workload.priority, workload.meta.created_at, workload.meta.uid)
    ]
    return len(ahead) + 1
