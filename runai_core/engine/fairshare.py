"""Fair shares: numbers in, numbers out, exact to the floor and the order of the left-over.

One resource at a time, one level of the queue tree at a time. The arithmetic
follows KAI's `resource_division` (scheduler semantics, section 2.7): amounts
are exact integers here; only the proportional share itself is a float, because
its floor is part of the contract.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor


@dataclass(slots=True)
class Claim:
    """What one queue brings to the division of one resource, in the resource's exact unit."""

    name: str
    deserved: int | None  # None = unlimited
    limit: int | None
    weight: float
    priority: int
    requested: int
    created_at: float = 0.0
    usage: float = 0.0  # past share of the cluster, 0..1
    share: int = 0  # the answer
    leftover: float = 0.0

    @property
    def requestable(self) -> int:
        """What it could use at most."""
        return self.requested if self.limit is None else min(self.limit, self.requested)


def divide(total: int, claims: Sequence[Claim], *, unit: int = 1, history_weight: float = 1.0) -> dict[str, int]:
    """Return each claim's fair share of `total`.

    Deserved quotas are served first and are not scaled down, so their sum may
    exceed the total. What is left goes out by weight, one priority after the
    other, in whole `unit`s; the last units go to those who lost most by
    rounding, then to the older.
    """
    remaining = total
    for claim in claims:
        deserved = total if claim.deserved is None else claim.deserved
        claim.share = min(deserved, claim.requestable)
        claim.leftover = 0.0
        remaining -= claim.share
    if remaining > 0:
        tiers: dict[int, list[Claim]] = {}
        for claim in sorted(claims, key=lambda item: -item.priority):
            tiers.setdefault(claim.priority, []).append(claim)
        for tier in tiers.values():
            remaining = _share_out(remaining, tier, unit, history_weight)
        for tier in tiers.values():
            remaining = _give_leftovers(remaining, tier, unit)
    return {claim.name: claim.share for claim in claims}


def _share_out(remaining: int, tier: Sequence[Claim], unit: int, history_weight: float) -> int:
    """Give surplus to one priority until nobody in it wants more; return what is left."""
    again = remaining > 0
    while again:
        again = False
        budget = remaining
        hungry = [claim for claim in tier if claim.requestable > claim.share]
        weights = sum(claim.weight for claim in hungry)
        if weights <= 0:
            break
        pulls = [_pull(claim, weights, history_weight) for claim in hungry]
        pull_sum = sum(pulls)
        if pull_sum <= 0:
            break
        for claim, pull in zip(hungry, pulls, strict=True):
            if not claim.weight or remaining <= 0:
                continue
            share = budget / unit * pull / pull_sum  # in units
            want = claim.requestable - claim.share
            if want <= share * unit:
                give, claim.leftover = want, 0.0
            else:
                whole = floor(share)
                give = whole * unit
                if share > whole:
                    claim.leftover = share - whole
            give = min(give, remaining)
            claim.share += give
            remaining -= give
            again |= give > 0 and want < share * unit
        again &= remaining > 0
    return remaining


def _pull(claim: Claim, weights: float, history_weight: float) -> float:
    """Return a queue's part of the surplus before normalization: its weight, less what it had in the past."""
    normal = claim.weight / weights
    return max(0.0, normal + history_weight * (normal - claim.usage))


def _give_leftovers(remaining: int, tier: Sequence[Claim], unit: int) -> int:
    """Hand out what rounding kept back: at most one unit each."""
    waiting = [claim for claim in tier if claim.leftover > 0]
    for claim in sorted(waiting, key=lambda item: (-item.leftover, item.created_at, item.name)):
        if remaining <= 0:
            break
        give = min(unit, remaining)
        claim.share += give
        remaining -= give
    return remaining
