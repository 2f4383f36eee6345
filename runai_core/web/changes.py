"""Requests that create or change projects, departments and node pools: bodies -> model objects."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.organization import DEFAULT_DEPARTMENT, Department, Project, QueueResources, ResourceQuota
from runai_core.model.resources import MAX_AMOUNT, MB, MIB, MILLI
from runai_core.web.node_pool_bodies import NodePoolCreate, NodePoolUpdate, TimeBasedFairShare
from runai_core.web.schemas import (
    DepartmentCreate,
    DepartmentUpdate,
    MemoryQuotaFields,
    NodePoolRef,
    ProjectCreate,
    ProjectUpdate,
    QuotaFields,
    ResourcesFields,
    UnitUpdate,
)
from runai_core.web.views.organization import RANKS

T = TypeVar("T")

MEMORY_UNITS: Mapping[str, int] = {"Mib": MIB, "MB": MB, "GB": 1000 * MB}
"""Bytes of each unit of memory quota."""

PoolName = Callable[[NodePoolRef | None], Awaitable[str]]
"""Finds the name of a node pool from its id or name."""

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s?)?")


def new_project(body: ProjectCreate, resources: Mapping[str, QueueResources]) -> Project:
    """Return the project that the body describes."""
    project = Project(
        meta=Meta(name=body.name),
        department=body.parent_id or DEFAULT_DEPARTMENT,
        resources=resources,
        namespace=body.requested_namespace or "",
    )
    return changed_project(project, body, resources)


def changed_project(project: Project, body: ProjectUpdate, resources: Mapping[str, QueueResources]) -> Project:
    """Return the project with what the body gives; the rest stays."""
    types = body.node_types
    return replace(
        project,
        description=_given(body.description, project.description),
        resources=resources,
        default_node_pools=_names(body.default_node_pools, project.default_node_pools),
        scheduling_rules=_given(body.scheduling_rules, project.scheduling_rules),
        node_types_training=_names(types.training if types else None, project.node_types_training),
        node_types_workspace=_names(types.workspace if types else None, project.node_types_workspace),
        enforce_scheduler=_given(body.enforce_runai_scheduler, project.enforce_scheduler),
    )


def new_department(body: DepartmentCreate, resources: Mapping[str, QueueResources]) -> Department:
    """Return the department that the body describes."""
    return changed_department(Department(meta=Meta(name=body.name)), body, resources)


def changed_department(
    department: Department, body: DepartmentCreate | DepartmentUpdate, resources: Mapping[str, QueueResources]
) -> Department:
    """Return the department with what the body gives; the rest stays."""
    types = body.node_types
    return replace(
        department,
        description=_given(body.description, department.description),
        resources=resources,
        default_node_pools=_names(body.default_node_pools, department.default_node_pools),
        node_types_training=_names(types.training if types else None, department.node_types_training),
        node_types_workspace=_names(types.workspace if types else None, department.node_types_workspace),
        scheduling_rules=_given(body.scheduling_rules, department.scheduling_rules),
    )


def new_node_pool(body: NodePoolCreate) -> NodePool:
    """Return the node pool that the body describes."""
    return changed_node_pool(NodePool(meta=Meta(name=body.name)), body)


def changed_node_pool(pool: NodePool, body: NodePoolUpdate) -> NodePool:
    """Return the node pool with what the body gives; the rest stays.

    Raises:
        InvalidRequest: the guaranteed run time cannot be read.
    """
    configuration = body.scheduling_configuration
    placements = [
        given for given in (body.placement_strategy, configuration and configuration.placement_strategy) if given
    ]
    gpu = next((given.gpu for given in placements if given.gpu), pool.gpu_placement)
    cpu = next((given.cpu for given in placements if given.cpu), pool.cpu_placement)
    runtime = configuration.min_guaranteed_runtime if configuration else None
    return replace(
        pool,
        label_key=_given(body.label_key, pool.label_key),
        label_value=_given(body.label_value, pool.label_value),
        gpu_placement=gpu,
        cpu_placement=cpu,
        min_guaranteed_runtime=pool.min_guaranteed_runtime if runtime is None else seconds_of(runtime),
        **_fair_share(pool, configuration.time_based_fair_share if configuration else None),
    )


def _fair_share(pool: NodePool, given: TimeBasedFairShare | None) -> dict[str, Any]:
    """Return the fields of a node pool that its time-based fair share is made of."""
    if given is None:
        return {}
    at = "schedulingConfiguration.timeBasedFairShare"
    window, half_life = given.window, given.half_life
    return {
        "time_based_fair_share": _given(given.enabled, pool.time_based_fair_share),
        "fair_share_history_weight": _given(given.history_weight, pool.fair_share_history_weight),
        "fair_share_window": pool.fair_share_window if window is None else seconds_of(window, f"{at}.window"),
        "fair_share_window_type": _given(given.window_type, pool.fair_share_window_type),
        "fair_share_half_life": (
            pool.fair_share_half_life if half_life is None else seconds_of(half_life, f"{at}.halfLife")
        ),
    }


async def resources_of(
    given: Sequence[ResourcesFields], old: Mapping[str, QueueResources], pool_name: PoolName
) -> dict[str, QueueResources]:
    """Return quota by node pool: fields that are given replace those of `old`, pools that are not given stay.

    Raises:
        InvalidRequest: an amount is too large, a rank is unknown, a pool comes twice. NotFound: no such node pool.
    """
    result = dict(old)
    seen: set[str] = set()
    for index, fields in enumerate(given):
        at = f"resources.{index}"
        name = await pool_name(fields.node_pool)
        if name in seen:
            raise InvalidRequest.of(FieldError(f"{at}.nodePool", "comes twice: give each node pool once", name))
        seen.add(name)
        result[name] = _queue_resources(fields, result.get(name, QueueResources()), at)
    return result


def change_of(body: UnitUpdate) -> Sequence[ResourcesFields]:
    """Return the quotas that a body gives; none if it gives none."""
    return body.resources or ()


def pool_ref(reference: NodePoolRef | None) -> str:
    """Return the id or name by which a node pool is looked up."""
    return (reference and (reference.id or reference.name)) or DEFAULT_NODE_POOL


def seconds_of(text: str, at: str = "schedulingConfiguration.minGuaranteedRuntime") -> float:
    """Return the seconds of a time such as ``5d8h40m``, ``90s`` or ``90``.

    Raises:
        InvalidRequest: the text is not such a time.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        message = "must be a time such as 5d8h40m, 30m or 90s"
        raise InvalidRequest.of(FieldError(at, message, text))
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _queue_resources(fields: ResourcesFields, old: QueueResources, at: str) -> QueueResources:
    memory = fields.memory
    size = MEMORY_UNITS[memory.units] if isinstance(memory, MemoryQuotaFields) else MB
    return QueueResources(
        gpu=_quota(fields.gpu, old.gpu, MILLI, f"{at}.gpu"),
        cpu=_quota(fields.cpu, old.cpu, 1, f"{at}.cpu"),
        memory=_quota(memory, old.memory, size, f"{at}.memory"),
        priority=old.priority if fields.priority is None else _rank(fields.priority, f"{at}.priority"),
    )


