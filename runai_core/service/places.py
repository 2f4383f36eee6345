"""Where scopes lie: tenant over clusters over departments over projects; which rules and roles there are.

Asked at every request, so what was read is remembered: until something of it
is written here, and for seconds where another process may write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runai_core.model.errors import NotFound
from runai_core.model.identity import TenantSettings
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule, Department, Project, Scope
from runai_core.model.roles import ROLES, CustomRole, Role, role_named, role_of
from runai_core.ports import Backend, Query

FRESH = 10.0
"""Seconds for which the place of a unit is remembered when nobody here changes it."""

FRESH_RULES = 2.0
"""Seconds after which a rule that another process made or took away holds here too."""

SYSTEM_SCOPE, TENANT_SCOPE = Scope("system"), Scope("tenant")

Subject = tuple[str, str]  # type, name
Unit = TypeVar("Unit", Department, Project)


@dataclass(slots=True)
class _Units:
    """What is known of the units; each can be named by its name or its id."""

    departments: dict[str, Department] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    read_at: float = float("-inf")


class CurrentSettings:
    """The tenant's settings, remembered for seconds where another process may change them."""

    def __init__(self, backend: Backend) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._known = TenantSettings(meta=Meta(name="tenant"))
        self._read_at = float("-inf")

    def forget(self, kind: type[Any]) -> None:
        """Hear that an object of the kind was written here."""
        if kind is TenantSettings:
            self._read_at = float("-inf")

    async def read(self) -> TenantSettings:
        """Return them as they are now, or the defaults."""
        now = self._clock.now()
        if not self._read_at <= now < self._read_at + FRESH_RULES:
            self._read_at = now  # first: what is written while we read makes us read again
            try:
                self._known = await self._store.get(TenantSettings, "tenant")
            except NotFound:
                self._known = TenantSettings(meta=Meta(name="tenant"))
        return self._known


class Places:
    """Answers which scopes lie above another, and which rules speak of somebody."""

    def __init__(self, backend: Backend, cluster_id: str) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._cluster_id = cluster_id
        self._units = _Units()
        self._rules: Mapping[Subject, tuple[AccessRule, ...]] = {}
        self._rules_read_at = float("-inf")
        self._roles: Mapping[str, Role] = {}
        self._roles_read_at = float("-inf")
        self._changes = 0  # what was being read while something changed is not remembered

    def forget(self, kind: type[Any]) -> None:
        """Hear that an object of the kind was written here."""
        if kind in (Department, Project, AccessRule):
            self._changes += 1
            self._units.read_at = self._rules_read_at = float("-inf")
        if kind is CustomRole:
            self._changes += 1
            self._roles_read_at = float("-inf")

    async def normal(self, scope: Scope) -> Scope:
        """Return the scope with the name of its unit, where it was given by its id."""
        if scope.type in ("system", "tenant"):
            return Scope(scope.type)
        if scope.type == "cluster":
            return Scope("cluster", scope.name or self._cluster_id)
        found = await self._unit(scope)
        return Scope(scope.type, found.meta.name) if found is not None else scope

    async def path(self, scope: Scope) -> tuple[Scope, ...]:
        """Return the scope and all above it, nearest first. One that is not there lies in the tenant alone."""
        scope = await self.normal(scope)
        unit = await self._unit(scope)
        if isinstance(unit, Project):
            department = Scope("department", unit.department)
            above: tuple[Scope, ...] = (department, Scope("cluster", self._cluster_of(unit)), TENANT_SCOPE)
        elif isinstance(unit, Department):
            above = (Scope("cluster", self._cluster_of(unit)), TENANT_SCOPE)
        else:
            above = () if scope in (SYSTEM_SCOPE, TENANT_SCOPE) else (TENANT_SCOPE,)
        above = (*above, TENANT_SCOPE) if scope == SYSTEM_SCOPE else above
        return tuple(dict.fromkeys((scope, *above, SYSTEM_SCOPE)))

    async def below(self, scopes: Iterable[Scope], kind: type[Project] | type[Department]) -> frozenset[str] | None:
        """Return the names of the projects or departments in any of the scopes; None for all there will ever be."""
        wanted = {await self.normal(scope) for scope in scopes}
        if wanted & {SYSTEM_SCOPE, TENANT_SCOPE}:
            return None
        units = await self._read()
        known = units.projects if kind is Project else units.departments
        found = {item.meta.name for item in known.values()}
        return frozenset([name for name in found if wanted & set(await self.path(Scope(kind.__name__.lower(), name)))])

    async def departments_of(self, projects: Iterable[str]) -> frozenset[str]:
        """Return the names of the departments that these projects are in."""
        units = await self._read()
        return frozenset(units.projects[name].department for name in projects if name in units.projects)

    async def rules_for(self, subjects: Iterable[Subject]) -> tuple[AccessRule, ...]:
        """Return the access rules of any of these subjects."""
        now = self._clock.now()
        if not self._rules_read_at <= now < self._rules_read_at + FRESH_RULES:
            changes, grouped = self._changes, dict[Subject, list[AccessRule]]()
            for rule in (await self._store.list(AccessRule, Query())).items:
                grouped.setdefault((rule.subject_type, rule.subject), []).append(rule)
            self._rules = {subject: tuple(rules) for subject, rules in grouped.items()}
            self._rules_read_at = now if changes == self._changes else float("-inf")
        return tuple(rule for subject in subjects for rule in self._rules.get(subject, ()))

    async def roles(self) -> tuple[Role, ...]:
        """Return all roles, those of the program first."""
        now = self._clock.now()
        if not self._roles_read_at <= now < self._roles_read_at + FRESH_RULES:
            changes, found = self._changes, (await self._store.list(CustomRole, Query(sort_by="meta.name"))).items
            self._roles = {made.meta.name: role_of(made) for made in found}
            self._roles_read_at = now if changes == self._changes else float("-inf")
        return (*ROLES, *self._roles.values())

    async def role(self, ref: str) -> Role | None:
        """Return the role of a name or number; None where there is none."""
        made = (role for role in await self.roles() if ref in (role.name, str(role.id)))
        return role_named(ref) or next(made, None)

    def _cluster_of(self, unit: Project | Department) -> str:
        return str(getattr(unit, "cluster", "") or self._cluster_id)

    async def _unit(self, scope: Scope) -> Project | Department | None:
        if scope.type not in ("department", "project"):
            return None
        for anew in (False, True):  # one that is not known may have been made elsewhere a moment ago
            units = await self._read(anew=anew)
            known: Mapping[str, Project | Department] = units.projects if scope.type == "project" else units.departments
            if (found := known.get(scope.name)) is not None:
                return found
        return None

    async def _read(self, *, anew: bool = False) -> _Units:
        now = self._clock.now()
        if anew or not self._units.read_at <= now < self._units.read_at + FRESH:
            changes = self._changes
            departments = (await self._store.list(Department, Query())).items
            projects = (await self._store.list(Project, Query())).items
            self._units = _Units(
                _by_either(departments), _by_either(projects), now if changes == self._changes else float("-inf")
            )
        return self._units


def _by_either(units: Sequence[Unit]) -> dict[str, Unit]:
    # Names win, as wherever units are looked up: nobody can take the id of another unit as a name and be it.
    return {unit.meta.uid: unit for unit in units} | {unit.meta.name: unit for unit in units}
