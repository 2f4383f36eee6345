"""A scheduler for callers that run for a long time.

A cycle is a pure function of its snapshot, so with the same objects it gives
the same answer until the clock passes a moment at which some rule looks at it.
Where some pods and groups changed, the session of the last cycle is taken back
to its beginning and brought up to date; where more did, a new one is opened.
Objects that stay the same should be the same objects from snapshot to snapshot:
then the comparison costs almost nothing.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from runai_core.engine.cycle import EXPLAINED_PODS, open_cycle, run_actions, run_cycle
from runai_core.engine.rules import DEFAULT_RULES, RuleSet
from runai_core.engine.session import Session
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

MOST_CHANGED = 0.1
"""Where a larger part of the pods changed, opening a new session is as fast."""

T = TypeVar("T", PodEntry, PodGroup)


class Scheduler:
    """One node pool's engine between cycles.

    Not safe for two threads at once; the answers are those of `run_cycle` on
    the same objects. Snapshots of up to `small` pods are simply given to it;
    where a part of more than `most` changed, a new session is opened.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        rules: RuleSet = DEFAULT_RULES,
        *,
        small: int = EXPLAINED_PODS,
        most: float = MOST_CHANGED,
    ) -> None:
        self._rules = rules
        self._small = small
        self._most = most
        self._next = snapshot  # as `update` and `decide` have left it
        self._last: Snapshot | None = None  # of the last cycle
        self._result = CycleResult()
        self._good_until = float("-inf")
        self._standing: _Standing | None = None
        self.turned = 0  # cycles for which the last session was brought up to date

    def update(
        self,
        changed: Iterable[Entry] = (),
        *,
        gone: Iterable[tuple[type, str]] = (),
        revision: int | None = None,
        settings: CycleSettings | None = None,
    ) -> None:
        """Take new and changed objects, and the (type, name) of those that are gone; unknown ones are ignored."""
        parts: dict[str, dict[str, Entry]] = {}

        def part(kind: type) -> dict[str, Entry]:
            field = FIELDS[kind]
            return parts.setdefault(field, {item.name: item for item in getattr(self._next, field)})

        for item in changed:
            part(type(item))[item.name] = item
        for kind, name in gone:
            part(kind).pop(name, None)
        fields: dict[str, object] = {field: tuple(items.values()) for field, items in parts.items()}
        if settings is not None:
            fields["settings"] = settings
        if revision is not None:
            fields["revision"] = revision
        self._next = replace(self._next, **fields)  # type: ignore[arg-type]

    def snapshot(self, taken_at: float) -> Snapshot:
        """Return the objects as a snapshot of the given moment."""
        return replace(self._next, taken_at=taken_at)

    def run_cycle(self, taken_at: float) -> CycleResult:
        """Decide for this moment.

        Raises:
            InvalidSnapshot: the objects contradict each other.
        """
        return self.decide(self.snapshot(taken_at))

    def decide(self, snapshot: Snapshot) -> CycleResult:
        """Decide on a snapshot of the same node pool, most of which is that of the last cycle.

        Raises:
            InvalidSnapshot: it contradicts itself.
        """
        last, self._next, self._last = self._last, snapshot, None
        if last is None or not (last.taken_at <= snapshot.taken_at < self._good_until and _equal(last, snapshot)):
            self._result = self._decided(snapshot)
            self._good_until = next_moment(snapshot)
            last = snapshot
        self._last = last
        return replace(self._result, revision=snapshot.revision)

    def _decided(self, snapshot: Snapshot) -> CycleResult:
        if len(snapshot.pods) <= self._small:
            self._standing = None
            return run_cycle(snapshot, self._rules)
        standing, self._standing = self._standing, None
        if standing is not None and standing.turn(snapshot, self._most):
            self.turned += 1
        else:
            check_snapshot(snapshot)
            standing = _Standing(open_cycle(snapshot, self._rules))
        result = run_actions(standing.session)
        self._standing = standing
        return result


def _equal(one: Snapshot, other: Snapshot) -> bool:
    """Return whether two snapshots have the same objects, whatever their time; same objects are found fast."""
    return one.settings == other.settings and all(
        getattr(one, name) == getattr(other, name) for name in FIELDS.values()
    )


