"""Forms of projects and departments: quota for each node pool in GPUs, cores and GiB; rules as lengths of time.

What was not changed is not sent: an amount that no input can show exactly
(bytes that are no whole GiB) survives an edit of something else.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import to_camel
from runai_core.model.organization import Department, Project, QueueResources, SchedulingRules
from runai_core.model.resources import MILLI
from runai_core.policy.scheduling_rules import EffectiveRules
from runai_core.web.changes import seconds_of
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, text_of
from runai_core.web.pages.shown import GIB
from runai_core.web.views.organization import RANKS

Unit = Department | Project

GIB_IN_MIB = 1024


@dataclass(frozen=True, slots=True)
class Amount:
    """How one resource is asked for: label, unit, exact units in one, and what the API gets for one."""

    label: str
    unit: str
    exact: int
    api: int


AMOUNTS: Mapping[str, Amount] = {
    "gpu": Amount("GPU", "GPUs", MILLI, 1),
    "cpu": Amount("CPU", "cores", MILLI, MILLI),
    "memory": Amount("Memory", "GiB", GIB, GIB_IN_MIB),
}

RULES: Mapping[str, str] = {
    "interactive_job_time_limit_seconds": "Workspaces may run for",
    "training_job_time_limit_seconds": "Trainings may run for",
    "interactive_job_max_idle_duration_seconds": "Non-preemptible workspaces may leave GPUs idle for",
    "interactive_job_preempt_idle_duration_seconds": "Preemptible workspaces may leave GPUs idle for",
    "training_job_max_idle_duration_seconds": "Trainings may leave GPUs idle for",
}
"""Scheduling rule -> its label."""

_TIME_HELP = "For example 2h, 1d12h or 90m; empty: no limit of its own."


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitContext:
    """What the form knows besides the unit: names that exist, and what is inherited."""

    kind: str  # project | department
    pools: tuple[str, ...]
    departments: tuple[str, ...] = ()
    inherited: EffectiveRules = EffectiveRules()


def posted_unit(unit: Unit, pools: Sequence[str]) -> dict[str, list[str]]:
    """Return what a browser would post for the unit as it is."""
    texts: dict[str, str] = {
        "name": unit.name,
        "description": unit.description,
        "defaultNodePools": ", ".join(unit.default_node_pools),
        "nodeTypes.training": ", ".join(unit.node_types_training),
        "nodeTypes.workspace": ", ".join(unit.node_types_workspace),
    }
    if isinstance(unit, Project):
        texts |= {"parentId": unit.department, "requestedNamespace": unit.namespace}
    for name in RULES:
        texts[f"schedulingRules.{to_camel(name)}"] = length_text(getattr(unit.scheduling_rules, name))
    for pool in pools:
        texts |= _pool_texts(pool, unit.resources.get(pool, QueueResources()))
    return {name: [text] for name, text in texts.items()}


def body_of(posted: Posted, before: Posted, pools: Sequence[str]) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the body of the API with what differs from before, and what could not be read.

    Node pools without a change are not in it.
    """
    errors: list[FieldError] = []
    body: dict[str, Any] = {}
    changed = [name for name in posted if name in before and text_of(posted, name) != text_of(before, name)]
    for name in ("name", "parentId", "requestedNamespace", "description"):
        if name in changed or (name in posted and name not in before):
            body[name] = text_of(posted, name)
    if "defaultNodePools" in changed:
        body["defaultNodePools"] = names_in(text_of(posted, "defaultNodePools"))
    types = [name for name in ("nodeTypes.training", "nodeTypes.workspace") if name in changed]
    if types:
        body["nodeTypes"] = {name.partition(".")[2]: names_in(text_of(posted, name)) for name in types}
    if any(name.startswith("schedulingRules.") for name in changed):
        body["schedulingRules"] = _rules(posted, errors)
    resources = [_resources(pool, posted, changed, errors) for pool in pools]
    if any(resources):
        body["resources"] = [item for item in resources if item]
    return body, errors


