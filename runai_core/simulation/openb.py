"""The Alibaba GPU cluster trace of 2023 ("openb"): nodes, pods, and arrivals drawn from them.

The protocol is that of "Beware of Fragmentation: Scheduling GPU-Sharing
Workloads with Fragmentation Gradient Descent" (USENIX ATC 2023): pods are drawn
at random from the list until what they request reaches a multiple of the
cluster's GPUs; nobody leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import Queue
from runai_core.model.resources import MIB, MILLI
from runai_core.model.snapshot import (
    NO_CONSTRAINTS,
    CycleSettings,
    LabelRequirement,
    NodeEntry,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    Snapshot,
)
from runai_core.simulation.tables import Row, read_table

MODEL_LABEL = "gpu-model"
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")

MOST_GPUS = 1024
MOST_MIB = 1 << 40
"""Bounds of one machine; beyond them a file is taken to be wrong."""


@dataclass(frozen=True, slots=True)
class TracePod:
    """A pod of the list."""

    request: PodRequest
    models: tuple[str, ...] = ()  # GPU models that will do; empty = any

    @property
    def gpu(self) -> int:
        """What it requests, in thousandths of a GPU."""
        return self.request.gpu_portion or self.request.gpu_devices * MILLI


@dataclass(frozen=True, slots=True)
class Trace:
    """A cluster, and the list that its pods are drawn from."""

    nodes: tuple[NodeEntry, ...]
    pods: tuple[TracePod, ...]

    @property
    def capacity(self) -> int:
        """The cluster's GPUs, in thousandths."""
        return sum(node.gpus for node in self.nodes) * MILLI


def read_trace(nodes: Path, pods: Path) -> Trace:
    """Read the two files of the trace.

    Raises:
        InvalidRequest: a file cannot be read or has a wrong cell; names file, line and column.
    """
    entries = tuple(_node(row) for row in read_table(nodes, NODE_COLUMNS))
    names: set[str] = set()
    for number, entry in enumerate(entries, start=2):
        if entry.name in names:
            raise InvalidRequest.of(FieldError(f"{nodes}, line {number}, column sn", "must be unique", entry.name))
        names.add(entry.name)
    known: dict[TracePod, TracePod] = {}
    requests = [_pod(row) for row in read_table(pods, POD_COLUMNS)]
    trace = Trace(entries, tuple(known.setdefault(pod, pod) for pod in requests))
    if not trace.capacity:
        raise InvalidRequest.of(FieldError(f"{nodes}, column gpu", "some node must have a GPU"))
    if not any(pod.gpu for pod in trace.pods):
        raise InvalidRequest.of(FieldError(f"{pods}, column num_gpu", "some pod must ask for a GPU"))
    return trace


def _node(row: Row) -> NodeEntry:
    if not row.text("sn"):
        raise row.wrong("sn", "must be the node's name")
    return NodeEntry(
        name=row.text("sn"),
        cpu=row.whole("cpu_milli"),
        memory=row.whole("memory_mib", most=MOST_MIB) * MIB,
        gpus=row.whole("gpu", most=MOST_GPUS),
        labels={MODEL_LABEL: row.text("model")},
    )


def _pod(row: Row) -> TracePod:
    devices = row.whole("num_gpu", most=MOST_GPUS)
    part = row.whole("gpu_milli", most=MILLI)
    if bool(devices) != bool(part):
        raise row.wrong("gpu_milli", "must be 0 for a pod without GPUs, and from 1 to 1000 for one with GPUs")
    if part < MILLI and devices > 1:
        raise row.wrong("gpu_milli", "must be 1000 for a pod with several GPUs")
    request = PodRequest(
        cpu=row.whole("cpu_milli"),
        memory=row.whole("memory_mib", most=MOST_MIB) * MIB,
        gpu_devices=devices if part == MILLI else 0,
        gpu_portion=part if part < MILLI else 0,
    )
    return TracePod(request, tuple(model for model in row.text("gpu_spec").split("|") if model))


def draw(trace: Trace, arrival: float, seed: int) -> list[TracePod]:
    """Return pods drawn with replacement until they request `arrival` times the cluster's GPUs."""
    random = Random(seed)  # noqa: S311 - a draw that can be repeated, no secret
    wanted, requested = arrival * trace.capacity, 0
    drawn = []
    while requested < wanted:
        pod = trace.pods[random.randrange(len(trace.pods))]
        drawn.append(pod)
        requested += pod.gpu
    return drawn


def snapshot_of(trace: Trace, arrivals: Sequence[TracePod], strategy: str) -> Snapshot:
    """Return the empty cluster with one queue, and the pods that will arrive, each a group of its own."""
    constraints: dict[tuple[str, ...], PodConstraints] = {(): NO_CONSTRAINTS}
    for pod in arrivals:
        if pod.models not in constraints:
            term = (LabelRequirement(MODEL_LABEL, "In", pod.models),)
            constraints[pod.models] = PodConstraints(node_affinity=(term,))
    names = [f"pod-{number:06}" for number in range(len(arrivals))]
    return Snapshot(
        taken_at=0.0,
        nodes=tuple(_roomy(node, len(arrivals)) for node in trace.nodes),
        queues=(Queue(name="all"),),
        pod_groups=tuple(PodGroup(name=name, queue="all") for name in names),
        pods=tuple(
            PodEntry(name=name, pod_group=name, request=pod.request, constraints=constraints[pod.models])
            for name, pod in zip(names, arrivals, strict=True)
        ),
        settings=CycleSettings(gpu_placement=strategy, cpu_placement=strategy),
    )


def _roomy(node: NodeEntry, pods: int) -> NodeEntry:
    """Return the node without a bound on the number of its pods: the protocol has none."""
    return NodeEntry(
        name=node.name,
        cpu=node.cpu,
        memory=node.memory,
        gpus=node.gpus,
        labels=node.labels,
        max_pods=max(pods, 1),
    )
