"""Quota as people see it: what a project or department holds, deserves, and would get now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runai_core.model.decision import QueueShare
from runai_core.model.organization import Department, Project, QueueResources
from runai_core.model.resources import MILLI
from runai_core.service.organization import UnitStatus
from runai_core.web.pages.shown import GIB, number

UNITS: Mapping[str, tuple[str, str, int]] = {
    "gpu": ("GPU", "GPUs", MILLI),
    "cpu": ("CPU", "cores", MILLI),
    "memory": ("Memory", "GiB", GIB),
}
"""Resource -> its name, the unit that people read, and how many exact units one of those is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One resource of one unit, in units for people. None: unlimited, or for the fair share: not known here."""

    resource: str
    allocated: float = 0.0
    requested: float = 0.0  # allocated and waiting
    deserved: float | None = None
    limit: float | None = None
    fair: float | None = None
    weight: float = 1.0

    @property
    def unit(self) -> str:
        """The unit of the numbers."""
        return UNITS[self.resource][1]

    @property
    def scale(self) -> float:
        """What the whole width of a bar stands for."""
        known = (self.allocated, self.requested, self.deserved or 0.0, self.fair or 0.0)
        return max(known) or 1.0

    def width(self, amount: float | None) -> str:
        """Return an amount as percent of the bar's width."""
        return f"{min((amount or 0.0) / self.scale, 1.0) * 100:.2f}"

    @property
    def within(self) -> float:
        """What is held within the quota."""
        return self.allocated if self.deserved is None else min(self.allocated, self.deserved)

    @property
    def over(self) -> float:
        """What is held over the quota."""
        return self.allocated - self.within

    @property
    def sentence(self) -> str:
        """The same in words."""
        whole = "" if self.deserved is None else f" of {number(self.deserved)}"
        said = f"{number(self.allocated)}{whole} {self.unit}" + ("" if whole else " (no quota)")
        if self.fair is not None:
            said += f", fair share {number(self.fair)}"
        if self.requested > self.allocated:
            said += f", {number(self.requested - self.allocated)} waiting"
        return said


Shares = Mapping[str, Sequence[QueueShare]]
"""Node pool -> the numbers of its queues in the newest cycle."""


def queue_name(unit: Department | Project) -> str:
    """Return the name of a unit's queue."""
    return f"department/{unit.name}" if isinstance(unit, Department) else unit.name


def quotas_of(unit: Department | Project, statuses: Mapping[str, UnitStatus], shares: Shares) -> dict[str, Quota]:
    """Return the quota of each resource over all node pools."""
    by_pool = [quotas_in(pool, unit, statuses, shares) for pool in pools_of(unit, statuses)]
    return {resource: _summed(resource, [found[resource] for found in by_pool]) for resource in UNITS}


def pools_of(unit: Department | Project, statuses: Mapping[str, UnitStatus]) -> list[str]:
    """Return the node pools in which a unit has quota or holds something."""
    return sorted({*unit.resources, *statuses})


def quotas_in(
    pool: str, unit: Department | Project, statuses: Mapping[str, UnitStatus], shares: Shares
) -> dict[str, Quota]:
    """Return the quota of each resource in one node pool."""
    status = statuses.get(pool, UnitStatus())
    resources = unit.resources.get(pool, QueueResources())
    fair = {share.resource: share.fair_share for share in shares.get(pool, ()) if share.queue == queue_name(unit)}
    found = {}
    for resource, (_, _, size) in UNITS.items():
        quota = getattr(resources, resource)
        found[resource] = Quota(
            resource=resource,
            allocated=getattr(status.allocated, resource) / size,
            requested=getattr(status.requested, resource) / size,
            deserved=_over(quota.deserved, size),
            limit=_over(quota.limit, size),
            fair=_over(fair.get(resource), size),
            weight=quota.over_quota_weight,
        )
    return found


def _over(amount: int | None, size: int) -> float | None:
    return None if amount is None else amount / size


def _summed(resource: str, found: Sequence[Quota]) -> Quota:
    return Quota(
        resource=resource,
        allocated=sum(item.allocated for item in found),
        requested=sum(item.requested for item in found),
        deserved=_total(found, lambda item: item.deserved),
        limit=_total(found, lambda item: item.limit),
        fair=_total([item for item in found if item.fair is not None], lambda item: item.fair) if found else None,
        weight=max((item.weight for item in found), default=1.0),
    )


def _total(found: Sequence[Quota], amount: Callable[[Quota], float | None]) -> float | None:
    """Return the sum; None where one of them has none, or where there is nothing."""
    amounts = [amount(item) for item in found]
    known = [item for item in amounts if item is not None]
    return sum(known) if known and len(known) == len(amounts) else None
