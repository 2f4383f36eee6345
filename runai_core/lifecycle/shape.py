"""Which pods a workload consists of, and what each of them means to it.

One description serves both sides: `gang` makes the pods from it, `observe`
judges them by it. Sizes and minimums follow the frameworks' own operators
(Kubeflow training operator, LeaderWorkerSet) and Run:ai's documents.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runai_core.lifecycle.own_rules import workers_on_demand
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import SubGroup
from runai_core.model.spec import DistributedFramework, WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType

MAX_PODS = 10_000
"""Pods of one workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place in the gang, which one pod at a time fills."""

    rank: int
    role: str = "worker"  # master | launcher | leader | worker
    sub_group: str = ""
    leader: bool = False  # placed first, evicted last


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The places of a workload and the rules of its success and failure."""

    places: tuple[Place, ...]
    min_members: int  # pods that must be placed together
    sub_groups: tuple[SubGroup, ...] = ()
    healthy: int  # ready pods below which a running workload is Degraded
    replaces: bool = False  # a pod that fails is replaced alone, while others go on
    decider: str = ""  # role whose success is the workload's; empty: all pods, or the runs
    runs: int | None = None  # successful pods that complete it; None: each place once
    serves: bool = False  # it never completes by itself
    leader_first: bool = False  # the others of a sub-group are made when its leader is ready

    def minimum_of(self, sub_group: str) -> int:
        """Return how many pods of a sub-group the gang needs."""
        return next((group.min_members for group in self.sub_groups if group.name == sub_group), self.min_members)


def shape_of(workload: Workload) -> Shape:
    """Return the shape of the workload's present attempt.

    Raises:
        InvalidRequest: sizes contradict each other.
    """
    return _SHAPES[workload.type](workload)


def _allowed(pods: int) -> int:
    if pods > MAX_PODS:
        message = f"asks for {pods} pods, and a workload may have at most {MAX_PODS}: ask for fewer"
        raise InvalidRequest.of(FieldError("spec", message))
    return pods


def framework_of(workload: Workload) -> DistributedFramework:
    """Return the framework of a distributed workload; PyTorch where it does not say."""
    return workload.spec.distributed_framework or DistributedFramework.PYTORCH


def _single(_workload: Workload) -> Shape:
    return Shape(places=(Place(rank=0, leader=True),), min_members=1, healthy=1)


def _training(workload: Workload) -> Shape:
    """Independent pods: `parallelism` at once until `completions` of them have succeeded."""
    at_once = workload.spec.parallelism or 1
    runs = workload.spec.completions or at_once
    wanted = _allowed(min(at_once, max(runs - workload.successes_before, 1)))
    places = tuple(Place(rank=rank) for rank in range(wanted))
    return Shape(places=places, min_members=1, healthy=1, replaces=wanted > 1 or runs > 1, runs=runs)


def _distributed(workload: Workload) -> Shape:
    spec, framework = workload.spec, framework_of(workload)
    fewest, most = _workers(spec, framework)
    at_start = workers_on_demand(workload)
    first = _FIRST_ROLES.get(framework, "master") if workload.has_master else None
    masters = () if first is None else (Place(rank=0, role=first, sub_group=first, leader=True),)
    ranks: Iterable[int] = range(len(masters), _allowed(len(masters) + most))
    if at_start is not None:
        fewest = at_start
        ranks = range(1, 1 + at_start) if workload.members is None else workload.members.ranks
    workers = tuple(Place(rank=rank, sub_group="worker", leader=rank == 0) for rank in ranks)
    groups = tuple(SubGroup(name=place.sub_group) for place in masters)
    return Shape(
        places=masters + workers,
        min_members=len(masters) + fewest,
        sub_groups=(*groups, SubGroup(name="worker", min_members=fewest)),
        healthy=len(masters) + fewest,
        replaces=fewest < most or at_start is not None,
        decider=first or "",
    )


_FIRST_ROLES: Mapping[DistributedFramework, str] = {DistributedFramework.MPI: "launcher"}
"""What the first pod is called where it is not the master."""


