"""Time limits of projects and departments: inherited, and only ever tightened.

Rules of Run:ai's scheduling rules (docs 2.25): a project has its department's
limits, may set shorter ones, and can neither lengthen nor remove them.
"""

from dataclasses import fields

from runai_core.model.errors import FieldError
from runai_core.model.meta import to_camel
from runai_core.model.organization import SchedulingRules

NAMES = tuple(member.name for member in fields(SchedulingRules))


def effective(department: SchedulingRules, project: SchedulingRules) -> SchedulingRules:
    """Return what holds for the workloads of a project: of each pair, the shorter limit. Seconds."""
    limits: dict[str, int | None] = {}
    for name in NAMES:
        both = (getattr(department, name), getattr(project, name))
        limits[name] = min((limit for limit in both if limit is not None), default=None)
    return SchedulingRules(**limits)


def check(department: SchedulingRules, project: SchedulingRules) -> tuple[FieldError, ...]:
    """Return what is wrong with a project's rules: limits below 1 s, or longer than its department's."""
    errors = []
    for name in NAMES:
        above, own = getattr(department, name), getattr(project, name)
        path = f"schedulingRules.{to_camel(name)}"
        if own is not None and own < 1:
            errors.append(FieldError(path, "must be at least 1 second; leave it out for no limit", own))
        elif own is not None and above is not None and own > above:
            message = f"must be at most {above} seconds, the department's limit: a project may only tighten it"
            errors.append(FieldError(path, message, own))
    return tuple(errors)
