"""Pods as they are told to a control plane: ours, and those of workloads that others make."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.pod_status import pod_of
from runai_core.backends.kubernetes.copies import Copies
from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.names import WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.story import Story
from runai_core.model.errors import WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.workload import Pod, Workload
from runai_core.ports import Change
from tests.kubernetes_world import StillWorld, a_pod


class Rows:
    """A row of somebody else's, with the pods that a test gives it."""

    def __init__(self) -> None:
        self.own: list[Pod] = []
        self.tell: Callable[[str], None] = lambda _: None

    def rows(self) -> Iterable[Workload]:
        return [Workload(meta=Meta(name="job", uid="row"))]

    def members(self, uid: str) -> list[Pod]:
        return self.own if uid == "row" else []

    def on_pods(self, callback: Callable[[str], None]) -> None:
        self.tell = callback

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)  # nothing else is asked


def ours(name: str, **more: Any) -> Object:
    pod = a_pod(name, **more)
    pod["metadata"]["labels"] = {WORKLOAD_UID_LABEL: "u1"}
    return pod


def story_of(copies: Copies) -> Story:
    found = copies.story(Pod)
    assert found is not None
    return found


async def told(story: Story, since: int, count: int) -> list[Change[Any]]:
    """Return so many changes after a version."""
    found: list[Change[Any]] = []
    async with asyncio.timeout(60):
        async for change in story.watch(since):
            found.append(change)
            if len(found) == count:
                break
    return found


@pytest.mark.asyncio
async def test_each_change_of_a_pod_of_ours_is_told_once_and_in_order() -> None:
    world = StillWorld()
    copies = Copies(world, None)
    story, since = story_of(copies), copies.versions.newest

    world.put(kinds.PODS, a_pod("of-nobody"))
    pod = world.put(kinds.PODS, ours("a"))
    world.put(kinds.PODS, {**ours("a", node="n1"), "metadata": dict(pod["metadata"])})
    world.drop(kinds.PODS, pod)

    changes = await told(story, since, 3)
    assert [(change.type.value, change.object.name) for change in changes] == [
        ("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"),
    ]  # fmt: skip
    assert changes[1].object.status.node == "n1"
    versions = [change.version for change in changes]
    assert versions == sorted(set(versions))


@pytest.mark.asyncio
async def test_who_has_listed_before_pods_were_followed_lists_again() -> None:
    world = StillWorld()
    copies = Copies(world, None)
    listed = copies.versions.newest
    world.put(kinds.PODS, ours("a"))

    with pytest.raises(WatchExpired):
        await told(story_of(copies), listed, 1)


@pytest.mark.asyncio
async def test_pods_of_a_row_are_told_where_they_differ() -> None:
    world, rows = StillWorld(), Rows()
    first, second = (pod_of(world.put(kinds.PODS, a_pod(name))) for name in ("one", "two"))
    rows.own = [first]
    copies = Copies(world, cast("ExternalRows", rows))
    story, since = story_of(copies), copies.versions.newest

    rows.own = [first, second]
    rows.tell("row")
    rows.tell("row")
    rows.own = [second]
    rows.tell("row")

    changes = await told(story, since, 2)
    assert [(change.type.value, change.object.name) for change in changes] == [("ADDED", "two"), ("DELETED", "one")]
