"""What pods are told of why they wait: the newest sentence, and nothing that is not true any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.conditions import PodConditions
from runai_core.backends.kubernetes.events import Recorder
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.status import StatusWriter
from runai_core.model.decision import CycleResult, Reason, Verdict
from runai_core.model.errors import StaleVersion
from tests.kubernetes_world import FakeApi, StillWorld, a_group, a_pod, a_world

GROUP = "team/g"


class Scene:
    """A gang that waits, and who tells its pods why."""

    def __init__(self, size: int) -> None:
        self.world: StillWorld = a_world()
        self.api = FakeApi(self.world)
        self.clock = SystemClock()
        self.snapshots = Snapshots(self.world)
        self.recorder = Recorder(cast("Api", self.api), self.clock)
        self.conditions = PodConditions(
            cast("Api", self.api), self.world, self.snapshots, self.recorder, self.clock, again=0.01
        )
        self.world.put(kinds.POD_GROUPS, a_group("g", least=9))
        self.add(*range(size))

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.world.put(kinds.PODS, a_pod(f"g-{number}", "g"))
        self.snapshots.refresh(self.clock.now())

    def status(self) -> StatusWriter:
        return StatusWriter(
            cast("Api", self.api),
            self.world,
            self.snapshots,
            self.recorder,
            self.clock,
            busy=lambda: False,
            patience=0.05,
        )

    def sentences(self) -> list[tuple[str, str]]:
        """Return what was written on which pod, in order."""
        writes = [(path, body) for _, path, body in self.api.writes if "/pods/" in path]
        return [(path.split("/")[-2], body["status"]["conditions"][0]["message"]) for path, body in writes]


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def because(message: str, reason: Reason = Reason.INSUFFICIENT_CAPACITY) -> Verdict:
    return Verdict(GROUP, reason, message)


@pytest.mark.asyncio
async def test_a_newer_verdict_takes_the_place_of_one_that_has_not_reached_its_pods_yet() -> None:
    scene = Scene(3)
    scene.conditions.tell(because("old"))
    scene.conditions.tell(because("new"))
    async with running(scene.conditions.run()):
        await until(lambda: len(scene.sentences()) >= 3)
    assert scene.sentences() == [("g-0", "new"), ("g-1", "new"), ("g-2", "new")]


@pytest.mark.asyncio
async def test_pods_of_a_group_that_waits_no_more_and_pods_that_are_being_bound_are_not_told() -> None:
    scene = Scene(3)
    scene.conditions.tell(because("old"))
    scene.conditions.withdraw(GROUP)
    scene.snapshots.assume("team/g-1", "uid-g-1", "n1")
    scene.conditions.tell(because("new"))
    scene.snapshots.refresh(scene.clock.now())
    async with running(scene.conditions.run()):
        await until(lambda: len(scene.sentences()) >= 2)
    assert scene.sentences() == [("g-0", "new"), ("g-2", "new")]


@pytest.mark.asyncio
async def test_a_pod_that_changed_meanwhile_is_looked_at_again_before_it_is_told() -> None:
    scene, tries = Scene(1), []

    def answer(_method: str, path: str) -> None:
        tries.append(path)
        if len(tries) == 1:
            scene.world.put(kinds.PODS, a_pod("g-0", "g"))
            raise StaleVersion("changed")

    scene.api.answers = answer
    before = scene.world.pods.get("g-0", "team")
    scene.conditions.tell(because("no room"))
    async with running(scene.conditions.run()):
        await until(scene.sentences)
    after = scene.world.pods.get("g-0", "team")
    written = next(body["metadata"]["resourceVersion"] for _, path, body in scene.api.writes if "/pods/" in path)
    assert before is not None
    assert after is not None
    assert before["metadata"]["resourceVersion"] != written == after["metadata"]["resourceVersion"]


@pytest.mark.asyncio
async def test_a_gang_of_which_more_pods_come_is_told_once_and_by_the_newest_count() -> None:
    scene = Scene(1)
    status = scene.status()
    for pods in (1, 2, 3):  # no time passes between these: the pods came while it was waited
        scene.add(*range(pods))
        missing = because(f"only {pods} of 9", Reason.NOT_READY)
        status.take(CycleResult(node_pool="default", verdicts=(missing,)))
    async with running(status.run()):
        await until(lambda: len(scene.sentences()) >= 3)
    assert scene.sentences() == [(f"g-{number}", "only 3 of 9") for number in range(3)]


@pytest.mark.asyncio
async def test_a_gang_whose_last_pod_came_is_told_at_once_why_it_waits_still() -> None:
    scene = Scene(1)
    status = scene.status()
    status.take(CycleResult(node_pool="default", verdicts=(because("only 1 of 2", Reason.NOT_READY),)))
    scene.add(1)
    status.take(CycleResult(node_pool="default", verdicts=(because("no room"),)))
    async with running(status.run()):
        await until(lambda: len(scene.sentences()) >= 2)
    assert scene.sentences() == [("g-0", "no room"), ("g-1", "no room")]
