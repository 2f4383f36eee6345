"""What a replay of jobs came to: waiting, completion, and fairness between queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

Use = tuple[float, tuple[int, ...]]
"""A moment, and the GPUs that each queue has from then on."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one policy came to. Times in seconds."""

    policy: str
    queues: tuple[str, ...]
    waits: tuple[float, ...]  # from arrival to the first start, for each job
    completions: tuple[float, ...]  # from arrival to the end
    preemptions: int
    makespan: float
    use: tuple[Use, ...]
    shares: Mapping[str, float]  # of each queue: GPU time it had, of that it was entitled to

    def wait(self, percent: float) -> float:
        """Return a percentile of the waiting times."""
        return percentile(self.waits, percent)

    def completion(self, percent: float) -> float:
        """Return a percentile of the times to completion."""
        return percentile(self.completions, percent)

    @property
    def preemptions_per_job(self) -> float:
        """How often a job was stopped on average."""
        return self.preemptions / len(self.waits)

    @property
    def jain_index(self) -> float:
        """Fairness between the queues: 1 where each had the same part of its entitlement."""
        return jain(list(self.shares.values()))

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "policy": self.policy,
            "jobs": len(self.waits),
            "waiting_seconds": {"p50": round(self.wait(50), 3), "p95": round(self.wait(95), 3)},
            "completion_seconds": {
                "mean": round(sum(self.completions) / len(self.completions), 3),
                "p50": round(self.completion(50), 3),
                "p95": round(self.completion(95), 3),
            },
            "preemptions_per_job": round(self.preemptions_per_job, 6),
            "jain_index": round(self.jain_index, 6),
            "share_of_entitlement": {name: round(share, 6) for name, share in self.shares.items()},
            "makespan_seconds": round(self.makespan, 3),
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def jain(values: Sequence[float]) -> float:
    """Return Jain's index: 1 where all values are equal, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def entitled(capacity: int, wanted: Sequence[int]) -> list[float]:
    """Return equal shares of the GPUs, where what a queue does not want goes to the others (max-min fairness)."""
    shares = [0.0] * len(wanted)
    left = float(capacity)
    order = sorted(range(len(wanted)), key=lambda number: (wanted[number], number))
    for done, number in enumerate(order):
        shares[number] = min(float(wanted[number]), left / (len(order) - done))
        left -= shares[number]
    return shares


@dataclass(slots=True)
class Ledger:
    """Adds up, while time goes by, what each queue has and what it is entitled to.

    Only moments count in which some queue could not have all that it wanted:
    at others every policy gives everybody everything.
    """

    queues: tuple[str, ...]
    capacity: int
    use: list[Use] = field(default_factory=list)
    had: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    _since: float = 0.0
    _has: tuple[int, ...] = ()
    _rates: tuple[float, ...] = ()

    def note(self, now: float, has: tuple[int, ...], wants: tuple[int, ...]) -> None:
        """Close the time since the last note, and open the next with what queues have and want, waiting jobs too."""
        self.close(now)
        if not self.use or self.use[-1][1] != has:
            self.use.append((now, has))
        self._has = has
        contended = any(mine < whole for mine, whole in zip(has, wants, strict=True))
        self._rates = tuple(entitled(self.capacity, wants)) if contended else ()

    def close(self, now: float) -> None:
        """Count the time since the last note."""
        if not self.had:
            self.had, self.due = [0.0] * len(self.queues), [0.0] * len(self.queues)
        for number, rate in enumerate(self._rates):
            self.had[number] += self._has[number] * (now - self._since)
            self.due[number] += rate * (now - self._since)
        self._since = now

    def shares(self) -> dict[str, float]:
        """Return for each queue that was due something the part of it that it had."""
        return {name: had / due for name, had, due in zip(self.queues, self.had, self.due, strict=True) if due > 0}
