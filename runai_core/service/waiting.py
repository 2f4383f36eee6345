"""Why workloads wait: how many for each reason, counted where they are kept."""

from dataclasses import dataclass, replace

from runai_core.model.organization import Action, Actor
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Filter, Op, Query, Store
from runai_core.service.access import AccessService
from runai_core.service.noting import tally_of
from runai_core.service.workloads import RESOURCE

PENDING = (Filter("phase", Op.EQ, Phase.PENDING.value),)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why some workloads wait: how many, and the newest of them."""

    reason: str  # empty: not tried yet
    count: int
    example: Workload | None = None


class WaitingService:
    """Counts what waits."""

    def __init__(self, store: Store, access: AccessService) -> None:
        self._store = store
        self._access = access

    async def by_reason(self, actor: Actor) -> list[Waiting]:
        """Return why workloads wait that the actor may see, the most frequent reason first; each with an example."""
        await self._access.require(actor, Action.READ, RESOURCE)
        seen = await self._access.visible(actor, Action.READ, RESOURCE)
        pending = Query(filters=PENDING, projects=seen)
        counts = await tally_of(self._store, Workload, "phase_reason", pending)
        return [
            Waiting(reason, count, await self._newest(pending, reason))
            for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]

    async def _newest(self, pending: Query, reason: str) -> Workload | None:
        """Return the newest workload that waits for the reason; none where the last has begun meanwhile."""
        alike = (*pending.filters, Filter("phase_reason", Op.EQ, reason))
        found = await self._store.list(Workload, replace(pending, filters=alike, descending=True, limit=1))
        return next(iter(found.items), None)
