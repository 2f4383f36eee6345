"""Sub-groups whose minimum is 0: they hold nobody back, and join as there is room."""

import pytest

from runai_core.engine.cycle import run_cycle
from runai_core.model.organization import Queue
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, PodRequest, Snapshot, SubGroup

HEAD, WORKERS = SubGroup(name="head", min_members=1), SubGroup(name="workers", min_members=0)
PODS = {"head": "head", "w1": "workers", "w2": "workers"}


def bound(
    gpus: int, pods: tuple[str, ...] = tuple(PODS), sub_groups: tuple[SubGroup, ...] = (HEAD, WORKERS)
) -> list[str]:
    """Return which pods start on a node with so many GPUs."""
    entries = (
        PodEntry(name=name, pod_group="g", sub_group=PODS[name], request=PodRequest(cpu=1, memory=1, gpu_devices=1))
        for name in pods
    )
    snapshot = Snapshot(
        taken_at=1000.0,
        settings=CycleSettings(),
        nodes=(NodeEntry(name="n", cpu=10**6, memory=10**15, gpus=gpus),),
        queues=(Queue(name="q"),),
        pod_groups=(PodGroup(name="g", queue="q", sub_groups=sub_groups),),
        pods=tuple(entries),
    )
    return sorted(bind.pod for bind in run_cycle(snapshot).binds)


TREE = (
    SubGroup(name="all"),
    SubGroup(name="head", min_members=1, parent="all"),
    SubGroup(name="workers", min_members=0, parent="all"),
)
CASES = [
    pytest.param(0, tuple(PODS), [], id="without room nobody starts"),
    pytest.param(1, tuple(PODS), ["head"], id="with room for one the head starts"),
    pytest.param(2, tuple(PODS), ["head", "w1"], id="then the workers, one by one"),
    pytest.param(3, tuple(PODS), ["head", "w1", "w2"], id="with room for all they all start"),
    pytest.param(3, ("head",), ["head"], id="the head does not wait for workers that do not exist"),
    pytest.param(3, ("w1", "w2"), [], id="workers wait for a head that does not exist"),
]


@pytest.mark.parametrize("sub_groups", [(HEAD, WORKERS), TREE], ids=["side by side", "below a third"])
@pytest.mark.parametrize(("gpus", "pods", "expected"), CASES)
def test_a_sub_group_may_need_nobody(
    gpus: int, pods: tuple[str, ...], expected: list[str], sub_groups: tuple[SubGroup, ...]
) -> None:
    assert bound(gpus, pods, sub_groups) == expected
