"""Where an asset, a template or a policy holds: everything below its scope. Pure."""

from collections.abc import Collection, Mapping
from typing import Protocol

from runai_core.model.assets import DataVolume
from runai_core.model.organization import Project

NEAREST_FIRST = ("project", "department", "cluster", "tenant", "system")
EVERYWHERE = frozenset({"system", "tenant", "cluster"})
"""Scopes that everybody may look into; of several clusters, one has only its own projects."""

PRIVATE = "user"
"""Scope of what belongs to one person, wherever that person works; the scope's name is theirs."""


class Scoped(Protocol):
    """Something that belongs to a scope."""

    @property
    def scope_type(self) -> str:
        """system, tenant, cluster, department or project."""
        ...

    @property
    def scope(self) -> str:
        """Name of the department or project; id of the cluster where there are several."""
        ...


def covers(item: Scoped, project: Project) -> bool:
    """Return whether workloads of the project may use it: all of them, so nothing private."""
    if item.scope_type == PRIVATE:
        return False
    if item.scope_type == "cluster":
        return item.scope in ("", project.cluster)
    if item.scope_type in EVERYWHERE:
        return True
    return item.scope == (project.name if item.scope_type == "project" else project.department)


def nearness(item: Scoped) -> int:
    """Return a number that is smaller the nearer the scope is to a workload."""
    return NEAREST_FIRST.index(item.scope_type)


def is_visible(item: Scoped, projects: Collection[str] | None, departments: Mapping[str, str]) -> bool:
    """Return whether somebody who may read in these projects sees it; None means all projects.

    `departments` has the department of each project, by the project's name.
    """
    if item.scope_type == PRIVATE:
        return False  # its owner asks `service.private_credentials`
    if projects is None:
        return True
    if item.scope_type in EVERYWHERE:
        return bool(projects)
    if item.scope_type == "project":
        return item.scope in projects
    return any(departments.get(name) == item.scope for name in projects)


def is_shared(volume: DataVolume, project: Project) -> bool:
    """Return whether the project may mount the data volume."""
    wanted = (f"project/{project.name}", f"department/{project.department}")
    return volume.meta.project == project.name or any(
        scope in wanted or scope.partition("/")[0] in EVERYWHERE for scope in volume.shared
    )


def stored_name(item: str, scope_type: str, scope: str, title: str) -> str:
    """Return the name under which it is stored: one for each kind, scope and title."""
    return "/".join(part for part in (item, scope_type, scope, title) if part)
