"""The facts about a workload and its pods that the rules of `observe` ask for.

Each is worked out once, when a rule asks. Nothing here decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from runai_core.lifecycle.own_rules import all_must_succeed, degraded_timeout
from runai_core.lifecycle.shape import Place, Shape, shape_of
from runai_core.lifecycle.vacancies import has_failed, is_live, present, vacancies
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase, Pod, Workload, WorkloadType

SETTLE_SECONDS = 5.0
"""How long the other pods may go on after the master has succeeded, to end by themselves."""

UNSCHEDULED = frozenset({PodState.PENDING, PodState.GATED})
STARTING = frozenset({PodState.BINDING, PodState.BOUND})
EVICTED = frozenset({"Evicted", "Preempted"})


@dataclass(frozen=True, slots=True)
class Counts:
    """Pods as lists show them: running of requested."""

    requested: int
    running: int


class Seen:
    """The facts that the rules ask for, worked out when they do."""

    def __init__(self, workload: Workload, pods: Sequence[Pod], now: float) -> None:
        self.workload = workload
        self.pods = pods
        self.now = now

    @cached_property
    def mine(self) -> list[Pod]:
        """The pods of the present attempt."""
        return present(self.workload, self.pods)

    @cached_property
    def shape(self) -> Shape:
        """What the pods should be; a plug-in's kind is taken as the pods that it has."""
        if self.workload.type != WorkloadType.EXTERNAL:
            return shape_of(self.workload)
        places = tuple(Place(rank=pod.spec.rank, role=pod.spec.role) for pod in self.mine)
        return Shape(places=places, min_members=len(places), healthy=len(places))

    @cached_property
    def last(self) -> list[Pod]:
        """The last pod of each place."""
        last = {pod.spec.rank: pod for pod in self.mine}
        if self.workload.members is None:
            return list(last.values())
        return [last[place.rank] for place in self.shape.places if place.rank in last]

    @cached_property
    def vacant(self) -> frozenset[int]:
        """The places that need a new pod."""
        if self.workload.type == WorkloadType.EXTERNAL:
            return frozenset()
        return frozenset(place.rank for place in vacancies(self.workload, self.shape, self.pods))

    @cached_property
    def done(self) -> list[Pod]:
        """Pods that have succeeded and need no successor."""
        return [pod for pod in self.last if succeeded(pod) and pod.spec.rank not in self.vacant]

    @cached_property
    def stand_ins(self) -> list[Pod]:
        """Pods of an older attempt that do the work while those of the present one come up."""
        return [pod for pod in self.pods if pod.stands_in and _works(pod)]

    @cached_property
    def placed(self) -> list[Pod]:
        """Pods that have a node and keep it, and those that needed one."""
        return [*filter(holds_node, self.last), *self.done, *self.stand_ins]

    @cached_property
    def ready(self) -> list[Pod]:
        """Pods that do their work, and those that have done it."""
        return [*filter(_works, self.last), *self.done, *self.stand_ins]

    @cached_property
    def failed(self) -> list[Pod]:
        """Pods whose program failed, the first to fail first."""
        return sorted(filter(has_failed, self.mine), key=lambda pod: (pod.status.finished_at or 0.0, pod.name))

    @cached_property
    def uncounted_failures(self) -> int:
        """Failures of this attempt that the workload's record does not have yet."""
        return len(self.failed) - (self.workload.failures - self.workload.failures_before)

    @cached_property
    def broken(self) -> list[Pod]:
        """Failed pods that get no successor."""
        return [pod for pod in self.last if has_failed(pod) and pod.spec.rank not in self.vacant]

    @cached_property
    def decided_by(self) -> Pod | None:
        """The pod whose success is the workload's, once it has succeeded."""
        if not self.shape.decider or all_must_succeed(self.workload):
            return None
        return next((pod for pod in self.last if pod.spec.role == self.shape.decider and succeeded(pod)), None)

    @cached_property
    def settles_at(self) -> float | None:
        """When the others have had their time to end after the decision; None: nobody is waited for."""
        if self.decided_by is None or not any(map(is_live, self.last)):
            return None
        return (self.decided_by.status.finished_at or 0.0) + SETTLE_SECONDS

    @cached_property
    def degraded_until(self) -> float | None:
        """When the user's rule ends a workload that stays Degraded."""
        seconds = degraded_timeout(self.workload)
        if self.workload.phase != Phase.DEGRADED or seconds is None:
            return None
        return self.workload.phase_updated_at + seconds

    @property
    def counts(self) -> Counts:
        """Pods asked for, and pods that run."""
        running = sum(pod.status.state == PodState.RUNNING for pod in (*self.last, *self.stand_ins))
        wanted = len(self.shape.places)
        return Counts(wanted, min(running, wanted) if self.stand_ins else running)

    def enough(self, pods: Iterable[Pod]) -> bool:
        """Return whether these pods meet the gang's minimum, and that of each part of it."""
        pods = list(pods)
        if len(pods) < self.shape.min_members:
            return False
        return all(
            sum(pod.spec.sub_group == group.name for pod in pods) >= group.min_members
            for group in self.shape.sub_groups
        )

    @property
    def is_whole(self) -> bool:
        """Return whether it runs as specified; the next of several runs may take a moment to start."""
        if self.shape.runs is not None:
            starting = [pod for pod in self.last if pod.status.state in STARTING]
            return self.enough([*self.ready, *starting]) and not self.broken
        return self.enough(self.ready) and len(self.ready) >= self.shape.healthy and not self.broken


def succeeded(pod: Pod) -> bool:
    """Return whether the pod's program ended well."""
    return pod.status.state == PodState.SUCCEEDED


def _works(pod: Pod) -> bool:
    return pod.status.state == PodState.RUNNING and pod.status.ready


def holds_node(pod: Pod) -> bool:
    """Return whether the pod has a node and may keep it."""
    return is_live(pod) and pod.status.state not in UNSCHEDULED and pod.status.reason not in EVICTED
