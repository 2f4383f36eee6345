"""What holds for every cycle on every cluster: properties of `run_cycle` over random worlds."""

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runai_core.engine.cycle import run_cycle
from runai_core.engine.explain import explain
from runai_core.engine.fairshare import Claim, divide
from runai_core.engine.suggestions import follow
from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    Snapshot,
)
from runai_core.testing.worlds import carry_out, disturb, random_world

ROUNDS = 4
seeds = st.integers(min_value=0, max_value=10**9)


def history(seed: int, rounds: int = ROUNDS) -> list[tuple[Snapshot, CycleResult, Snapshot]]:
    """Return some cycles of one random world with disturbances: (before, decisions, after)."""
    random = Random(seed)
    snapshot = random_world(random)
    found = []
    for _ in range(rounds):
        result = run_cycle(snapshot)
        after = carry_out(snapshot, result, seconds=random.choice((1.0, 70.0)))
        found.append((snapshot, result, after))
        snapshot = disturb(after, random)
    return found


def groups_of(snapshot: Snapshot) -> dict[str, PodGroup]:
    return {group.name: group for group in snapshot.pod_groups}


def running(snapshot: Snapshot) -> list[PodEntry]:
    return [pod for pod in snapshot.pods if pod.state is PodState.RUNNING]


@given(seeds)
def test_no_node_and_no_device_holds_more_than_it_has(seed: int) -> None:
    for _, _, after in history(seed):
        for node in after.nodes:
            pods = [pod for pod in running(after) if pod.node == node.name]
            assert sum(pod.request.cpu for pod in pods) <= node.cpu
            assert sum(pod.request.memory for pod in pods) <= node.memory
            assert len(pods) <= node.max_pods
            devices: dict[str, int] = defaultdict(int)
            size = (node.gpu_memory_mib or 1) * 1000
            for pod in pods:
                request = pod.request
                part = request.gpu_memory_mib * 1000 or request.gpu_portion * (node.gpu_memory_mib or 1)
                assert len(pod.gpu_groups) == (max(request.gpu_devices, 1) if part else 0)
                for device in pod.gpu_groups:
                    devices[device] += part
            assert all(used <= size for used in devices.values())
            whole = sum(p.request.gpu_devices for p in pods if not (p.request.gpu_portion or p.request.gpu_memory_mib))
            assert whole + len(devices) <= node.gpus


@given(seeds)
def test_a_gang_starts_whole_or_not_at_all(seed: int) -> None:
    for before, result, after in history(seed):
        started = {bind.pod_group for bind in result.binds}
        for name in started:
            group = groups_of(before)[name]
            minimums = {part.name: part.min_members for part in group.sub_groups} or {"": group.min_members}
            for part, minimum in minimums.items():
                members = [
                    pod
                    for pod in running(after)
                    if pod.pod_group == name and (not group.sub_groups or pod.sub_group == part)
                ]
                assert len(members) >= minimum, (name, part)


@given(seeds)
def test_nobody_is_evicted_without_the_placement_that_it_enables(seed: int) -> None:
    for _, result, _ in history(seed):
        placed = {bind.pod_group for bind in result.binds} | {item.pod_group for item in result.pipelines}
        for eviction in result.evictions:
            assert eviction.message.endswith(".")
            if eviction.action != "stale_gang":
                assert eviction.for_group in placed


@given(seeds)
def test_consolidation_takes_nobody_s_place(seed: int) -> None:
    for _, result, _ in history(seed):
        assert all(eviction.moved_to for eviction in result.evictions if eviction.action == "consolidate")


@given(seeds)
def test_non_preemptible_work_is_evicted_only_when_its_gang_is_broken(seed: int) -> None:
    for before, result, _ in history(seed):
        for eviction in result.evictions:
            if groups_of(before)[eviction.pod_group].preemptibility is Preemptibility.NON_PREEMPTIBLE:
                assert eviction.action == "stale_gang"


