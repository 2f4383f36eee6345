"""Places held for pods that their driver makes later: with the engine itself, over a world that stands still."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
import pytest_asyncio

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.backends.kubernetes.places import RESERVED_MEMBERS, RESERVED_REQUEST, reservation_of
from runai_core.engine.cycle import run_cycle
from runai_core.model.decision import CycleResult
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.snapshot import Snapshot
from tests.kubernetes_world import FakeApi, StillWorld, a_group, a_pod, a_queue, a_world
from tests.waiting import until

DEFAULT = NodePool(meta=Meta(name="default"))
ONE_GPU = '{"cpu": "1", "nvidia.com/gpu": "1"}'


class Scene:
    """Two nodes of two GPUs each."""

    def __init__(self) -> None:
        self.world: StillWorld = a_world(nodes=2, gpus=2)
        self.api = FakeApi(self.world)
        self.cluster = self.opened()

    def opened(self) -> KubernetesCluster:
        return KubernetesCluster(cast("Api", self.api), self.world, SystemClock())

    def driver(self, name: str = "etl", members: str = "3", request: str = ONE_GPU) -> dict[str, Any]:
        group = a_group(name)
        group["metadata"]["annotations"] = {RESERVED_MEMBERS: members, RESERVED_REQUEST: request}
        group["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": f"{name}-driver", "uid": "u"}]
        self.world.put(kinds.POD_GROUPS, group)
        pod = a_pod(f"{name}-driver", name, gpus=0)
        pod["metadata"]["labels"] = {"spark-role": "driver"}
        return self.world.put(kinds.PODS, pod)

    def executor(self, name: str, **how: Any) -> dict[str, Any]:
        return self.world.put(kinds.PODS, a_pod(name, "etl", **how))

    def other(self, name: str, gpus: int, node: str = "", queue: str = "team") -> dict[str, Any]:
        self.world.put(kinds.POD_GROUPS, a_group(name, queue=queue))
        return self.world.put(kinds.PODS, a_pod(name, name, gpus=gpus, node=node))

    async def cycle(self) -> CycleResult:
        """Decide on what there is; afterwards the watch shows what was bound."""
        result = run_cycle(await self.cluster.snapshot(DEFAULT))
        await self.cluster.apply(result)
        await until(lambda: not self.cluster.binder.pending, "nothing under way")
        for _, path, body in self.api.writes:
            if path.endswith("/binding"):
                pod = self.world.pods.get(body["metadata"]["name"], "team")
                if pod is not None and not pod["spec"].get("nodeName"):
                    spec = {**pod["spec"], "nodeName": body["target"]["name"]}
                    self.shows(pod, spec=spec, status={"phase": "Running"})
        return result

    def shows(self, pod: Mapping[str, Any], **changed: Any) -> None:
        """Let the watch show a pod as it is now."""
        self.world.put(kinds.PODS, {**pod, "metadata": dict(pod["metadata"]), **changed})

    def nodes(self) -> dict[str, str]:
        """Return where pods are."""
        return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in self.world.pods.all()}

    async def places(self) -> dict[str, str | None]:
        """Return the places of pods to come, and where they are."""
        seen: Snapshot = await self.cluster.snapshot(DEFAULT)
        return {pod.name: pod.node for pod in seen.pods if "#" in pod.name}


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    found = Scene()
    yield found
    await found.cluster.close()


@pytest.mark.asyncio
async def test_a_driver_starts_alone_with_places_for_all_and_nobody_else_takes_them(scene: Scene) -> None:
    scene.driver()
    await scene.cycle()
    assert scene.nodes()["etl-driver"]
    held = await scene.places()
    assert len(held) == 2
    assert all(held.values())

    scene.other("greedy", 2)
    scene.other("modest", 2)
    result = await scene.cycle()

    assert sorted(bool(node) for node in (scene.nodes()["greedy"], scene.nodes()["modest"])) == [False, True]
    assert len(result.verdicts) == 1
    assert await scene.places() == held


@pytest.mark.asyncio
async def test_a_driver_waits_until_there_is_room_for_its_executors(scene: Scene) -> None:
    scene.other("first", 2, node="n1")
    last = scene.other("last", 1, node="n2")
    scene.driver()
    result = await scene.cycle()

    assert scene.nodes()["etl-driver"] == ""
    assert [verdict.pod_group for verdict in result.verdicts] == ["team/etl"]
    assert result.verdicts[0].required == 3

    scene.world.drop(kinds.PODS, last)
    await scene.cycle()
    assert scene.nodes()["etl-driver"] != ""


@pytest.mark.asyncio
async def test_executors_that_come_get_the_places_though_others_wait_longer(scene: Scene) -> None:
    scene.driver(members="5")
    await scene.cycle()
    assert len(await scene.places()) == 4
    scene.other("waits", 1)
    await scene.cycle()
    for number in range(4):
        scene.executor(f"exec-{number}")
    await scene.cycle()

    nodes = scene.nodes()
    assert [nodes[f"exec-{number}"] for number in range(4)].count("n1") == 2
    assert all(nodes[f"exec-{number}"] for number in range(4))
    assert nodes["waits"] == ""
    assert await scene.places() == {}


@pytest.mark.asyncio
async def test_the_place_of_an_executor_that_was_lost_is_held_again_until_the_driver_ends(scene: Scene) -> None:
    driver = scene.driver()
    await scene.cycle()
    lost = scene.executor("exec-1")
    scene.executor("exec-2")
    await scene.cycle()
    assert await scene.places() == {}

    scene.world.drop(kinds.PODS, lost)
    await scene.cycle()
    assert len(await scene.places()) == 1
    current = scene.world.pods.get(driver["metadata"]["name"], "team")
    assert current is not None
    scene.shows(current, status={"phase": "Succeeded"})
    assert await scene.places() == {}


@pytest.mark.asyncio
async def test_what_is_held_counts_against_the_queue(scene: Scene) -> None:
    limited = a_queue()
    limited["spec"]["resources"]["gpu"]["limit"] = 2
    scene.world.put(kinds.QUEUES, limited)
    scene.driver()
    scene.driver("second")
    await scene.cycle()

    nodes = scene.nodes()
    assert sorted(bool(nodes[name]) for name in ("etl-driver", "second-driver")) == [False, True]


@pytest.mark.asyncio
async def test_a_scheduler_that_starts_anew_holds_the_places_again(scene: Scene) -> None:
    scene.driver()
    await scene.cycle()
    await scene.cluster.close()
    scene.cluster = scene.opened()
    await scene.cycle()

    assert all((await scene.places()).values())
    assert len(await scene.places()) == 2


@pytest.mark.asyncio
async def test_a_scheduler_that_starts_anew_gives_no_place_to_anybody_else_first(scene: Scene) -> None:
    """What it held was in its memory; the executors have come meanwhile, and others are before them in the queue."""
    scene.world.put(kinds.QUEUES, a_queue("modest"))
    scene.driver(members="5")
    await scene.cycle()
    assert len(await scene.places()) == 4
    await scene.cluster.close()

    scene.executor("exec-1")
    scene.other("greedy", 2, queue="modest")
    scene.other("first", 1, queue="modest")
    scene.cluster = scene.opened()
    await scene.cycle()
    await scene.cycle()

    nodes = scene.nodes()
    assert (nodes["greedy"], nodes["first"]) == ("", "")
    assert nodes["exec-1"]
    assert len([node for node in (await scene.places()).values() if node]) == 3


@pytest.mark.asyncio
async def test_a_scheduler_that_starts_anew_comes_to_the_others_after_it(scene: Scene) -> None:
    scene.driver()
    await scene.cycle()
    await scene.cluster.close()

    scene.other("other", 1)
    scene.cluster = scene.opened()
    listening = scene.cluster.changes()
    told = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    await scene.cycle()
    async with asyncio.timeout(60):
        assert (await told).schedules
    await scene.cycle()

    assert scene.nodes()["other"]
    assert len([node for node in (await scene.places()).values() if node]) == 2


@pytest.mark.asyncio
async def test_an_executor_of_another_size_is_placed_as_any_pod(scene: Scene) -> None:
    scene.driver()
    await scene.cycle()
    scene.executor("exec-big", gpus=2)
    await scene.cycle()

    assert scene.nodes()["exec-big"] != ""
    assert len(await scene.places()) == 1


WRONG = {
    "a number that is none": {RESERVED_MEMBERS: "many"},
    "too many": {RESERVED_MEMBERS: "1000000"},
    "a request that is no JSON": {RESERVED_MEMBERS: "3", RESERVED_REQUEST: "one GPU"},
    "an amount that is none": {RESERVED_MEMBERS: "3", RESERVED_REQUEST: '{"cpu": "lots"}'},
}


@pytest.mark.parametrize("notes", WRONG.values(), ids=WRONG)
@pytest.mark.asyncio
async def test_a_wrong_annotation_is_named_and_reserves_nothing(scene: Scene, notes: dict[str, str]) -> None:
    group = a_group("etl")
    group["metadata"] |= {"annotations": notes, "ownerReferences": [{"kind": "Pod", "name": "etl-driver", "uid": "u"}]}
    with pytest.raises(InvalidRequest):
        reservation_of(group)

    scene.world.put(kinds.POD_GROUPS, group)
    scene.world.put(kinds.PODS, a_pod("etl-driver", "etl", gpus=0))
    await scene.cycle()
    assert scene.nodes()["etl-driver"] != ""
    assert await scene.places() == {}