def at_pools(errors: Sequence[FieldError], body: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors of a body with the names of node pools in place of their position in it."""
    pools = [item["nodePool"]["name"] for item in body.get("resources", ())]

    def named(found: re.Match[str]) -> str:
        index = int(found[1])
        return f"resources.{pools[index]}" if index < len(pools) else found[0]

    return [
        FieldError(re.sub(r"^resources\.(\d{1,6})", named, error.field), error.message, error.given, error.policy)
        for error in errors
    ]


def sections_of(posted: Posted, context: UnitContext, *, is_new: bool) -> tuple[Section, ...]:
    """Return the form with what was posted in it; errors are added by `with_errors`."""
    pools = tuple(
        Section(title=f"Quota in node pool {pool}", inputs=_pool_inputs(pool, posted), is_open=index == 0)
        for index, pool in enumerate(context.pools)
    )
    return (
        Section(title="", inputs=_general(posted, context, is_new=is_new)),
        *pools,
        Section(
            title="Scheduling rules",
            inputs=(*_rule_inputs(posted, context), *_place_inputs(posted, context)),
            is_open=any(text_of(posted, f"schedulingRules.{to_camel(name)}") for name in RULES),
            help="They bind workloads that are submitted from now on. A project may only tighten its department's.",
        ),
    )


def length_text(seconds: int | None) -> str:
    """Return a length of time as the form takes it: 9000 -> ``2h30m``."""
    if seconds is None:
        return ""
    rest, parts = seconds, []
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts) or "0s"


def names_in(text: str) -> list[str]:
    """Return the names between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _pool_texts(pool: str, resources: QueueResources) -> dict[str, str]:
    texts = {f"resources.{pool}.priority": _rank_text(resources.priority)}
    for resource, amount in AMOUNTS.items():
        quota = getattr(resources, resource)
        at = f"resources.{pool}.{resource}"
        texts[f"{at}.deserved"] = "" if quota.deserved is None else f"{quota.deserved / amount.exact:.6g}"
        texts[f"{at}.limit"] = "" if quota.limit is None else f"{quota.limit / amount.exact:.6g}"
        texts[f"{at}.overQuotaWeight"] = f"{quota.over_quota_weight:g}"
    return texts


def _rank_text(rank: int) -> str:
    return next((name for name, value in RANKS.items() if value == rank), str(rank))


def _resources(pool: str, posted: Posted, changed: Sequence[str], errors: list[FieldError]) -> dict[str, Any]:
    """Return what the body says of one node pool; empty where nothing was changed."""
    said: dict[str, Any] = {}
    for resource, amount in AMOUNTS.items():
        quota: dict[str, Any] = {}
        for member in ("deserved", "limit", "overQuotaWeight"):
            name = f"resources.{pool}.{resource}.{member}"
            if name in changed:
                size = 1 if member == "overQuotaWeight" else amount.api
                quota[member] = _number(name, text_of(posted, name), size, errors)
        if quota:
            said[resource] = quota | ({"units": "Mib"} if resource == "memory" else {})
            guaranteed = f"resources.{pool}.gpu.deserved"
            if guaranteed in changed and resource == "gpu" and not text_of(posted, guaranteed):
                errors.append(FieldError(guaranteed, "is required; 0: nothing is guaranteed"))
    if f"resources.{pool}.priority" in changed:
        said["priority"] = text_of(posted, f"resources.{pool}.priority")
    return {"nodePool": {"name": pool}, **said} if said else {}


def _number(name: str, text: str, size: int, errors: list[FieldError]) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        errors.append(FieldError(name, "must be a number from 0", text[:80]))
        return None
    return value * size


def _rules(posted: Posted, errors: list[FieldError]) -> dict[str, int]:
    rules = {}
    for member in fields(SchedulingRules):
        name = f"schedulingRules.{to_camel(member.name)}"
        text = text_of(posted, name)
        if text:
            try:
                rules[to_camel(member.name)] = int(seconds_of(text, name))
            except InvalidRequest as error:
                errors += error.errors
    return rules


def _general(posted: Posted, context: UnitContext, *, is_new: bool) -> tuple[Input, ...]:
    name = Input(
        name="name",
        label="Name",
        value=text_of(posted, "name"),
        required=is_new,
        locked=not is_new,
        help="Lower-case letters, digits and '-'." if is_new else "Names stay as they are.",
    )
    description = Input(name="description", label="Description", value=text_of(posted, "description"))
    if context.kind == "department":
        return name, description
    department = Input(
        name="parentId",
        label="Department",
        widget=Widget.SELECT,
        value=text_of(posted, "parentId"),
        options=tuple(Option(item) for item in context.departments),
        required=is_new,
        locked=not is_new,
    )
    namespace = Input(
        name="requestedNamespace",
        label="Namespace",
        value=text_of(posted, "requestedNamespace"),
        locked=not is_new,
        help="On Kubernetes; runai-<name> when empty." if is_new else "",
    )
    return name, department, description, namespace


def _pool_inputs(pool: str, posted: Posted) -> tuple[Input, ...]:
    inputs = []
    for resource, amount in AMOUNTS.items():
        at = f"resources.{pool}.{resource}"
        empty = "0: nothing is guaranteed." if resource == "gpu" else "Empty: unlimited."
        shapes: tuple[tuple[str, str, str], ...] = (
            ("deserved", f"{amount.label} quota", f"What is guaranteed. {empty}"),
            ("limit", f"{amount.label} limit", "Most that may be held, over quota included. Empty: no limit."),
            ("overQuotaWeight", f"{amount.label} over-quota weight", "Share of what others leave; 0: none."),
        )
        inputs += [
            Input(
                name=f"{at}.{member}",
                label=label,
                widget=Widget.NUMBER,
                value=text_of(posted, f"{at}.{member}"),
                help=text,
                unit="" if member == "overQuotaWeight" else amount.unit,
            )
            for member, label, text in shapes
        ]
    rank = Input(
        name=f"resources.{pool}.priority",
        label="Rank",
        value=text_of(posted, f"resources.{pool}.priority"),
        options=tuple(Option(name) for name in RANKS),
        help=f"Who is served first over quota: {', '.join(RANKS)}, or a number.",
    )
    return (*inputs, rank)


def _rule_inputs(posted: Posted, context: UnitContext) -> tuple[Input, ...]:
    return tuple(
        _with_origin(
            Input(
                name=f"schedulingRules.{to_camel(name)}",
                label=label,
                value=text_of(posted, f"schedulingRules.{to_camel(name)}"),
                help=_TIME_HELP,
            ),
            context.inherited,
            length_text(getattr(context.inherited.rules, name)),
        )
        for name, label in RULES.items()
    )


def _place_inputs(posted: Posted, context: UnitContext) -> tuple[Input, ...]:
    shapes: tuple[tuple[str, str, str, Callable[[EffectiveRules], Sequence[str]]], ...] = (
        (
            "defaultNodePools",
            "Default node pools",
            f"In order of preference, between commas. There are: {', '.join(context.pools)}.",
            lambda rules: rules.default_node_pools,
        ),
        (
            "nodeTypes.workspace",
            "Node types of workspaces",
            "Values of the node label run.ai/type, between commas; empty: all.",
            lambda rules: rules.node_types.get("workspace", ()),
        ),
        (
            "nodeTypes.training",
            "Node types of trainings",
            "Values of the node label run.ai/type, between commas; empty: all.",
            lambda rules: rules.node_types.get("training", ()),
        ),
    )
    return tuple(
        _with_origin(
            Input(name=name, label=label, value=text_of(posted, name), help=text),
            context.inherited,
            ", ".join(value(context.inherited)),
        )
        for name, label, text, value in shapes
    )


def _with_origin(shape: Input, rules: EffectiveRules, value: str) -> Input:
    """Return the input with what holds now and whose rule that is."""
    origin = rules.origins.get(shape.name)
    if origin is None:
        return shape
    return replace(shape, note=f"In force: {value}, set by {origin.replace('/', ' ')}.")
