"""What workloads and pods ask for and hold, in the API's units."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from runai_core.lifecycle.requests import requests_of
from runai_core.model.resources import MIB, Resources, total
from runai_core.model.snapshot import HOLDS_RESOURCES, PodRequest
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import Phase, Pod, Workload, WorkloadType, gpu_charge
from runai_core.service.sampling import IDLE_AFTER
from runai_core.web.answers.workloads import AllocatedResources, Bounds, Extended, QuantityBounds, RequestedResources
from runai_core.web.views.units import quantity, units

HOLDING_ALL = frozenset({Phase.INITIALIZING, Phase.RUNNING, Phase.UPDATING})
"""Phases in which every pod has its place; otherwise only the running ones count."""


def pod_count(workload: Workload) -> int:
    """Return how many pods the workload wants, also before they exist."""
    if workload.pods_requested:
        return workload.pods_requested
    if workload.type is WorkloadType.INFERENCE and workload.members is not None:
        return len(workload.members.ranks)  # also none, where an autoscaler keeps none
    spec = workload.spec
    if workload.type is WorkloadType.DISTRIBUTED:
        return (spec.num_workers or 1) + workload.has_master
    if workload.type is WorkloadType.DISTRIBUTED_INFERENCE:
        return (1 if spec.replicas is None else spec.replicas) * (1 + (spec.workers or 0))
    if workload.type is WorkloadType.INFERENCE and spec.autoscaling is not None:
        scaling = spec.autoscaling
        return next((n for n in (scaling.initial_replicas, scaling.min_replicas) if n is not None), 1)
    return spec.parallelism or 1


def pod_resources(workload: Workload) -> RequestedResources:
    """Return what one pod (of the workers, where a master differs) asks for."""
    if workload.asked:
        return _of_pods([(workload.asked[-1][0], 1)])
    return _requested(workload.spec.compute, requests_of(workload.spec.compute), 1)


def workload_resources(workload: Workload) -> RequestedResources:
    """Return what all pods ask for together."""
    if workload.asked:
        return _of_pods(workload.asked)
    pods = pod_count(workload)
    whole = _requested(workload.spec.compute, requests_of(workload.spec.compute), pods)
    if workload.master_spec is None:
        return whole
    amounts = _sum(_pod_requests(workload, pods))
    return whole.model_copy(
        update={
            "gpu": Bounds(request=units(amounts.gpu)),
            "cpu": Bounds(request=units(amounts.cpu)),
            "cpu_memory": QuantityBounds(request=quantity(amounts.memory)),
        }
    )


def allocated_of_workload(workload: Workload) -> AllocatedResources:
    """Return what the pods hold now."""
    if workload.type is WorkloadType.EXTERNAL and (workload.asked or workload.held):
        return allocated(workload.held)
    pods = pod_count(workload)
    held = pods if workload.phase in HOLDING_ALL else min(workload.pods_running, pods)
    return allocated(_pod_requests(workload, held))


def allocated_of_pod(pod: Pod) -> AllocatedResources:
    """Return what one pod holds now."""
    return allocated([(pod.spec.request, 1)] if pod.status.state in HOLDS_RESOURCES else [])


def requested_of_pod(pod: Pod) -> RequestedResources:
    """Return what one pod asks for."""
    spec = pod.spec
    asked = _requested(Compute(), spec.request, 1)
    cpu_limit = units(spec.cpu_limit) if spec.cpu_limit else None
    memory_limit = quantity(spec.memory_limit) if spec.memory_limit else None
    return asked.model_copy(
        update={
            "cpu": Bounds(request=asked.cpu.request, limit=cpu_limit),
            "cpu_memory": QuantityBounds(request=asked.cpu_memory.request, limit=memory_limit),
        }
    )


def allocated(requests: Sequence[tuple[PodRequest, int]]) -> AllocatedResources:
    """Return what pods hold together; each request comes with its number of pods."""
    amounts = _sum(requests)
    gpu_memory = sum(request.gpu_memory_mib * max(request.gpu_devices, 1) * pods for request, pods in requests)
    return AllocatedResources(
        gpu=units(amounts.gpu),
        gpu_memory=quantity(gpu_memory * MIB) if gpu_memory else None,
        cpu=units(amounts.cpu),
        cpu_memory=quantity(amounts.memory),
        extended_resources=_extended(amounts.extended),
    )


def _of_pods(requests: Sequence[tuple[PodRequest, int]]) -> RequestedResources:
    """Return what pods of different requests ask for together; the GPU form is that of the first that has one."""
    asked = [_requested(Compute(), request, pods) for request, pods in requests]
    sums = allocated(requests)
    kind = next((each.gpu_request_type for each in asked if each.gpu_request_type), None)
    return RequestedResources(
        gpu_request_type=kind,
        gpu=Bounds(request=sums.gpu),
        gpu_memory=QuantityBounds(request=sums.gpu_memory),
        cpu=Bounds(request=sums.cpu),
        cpu_memory=QuantityBounds(request=sums.cpu_memory),
        extended_resources=sums.extended_resources,
    )


def _requested(compute: Compute, request: PodRequest, pods: int) -> RequestedResources:
    amounts = _amounts(request)
    gpu_memory = request.gpu_memory_mib * max(request.gpu_devices, 1) * pods
    kind = "portion" if request.gpu_portion else "memory" if request.gpu_memory_mib else None
    return RequestedResources(
        gpu_request_type=kind,
        gpu=Bounds(request=units(amounts.gpu * pods), limit=compute.gpu_portion_limit),
        gpu_memory=QuantityBounds(
            request=quantity(gpu_memory * MIB) if gpu_memory else None, limit=compute.gpu_memory_limit
        ),
        cpu=Bounds(request=units(amounts.cpu * pods), limit=compute.cpu_core_limit),
        cpu_memory=QuantityBounds(request=quantity(amounts.memory * pods), limit=compute.cpu_memory_limit),
        extended_resources=_extended(tuple((name, amount * pods) for name, amount in amounts.extended)),
    )


def _pod_requests(workload: Workload, pods: int) -> Sequence[tuple[PodRequest, int]]:
    """Return each request with its number among the first `pods` pods; leaders are first."""
    leaders = min(_leaders(workload), pods)
    leader = requests_of(_overlaid(workload.spec, workload.master_spec).compute)
    return ((leader, leaders), (requests_of(workload.spec.compute), pods - leaders))


def _leaders(workload: Workload) -> int:
    if workload.type is WorkloadType.DISTRIBUTED:
        return int(workload.has_master)
    if workload.type is WorkloadType.DISTRIBUTED_INFERENCE:
        return 1 if workload.spec.replicas is None else workload.spec.replicas
    return 0


def _overlaid(spec: WorkloadSpec, master: WorkloadSpec | None) -> WorkloadSpec:
    """Return the worker's specification with the compute fields that the master's has instead."""
    if master is None:
        return spec
    given = {item.name: getattr(master.compute, item.name) for item in fields(Compute)}
    return replace(spec, compute=replace(spec.compute, **{name: value for name, value in given.items() if value}))


def _sum(requests: Sequence[tuple[PodRequest, int]]) -> Resources:
    return total(_times(_amounts(request), pods) for request, pods in requests)


def _times(amount: Resources, number: int) -> Resources:
    extended = tuple((name, each * number) for name, each in amount.extended)
    return Resources(amount.cpu * number, amount.memory * number, amount.gpu * number, extended)


def _amounts(request: PodRequest) -> Resources:
    others = tuple(sorted((*request.extended, *request.mig, *request.dra)))
    return Resources(request.cpu, request.memory, gpu_charge(request), others)


def _extended(amounts: Iterable[tuple[str, int]]) -> tuple[Extended, ...]:
    return tuple(Extended(resource=name, quantity=str(amount)) for name, amount in amounts)


def idle_gpus(workload: Workload, seconds: float | None) -> dict[str, float]:
    """Return how many GPUs a workload holds and has not used for five minutes; nothing where nobody measures them."""
    if seconds is None:
        return {}
    idle = float(allocated_of_workload(workload).gpu) if seconds >= IDLE_AFTER else 0.0
    return {"idle_gpus": int(idle), "idle_allocated_gpus": idle}
