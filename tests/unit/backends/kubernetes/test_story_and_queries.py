"""Watches over what changed lately, and queries over what is in memory."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from runai_core.backends.kubernetes.querying import select
from runai_core.backends.kubernetes.runtime import LOST, exit_of
from runai_core.backends.kubernetes.story import Story, Versions
from runai_core.model.errors import InvalidRequest, NotFound, WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import Phase, Workload
from runai_core.ports import ChangeType, Filter, Op, Query
from tests.waiting import soon


async def read(story: Story, start: int, count: int) -> list[tuple[Any, int]]:
    found: list[tuple[Any, int]] = []
    watch = story.watch(start)
    while len(found) < count:
        change = await soon(anext(watch))
        found.append((change.object, change.version))
    return found


@pytest.mark.asyncio
async def test_numbers_of_changes_only_grow() -> None:
    """What the server numbers 5 may reach us after what it numbers 7."""
    story = Story(versions := Versions())
    versions.reach(3)
    story.begin()
    for item, version in (("a", 7), ("b", 5), ("c", 7), ("d", 20)):
        story.tell(ChangeType.MODIFIED, item, version)
    assert await read(story, 3, 4) == [("a", 7), ("b", 8), ("c", 9), ("d", 20)]
    assert await read(story, 8, 2) == [("c", 9), ("d", 20)]


@pytest.mark.asyncio
async def test_two_kinds_share_their_numbers() -> None:
    versions = Versions()
    one, other = Story(versions), Story(versions)
    one.tell(ChangeType.ADDED, "a", 1)
    other.tell(ChangeType.ADDED, "b", 2)
    watch = asyncio.ensure_future(read(one, versions.newest, 1))
    await asyncio.sleep(0)
    one.tell(ChangeType.ADDED, "c", 3)
    assert await watch == [("c", 3)]


@pytest.mark.asyncio
async def test_a_watch_that_is_too_old_or_from_the_future_says_so() -> None:
    story = Story(Versions(), kept=3)
    for number in range(1, 6):
        story.tell(ChangeType.ADDED, number, number)
    assert await read(story, 2, 3) == [(3, 3), (4, 4), (5, 5)]
    for start in (0, 1, 6):
        with pytest.raises(WatchExpired, match="list again"):
            await anext(story.watch(start))


@pytest.mark.asyncio
async def test_a_reader_that_is_overtaken_is_told_to_list_again() -> None:
    story = Story(Versions(), kept=3)
    story.tell(ChangeType.ADDED, 1, 1)
    watch = story.watch(0)
    assert (await anext(watch)).object == 1
    for number in range(2, 8):
        story.tell(ChangeType.ADDED, number, number)
    with pytest.raises(WatchExpired):
        await anext(watch)


@pytest.mark.asyncio
async def test_watches_end_with_the_store() -> None:
    story = Story(Versions())
    waiting = asyncio.ensure_future(anext(story.watch(0), None))
    await asyncio.sleep(0)
    story.close()
    assert await soon(waiting) is None


def a_workload(name: str, **fields: Any) -> Workload:
    return replace(Workload(meta=Meta(name=name, project="p", uid=name, labels={"team/x.y": name})), **fields)


ITEMS = [
    a_workload("a"),
    a_workload("b", phase=Phase.RUNNING, spec=WorkloadSpec(compute=Compute(gpu_devices_request=2))),
    a_workload("c", node_pools=("default", "gold"), priority=90, last_start=5.0),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(sort_by="meta.name", descending=True), "cba"),
        (Query(sort_by="last_start"), "abc"),
        (Query(sort_by="last_start", descending=True), "cba"),
        (Query(filters=(Filter("phase", Op.EQ, "Running"),)), "b"),
        (Query(filters=(Filter("phase", Op.NE, Phase.RUNNING),)), "ac"),
        (Query(filters=(Filter("spec.compute.gpu_devices_request", Op.GE, "1"),)), "b"),
        (Query(filters=(Filter("node_pools", Op.CONTAINS, "gold"),)), "c"),
        (Query(filters=(Filter("node_pools", Op.NOT_CONTAINS, "gold"),)), "ab"),
        (Query(filters=(Filter("meta.labels.team/x.y", Op.EQ, "a"),)), "a"),
        (Query(filters=(Filter("has_master", Op.EQ, "true"), Filter("priority", Op.LE, 50))), "ab"),
        (Query(search="B"), "b"),
        (Query(project="other"), ""),
        (Query(sort_by="meta.name", offset=1, limit=1), "b"),
    ],
)
def test_queries(query: Query, expected: str) -> None:
    page = select(Workload, ITEMS, query, 9)
    assert "".join(item.name for item in page.items) == expected
    assert page.version == 9


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("fase", "x", "did you mean phase"),
        ("phase.deeper", "x", "has no field phase.deeper"),
        ("priority", "many", "numbers of 64 bits"),
        ("has_master", "perhaps", "true or false"),
        ("node_pools", "x", "a list can be asked"),
        ('meta.labels.a"b', "x", "must not be empty or hold quotes"),
    ],
)
def test_wrong_queries_are_refused(field: str, value: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        select(Workload, ITEMS, Query(filters=(Filter(field, Op.EQ, value),)), 1)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b'{"status":"Success"}', 0),
        (b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}', 7),
        (b"not JSON", LOST),
    ],
)
def test_the_exit_code_of_a_command(status: bytes, code: int) -> None:
    assert exit_of(status, "sh") == code


def test_a_program_that_is_not_there_is_named() -> None:
    error = exit_of(b'{"status":"Failure","message":"no such file"}', "nothing")
    assert isinstance(error, NotFound)
    assert "cannot run nothing: no such file" in error.message
