"""Which devices of its node a pod gets. Pure.

The scheduler decides how many whole devices, and which shared ones by the name
of a group; the numbers of the devices are chosen here, lowest first.
"""

from collections.abc import Iterable, Mapping

from runai_core.model.decision import Bind
from runai_core.model.nodes import Node
from runai_core.model.snapshot import HOLDS_RESOURCES, PodRequest
from runai_core.model.workload import Pod


def devices_for(bind: Bind, request: PodRequest, node: Node, neighbours: Iterable[Pod]) -> tuple[int, ...] | None:
    """Return the indexes of the devices that the pod gets; None where too few are free.

    `neighbours` are the pods of the node, those that hold nothing any more included.
    """
    taken, shared = _held(neighbours)
    free = [device.index for device in node.devices if device.index not in taken]
    if bind.gpu_groups:
        return _shared_devices(bind.gpu_groups, shared, free)
    if request.gpu_portion or request.gpu_memory_mib or not request.gpu_devices:
        return ()
    return tuple(free[: request.gpu_devices]) if len(free) >= request.gpu_devices else None


def _shared_devices(groups: Iterable[str], shared: Mapping[str, int], free: list[int]) -> tuple[int, ...] | None:
    chosen: list[int] = []
    for group in groups:
        if group in shared:
            chosen.append(shared[group])
        elif free:
            chosen.append(free.pop(0))
        else:
            return None
    return tuple(chosen)


def _held(pods: Iterable[Pod]) -> tuple[set[int], dict[str, int]]:
    """Return the devices that are in use, and the device of each shared group."""
    taken: set[int] = set()
    shared: dict[str, int] = {}
    for pod in pods:
        if pod.status.state in HOLDS_RESOURCES:
            taken.update(pod.status.gpu_devices)
            shared.update(zip(pod.status.gpu_groups, pod.status.gpu_devices, strict=False))
    return taken, shared
