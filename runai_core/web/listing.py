"""Lists: the API's offset, limit, sortBy, filterBy and search, turned into a store's query.

Each kind of object has a table of columns: the API's name, the path of the
field in our model, and how a value is read. What is not in the table cannot be
filtered or sorted by, and the error says what can.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import to_camel
from runai_core.model.snapshot import PodState, Preemptibility
from runai_core.ports import Filter, Op, Page, Query, Stored
from runai_core.web.answers.base import Answer
from runai_core.web.answers.organization import NodeItem

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_CONDITIONS, MAX_CONDITION = 100, 1000
"""How many conditions a list may have, and how long each; databases refuse more in words of their own."""

T = TypeVar("T", bound=Stored)
Shown = TypeVar("Shown", bound=Answer)

Value = str | int | float | bool


class ListQuery(BaseModel):
    """Which objects, in which order, and which part of them."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    offset: Annotated[int, Field(ge=0, le=2**31, description="First object.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Most objects.")] = DEFAULT_LIMIT
    sort_by: Annotated[str, Field(max_length=100, description="Field to sort by.")] = ""
    sort_order: Literal["asc", "desc"] = "asc"
    filter_by: Annotated[
        tuple[str, ...],
        Field(
            max_length=50, description="Conditions such as name==x; operators == != <= >= =@ !@ =^ =$. All must hold."
        ),
    ] = ()
    search: Annotated[str, Field(max_length=253, description="Part of the name, ignoring case.")] = ""
    deleted: Annotated[bool, Field(description="Only deleted ones that are still kept.")] = False
    verbosity: Annotated[str, Field(description="Accepted; answers are always whole.", max_length=32)] = ""


class WorkloadListQuery(ListQuery):
    """The same for workloads."""

    project_id: Annotated[
        str, Field(description="Id or name of a project (ours; filterBy projectId== does the same).")
    ] = ""


class PodListQuery(ListQuery):
    """The same for pods."""

    completed: Annotated[bool | None, Field(description="Only finished pods, or only others.")] = None


