"""What a department, project or node pool must be like, whoever asks for it."""

import re
from collections.abc import Mapping

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.nodes import NodePool, PlacementStrategy, WindowType
from runai_core.model.organization import Department, Project, ResourceQuota
from runai_core.model.resources import MB, MILLI
from runai_core.policy import scheduling_rules

UNIT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
UNIT_NAME_RULE = (
    "must be 1 to 63 characters: lower-case letters, digits and '-', beginning and ending with a letter or digit"
)

SHORTEST_WINDOW, LONGEST_WINDOW = 600.0, 366 * 86400.0
"""Bounds of the past, in seconds, that time-based fair share may look at."""


def check_rules(department: Department, project: Project) -> None:
    """Refuse rules of a project that loosen those of its department."""
    errors = (
        *scheduling_rules.check(department.scheduling_rules, project.scheduling_rules),
        *scheduling_rules.check_node_types(department, project),
    )
    if errors:
        raise InvalidRequest.of(*errors)


def check_name(where: str, name: str) -> None:
    """Refuse what cannot be the name of a unit."""
    if len(name) > 63 or not UNIT_NAME.fullmatch(name):
        raise InvalidRequest.of(FieldError(where, UNIT_NAME_RULE, name[:80]))


def check_quotas(unit: Department | Project) -> None:
    """Refuse quotas that contradict themselves."""
    for pool, resources in unit.resources.items():
        for name, size in _UNITS.items():
            _check_quota(f"resources.{pool}.{name}", getattr(resources, name), size)


_UNITS: Mapping[str, int] = {"gpu": MILLI, "cpu": 1, "memory": MB}
"""How many of our exact units one unit of the API is."""


def _check_quota(where: str, quota: ResourceQuota, unit: int) -> None:
    if quota.deserved is not None and quota.deserved < 0:
        message = "must not be negative; leave it out for unlimited"
        raise InvalidRequest.of(FieldError(f"{where}.deserved", message, f"{quota.deserved / unit:g}"))
    if quota.limit is not None and quota.limit < 0:
        message = "must not be negative; leave it out for no limit"
        raise InvalidRequest.of(FieldError(f"{where}.limit", message, f"{quota.limit / unit:g}"))
    if quota.limit is not None and quota.deserved is not None and quota.deserved > quota.limit:
        message = f"must not be more than the limit {quota.limit / unit:g}"
        raise InvalidRequest.of(FieldError(f"{where}.deserved", message, f"{quota.deserved / unit:g}"))
    if not 0 <= quota.over_quota_weight < float("inf"):
        raise InvalidRequest.of(
            FieldError(f"{where}.overQuotaWeight", "must be a number from 0", quota.over_quota_weight)
        )


def check_fair_share(pool: NodePool) -> None:
    """Refuse a past that time-based fair share cannot look at."""
    at = "schedulingConfiguration.timeBasedFairShare"
    if not SHORTEST_WINDOW <= pool.fair_share_window <= LONGEST_WINDOW:
        raise InvalidRequest.of(
            FieldError(f"{at}.window", "must be from ten minutes to 366 days", f"{pool.fair_share_window:g} s")
        )
    if pool.fair_share_window_type not in tuple(WindowType):
        raise InvalidRequest.of(
            FieldError(f"{at}.windowType", f"must be one of {', '.join(WindowType)}", pool.fair_share_window_type)
        )
    for name, value in (("halfLife", pool.fair_share_half_life), ("historyWeight", pool.fair_share_history_weight)):
        if not 0 <= value < float("inf"):
            raise InvalidRequest.of(FieldError(f"{at}.{name}", "must be 0 or more", value))


def check_placement(pool: NodePool) -> None:
    """Refuse placement strategies that are not there."""
    known = tuple(PlacementStrategy)
    for name, value in (("gpu", pool.gpu_placement), ("cpu", pool.cpu_placement)):
        if value not in known:
            raise InvalidRequest.of(
                FieldError(f"placementStrategy.{name}", f"must be one of {', '.join(known)}", value)
            )