def held_by_queue(snapshot: Snapshot, *, non_preemptible: bool) -> dict[str, int]:
    """Return the thousandths of GPUs that each queue holds, by portions and whole devices only."""
    parents = {queue.name: queue.parent for queue in snapshot.queues}
    held: dict[str, int] = defaultdict(int)
    nodes = {node.name: node for node in snapshot.nodes}
    for pod in running(snapshot):
        group = groups_of(snapshot)[pod.pod_group]
        if non_preemptible and group.preemptibility is Preemptibility.PREEMPTIBLE:
            continue
        request = pod.request
        cost = request.gpu_devices * 1000 or request.gpu_portion
        if request.gpu_memory_mib:
            cost = -(-100 * request.gpu_memory_mib // nodes[pod.node or ""].gpu_memory_mib) * 10
        name: str | None = group.queue
        while name is not None:
            held[name] += cost
            name = parents[name]
    return held


@given(seeds)
def test_limits_and_non_preemptible_quota_hold_at_every_ancestor(seed: int) -> None:
    for before, _, after in history(seed):
        for fixed in (False, True):
            was, now = held_by_queue(before, non_preemptible=fixed), held_by_queue(after, non_preemptible=fixed)
            for queue in after.queues:
                bound = queue.resources.gpu.deserved if fixed else queue.resources.gpu.limit
                if bound is not None and now[queue.name] > was[queue.name]:
                    assert now[queue.name] <= bound, (queue.name, fixed)


@given(seeds)
def test_reclaim_takes_only_from_queues_above_their_share_or_their_quota(seed: int) -> None:
    for _, result, _ in history(seed):
        for eviction in result.evictions:
            if eviction.action == "reclaim" and eviction.moved_to is None:
                theirs = [share for share in eviction.shares if share.queue == eviction.shares[0].queue]
                assert any(
                    share.allocated > share.fair_share
                    or (share.deserved is not None and share.allocated > share.deserved)
                    for share in theirs
                ), eviction


@given(seeds)
def test_protected_work_keeps_its_minimum_run_time(seed: int) -> None:
    for before, result, _ in history(seed):
        lost: dict[tuple[str, str], int] = defaultdict(int)
        for eviction in result.evictions:
            if eviction.action in ("reclaim", "preempt") and eviction.moved_to is None:
                lost[eviction.pod_group, eviction.action] += 1
        for (name, action), count in lost.items():
            group = groups_of(before)[name]
            runtime = getattr(before.settings, f"{action}_min_runtime")
            if group.last_start is not None and before.taken_at < group.last_start + runtime:
                left = sum(pod.pod_group == name for pod in running(before)) - count
                assert left >= group.min_members


@settings(max_examples=150)
@given(seeds)
def test_without_events_the_cluster_comes_to_rest(seed: int) -> None:
    """Evictions and bindings end: a state is reached in which a cycle decides nothing."""
    random = Random(seed)
    snapshot = random_world(random)
    for pod_round in range(40):
        result = run_cycle(snapshot)
        if not result.binds and not result.evictions and pod_round:
            break
        snapshot = carry_out(snapshot, result, seconds=200.0)
    else:
        pytest.fail(f"still busy after 40 cycles: {result.binds} {result.evictions}")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=4), st.integers(0, 10**9))
