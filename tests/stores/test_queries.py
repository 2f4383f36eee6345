"""What every store promises of queries: filters, order, pages, and what is refused."""

from dataclasses import replace

import pytest
import pytest_asyncio

from runai_core.model.errors import InvalidRequest
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Filter, Op, Query, Store
from tests.stores.under_test import a_workload

FILTERS = [
    pytest.param((Filter("phase", Op.EQ, "Running"),), "bd", id="equal to a value"),
    pytest.param((Filter("phase", Op.EQ, "Creating"),), "a", id="equal to the default, which is not stored"),
    pytest.param((Filter("phase", Op.NE, "Running"),), "ac", id="different, missing values included"),
    pytest.param((Filter("priority", Op.GE, 90),), "bc", id="a number at least"),
    pytest.param((Filter("priority", Op.LE, "90"),), "abd", id="a number at most, given as text"),
    pytest.param((Filter("has_master", Op.EQ, "false"),), "d", id="a truth value, given as text"),
    pytest.param((Filter("has_master", Op.EQ, value=True),), "abc", id="a truth value"),
    pytest.param((Filter("meta.name", Op.STARTS, "w-B"),), "b", id="a beginning, ignoring case"),
    pytest.param((Filter("meta.name", Op.ENDS, "-c"),), "c", id="an end"),
    pytest.param((Filter("department", Op.CONTAINS, "SEAR"),), "ab", id="a part, ignoring case"),
    pytest.param((Filter("department", Op.NOT_CONTAINS, "sear"),), "cd", id="without a part, empty ones included"),
    pytest.param((Filter("department", Op.CONTAINS, "%"),), "", id="a percent sign is no wildcard"),
    pytest.param((Filter("meta.name", Op.CONTAINS, "_"),), "", id="an underscore is no wildcard"),
    pytest.param((Filter("spec.compute.gpu_devices_request", Op.GE, 2),), "c", id="a nested number"),
    pytest.param(
        (Filter("spec.compute.gpu_devices_request", Op.NE, 2),), "abd", id="a nested number that may be missing"
    ),
    pytest.param((Filter("meta.labels.team/x.y", Op.EQ, "a"),), "b", id="a label whose key has dots"),
    pytest.param((Filter("node_pools", Op.CONTAINS, "gold"),), "c", id="a member of a list"),
    pytest.param((Filter("node_pools", Op.CONTAINS, "gol"),), "", id="not a part of a member"),
    pytest.param((Filter("phase", Op.EQ, "Running"), Filter("priority", Op.GE, 90)), "b", id="all must hold"),
]


@pytest_asyncio.fixture
async def four(store: Store) -> Store:
    """A store with the workloads w-a, w-b, w-c and w-d."""
    a = a_workload("w-a", department="research")
    b = a_workload("w-b", "speech", department="research", phase=Phase.RUNNING, priority=90)
    b = replace(b, meta=replace(b.meta, labels={"team/x.y": "a"}))
    c = a_workload("w-c", priority=150, node_pools=("default", "gold"), phase=Phase.PENDING)
    c = replace(c, spec=WorkloadSpec(compute=Compute(gpu_devices_request=2)))
    for item in (a, b, c, a_workload("w-d", phase=Phase.RUNNING, has_master=False)):
        await store.create(item)
    return store


@pytest.mark.asyncio
@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_filters(four: Store, filters: tuple[Filter, ...], expected: str) -> None:
    page = await four.list(Workload, Query(filters=filters))
    assert [w.name[-1] for w in page.items] == list(expected)
    assert page.total == len(expected)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(Query(), "abcd", id="oldest first when nothing is said"),
        pytest.param(Query(descending=True), "dcba", id="newest first"),
        pytest.param(Query(sort_by="meta.name", descending=True), "dcba", id="by name"),
        pytest.param(Query(sort_by="priority"), "adbc", id="by a number with a default"),
        pytest.param(
            Query(sort_by="spec.compute.gpu_devices_request", descending=True, limit=1), "c", id="missing last"
        ),
        pytest.param(Query(project="vision"), "acd", id="of one project"),
        pytest.param(Query(search="W-B"), "b", id="by part of the name"),
        pytest.param(Query(limit=2), "ab", id="the first two"),
        pytest.param(Query(offset=3), "d", id="after the third"),
        pytest.param(Query(offset=1, limit=2), "bc", id="the middle"),
        pytest.param(Query(offset=9, limit=2), "", id="beyond the end"),
        pytest.param(Query(limit=0), "", id="none"),
    ],
)
async def test_order_and_pages(four: Store, query: Query, expected: str) -> None:
    page = await four.list(Workload, query)
    found = sorted(w.name[-1] for w in page.items) if query.sort_by == "priority" else [w.name[-1] for w in page.items]
    assert found == (sorted(expected) if query.sort_by == "priority" else list(expected))
    assert page.total == {"vision": 3, None: 4}[query.project] if not query.search else page.total == 1
    assert page.version >= max(item.meta.version for item in (await four.list(Workload)).items)


@pytest.mark.asyncio
async def test_pages_neither_overlap_nor_miss_where_the_sorted_value_is_equal(store: Store) -> None:
    for number in range(20):
        await store.create(a_workload(f"w-{number}", department="same"))
    names: list[str] = []
    for offset in range(0, 20, 7):
        page = await store.list(Workload, Query(sort_by="department", offset=offset, limit=7))
        names += [w.name for w in page.items]
    assert sorted(names) == sorted(f"w-{number}" for number in range(20))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "query",
    [
        pytest.param(Query(filters=(Filter("fase", Op.EQ, "x"),)), id="unknown field"),
        pytest.param(Query(filters=(Filter("spec.compute.gpus", Op.EQ, 1),)), id="unknown nested field"),
        pytest.param(Query(filters=(Filter("phase.deeper", Op.EQ, "x"),)), id="below a plain value"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, "many"),)), id="text for a number"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, float("nan")),)), id="not a number"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, 10**30),)), id="a number beyond all numbers"),
        pytest.param(Query(filters=(Filter("has_master", Op.EQ, "perhaps"),)), id="neither true nor false"),
        pytest.param(Query(filters=(Filter("node_pools", Op.EQ, "x"),)), id="a list is not equal to a value"),
        pytest.param(Query(filters=(Filter('meta.labels.a"b', Op.EQ, "x"),)), id="a quote in a key"),
        pytest.param(Query(sort_by="nothing"), id="sort by an unknown field"),
        pytest.param(Query(offset=-1), id="a negative offset"),
        pytest.param(Query(limit=-1), id="a negative limit"),
    ],
)
async def test_a_wrong_query_is_refused(store: Store, query: Query) -> None:
    with pytest.raises(InvalidRequest):
        await store.list(Workload, query)