def _quota(fields: QuotaFields | None, old: ResourceQuota, size: int, at: str) -> ResourceQuota:
    if fields is None:
        return old
    given = fields.model_fields_set
    weight = fields.over_quota_weight
    return ResourceQuota(
        deserved=_amount(fields.deserved, size, f"{at}.deserved") if "deserved" in given else old.deserved,
        limit=_amount(fields.limit, size, f"{at}.limit") if "limit" in given else old.limit,
        over_quota_weight=old.over_quota_weight if weight is None else weight,
    )


def _amount(value: float | None, size: int, at: str) -> int | None:
    if value is None or value == -1:
        return None
    if value < 0:
        raise InvalidRequest.of(FieldError(at, "must be 0 or more; -1 or null is unlimited", value))
    amount = round(value * size)
    if amount > MAX_AMOUNT:
        raise InvalidRequest.of(FieldError(at, f"must be at most {MAX_AMOUNT // size}", value))
    return amount


def _rank(priority: str | int, at: str) -> int:
    if isinstance(priority, str) and priority.isdecimal() and len(priority) <= 9:
        priority = int(priority)
    if isinstance(priority, int):
        if not 0 <= priority <= 10**9:
            raise InvalidRequest.of(FieldError(at, "must be from 0 to 1000000000", priority))
        return priority
    if priority not in RANKS:
        raise InvalidRequest.of(FieldError(at, f"must be a number or one of {', '.join(RANKS)}", priority))
    return RANKS[priority]


def _given(value: T | None, old: T) -> T:
    return old if value is None else value


def _names(value: Sequence[str] | None, old: tuple[str, ...]) -> tuple[str, ...]:
    return old if value is None else tuple(value)