class _Standing:
    """An open session and where its objects are in it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        snapshot = session.snapshot
        self.numbers = {pod.name: number for number, pod in enumerate(snapshot.pods)}
        self.pods = _by_identity(snapshot.pods)  # keeps them alive, so that no identity comes twice
        self.groups = _by_identity(snapshot.pod_groups)
        self.members: dict[str, dict[str, None]] = {}  # group -> names of its pods
        for pod in snapshot.pods:
            self.members.setdefault(pod.pod_group, {})[pod.name] = None

    def turn(self, snapshot: Snapshot, most: float) -> bool:
        """Bring the session to the next snapshot; False: it must be opened anew (where more than this part changed).

        Raises:
            InvalidSnapshot: what changed is wrong.
        """
        old, session = self.session.snapshot, self.session
        alike = old.settings == snapshot.settings and old.nodes == snapshot.nodes
        if not (alike and old.topologies == snapshot.topologies and old.claims == snapshot.claims and session.can_turn):
            return False
        if _tree(old.queues) != _tree(snapshot.queues):
            return False
        pods, groups = _by_identity(snapshot.pods), _by_identity(snapshot.pod_groups)
        came, went = _changes(self.pods, pods)
        new_groups, old_groups = _changes(self.groups, groups)
        if len(came) + len(went) + len(new_groups) + len(old_groups) > most * len(snapshot.pods):
            return False
        counted = len(pods) == len(snapshot.pods) and len(groups) == len(snapshot.pod_groups)
        unique = _stay_unique(self.numbers, came, went) and _stay_unique(session.jobs, new_groups, old_groups)
        if not (counted and unique and _plain(came)):
            return False
        check_snapshot(replace(snapshot, nodes=(), pods=tuple(came), pod_groups=tuple(new_groups)))
        self._enter(snapshot, (came, went), (new_groups, old_groups))
        self.pods, self.groups = pods, groups
        return True

    def _enter(
        self,
        snapshot: Snapshot,
        pods: tuple[list[PodEntry], list[PodEntry]],
        groups: tuple[list[PodGroup], list[PodGroup]],
    ) -> None:
        """Give the session what changed: groups of which anything did are opened anew with all their pods."""
        came, went = pods
        known = self.session.jobs
        renewed = {group.name: group for group in groups[0]}
        dropped = {group.name for group in groups[1]} | renewed.keys()
        for pod in (*came, *went):
            job = known.get(pod.pod_group)
            if job is not None and pod.pod_group not in dropped:
                dropped.add(pod.pod_group)
                renewed[pod.pod_group] = job.group
        numbers = dict.fromkeys(self.numbers[pod.name] for pod in went)
        entries = {pod.name: pod for pod in came}
        left = {pod.name for pod in went}
        for name in dropped:
            for member in self.members.get(name, ()):
                number = self.numbers[member]
                numbers[number] = None
                if member not in left:
                    entries.setdefault(member, self.session.pods[number])
        for pod in went:
            self.members[pod.pod_group].pop(pod.name)
            del self.numbers[pod.name]
        found = self.session.turn(snapshot, dropped, renewed.values(), numbers, entries.values())
        for pod, number in zip(entries.values(), found, strict=True):
            self.numbers[pod.name] = number
            self.members.setdefault(pod.pod_group, {})[pod.name] = None


def _tree(queues: Iterable[Queue]) -> dict[str, str | None]:
    return {queue.name: queue.parent for queue in queues}


def _by_identity(items: tuple[T, ...]) -> dict[int, T]:
    return dict(zip(map(id, items), items, strict=True))


def _changes(old: Mapping[int, T], new: Mapping[int, T]) -> tuple[list[T], list[T]]:
    """Return the objects that came and those that went; an equal copy is no change."""
    came = [item for key, item in new.items() if key not in old]
    if not came and len(old) == len(new):
        return [], []
    went = {item.name: item for key, item in old.items() if key not in new}
    copies = {item.name for item in came if went.get(item.name) == item}
    return (
        sorted((item for item in came if item.name not in copies), key=_by_name),
        sorted((item for name, item in went.items() if name not in copies), key=_by_name),
    )


def _stay_unique(names: Container[str], came: Sequence[T], went: Sequence[T]) -> bool:
    """Return whether no name comes twice when some objects come and others go."""
    left, new = {item.name for item in went}, {item.name for item in came}
    return len(new) == len(came) and all(name in left or name not in names for name in new)


def _by_name(item: PodEntry | PodGroup) -> str:
    return item.name


def _plain(pods: Iterable[PodEntry]) -> bool:
    """Return whether no pod makes the session look at the pods of others."""
    return not any(pod.constraints.pod_affinity or pod.constraints.spread or pod.resource_claims for pod in pods)


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
