"""Decisions carried out against an API that can refuse: whole gangs or nothing, nothing twice, budgets kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.engine.cycle import run_cycle
from runai_core.model.decision import Bind, CycleResult, Evict, Outcome, Pipeline, QueueShare, Reason, Verdict
from runai_core.model.errors import Conflict, Forbidden, NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.snapshot import PodState
from runai_core.ports import ClusterChange
from tests.kubernetes_world import FakeApi, StillWorld, a_group, a_node, a_pod, a_world

DEFAULT = NodePool(meta=Meta(name="default"))


class Scene:
    """A cluster over a world that stands still."""

    def __init__(self, world: StillWorld) -> None:
        self.world = world
        self.api = FakeApi(world)
        self.cluster = KubernetesCluster(cast("Api", self.api), world, SystemClock())
        self.told: list[ClusterChange] = []

    async def cycle(self) -> CycleResult:
        """Decide on what there is, and begin to carry it out."""
        result = run_cycle(await self.cluster.snapshot(DEFAULT))
        await self.cluster.apply(result)
        return result

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        async with asyncio.timeout(60):
            while self.cluster.binder.pending or self.cluster.evictor.under_way.count:
                await asyncio.sleep(0.002)

    async def state(self, name: str) -> PodState:
        snapshot = await self.cluster.snapshot(DEFAULT)
        return next(pod.state for pod in snapshot.pods if pod.name == f"team/{name}")

    def refuse(self, part: str, error: RunaiError, times: int = 1_000) -> None:
        """Let requests to paths with this part fail, so many times."""
        left = [times]

        def answer(method: str, path: str) -> None:
            if part in path and left[0] > 0:
                left[0] -= 1
                raise error

        self.api.answers = answer


@asynccontextmanager
async def a_scene(*, nodes: int = 1, gpus: int = 8) -> AsyncIterator[Scene]:
    scene = Scene(a_world(nodes=nodes, gpus=gpus))
    listening = asyncio.create_task(_listen(scene))
    await asyncio.sleep(0)
    try:
        yield scene
    finally:
        listening.cancel()
        await scene.cluster.close()


async def _listen(scene: Scene) -> None:
    async for change in scene.cluster.changes():
        scene.told.append(change)


def a_gang(scene: Scene, name: str, size: int, least: int | None = None, **spec: Any) -> None:
    scene.world.put(kinds.POD_GROUPS, a_group(name, least=size if least is None else least))
    for number in range(size):
        scene.world.put(kinds.PODS, a_pod(f"{name}-{number}", name, **spec))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_gang_is_bound_and_each_pod_is_named_with_its_uid() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 3)
        await scene.cycle()
        assert await scene.state("g-0") is PodState.BINDING, "before anything was answered"
        await scene.settled()
        bodies = [body for _, path, body in scene.api.writes if path.endswith("/binding")]
        assert sorted(body["metadata"]["uid"] for body in bodies) == ["uid-g-0", "uid-g-1", "uid-g-2"]
        assert {body["target"]["name"] for body in bodies} == {"n1"}


@pytest.mark.asyncio
async def test_a_second_cycle_binds_nothing_again() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 2)
        first = await scene.cycle()
        assert (await scene.cycle()).binds == ()
        outcomes = await scene.cluster.apply(first)
        assert set(outcomes.values()) == {Outcome.STALE}
        await scene.settled()
        assert len(scene.api.sent("/binding")) == 2


@pytest.mark.asyncio
async def test_a_failed_binding_in_the_middle_takes_the_gang_back() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 3)
        scene.refuse("g-1/binding", Forbidden("not you"))
        await scene.cycle()
        await scene.settled()
        bound = {path.split("/")[-2] for path in scene.api.sent("/binding")}
        deleted = {path.split("/")[-1] for method, path, _ in scene.api.writes if method == "DELETE"}
        assert deleted == bound
        assert "g-1" not in deleted
        assert scene.cluster.binder.figures.released == len(deleted)
        assert await scene.state("g-1") is PodState.GATED, "it waits a moment: others may have the room"


@pytest.mark.asyncio
async def test_pods_beyond_the_minimum_are_bound_without_the_one_that_failed() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 3, least=1)
        scene.refuse("g-1/binding", Forbidden("not you"))
        for _ in range(3):
            await scene.cycle()
            await scene.settled()
        assert not [path for method, path, _ in scene.api.writes if method == "DELETE"]
        assert {path.split("/")[-2] for path in scene.api.sent("/binding")} == {"g-0", "g-2"}


@pytest.mark.asyncio
async def test_a_pod_that_went_between_decision_and_binding_is_let_go() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        scene.refuse("g-0/binding", NotFound("gone"))
        await scene.cycle()
        await scene.settled()
        assert await scene.state("g-0") is PodState.PENDING
        scene.world.drop(kinds.PODS, scene.world.pods.get("g-0", "team") or {})
        assert (await scene.cycle()).binds == ()


@pytest.mark.asyncio
async def test_a_decision_about_a_pod_that_is_gone_or_placed_is_told_so() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        scene.world.put(kinds.PODS, a_pod("placed", "g", node="n1"))
        await scene.cluster.snapshot(DEFAULT)
        binds = (Bind("team/nobody", "n1", (), "team/g"), Bind("team/placed", "n1", (), "team/g"))
        outcomes = await scene.cluster.apply(CycleResult(binds=binds))
        assert outcomes == {"team/nobody": Outcome.GONE, "team/placed": Outcome.STALE}
        assert not scene.api.writes


@pytest.mark.asyncio
async def test_a_lost_answer_is_looked_up_before_anything_is_sent_again() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        scene.refuse("g-0/binding", Unavailable("cut off"), times=1)

        async def bound_after_all(resource: Any, name: str, namespace: str = "") -> Any:
            return a_pod("g-0", "g", node="n1") | {"metadata": {"name": "g-0", "namespace": "team", "uid": "uid-g-0"}}

        scene.api.get = bound_after_all  # type: ignore[method-assign]
        await scene.cycle()
        await scene.settled()
        assert scene.api.sent("/binding") == []
        assert scene.cluster.binder.figures.bound == 1


@pytest.mark.asyncio
async def test_a_server_in_trouble_is_asked_again() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 2)
        scene.refuse("g-0/binding", Unavailable("cut off"), times=2)
        await scene.cycle()
        await scene.settled()
        assert len(scene.api.sent("/binding")) == 2


@pytest.mark.asyncio
async def test_a_gang_whose_volume_cannot_be_had_is_not_bound_at_all() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 2)
        volume = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
        scene.world.put(kinds.PODS, a_pod("g-1", "g", volumes=volume))
        scene.world.put(
            kinds.STORAGE_CLASSES, {"metadata": {"name": "made"}, "volumeBindingMode": "WaitForFirstConsumer"}
        )
        claim = {"metadata": {"name": "data", "namespace": "team"}, "spec": {"storageClassName": "made"}}
        scene.world.put(kinds.PVCS, claim)
        scene.refuse("persistentvolumeclaims/data", Forbidden("not you"))
        result = await scene.cycle()
        assert len(result.binds) == 2
        await scene.settled()
        assert scene.api.sent("/binding") == []


@pytest.mark.asyncio
async def test_a_volume_is_asked_for_on_the_node_and_waited_for() -> None:
    async with a_scene() as scene:
        volume = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
        scene.world.put(
            kinds.STORAGE_CLASSES, {"metadata": {"name": "made"}, "volumeBindingMode": "WaitForFirstConsumer"}
        )
        claim = {"metadata": {"name": "data", "namespace": "team"}, "spec": {"storageClassName": "made"}}
        scene.world.put(kinds.PVCS, claim)
        a_gang(scene, "g", 1, volumes=volume)
        await scene.cycle()
        await until(lambda: scene.api.sent("persistentvolumeclaims/data"))
        assert scene.api.writes[0][2]["metadata"]["annotations"] == {"volume.kubernetes.io/selected-node": "n1"}
        assert scene.api.sent("/binding") == [], "not before it is there"
        bound = {**claim, "spec": {**claim["spec"], "volumeName": "v1"}, "status": {"phase": "Bound"}}
        bound["metadata"] = {"name": "data", "namespace": "team"}
        scene.world.put(kinds.PVCS, bound)
        await scene.settled()
        assert len(scene.api.sent("/binding")) == 1


@pytest.mark.asyncio
async def test_a_resource_claim_gets_its_devices_before_the_pod_is_bound() -> None:
    async with a_scene() as scene:
        scene.world.put(kinds.DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
        spec = {"driver": "gpu.example.org", "nodeName": "n1", "pool": {"name": "n1"}, "devices": [{"name": "a"}]}
        scene.world.put(kinds.RESOURCE_SLICES, {"metadata": {"name": "s"}, "spec": spec})
        request = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
        claim = {
            "metadata": {"name": "c", "namespace": "team", "labels": {"runai/queue": "team"}},
            "spec": {"devices": {"requests": [request]}},
        }
        scene.world.put(kinds.RESOURCE_CLAIMS, claim)
        a_gang(scene, "g", 1, gpus=0, resourceClaims=[{"name": "dev", "resourceClaimName": "c"}])
        await scene.cycle()
        await scene.settled()
        methods = [(method, path.rpartition("/")[2]) for method, path, _ in scene.api.writes]
        assert methods == [("PATCH", "c"), ("PUT", "status"), ("POST", "binding")]
        status = scene.api.writes[1][2]["status"]
        assert status["allocation"]["devices"]["results"][0]["device"] == "a"
        assert status["reservedFor"] == [{"resource": "pods", "name": "g-0", "uid": "uid-g-0"}]


# -- evictions


def an_eviction(name: str = "victim") -> CycleResult:
    eviction = Evict(f"team/{name}", "n1", "reclaim", "team/v", "team/g", "evicted because others are entitled to it")
    return CycleResult(evictions=(eviction,))


async def a_victim(scene: Scene) -> None:
    scene.world.put(kinds.POD_GROUPS, a_group("v"))
    scene.world.put(kinds.PODS, a_pod("victim", "v", node="n1"))
    await scene.cluster.snapshot(DEFAULT)


@pytest.mark.asyncio
async def test_an_eviction_goes_through_the_api_that_keeps_budgets_and_says_why() -> None:
    async with a_scene() as scene:
        await a_victim(scene)
        assert await scene.cluster.apply(an_eviction()) == {"team/victim": Outcome.APPLIED}
        assert await scene.state("victim") is PodState.RELEASING
        await scene.settled()
        (_, _, condition), (_, path, body) = scene.api.writes
        assert condition["status"]["conditions"][0]["reason"] == "PreemptionByScheduler"
        assert "entitled" in condition["status"]["conditions"][0]["message"]
        assert path.endswith("victim/eviction")
        assert body["deleteOptions"]["preconditions"]["uid"] == "uid-victim"


@pytest.mark.asyncio
async def test_a_budget_that_refuses_is_kept_and_others_are_looked_for() -> None:
    async with a_scene() as scene:
        await a_victim(scene)
        scene.refuse("/eviction", Unavailable("Cannot evict pod", {"status": 429, "budget": True}))
        await scene.cluster.apply(an_eviction())
        await scene.settled()
        assert await scene.state("victim") is PodState.RUNNING
        snapshot = await scene.cluster.snapshot(DEFAULT)
        assert snapshot.pod_groups[0].preemptibility.value == "non-preemptible"
        assert scene.cluster.evictor.refused == 1
        assert ClusterChange() in scene.told


@pytest.mark.asyncio
async def test_an_eviction_that_met_another_change_is_tried_again() -> None:
    async with a_scene() as scene:
        await a_victim(scene)
        scene.refuse("/eviction", StaleVersion("changed"), times=1)
        await scene.cluster.apply(an_eviction())
        await scene.settled()
        assert len(scene.api.sent("/eviction")) == 1
        assert scene.cluster.evictor.evicted == {"reclaim": 1}


# -- what is told


async def told(scene: Scene, *parts: str) -> None:
    await until(lambda: all(any(part in path for _, path, _ in scene.api.writes) for part in parts))


def a_verdict(message: str = "There is no room.", reason: Reason = Reason.INSUFFICIENT_CAPACITY) -> CycleResult:
    share = QueueShare("team", "gpu", None, None, 8000, 0, 0, 1000)
    verdict = Verdict("team/g", reason, message, shares=(share,))
    return CycleResult(node_pool="default", verdicts=(verdict,), shares=(share,))


@pytest.mark.asyncio
async def test_a_verdict_is_written_once_on_the_pod_the_group_and_in_events() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        await scene.cluster.snapshot(DEFAULT)
        await scene.cluster.start()
        await scene.cluster.apply(a_verdict())
        await told(scene, "pods/g-0/status", "podgroups/g/status", "/events", "queues/team/status")
        await scene.cluster.apply(a_verdict())
        await scene.cluster.apply(a_verdict("There is no room: 7 GPUs."))  # only the numbers changed
        await asyncio.sleep(0.1)
        assert len(scene.api.sent("pods/g-0/status")) == 1
        body = next(body for _, path, body in scene.api.writes if "pods/g-0/status" in path)
        assert body["status"]["conditions"][0]["message"] == "There is no room."
        group = next(body for _, path, body in scene.api.writes if "podgroups/g/status" in path)["status"]
        assert group["schedulingConditions"][0]["reasons"][0]["details"]["queueDetails"]["name"] == "team"


@pytest.mark.asyncio
async def test_a_group_that_asks_for_silence_has_its_pods_left_alone() -> None:
    async with a_scene() as scene:
        scene.world.put(kinds.POD_GROUPS, a_group("g", markUnschedulable=False))
        scene.world.put(kinds.PODS, a_pod("g-0", "g"))
        await scene.cluster.snapshot(DEFAULT)
        await scene.cluster.start()
        await scene.cluster.apply(a_verdict())
        await told(scene, "podgroups/g/status")
        assert scene.api.sent("pods/g-0/status") == []


@pytest.mark.asyncio
async def test_a_promised_node_is_written_on_the_pod() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        await scene.cluster.snapshot(DEFAULT)
        await scene.cluster.start()
        promise = Pipeline("team/g-0", "n1", (), "team/g")
        for _ in range(3):
            await scene.cluster.apply(CycleResult(node_pool="default", pipelines=(promise,)))
        await told(scene, "pods/g-0/status")
        assert scene.api.writes[0][2]["status"] == {"nominatedNodeName": "n1"}
        await asyncio.sleep(0.05)
        assert len(scene.api.sent("pods/g-0/status")) == 1


@pytest.mark.asyncio
async def test_counts_of_groups_are_written_by_the_replica_that_schedules_and_by_no_other() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        settled = scene.cluster.status._clock.now() + 100.0
        assert scene.cluster.status._next() is None
        scene.cluster.status.take(CycleResult(node_pool="default"))
        scene.cluster.status._groups["team/g"] = 0.0
        scene.cluster.status._leads_until = settled
        work = scene.cluster.status._next()
        assert work is not None
        await work
        assert scene.api.writes[-1][2]["status"]["pending"] == 1


# -- who is woken


@pytest.mark.asyncio
async def test_only_what_may_change_a_decision_wakes_the_scheduler() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        await until(lambda: scene.told)
        await scene.cycle()
        await scene.settled()
        await until(lambda: not scene.cluster.binder.pending)
        scene.told.clear()
        scene.world.put(kinds.PODS, a_pod("g-0", "g", node="n1", phase="Pending"))  # what we did ourselves
        scene.world.put(kinds.PODS, a_pod("g-0", "g", node="n1"))  # and what the kubelet made of it
        await asyncio.sleep(0.02)
        assert scene.told == []
        scene.world.put(kinds.PODS, a_pod("g-0", "g", node="n1", phase="Succeeded"))
        await until(lambda: scene.told)


@pytest.mark.asyncio
async def test_the_end_of_a_pod_that_was_evicted_wakes_the_scheduler() -> None:
    async with a_scene() as scene:
        await a_victim(scene)
        await scene.cluster.apply(an_eviction())
        await scene.settled()
        await scene.cluster.snapshot(DEFAULT)
        scene.told.clear()
        scene.world.drop(kinds.PODS, scene.world.pods.get("victim", "team") or {})
        await until(lambda: ClusterChange() in scene.told)


@pytest.mark.asyncio
async def test_heartbeats_of_nodes_wake_nobody_but_new_room_does() -> None:
    async with a_scene() as scene:
        await asyncio.sleep(0.01)
        scene.told.clear()
        beat = a_node("n1")
        beat["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-01T00:00:00Z"
        scene.world.put(kinds.NODES, beat)
        await asyncio.sleep(0.02)
        assert scene.told == []
        scene.world.put(kinds.NODES, a_node("n1", gpus=4))
        await until(lambda: ClusterChange(node="n1") in scene.told)


@pytest.mark.asyncio
async def test_conflicts_of_bindings_are_told_as_they_are() -> None:
    async with a_scene() as scene:
        a_gang(scene, "g", 1)
        scene.refuse("g-0/binding", Conflict("pod g-0 is already assigned to node n7"))
        await scene.cycle()
        await scene.settled()
        assert scene.cluster.binder.figures.failed == 1
        assert await scene.state("g-0") is PodState.GATED
