"""What was decided and the watches do not show yet: bindings and evictions that are under way."""

from dataclasses import dataclass, replace

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.pods import as_bound, as_leaving
from runai_core.model.snapshot import HOLDS_RESOURCES, PodEntry, PodState

EVICTABLE = frozenset({PodState.BOUND, PodState.RUNNING})


@dataclass(frozen=True, slots=True)
class Assumed:
    """A binding that is under way."""

    uid: str
    node: str
    gpu_groups: tuple[str, ...]


class Assumptions:
    """Decisions by pod, each until the watch shows it or somebody says that it failed."""

    def __init__(self) -> None:
        self._bound: dict[str, Assumed] = {}
        self._leaving: dict[str, str] = {}  # pod -> uid
        self._held: set[str] = set()

    def bind(self, name: str, uid: str, node: str, gpu_groups: tuple[str, ...]) -> None:
        """Take a pod as bound."""
        self._bound[name] = Assumed(uid, node, gpu_groups)

    def leave(self, name: str, uid: str) -> None:
        """Take a pod as leaving."""
        self._leaving[name] = uid

    def hold(self, name: str) -> None:
        """Take a pod as one that may have no place."""
        self._held.add(name)

    def forget(self, name: str) -> None:
        """Take a pod as the watch shows it."""
        self._held.discard(name)
        self._bound.pop(name, None)
        self._leaving.pop(name, None)

    def __contains__(self, name: str) -> bool:
        """Return whether something is under way for the pod."""
        return name in self._bound or name in self._leaving

    def over(self, name: str, pod: Object, entry: PodEntry) -> PodEntry:
        """Return a pod's entry with what was decided; what the watch shows by now is forgotten."""
        if name in self._held and entry.state is PodState.PENDING:
            return replace(entry, state=PodState.GATED)
        uid, shown = pod["metadata"].get("uid", ""), entry.state
        assumed = self._bound.get(name)
        if assumed is not None:
            if assumed.uid == uid and shown is PodState.PENDING:
                return as_bound(entry, assumed.node, assumed.gpu_groups)
            del self._bound[name]
        leaving = self._leaving.get(name)
        if leaving is not None:
            if leaving == uid and shown in EVICTABLE:
                return as_leaving(entry)
            del self._leaving[name]
        return entry


class DeviceUsers:
    """Which shared devices have users, and which pods hold them for these."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], int] = {}  # (node, device) -> pods that sit on it
        self._holders: dict[tuple[str, str], str] = {}  # (node, device) -> the reservation pod

    def hold(self, place: tuple[str, str], reservation: str) -> bool:
        """Take a reservation pod; return whether its device is counted with its users already."""
        self._holders[place] = reservation
        return place in self._users

    def count(self, entry: PodEntry | None, sign: int) -> list[str]:
        """Count a pod in or out; return the reservation pods whose device gained its first or lost its last user."""
        if entry is None or entry.node is None or not entry.gpu_groups or entry.state not in HOLDS_RESOURCES:
            return []
        turned = []
        for group in entry.gpu_groups:
            place = (entry.node, group)
            count = self._users.pop(place, 0) + sign
            if count > 0:
                self._users[place] = count
            if count == (1 if sign > 0 else 0) and place in self._holders:
                turned.append(self._holders[place])
        return turned
