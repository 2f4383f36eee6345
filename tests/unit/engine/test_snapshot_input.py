"""Snapshots that make no sense are refused with the object named; texts that are none, too."""

import json
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.engine.cycle import run_cycle
from runai_core.model.errors import InvalidSnapshot
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, PodRequest, Snapshot, SubGroup
from runai_core.model.snapshot_check import check_snapshot
from runai_core.model.snapshot_json import snapshot_from_json, snapshot_to_json
from runai_core.testing.worlds import random_world

NODE = NodeEntry(name="n", cpu=1000, memory=1000, gpus=1)
POD = PodEntry(name="p", pod_group="g", request=PodRequest(cpu=1))
GROUP = PodGroup(name="g", queue="q")
GOOD = Snapshot(taken_at=1.0, nodes=(NODE,), queues=(Queue(name="q"),), pod_groups=(GROUP,), pods=(POD,))
NAN: Any = float("nan")


def asking(**request: Any) -> Snapshot:
    return replace(GOOD, pods=(replace(POD, request=PodRequest(**request)),))


def quota(**numbers: Any) -> Snapshot:
    return replace(GOOD, queues=(Queue(name="q", resources=QueueResources(gpu=ResourceQuota(**numbers))),))


BAD = {
    "a node with fewer than no GPUs": (replace(GOOD, nodes=(replace(NODE, gpus=-1),)), "node n.gpus"),
    "a node with NaN memory": (replace(GOOD, nodes=(replace(NODE, memory=NAN),)), "node n.memory"),
    "a node with 10^19 millicores": (replace(GOOD, nodes=(replace(NODE, cpu=10**19),)), "node n.cpu"),
    "two nodes of one name": (replace(GOOD, nodes=(NODE, NODE)), "node n: appears twice"),
    "two pods of one name": (replace(GOOD, pods=(POD, POD)), "pod p: appears twice"),
    "a pod that asks for less than nothing": (asking(cpu=-5), "pod p.cpu"),
    "a portion of a whole device or more": (asking(gpu_portion=1000), "pod p.gpu_portion"),
    "half a millicore": (asking(cpu=0.5), "pod p.cpu"),
    "two forms of GPU request": (asking(gpu_portion=500, gpu_memory_mib=10), "one form only"),
    "a negative quota": (quota(deserved=-1), "queue q.gpu.deserved"),
    "a negative limit": (quota(limit=-1), "queue q.gpu.limit"),
    "a weight that is no number": (quota(over_quota_weight=NAN), "over_quota_weight"),
    "queues that hang from each other": (
        replace(GOOD, queues=(Queue(name="a", parent="b"), Queue(name="b", parent="a"))),
        "a -> b -> a",
    ),
    "a clock that stands nowhere": (replace(GOOD, taken_at=NAN), "takenAt"),
    "an unknown action": (replace(GOOD, settings=CycleSettings(actions=("dance",))), "settings.actions"),
    "a sub-group below one that is not there": (
        replace(GOOD, pod_groups=(replace(GROUP, sub_groups=(SubGroup(name="a", parent="b"),)),)),
        "does not exist",
    ),
}


@pytest.mark.parametrize(("snapshot", "words"), BAD.values(), ids=BAD)
def test_nonsense_is_refused_by_name(snapshot: Snapshot, words: str) -> None:
    with pytest.raises(InvalidSnapshot) as caught:
        run_cycle(snapshot)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(GOOD, id="the good one"),
        pytest.param(asking(cpu=10**18), id="10^18 millicores are only too many"),
        pytest.param(
            replace(GOOD, pod_groups=(replace(GROUP, min_members=10**6),)), id="a gang larger than the cluster"
        ),
        pytest.param(replace(GOOD, pod_groups=(replace(GROUP, queue="?"),)), id="a queue that does not exist"),
        pytest.param(replace(GOOD, nodes=()), id="no nodes at all"),
        pytest.param(Snapshot(taken_at=0.0), id="nothing at all"),
    ],
)
def test_what_a_verdict_can_answer_is_no_error(snapshot: Snapshot) -> None:
    check_snapshot(snapshot)
    result = run_cycle(snapshot)
    assert len(result.binds) + len(result.verdicts) == len(snapshot.pod_groups)


@given(st.integers(0, 10**9))
def test_a_snapshot_survives_its_text(seed: int) -> None:
    snapshot = random_world(Random(seed))
    text = snapshot_to_json(snapshot)
    assert snapshot_from_json(text) == snapshot
    assert snapshot_to_json(snapshot_from_json(text)) == text


TEXT = snapshot_to_json(GOOD)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be JSON"),
        ("[]", "format"),
        ('{"format": 2, "snapshot": {}}', "format"),
        ('{"format": 1, "snapshot": {}}', "snapshot.taken_at"),
        ('{"format": 1, "snapshot": {"taken_at": NaN}}', "NaN"),
        ('{"format": 1, "snapshot": {"taken_at": 1, "pods": [{"name": 3, "pod_group": ""}]}}', "snapshot.pods[0].name"),
        ('{"format": 1, "snapshot": {"taken_at": 1, "nodes": [{"name": "n", "gpus": true}]}}', "nodes[0].gpus"),
        ('{"format": 1, "snapshot": {"taken_at": 1, "colour": "red"}}', "snapshot.colour"),
        ('{"format": 1, "snapshot": {"taken_at": 1, "nodes": {}}}', "must be a list"),
        ("[" * 100_000, "must be JSON"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_text_that_is_no_snapshot_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidSnapshot) as caught:
        snapshot_from_json(text)
    assert words in str(caught.value)


@given(st.data())
def test_a_damaged_text_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    content = json.loads(TEXT)
    path: Any = content
    for _ in range(data.draw(st.integers(1, 6))):
        keys = list(path) if isinstance(path, dict) else list(range(len(path)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(path[key], dict | list) and data.draw(st.booleans()):
            path = path[key]
        else:
            path[key] = data.draw(st.sampled_from([None, -1, 10**40, 1.5, "x", [], {}, True, [[]], {"a": 1}]))
            break
    with suppress(InvalidSnapshot):
        run_cycle(snapshot_from_json(json.dumps(content)))
