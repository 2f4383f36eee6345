"""Places for pods that do not exist yet: a Spark driver makes its executors, so a gang cannot wait for them.

A pod group says by annotations how many pods it will have (`RESERVED_MEMBERS`)
and what each of those to come asks for (`RESERVED_REQUEST`). In the snapshots
stand-ins take their part: the group starts with room for all, or waits; what
it holds counts against its queue. A pod that comes is bound to a place held
for it. Places live as long as the pod that the group belongs to; they are kept
in memory alone: a scheduler that starts anew takes them anew, before it looks
at anybody else who waits.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.requests import without_gpus
from runai_core.backends.kubernetes.codec.values import annotations_of, key_of
from runai_core.backends.kubernetes.informer import Informer
from runai_core.model.decision import Bind, CycleResult, Outcome
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import HOLDS_RESOURCES, PodEntry, PodGroup, PodRequest, PodState, Snapshot

log = logging.getLogger(__name__)

RESERVED_MEMBERS = "run.ai/reserved-members"
"""Annotation of a pod group, or of the pod that it is made for: how many pods it will have with that one (ours)."""

RESERVED_REQUEST = "run.ai/reserved-request"
"""Annotation beside it: what each of the others asks for, as JSON, for example ``{"cpu": "1", "memory": "1Gi"}``."""

MOST = 10_000
"""Most pods that one group may reserve places for."""

_MARK = "#place-"
"""Stands in the name of a place and in no pod's."""

_LIVE = frozenset({PodState.PENDING, PodState.GATED}) | HOLDS_RESOURCES


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a group asks for."""

    members: int
    request: PodRequest
    driver: str  # the pod that the group belongs to; places are held while it has one itself


class Places:
    """The places that are held."""

    def __init__(self, groups: Informer, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._settled: set[str] = set()  # node pools in which what was held before we began is held again
        self._narrowed: set[str] = set()  # node pools in which others have not been looked at yet
        self._wanted: dict[str, Reservation] = {}  # by group
        self._held: dict[str, dict[str, str]] = {}  # group -> place -> node
        groups.on_change(self.follow)
        for item in groups.all():
            self.follow("ADDED", None, item)

    def follow(self, _kind: str, old: Object | None, new: Object | None) -> None:
        """Take note of a pod group that came, changed or went."""
        group = key_of(new or old or {"metadata": {"name": ""}})
        try:
            found = reservation_of(new) if new is not None else None
        except InvalidRequest as error:
            log.warning("pod group %s reserves nothing: %s", group, error.message)
            found = None
        if found is not None:
            self._wanted[group] = found
        elif self._wanted.pop(group, None) is not None:
            self._held.pop(group, None)

    def due(self, snapshot: Snapshot) -> Sequence[Bind]:
        """Return the bindings of pods that came and whose places are held; the places are theirs from now on."""
        binds: list[Bind] = []
        for group, members in self._members(snapshot):
            for pod in members:
                if pod.state is not PodState.PENDING:
                    continue
                if node := self._give(group, pod, members):
                    binds.append(Bind(pod=pod.name, node=node, pod_group=group))
        return binds

    def over(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with what is reserved: groups that start with all, and stand-ins for those to come."""
        if not self._wanted:
            return snapshot
        stand_ins: list[PodEntry] = []
        whole: dict[str, int] = {}
        begun: set[str] = set()  # groups that run, and have no place yet for all
        for group, members in self._members(snapshot):
            wanted = self._wanted[group]
            driver = next((pod for pod in members if pod.name == wanted.driver), None)
            if driver is None:
                self._held.pop(group, None)
                continue
            if driver.state not in HOLDS_RESOURCES:
                self._held.pop(group, None)  # it lost its own
            found = self._stand_ins(group, wanted, driver, wanted.members - len(members))
            if driver.state in HOLDS_RESOURCES and any(pod.state is PodState.PENDING for pod in (*found, *members)):
                begun.add(group)
            stand_ins += found
            whole[group] = wanted.members
        groups = tuple(_starting_with(group, whole.get(group.name, 0)) for group in snapshot.pod_groups)
        pods = self._first(begun, snapshot)
        return replace(snapshot, pod_groups=groups, pods=(*pods, *stand_ins))

    def _first(self, begun: Collection[str], snapshot: Snapshot) -> Sequence[PodEntry]:
        """Return the pods to decide on: once, when we begin, of those that wait only those of groups that run."""
        if snapshot.node_pool in self._settled or not begun:
            return snapshot.pods
        self._narrowed.add(snapshot.node_pool)
        return [pod for pod in snapshot.pods if pod.state is not PodState.PENDING or pod.pod_group in begun]

    def take(self, result: CycleResult) -> tuple[CycleResult, Mapping[str, Outcome]]:
        """Take what was decided on places; return the decisions on pods, and what became of the others."""
        self._settled.add(result.node_pool)
        if result.node_pool in self._narrowed:
            self._narrowed.remove(result.node_pool)
            self._wake()  # the others are still to be looked at
        if not self._wanted:
            return result, {}
        outcomes: dict[str, Outcome] = {}
        for bind in result.binds:
            if _MARK in bind.pod:
                self._held.setdefault(bind.pod_group, {})[bind.pod] = bind.node
                outcomes[bind.pod] = Outcome.APPLIED
        for eviction in result.evictions:
            if _MARK in eviction.pod:
                self._held.get(eviction.pod_group, {}).pop(eviction.pod, None)
                outcomes[eviction.pod] = Outcome.APPLIED
        own = replace(
            result,
            binds=tuple(bind for bind in result.binds if _MARK not in bind.pod),
            evictions=tuple(eviction for eviction in result.evictions if _MARK not in eviction.pod),
            pipelines=tuple(promise for promise in result.pipelines if _MARK not in promise.pod),
        )
        return own, outcomes

    def _members(self, snapshot: Snapshot) -> Iterable[tuple[str, list[PodEntry]]]:
        """Return the pods that live of each group that reserves places."""
        found: dict[str, list[PodEntry]] = {
            group.name: [] for group in snapshot.pod_groups if group.name in self._wanted
        }
        if found:
            for pod in snapshot.pods:
                if pod.pod_group in found and pod.state in _LIVE:
                    found[pod.pod_group].append(pod)
        return found.items()

    def _give(self, group: str, pod: PodEntry, members: Sequence[PodEntry]) -> str:
        """Return the node of a place that a pod may have, and give the place up; empty where there is none."""
        held, wanted = self._held.get(group), self._wanted[group]
        driver = next((each for each in members if each.name == wanted.driver), None)
        if not held or driver is None or not _fits(pod, wanted.request, driver):
            return ""
        return held.pop(next(iter(held)))

    def _stand_ins(self, group: str, wanted: Reservation, driver: PodEntry, count: int) -> list[PodEntry]:
        held = self._held.get(group, {})
        while len(held) > max(count, 0):  # pods came that took other places
            held.popitem()
        free = (f"{group}{_MARK}{number}" for number in range(wanted.members))
        names = [*held, *(name for name in free if name not in held)][: max(count, 0)]
        return [_stand_in(name, group, wanted.request, driver, held.get(name)) for name in names]


