"""A scheduler for callers that run for a long time.

It keeps the objects of a snapshot by name, takes changes to them, and does not
decide anew what can not have changed: a cycle is a pure function of its
snapshot, so with the same objects it gives the same answer until the clock
passes a moment at which some rule looks at it.
"""

from collections.abc import Iterable
from dataclasses import replace

from runai_core.engine.cycle import open_cycle, run_actions
from runai_core.engine.rules import DEFAULT_RULES, RuleSet
from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, ResourceClaim, Snapshot, Topology
from runai_core.model.snapshot_check import check_snapshot

Entry = NodeEntry | Queue | PodGroup | PodEntry | Topology | ResourceClaim

FIELDS: dict[type, str] = {
    NodeEntry: "nodes",
    Queue: "queues",
    PodGroup: "pod_groups",
    PodEntry: "pods",
    Topology: "topologies",
    ResourceClaim: "claims",
}
"""Where a snapshot keeps each kind of object."""


class Scheduler:
    """One node pool's engine between cycles.

    Not safe for two threads at once; the answers are those of `run_cycle` on
    the same objects.
    """

    def __init__(self, snapshot: Snapshot, rules: RuleSet = DEFAULT_RULES) -> None:
        self._rules = rules
        self._base = snapshot
        self._objects: dict[str, dict[str, Entry]] = {
            field: {item.name: item for item in getattr(snapshot, field)} for field in FIELDS.values()
        }
        self._result: CycleResult | None = None
        self._good_until = float("-inf")
        self._decided_at = float("-inf")

    def update(
        self,
        changed: Iterable[Entry] = (),
        *,
        gone: Iterable[tuple[type, str]] = (),
        revision: int | None = None,
        settings: CycleSettings | None = None,
    ) -> None:
        """Take new and changed objects, and the (type, name) of those that are gone; unknown ones are ignored."""
        dirty = settings is not None and settings != self._base.settings
        for item in changed:
            known = self._objects[FIELDS[type(item)]]
            if known.get(item.name) != item:
                known[item.name] = item
                dirty = True
        for kind, name in gone:
            dirty |= self._objects[FIELDS[kind]].pop(name, None) is not None
        if settings is not None:
            self._base = replace(self._base, settings=settings)
        if revision is not None:
            self._base = replace(self._base, revision=revision)
        if dirty:
            self._result = None

    def snapshot(self, taken_at: float) -> Snapshot:
        """Return the objects as a snapshot of the given moment."""
        parts = {field: tuple(items.values()) for field, items in self._objects.items()}
        return replace(self._base, taken_at=taken_at, **parts)  # type: ignore[arg-type]

    def run_cycle(self, taken_at: float) -> CycleResult:
        """Decide for this moment.

        Raises:
            InvalidSnapshot: the objects contradict each other.
        """
        if self._result is not None and self._decided_at <= taken_at < self._good_until:
            return replace(self._result, revision=self._base.revision)
        snapshot = self.snapshot(taken_at)
        check_snapshot(snapshot)
        self._result = run_actions(open_cycle(snapshot, self._rules))
        self._decided_at = taken_at
        self._good_until = next_moment(snapshot)
        return self._result


def next_moment(snapshot: Snapshot) -> float:
    """Return the first moment after the snapshot's at which the clock alone could change the decisions."""
    settings, now = snapshot.settings, snapshot.taken_at
    runtimes = {settings.preempt_min_runtime, settings.reclaim_min_runtime}
    for queue in snapshot.queues:
        runtimes |= {queue.preempt_min_runtime or 0.0, queue.reclaim_min_runtime or 0.0}
    protecting = sorted(runtime for runtime in runtimes if runtime > 0)
    moments = [
        group.last_start + runtime
        for runtime in protecting
        for group in snapshot.pod_groups
        if group.last_start is not None
    ]
    if settings.staleness_grace is not None:
        grace = settings.staleness_grace
        moments += [group.stale_since + grace for group in snapshot.pod_groups if group.stale_since is not None]
    return min((moment for moment in moments if moment > now), default=float("inf"))