class CountQuery(BaseModel):
    """Which objects are counted."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    filter_by: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    search: Annotated[str, Field(max_length=253)] = ""
    deleted: bool = False


class ClusterQuery(BaseModel):
    """What Run:ai's clients say when they ask for clusters; answers are always whole."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    verbosity: str = ""
    include_requested_for_delete: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A field that a list can be filtered and sorted by."""

    path: str  # in our own names, as the store knows it
    read: Callable[[str], Value] = str


def number(text: str) -> Value:
    """Return a finite number; raise ValueError."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def time(text: str) -> Value:
    """Return an ISO 8601 time as seconds since the epoch; raise ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.timestamp()


def preemptibility(text: str) -> Value:
    """Return what `preemptible==true` stands for; raise ValueError."""
    return {"true": Preemptibility.PREEMPTIBLE.value, "false": Preemptibility.NON_PREEMPTIBLE.value}[text.lower()]


READERS: Mapping[Callable[[str], Value], str] = {
    number: "a number",
    time: "a time such as 2026-01-31T12:00:00Z",
    preemptibility: "true or false",
}
"""What to say when a value cannot be read."""

COMMON: Mapping[str, Column] = {
    "id": Column("meta.uid"),
    "name": Column("meta.name"),
    "createdAt": Column("meta.created_at", time),
    "updatedAt": Column("meta.updated_at", time),
    "deletedAt": Column("meta.deleted_at", time),
    "createdBy": Column("meta.created_by"),
    "updatedBy": Column("meta.updated_by"),
}

WORKLOADS: Mapping[str, Column] = {
    **COMMON,
    "type": Column("type"),
    "phase": Column("phase"),
    "phaseUpdatedAt": Column("phase_updated_at", time),
    "projectName": Column("meta.project"),
    "projectId": Column("meta.project"),
    "departmentName": Column("department"),
    "departmentId": Column("department"),
    "submittedBy": Column("meta.created_by"),
    "source": Column("source"),
    "category": Column("category"),
    "priority": Column("priority", number),
    "priorityClassName": Column("priority_class"),
    "preemptible": Column("preemptibility", preemptibility),
    "nodePool": Column("node_pool"),
    "currentNodePool": Column("node_pool"),
    "runningPods": Column("pods_running", number),
    "completedAt": Column("completed_at", time),
    "distributedFramework": Column("spec.distributed_framework"),
    "image": Column("spec.image"),
    "command": Column("spec.command"),
    "requestedGPU": Column("spec.compute.gpu_devices_request", number),
}

PODS: Mapping[str, Column] = {
    **COMMON,
    "workloadId": Column("meta.owner"),
    "workloadName": Column("workload"),
    "projectName": Column("meta.project"),
    "projectId": Column("meta.project"),
    "nodeName": Column("status.node"),
    "currentNodePool": Column("node_pool"),
    "state": Column("status.state"),
}

RECORDS: Mapping[str, Column] = {
    "createdAt": COMMON["createdAt"],
    "type": Column("severity"),
    "reason": Column("reason"),
    "message": Column("message"),
}

PROJECTS: Mapping[str, Column] = {
    **COMMON,
    "departmentId": Column("department"),
    "parentId": Column("department"),
    "parentName": Column("department"),
    "departmentName": Column("department"),
    "description": Column("description"),
    "namespace": Column("namespace"),
}

DEPARTMENTS: Mapping[str, Column] = {**COMMON, "description": Column("description")}

NODE_POOLS: Mapping[str, Column] = {**COMMON, "labelKey": Column("label_key"), "labelValue": Column("label_value")}

_CONDITION = re.compile(r"([A-Za-z][A-Za-z0-9._]*)(==|!=|<=|>=|=@|!@|=\^|=\$)(.*)", re.DOTALL)


def query_of(given: ListQuery | CountQuery, columns: Mapping[str, Column]) -> Query:
    """Return the store's query for what a client asked.

    Raises:
        InvalidRequest: an unknown field or operator, or a value that does not fit the field.
    """
    query = Query(filters=filters_of(given.filter_by, columns), search=given.search, deleted=given.deleted)
    if isinstance(given, CountQuery):
        return replace(query, limit=1)
    if given.sort_by:
        query = replace(query, sort_by=_column(given.sort_by, columns, "sortBy").path)
    return replace(query, descending=given.sort_order == "desc", offset=given.offset, limit=given.limit)


def with_completed(query: Query, completed: bool | None) -> Query:  # noqa: FBT001  a value of the API, no switch
    """Return the query for pods that have ended, or for the others."""
    if completed is None:
        return query
    # Conditions are joined by "and": an ended pod is known by the time at which it ended.
    ended = (Filter("status.finished_at", Op.GE, 0.0),)
    others = tuple(Filter("status.state", Op.NE, state.value) for state in (PodState.SUCCEEDED, PodState.FAILED))
    return replace(query, filters=(*query.filters, *(ended if completed else others)))


def page_in_memory(items: Sequence[T], given: ListQuery) -> Page[T]:
    """Return the part of a short list that was asked for, searched by name."""
    found = [item for item in items if given.search.lower() in item.meta.name.lower()]
    cut = found[given.offset : given.offset + given.limit]
    return Page(items=tuple(cut), total=len(found), version=0)


def matching(items: Sequence[NodeItem], conditions: Sequence[str], search: str) -> list[NodeItem]:
    """Return the nodes that fulfil all conditions; they are few and not in a store."""
    return matching_items(items, NODES, conditions, search)


def matching_items(
    items: Sequence[Shown], columns: Mapping[str, Column], conditions: Sequence[str], search: str
) -> list[Shown]:
    """Return the answers that fulfil all conditions; the columns' paths are in the answers themselves."""
    filters, name = filters_of(conditions, columns), columns["name"].path
    return [
        item
        for item in items
        if search.lower() in _text(item, name).lower() and all(_holds(condition, item) for condition in filters)
    ]


