"""Scheduling rules of projects and departments: inherited, and only ever tightened.

Rules of Run:ai's scheduling rules (docs 2.25): a project has its department's
limits, may set shorter ones, and can neither lengthen nor remove them; of its
department's node types it may leave out some. Each rule binds the workloads
that are submitted after it, workspaces and trainings only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from runai_core.model.errors import FieldError
from runai_core.model.meta import to_camel
from runai_core.model.organization import Department, Project, SchedulingRules
from runai_core.model.snapshot import Preemptibility
from runai_core.model.workload import Limit, Limits, WorkloadType

NAMES = tuple(member.name for member in fields(SchedulingRules))

FAMILIES: Mapping[WorkloadType, str] = {
    WorkloadType.WORKSPACE: "workspace",
    WorkloadType.TRAINING: "training",
    WorkloadType.DISTRIBUTED: "training",
}
"""Type -> the word under which rules speak of it; other types are bound by none."""

TIME_RULES: Mapping[str, str] = {
    "workspace": "interactive_job_time_limit_seconds",
    "training": "training_job_time_limit_seconds",
}

IDLE_RULES: Mapping[tuple[str, Preemptibility], str] = {
    ("workspace", Preemptibility.NON_PREEMPTIBLE): "interactive_job_max_idle_duration_seconds",
    ("workspace", Preemptibility.PREEMPTIBLE): "interactive_job_preempt_idle_duration_seconds",
    ("training", Preemptibility.NON_PREEMPTIBLE): "training_job_max_idle_duration_seconds",
    ("training", Preemptibility.PREEMPTIBLE): "training_job_max_idle_duration_seconds",
}

_NODE_TYPES: Mapping[str, str] = {"training": "node_types_training", "workspace": "node_types_workspace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRules:
    """What holds for the workloads of a project, and whose rule each is."""

    rules: SchedulingRules = field(default_factory=SchedulingRules)
    node_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # workspace, training; empty: all
    default_node_pools: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)  # path in the API -> project/<name> or department/<name>


def effective(department: SchedulingRules, project: SchedulingRules) -> SchedulingRules:
    """Return what holds for the workloads of a project: of each pair, the shorter limit. Seconds."""
    limits: dict[str, int | None] = {}
    for name in NAMES:
        both = (getattr(department, name), getattr(project, name))
        limits[name] = min((limit for limit in both if limit is not None), default=None)
    return SchedulingRules(**limits)


def effective_rules(department: Department, project: Project) -> EffectiveRules:
    """Return what holds for the workloads of a project, each with its origin."""
    rules = effective(department.scheduling_rules, project.scheduling_rules)
    origins: dict[str, str] = {}
    for name in NAMES:
        limit = getattr(rules, name)
        if limit is not None:
            inherited = getattr(department.scheduling_rules, name) == limit
            origins[f"schedulingRules.{to_camel(name)}"] = _origin(department if inherited else project)
    types: dict[str, tuple[str, ...]] = {}
    for word, name in _NODE_TYPES.items():
        types[word] = _node_types(getattr(department, name), getattr(project, name))
        if types[word]:
            own = set(types[word]) <= set(getattr(project, name))
            origins[f"nodeTypes.{word}"] = _origin(project if own else department)
    pools = project.default_node_pools or department.default_node_pools
    if pools:
        origins["defaultNodePools"] = _origin(project if project.default_node_pools else department)
    return EffectiveRules(rules=rules, node_types=types, default_node_pools=pools, origins=origins)


def limits_of(found: EffectiveRules, kind: WorkloadType, preemptibility: Preemptibility) -> Limits | None:
    """Return the limits that bind a workload submitted now; None where there are none."""
    family = FAMILIES.get(kind)
    if family is None:
        return None
    time = _limit(found, TIME_RULES[family])
    idle = _limit(found, IDLE_RULES[family, preemptibility])
    return Limits(time=time, idle=idle) if time or idle else None


def check_node_type(found: EffectiveRules, kind: WorkloadType, node_type: str | None) -> tuple[FieldError, ...]:
    """Return what is wrong with the node type that a submission names: where there is a list, it must be of it."""
    family = FAMILIES.get(kind, "")
    allowed = found.node_types.get(family, ())
    if not allowed or node_type in allowed:
        return ()
    origin = found.origins[f"nodeTypes.{family}"].replace("/", " ")
    message = f"must be one of {', '.join(allowed)}: the node types of {family}s in {origin}"
    return (FieldError("spec.nodeType", message, node_type),)


def check(department: SchedulingRules, project: SchedulingRules) -> tuple[FieldError, ...]:
    """Return what is wrong with a project's rules: limits below 1 s, or longer than its department's."""
    errors = list(check_limits(project))
    wrong = {error.field for error in errors}
    for name in NAMES:
        above, own = getattr(department, name), getattr(project, name)
        path = f"schedulingRules.{to_camel(name)}"
        if path not in wrong and own is not None and above is not None and own > above:
            message = f"must be at most {above} seconds, the department's limit: a project may only tighten it"
            errors.append(FieldError(path, message, own))
    return tuple(errors)


def check_limits(rules: SchedulingRules) -> tuple[FieldError, ...]:
    """Return the limits below 1 s."""
    return tuple(
        FieldError(f"schedulingRules.{to_camel(name)}", "must be at least 1 second; leave it out for no limit", limit)
        for name in NAMES
        if (limit := getattr(rules, name)) is not None and limit < 1
    )


def check_node_types(department: Department, project: Project) -> tuple[FieldError, ...]:
    """Return the node types of a project that its department does not allow."""
    errors = []
    for word, name in _NODE_TYPES.items():
        above, own = getattr(department, name), getattr(project, name)
        for wrong in sorted(set(own) - set(above)) if above else ():
            message = f"must be among {', '.join(above)}, the department's: a project may only leave out some"
            errors.append(FieldError(f"nodeTypes.{word}", message, wrong))
    return tuple(errors)


def _node_types(department: tuple[str, ...], project: tuple[str, ...]) -> tuple[str, ...]:
    """Return what both allow; where the department took all of a project's types away since, its own hold."""
    both = tuple(name for name in project if not department or name in department)
    return both or department


def _limit(found: EffectiveRules, name: str) -> Limit | None:
    seconds = getattr(found.rules, name)
    if seconds is None:
        return None
    rule = to_camel(name)
    return Limit(rule=rule, seconds=seconds, origin=found.origins[f"schedulingRules.{rule}"])


def _origin(unit: Department | Project) -> str:
    return f"{'department' if isinstance(unit, Department) else 'project'}/{unit.name}"