def _workers(spec: WorkloadSpec, framework: DistributedFramework) -> tuple[int, int]:
    """Return the fewest and the most workers; they differ for elastic PyTorch workloads."""
    elastic = {"minReplicas": spec.min_replicas, "maxReplicas": spec.max_replicas}
    asked = {name: value for name, value in elastic.items() if value is not None}
    if asked and framework != DistributedFramework.PYTORCH:
        message = f"elastic workers need distributedFramework PyTorch, and it is {framework}: leave it out"
        raise InvalidRequest.of(*(FieldError(f"spec.{name}", message, value) for name, value in asked.items()))
    if spec.slots_per_worker is not None and framework != DistributedFramework.MPI:
        message = f"applies to MPI only, and distributedFramework is {framework}: leave it out"
        raise InvalidRequest.of(FieldError("spec.slotsPerWorker", message, spec.slots_per_worker))
    most = spec.max_replicas or max(spec.num_workers or 1, spec.min_replicas or 1)
    fewest = spec.min_replicas if spec.min_replicas is not None else most
    if spec.min_replicas is None and spec.max_replicas is not None:
        fewest = min(spec.num_workers or 1, most)
    if fewest > most:
        message = f"must be at most spec.maxReplicas, which is {most}"
        raise InvalidRequest.of(FieldError("spec.minReplicas", message, fewest))
    if spec.num_workers is not None and asked and not fewest <= spec.num_workers <= most:
        message = f"must be between spec.minReplicas ({fewest}) and spec.maxReplicas ({most})"
        raise InvalidRequest.of(FieldError("spec.numWorkers", message, spec.num_workers))
    return fewest, most


def _inference(workload: Workload) -> Shape:
    """Independent replicas behind one address; as many as an autoscaler keeps, where one does."""
    scaling = workload.spec.autoscaling
    if workload.members is not None:
        kept = len(workload.members.ranks)
        fewest = 1 if scaling is None or scaling.min_replicas is None else scaling.min_replicas
        return _servers(kept, healthy=min(kept, max(fewest, 1)))
    replicas = 1 if scaling is None else _replicas(scaling.initial_replicas, scaling.min_replicas)
    if scaling is not None and scaling.max_replicas is not None and replicas > scaling.max_replicas:
        message = f"must be at least the replicas at the start, which are {replicas}"
        raise InvalidRequest.of(FieldError("spec.autoscaling.maxReplicas", message, scaling.max_replicas))
    return _servers(replicas, healthy=replicas)


def _servers(replicas: int, *, healthy: int) -> Shape:
    places = tuple(Place(rank=rank) for rank in range(_allowed(replicas)))
    return Shape(places=places, min_members=min(replicas, 1), healthy=healthy, replaces=True, serves=True)


def _replicas(initial: int | None, minimum: int | None) -> int:
    return initial if initial is not None else minimum or 1


STARTUP_POLICIES = ("LeaderCreated", "LeaderReady")
"""When the workers of a group are made: with its leader, or when that is ready (LeaderWorkerSet)."""


def _distributed_inference(workload: Workload) -> Shape:
    """Groups of one leader and its workers; each group is placed whole, and all groups together.

    Where workers come after their leader, only leaders can be waited for.
    """
    spec = workload.spec
    if spec.startup_policy not in (None, *STARTUP_POLICIES):
        message = f"must be {' or '.join(STARTUP_POLICIES)}"
        raise InvalidRequest.of(FieldError("spec.startupPolicy", message, spec.startup_policy))
    late = spec.startup_policy == STARTUP_POLICIES[1]
    replicas = 1 if spec.replicas is None else spec.replicas
    size = 1 + (spec.workers or 0)
    _allowed(replicas * size)
    places = tuple(
        Place(
            rank=replica * size + member,
            role="worker" if member else "leader",
            sub_group=f"replica-{replica}",
            leader=member == 0,
        )
        for replica in range(replicas)
        for member in range(size)
    )
    least = 1 if late else size
    groups = tuple(SubGroup(name=f"replica-{replica}", min_members=least) for replica in range(replicas))
    return Shape(
        places=places,
        min_members=replicas * least,
        sub_groups=groups,
        healthy=len(places),
        serves=True,
        leader_first=late,
    )


def _external(workload: Workload) -> Shape:
    message = f"{workload.kind or 'this kind'} is shaped by the plug-in that brings it, not by the native types"
    raise InvalidRequest.of(FieldError("type", message, str(workload.type)))


_SHAPES: Mapping[WorkloadType, Callable[[Workload], Shape]] = {
    WorkloadType.WORKSPACE: _single,
    WorkloadType.TRAINING: _training,
    WorkloadType.DISTRIBUTED: _distributed,
    WorkloadType.INFERENCE: _inference,
    WorkloadType.DISTRIBUTED_INFERENCE: _distributed_inference,
    WorkloadType.EXTERNAL: _external,
}
