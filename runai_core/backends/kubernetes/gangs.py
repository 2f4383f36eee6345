"""The pods of each pod group, counted: who lives, who holds a place, since when, and whether too few do."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.conditions import holds_since
from runai_core.model.snapshot import HOLDS_RESOURCES, PodEntry, PodGroup, PodState

ENDED = frozenset({PodState.SUCCEEDED, PodState.FAILED})


@dataclass(slots=True)
class Gang:
    """A pod group's members."""

    entries: dict[str, PodEntry] = field(default_factory=dict)
    placed_at: dict[str, float] = field(default_factory=dict)  # pod -> when it got its node, as its condition says
    live: set[str] = field(default_factory=set)  # have not ended
    finished: dict[str, None] = field(default_factory=dict)  # succeeded
    stale_since: float | None = None
    start: float | None = None
    waited: bool = False  # we saw it without a place: what is written about its start is of an earlier one

    @property
    def placed(self) -> list[PodEntry]:
        """The pods that hold a place, those that leave it among them."""
        return [entry for entry in self.entries.values() if entry.state in HOLDS_RESOURCES]

    def started(self, group: PodGroup, now: float) -> float | None:
        """Return when the group went from no pod placed to placed.

        We see it happen, or it is written on the group, or its pods say it.
        """
        if not any(entry.state in HOLDS_RESOURCES for entry in self.entries.values()):
            self.start, self.waited = None, True
            return group.last_start
        if self.start is None:
            first = min(self.placed_at.values(), default=now)
            written = None if self.waited else group.last_start
            self.start = first if written is None else written
        return self.start

    def stale(self, group: PodGroup, now: float) -> float | None:
        """Return since when some pods run, but fewer than must run together; None while all is well."""
        if not below_minimum(group, self.entries.values()):
            self.stale_since = None
        elif self.stale_since is None:
            self.stale_since = group.stale_since or now
        return self.stale_since


class GangBook:
    """All gangs by the name of their group."""

    def __init__(self) -> None:
        self._gangs: dict[str, Gang] = {}

    def find(self, group: str) -> Gang | None:
        """Return a group's members."""
        return self._gangs.get(group)

    def members(self, group: str) -> Iterable[str]:
        """Return the names of a group's pods."""
        gang = self._gangs.get(group)
        return () if gang is None else tuple(gang.entries)

    def take(self, group: str, name: str, entry: PodEntry | None, pod: Object | None) -> None:
        """Take a pod as it is now; None where it is a member no more."""
        gang = self._gangs.setdefault(group, Gang())
        if entry is None:
            gang.entries.pop(name, None)
            gang.placed_at.pop(name, None)
            gang.live.discard(name)
            gang.finished.pop(name, None)
            return
        gang.entries[name] = entry
        if entry.state in ENDED:
            gang.live.discard(name)
            gang.finished[name] = None
        else:
            gang.live.add(name)
        if entry.node is not None and pod is not None and name not in gang.placed_at:
            at = placed_at(pod)
            if at is not None:
                gang.placed_at[name] = at

    def drop_if_empty(self, group: str) -> None:
        """Forget a group that has no members."""
        gang = self._gangs.get(group)
        if gang is not None and not gang.entries:
            del self._gangs[group]


def below_minimum(group: PodGroup, entries: Iterable[PodEntry]) -> bool:
    """Return whether some members hold a place, but fewer than must together; one that succeeded settles it."""
    members = list(entries)
    if any(entry.state is PodState.SUCCEEDED for entry in members):
        return False
    placed = [entry.sub_group for entry in members if entry.state in HOLDS_RESOURCES]
    return bool(placed) and lacks(group, placed)


def lacks(group: PodGroup, placed: list[str]) -> bool:
    """Return whether pods of these sub-groups are fewer than the group needs."""
    inner = {part.parent for part in group.sub_groups}
    leaves = [part for part in group.sub_groups if part.name not in inner]
    if leaves:
        return any(placed.count(leaf.name) < leaf.min_members for leaf in leaves)
    return len(placed) < group.min_members


def placed_at(pod: Object) -> float | None:
    """Return when a pod got its node, by its condition."""
    return holds_since(pod, "PodScheduled")