def sorted_by(items: Sequence[NodeItem], field: str, order: str) -> list[NodeItem]:
    """Return the nodes in the order that was asked for, ties by name."""
    return ordered_items(items, NODES, field, order)


def ordered_items(items: Sequence[Shown], columns: Mapping[str, Column], field: str, order: str) -> list[Shown]:
    """Return the answers in the order that was asked for, ties by name."""
    name = columns["name"].path
    path = _column(field, columns, "sortBy").path if field else name
    return sorted(items, key=lambda item: (_text(item, path), _text(item, name)), reverse=order == "desc")


NODES: Mapping[str, Column] = {
    "name": Column("name"),
    "status": Column("status"),
    "nodePool": Column("node_pool"),
    "clusterUuid": Column("cluster_uuid"),
    "gpuType": Column("gpu_info.gpu_type"),
}
"""Columns of nodes: paths in the answer itself."""

_HOLDS: Mapping[Op, Callable[[str, str], bool]] = {
    Op.EQ: lambda value, given: value == given,
    Op.NE: lambda value, given: value != given,
    Op.LE: lambda value, given: value <= given,
    Op.GE: lambda value, given: value >= given,
    Op.CONTAINS: lambda value, given: given.lower() in value.lower(),
    Op.NOT_CONTAINS: lambda value, given: given.lower() not in value.lower(),
    Op.STARTS: lambda value, given: value.lower().startswith(given.lower()),
    Op.ENDS: lambda value, given: value.lower().endswith(given.lower()),
}


def _holds(condition: Filter, item: Answer) -> bool:
    return _HOLDS[condition.op](_text(item, condition.field), str(condition.value))


def _text(item: Answer, path: str) -> str:
    value: Any = item
    for part in path.split("."):
        value = getattr(value, part, None)
    return "" if value is None else str(value)


def filters_of(conditions: Sequence[str], columns: Mapping[str, Column]) -> tuple[Filter, ...]:
    """Return the conditions as filters; several may stand in one text, separated by commas."""
    parts = [part for text in conditions for part in split(text)]
    if len(parts) > MAX_CONDITIONS or any(len(part) > MAX_CONDITION for part in parts):
        message = f"must be at most {MAX_CONDITIONS} conditions of {MAX_CONDITION} characters each"
        raise InvalidRequest.of(FieldError("filterBy", message))
    return tuple(_filter(part, columns) for part in parts)


def split(text: str) -> list[str]:
    """Return the conditions of one parameter: a JSON list, or texts between commas that begin a condition."""
    if text.startswith("["):
        try:
            return [str(item) for item in json.loads(text)]
        except (ValueError, RecursionError):
            raise InvalidRequest.of(FieldError("filterBy", "must be conditions such as name==x", text[:80])) from None
    parts: list[str] = []
    for piece in text.split(","):
        if parts and not _CONDITION.match(piece):
            parts[-1] += f",{piece}"  # the comma belongs to the value before it
        else:
            parts.append(piece)
    return [part for part in parts if part]


def next_offset(page: Page[Any], offset: int) -> int | None:
    """Return where the next page begins; None at the end."""
    end = offset + len(page.items)
    return end if page.items and end < page.total else None


def _filter(text: str, columns: Mapping[str, Column]) -> Filter:
    match = _CONDITION.fullmatch(text)
    if match is None:
        message = "must be a field, an operator (== != <= >= =@ !@ =^ =$) and a value, for example phase==Running"
        raise InvalidRequest.of(FieldError("filterBy", message, text[:80]))
    name, op, value = match.groups()
    column = _column(name, columns, "filterBy")
    try:
        return Filter(column.path, Op(op), column.read(value))
    except (ValueError, KeyError, OverflowError):
        message = f"{name} is compared with {READERS.get(column.read, 'text')}"
        raise InvalidRequest.of(FieldError("filterBy", message, text[:80])) from None


def _column(name: str, columns: Mapping[str, Column], where: str) -> Column:
    if name not in columns:
        raise InvalidRequest.of(FieldError(where, f"must name one of {', '.join(sorted(columns))}", name[:80]))
    return columns[name]