def test_at_rest_every_queue_has_what_it_deserves(wishes: list[tuple[int, int]], seed: int) -> None:
    """Single-GPU jobs, one level of queues: deserved quota comes before anybody's surplus."""
    random = Random(seed)
    total = sum(deserved for deserved, _ in wishes) + random.randint(0, 2)
    gpu = PodRequest(cpu=1, memory=1, gpu_devices=1)
    queues = tuple(
        Queue(name=f"q{n}", resources=QueueResources(gpu=ResourceQuota(deserved=deserved * 1000)))
        for n, (deserved, _) in enumerate(wishes)
    )
    groups = tuple(
        PodGroup(name=f"q{n}-{m}", queue=f"q{n}", created_at=random.random())
        for n, (_, wanted) in enumerate(wishes)
        for m in range(wanted)
    )
    places = [f"n{random.randint(0, 1)}" for _ in range(total)]
    nodes = tuple(NodeEntry(name=n, cpu=100, memory=100, gpus=places.count(n)) for n in ("n0", "n1"))
    pods = [PodEntry(name=group.name, pod_group=group.name, request=gpu) for group in groups]
    random.shuffle(places)
    for number, place in zip(random.sample(range(len(pods)), min(len(pods), len(places))), places, strict=False):
        pods[number] = replace(pods[number], state=PodState.RUNNING, node=place)
    snapshot = Snapshot(taken_at=1.0, nodes=nodes, queues=queues, pod_groups=groups, pods=tuple(pods))
    for _ in range(30):
        snapshot = carry_out(snapshot, run_cycle(snapshot))
    held = held_by_queue(snapshot, non_preemptible=False)
    for n, (deserved, wanted) in enumerate(wishes):
        assert held[f"q{n}"] >= min(deserved, wanted) * 1000


@given(seeds)
def test_the_order_of_the_input_does_not_matter(seed: int) -> None:
    random = Random(seed)
    for before, result, _ in history(seed, rounds=2):
        parts: dict[str, Any] = {}
        for field in ("nodes", "queues", "pod_groups", "pods", "topologies"):
            items = list(getattr(before, field))
            random.shuffle(items)
            parts[field] = tuple(items)
        assert repr(run_cycle(replace(before, **parts))) == repr(result)


HASH_PROGRAM = """
import hashlib
from random import Random
from typing import Any
from runai_core.engine.cycle import run_cycle
from runai_core.engine.explain import explain
from runai_core.testing.worlds import carry_out, random_world
text = ""
for seed in range(40):
    snapshot = random_world(Random(seed))
    for _ in range(3):
        result = run_cycle(snapshot)
        text += repr(result)
        snapshot = carry_out(snapshot, result)
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_the_hash_seed_of_the_process_does_not_matter() -> None:
    answers = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", HASH_PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        answers.add(done.stdout)
    assert len(answers) == 1
    assert len(next(iter(answers)).strip()) == hashlib.sha256().digest_size * 2


claims = st.builds(
    Claim,
    name=st.uuids().map(str),
    deserved=st.none() | st.integers(0, 20_000),
    limit=st.none() | st.integers(0, 30_000),
    weight=st.sampled_from((0.0, 1.0, 1.0, 2.0, 3.0)),
    priority=st.sampled_from((100, 100, 200)),
    requested=st.integers(0, 40_000),
    usage=st.sampled_from((0.0, 0.0, 0.3, 0.9)),
)


@given(st.integers(0, 64_000), st.lists(claims, max_size=6), st.sampled_from((1, 1000)))
def test_fair_shares_exceed_the_total_only_by_promised_quota(total: int, given_claims: list[Claim], unit: int) -> None:
    shares = divide(total, given_claims, unit=unit)
    promised = sum(min(total if c.deserved is None else c.deserved, c.requestable) for c in given_claims)
    assert sum(shares.values()) <= max(total, promised)
    assert all(0 <= shares[claim.name] <= claim.requestable for claim in given_claims)


@settings(max_examples=60)
@given(seeds)
def test_a_suggestion_that_is_followed_starts_the_group(seed: int) -> None:
    for before, result, _ in history(seed, rounds=2):
        for verdict in result.verdicts[:3]:
            explained = explain(before, verdict.pod_group)
            assert explained is not None
            assert explained.message == verdict.message
            for suggestion in explained.suggestions:
                answer = run_cycle(follow(before, verdict.pod_group, suggestion))
                started = {bind.pod_group for bind in answer.binds} | {item.pod_group for item in answer.pipelines}
                assert verdict.pod_group in started, (verdict.pod_group, suggestion)
