"""Lists: what clients write becomes a query of the store, or an error that says what can be written."""

from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest
from runai_core.ports import Filter, Op
from runai_core.web.listing import NODES, WORKLOADS, CountQuery, ListQuery, filters_of, query_of, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("name==a", Filter("meta.name", Op.EQ, "a"), id="equal"),
        pytest.param("name!=a", Filter("meta.name", Op.NE, "a"), id="not equal"),
        pytest.param("priority<=50", Filter("priority", Op.LE, 50.0), id="a number is read as a number"),
        pytest.param("name=@a", Filter("meta.name", Op.CONTAINS, "a"), id="contains"),
        pytest.param("name!@a", Filter("meta.name", Op.NOT_CONTAINS, "a"), id="does not contain"),
        pytest.param("name=^a", Filter("meta.name", Op.STARTS, "a"), id="starts with"),
        pytest.param("name=$a", Filter("meta.name", Op.ENDS, "a"), id="ends with"),
        pytest.param("name==a==b", Filter("meta.name", Op.EQ, "a==b"), id="a value may hold an operator"),
        pytest.param("name==", Filter("meta.name", Op.EQ, ""), id="a value may be empty"),
        pytest.param(
            "createdAt>=1970-01-01T00:01:00Z", Filter("meta.created_at", Op.GE, 60.0), id="a time becomes seconds"
        ),
        pytest.param(
            "preemptible==false", Filter("preemptibility", Op.EQ, "non-preemptible"), id="a boolean becomes our word"
        ),
    ],
)
def test_a_condition_becomes_a_filter(text: str, expected: Filter) -> None:
    assert filters_of([text], WORKLOADS) == (expected,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("nam==a", "must name one of", id="an unknown field"),
        pytest.param("name", "an operator", id="no operator"),
        pytest.param("name~=a", "an operator", id="an unknown operator"),
        pytest.param("priority==high", "a number", id="text for a number"),
        pytest.param("priority==nan", "a number", id="a number that is none"),
        pytest.param("createdAt>=yesterday", "a time such as", id="text for a time"),
        pytest.param("createdAt>=2026-01-01T00:00:00", "a time such as", id="a time without a zone"),
        pytest.param("preemptible==maybe", "true or false", id="text for a boolean"),
        pytest.param('["name==a"', "must be conditions", id="half a JSON list"),
    ],
)
def test_a_wrong_condition_is_refused_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        filters_of([text], WORKLOADS)

    assert caught.value.errors[0].field == "filterBy"
    assert says in caught.value.errors[0].message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("name==a", ["name==a"], id="one"),
        pytest.param(
            "name==a,phase==Running", ["name==a", "phase==Running"], id="two between a comma, as runapy sends"
        ),
        pytest.param("name==a,b", ["name==a,b"], id="a comma inside a value stays"),
        pytest.param('["name==a","phase!=Failed"]', ["name==a", "phase!=Failed"], id="a JSON list"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_several_conditions_may_stand_in_one_parameter(text: str, parts: list[str]) -> None:
    assert split(text) == parts


def test_a_query_has_order_and_part() -> None:
    given = ListQuery(offset=10, limit=5, sort_by="phase", sort_order="desc", search="x", deleted=True)

    query = query_of(given, WORKLOADS)

    assert (query.offset, query.limit, query.sort_by, query.descending) == (10, 5, "phase", True)
    assert (query.search, query.deleted) == ("x", True)


def test_counting_reads_one_object_only() -> None:
    assert query_of(CountQuery(), WORKLOADS).limit == 1


def test_an_unknown_field_to_sort_by_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="sortBy: must name one of"):
        query_of(ListQuery(sort_by="colour"), WORKLOADS)


@pytest.mark.parametrize("columns", [WORKLOADS, NODES])
def test_names_of_columns_are_camel_case(columns: dict[str, Any]) -> None:
    assert all(name[0].islower() and "_" not in name for name in columns)