def reservation_of(item: Object) -> Reservation | None:
    """Return what a pod group reserves; None where it reserves nothing.

    Raises:
        InvalidRequest: an annotation is wrong; names it.
    """
    notes = annotations_of(item)
    text = notes.get(RESERVED_MEMBERS, "")
    owner = next((ref["name"] for ref in item["metadata"].get("ownerReferences") or () if ref["kind"] == "Pod"), "")
    if not text or not owner:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        message = f"must be a whole number from 1 to {MOST}"
        raise InvalidRequest.of(FieldError(f"metadata.annotations[{RESERVED_MEMBERS}]", message, text))
    return Reservation(
        int(text), _request(notes.get(RESERVED_REQUEST, "{}")), f"{item['metadata']['namespace']}/{owner}"
    )


def _request(text: str) -> PodRequest:
    field = f"metadata.annotations[{RESERVED_REQUEST}]"
    try:
        amounts = json.loads(text)
    except ValueError:
        amounts = None
    if not isinstance(amounts, Mapping) or not all(isinstance(value, str | int) for value in amounts.values()):
        raise InvalidRequest.of(FieldError(field, 'must be JSON such as {"cpu": "1", "nvidia.com/gpu": "1"}', text))
    return without_gpus({"containers": [{"name": "to-come", "resources": {"requests": amounts, "limits": {}}}]})


def _fits(pod: PodEntry, request: PodRequest, driver: PodEntry) -> bool:
    """Return whether a pod asks for no more than was reserved, at no other kind of node."""
    asked = pod.request
    enough = asked.cpu <= request.cpu and asked.memory <= request.memory
    alike = replace(asked, cpu=0, memory=0) == replace(request, cpu=0, memory=0)
    return enough and alike and pod.constraints == driver.constraints and not pod.resource_claims


def _stand_in(name: str, group: str, request: PodRequest, driver: PodEntry, node: str | None) -> PodEntry:
    return PodEntry(
        name=name,
        pod_group=group,
        request=request,
        state=PodState.PENDING if node is None else PodState.BOUND,
        node=node,
        constraints=driver.constraints,
        created_at=driver.created_at,
    )


def _starting_with(group: PodGroup, members: int) -> PodGroup:
    """Return a group that starts with so many pods; one that reserves nothing as it is."""
    return group if members <= group.min_members else replace(group, min_members=members)
