"""The devices of a node with the parts that pods hold, ready to be drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runai_core.model.nodes import Node
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import Pod
from runai_core.web.pages.shown import number

SHADES = ("a", "b", "c", "d")
"""Neighbours on a device are told apart by shade; each has its name beside the drawing, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one pod holds of a device. `begin` and `share` are parts of 1."""

    pod: str
    workload: str  # its id
    project: str
    begin: float
    share: float
    shade: str

    @property
    def sentence(self) -> str:
        """Who holds how much."""
        return f"{self.project}/{self.pod}: {number(self.share)} GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDrawing:
    """One device and what is held of it."""

    index: int
    label: str
    parts: tuple[Part, ...] = ()

    @property
    def held(self) -> float:
        """The part of 1 that is held."""
        return min(sum(part.share for part in self.parts), 1.0)

    @property
    def sentence(self) -> str:
        """The drawing in words."""
        if not self.parts:
            return f"GPU {self.index}: free"
        return f"GPU {self.index}: {number(self.held)} held by {', '.join(part.pod for part in self.parts)}"


@dataclass(slots=True)
class _Board:
    """Devices while pods are put on them: number -> (pod, part of 1)."""

    held: dict[int, list[tuple[Pod, float]]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)  # shared device -> number

    def put(self, index: int, pod: Pod, share: float) -> None:
        self.held.setdefault(index, []).append((pod, share))

    def free(self, count: int, devices: int) -> list[int]:
        """Return the lowest numbers on which nothing is."""
        return [index for index in range(devices) if index not in self.held][:count]


def devices_of(node: Node, pods: Iterable[Pod]) -> tuple[DeviceDrawing, ...]:
    """Return the node's devices with what the pods on it hold.

    A cluster does not say which whole device a pod has; it is then drawn on the
    lowest number that is free.
    """
    here = sorted((pod for pod in pods if _holds(pod, node)), key=lambda pod: pod.name)
    board = _Board()
    known = [pod for pod in here if pod.status.gpu_devices]
    unknown = [pod for pod in here if not pod.status.gpu_devices]
    for pod in known:
        share = share_of(pod, node)
        for group, index in zip(pod.status.gpu_groups, pod.status.gpu_devices, strict=False):
            board.groups[group] = index
        for index in pod.status.gpu_devices:
            board.put(index, pod, share)
    for pod in unknown:
        _guess(board, pod, node)
    return tuple(_drawn(index, node, board.held.get(index, [])) for index in range(node.gpu_count))


def share_of(pod: Pod, node: Node) -> float:
    """Return the part of 1 that a pod holds of each of its devices."""
    request = pod.spec.request
    if request.gpu_portion:
        return request.gpu_portion / MILLI
    if request.gpu_memory_mib and node.gpu_memory_mib:
        return min(request.gpu_memory_mib / node.gpu_memory_mib, 1.0)
    return 1.0


def _guess(board: _Board, pod: Pod, node: Node) -> None:
    share = share_of(pod, node)
    for group in pod.status.gpu_groups:
        if group not in board.groups:
            free = board.free(1, node.gpu_count)
            if not free:
                return
            board.groups[group] = free[0]
        board.put(board.groups[group], pod, share)
    if not pod.status.gpu_groups and not pod.spec.request.gpu_portion:
        for index in board.free(pod.spec.request.gpu_devices, node.gpu_count):
            board.put(index, pod, share)


def _holds(pod: Pod, node: Node) -> bool:
    request = pod.spec.request
    asks = request.gpu_devices or request.gpu_portion or request.gpu_memory_mib
    return bool(asks) and pod.status.node == node.name and pod.status.state in HOLDS_RESOURCES


def _drawn(index: int, node: Node, held: Sequence[tuple[Pod, float]]) -> DeviceDrawing:
    parts, begin = [], 0.0
    for position, (pod, share) in enumerate(held):
        parts.append(
            Part(
                pod=pod.name,
                workload=pod.meta.owner,
                project=pod.meta.project,
                begin=begin,
                share=max(min(share, 1.0 - begin), 0.0),
                shade=SHADES[position % len(SHADES)],
            )
        )
        begin += share
    device = next((item for item in node.devices if item.index == index), None)
    memory = (device.memory_mib if device else 0) or node.gpu_memory_mib
    product = device.product if device else ""
    label = ", ".join(part for part in (product, f"{number(memory / 1024)} GiB" if memory else "") if part)
    return DeviceDrawing(index=index, label=label, parts=tuple(parts))
