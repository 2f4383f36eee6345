"""Use cases of roles: those of the program, which nobody changes, and those that administrators make."""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runai_core.model.errors import AlreadyExists, Conflict, FieldError, Forbidden, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import TENANT, AccessRule, Action, Actor
from runai_core.model.roles import (
    MOST,
    NONE,
    OLD_NAMES,
    PERMISSION_SETS,
    ROLES,
    CustomRole,
    PermissionSet,
    Rights,
    Role,
    given_by,
    joined,
    resource_type,
    role_named,
    role_of,
)
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.rules import scope_of

RESOURCE = "roles"

NAME = re.compile(r"[^\W\d_](?:[\w .()&+-]{0,98}[\w)])")
NAME_RULE = "must be 2 to 100 letters, digits, blanks and . _ - ( ) & +, beginning with a letter"

LONGEST_DESCRIPTION = 1000

NAMED_HOLDERS = 10
"""How many of those who have a role are named where that stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """What a role is to be, as a client gave it."""

    name: str
    description: str = ""
    enabled: bool = True
    permission_sets: Sequence[str] = ()  # ids or names
    permissions: Mapping[str, Iterable[str]] = field(default_factory=dict)  # resource type -> actions
    cluster_role: str = ""  # id or name of a role of the program


class RoleService:
    """What can be done with roles."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._access = access

    async def list(self, actor: Actor) -> Sequence[Role]:
        """Return all roles, those of the program first."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._access.places.roles()

    async def get(self, actor: Actor, ref: str) -> Role:
        """Return the role of this id or name; raise NotFound."""
        return await self._find(actor, Action.READ, ref)

    async def permission_sets(self, actor: Actor) -> Sequence[PermissionSet]:
        """Return what roles are made of."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return tuple(PERMISSION_SETS.values())

    async def holders(self, actor: Actor, role: Role) -> Sequence[AccessRule]:
        """Return the access rules that give a role, of those that the actor may read."""
        rules = await self._rules_of(role.name)
        may = self._access.allows
        return tuple([rule for rule in rules if await may(actor, Action.READ, "access_rules", scope_of(rule))])

    async def create(self, actor: Actor, given: NewRole) -> Role:
        """Make a role.

        Raises:
            InvalidRequest: there is no such permission set, resource type, action or role.
            AlreadyExists: a role has the name. Forbidden: the actor may not, or has less than the role would give.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        made = _made(CustomRole(meta=Meta(name=given.name, created_by=actor.name), number=_new_number()), given)
        await self._require_free(made.meta.name)
        await self._require_grantable(actor, role_of(made))
        if rules := await self._rules_of(made.meta.name):  # whoever has them would get rights that nobody gave them
            raise Conflict(f"access rules of an earlier role of this name are still there: {_names(rules)}")
        return role_of(await self._store.create(made))

    async def update(self, actor: Actor, ref: str, given: NewRole) -> Role:
        """Change all of a role but its name; it holds for the next request of everybody who has it.

        Raises:
            Forbidden: it is one of the program's own, or would give more than the actor has. Else as `create` does.
        """
        old = self._own(await self._find(actor, Action.UPDATE, ref))
        if given.name.strip() != old.meta.name:
            raise InvalidRequest.of(
                FieldError("name", "a role keeps its name: access rules speak of it", given.name[:100])
            )
        made = _made(old, given)
        await self._require_grantable(actor, role_of(made))
        return role_of(await self._store.update(made))

    async def delete(self, actor: Actor, ref: str) -> Role:
        """Delete a role that nobody has.

        Raises:
            Conflict: access rules give it; says to whom. Forbidden: it is one of the program's own.
        """
        role = await self._find(actor, Action.DELETE, ref)
        made = self._own(role)
        if rules := await self._rules_of(role.name):
            raise Conflict(f"{role.name} is in use: take it away first from {_names(rules)}")
        await self._store.delete(CustomRole, made.meta.uid)
        return role

    async def _find(self, actor: Actor, action: Action, ref: str) -> Role:
        await self._access.require(actor, action, RESOURCE)
        found = await self._access.places.role(ref)
        if found is None:
            names = ", ".join(role.name for role in await self._access.places.roles())
            raise NotFound(f"there is no role {ref[:80]}; there are: {names}")
        return found

    @staticmethod
    def _own(role: Role) -> CustomRole:
        if role.made is None:
            raise Forbidden(f"{role.name} is a role of the program, which nobody changes: make one of your own")
        return role.made

    async def _require_free(self, name: str) -> None:
        taken = {role.name.lower() for role in await self._access.places.roles()}
        if name.lower() in taken | {old.lower() for old in OLD_NAMES}:
            raise AlreadyExists(f"there is a role {name} already", {"kind": "Role", "name": name})

    async def _require_grantable(self, actor: Actor, role: Role) -> None:
        """Raise Forbidden unless the actor has all that the role gives in the whole tenant: there it may be given."""
        refusal = f"{actor.name} cannot make a role with more rights than their own"
        await self._access.require_rights(actor, given_by(role), TENANT, refusal)

    async def _rules_of(self, name: str) -> Sequence[AccessRule]:
        return (await self._store.list(AccessRule, Query(filters=(Filter("role", Op.EQ, name),)))).items


def _made(old: CustomRole, given: NewRole) -> CustomRole:
    """Return the role as it is asked for; raise InvalidRequest."""
    name, description = given.name.strip(), given.description.strip()
    errors = [] if NAME.fullmatch(name) else [FieldError("name", NAME_RULE, given.name[:100])]
    if len(description) > LONGEST_DESCRIPTION:
        errors.append(FieldError("description", f"must have at most {LONGEST_DESCRIPTION} characters"))
    sets, unknown = _sets(given.permission_sets)
    errors += unknown
    rights, wrong = _rights(given.permissions)
    errors += wrong
    in_cluster = role_named(given.cluster_role)
    if given.cluster_role and in_cluster is None:
        names = ", ".join(f"{role.id} ({role.name})" for role in ROLES)
        errors.append(
            FieldError("kubernetesPermissions.predefinedRole", f"must be one of {names}", given.cluster_role[:80])
        )
    brought = joined(PERMISSION_SETS[ref].rights for ref in sets)
    if not errors and not joined((rights, brought)):
        errors.append(FieldError("permissions", "a role must have a right: give permissions or permission sets"))
    if errors:
        raise InvalidRequest.of(*errors)
    return replace(
        old,
        meta=replace(old.meta, name=name),
        description=description,
        enabled=given.enabled,
        permission_sets=sets,
        rights={
            kind: tuple(sorted(more))
            for kind, actions in sorted(rights.items())
            if (more := actions - brought.get(kind, NONE))
        },
        cluster_role=in_cluster.name if in_cluster is not None else "",
    )


def _sets(refs: Iterable[str]) -> tuple[tuple[str, ...], list[FieldError]]:
    """Return the ids of permission sets, given by id or name, and what is wrong."""
    by_name = {found.name.lower(): found.id for found in PERMISSION_SETS.values()}
    sets: list[str] = []
    errors = []
    for index, ref in enumerate(refs):
        found = ref if ref in PERMISSION_SETS else by_name.get(ref.lower())
        if found is None:
            message = "there is no such permission set: see /api/v1/authorization/permission-sets"
            errors.append(FieldError(f"permissionSets[{index}].id", message, ref[:80]))
        else:
            sets.append(found)
    return tuple(dict.fromkeys(sets)), errors


def _rights(given: Mapping[str, Iterable[str]]) -> tuple[Rights, list[FieldError]]:
    """Return rights that were given one by one, and what is wrong."""
    rights: dict[str, frozenset[Action]] = {}
    errors = []
    for name, words in given.items():
        kind, actions = resource_type(name), frozenset(words)
        most = MOST.get(kind, NONE)
        if not most:
            message = f"there is no such resource type; there are: {', '.join(MOST)}"
            errors.append(FieldError("permissions.resourceType", message, name[:80]))
        elif not actions <= most:
            message = f"{kind} can have {', '.join(sorted(most))}"
            errors.append(FieldError("permissions.actions", message, ", ".join(sorted(actions))[:80]))
        elif actions and Action.READ not in actions:
            message = f"{kind} must have read too: who may change a thing sees it"
            errors.append(FieldError("permissions.actions", message, ", ".join(sorted(actions))[:80]))
        else:
            rights[kind] = rights.get(kind, NONE) | frozenset(Action(word) for word in actions)
    return joined((rights,)), errors


def _names(rules: Sequence[AccessRule]) -> str:
    """Return who has a role, as a sentence ends."""
    names = list(dict.fromkeys(rule.subject for rule in rules))
    more = f" and {len(names) - NAMED_HOLDERS} more" if len(names) > NAMED_HOLDERS else ""
    return ", ".join(names[:NAMED_HOLDERS]) + more


def _new_number() -> int:
    """Return an id for a role: a number that clients with 32 bits hold, far from those of the program's roles."""
    return 2**20 + secrets.randbelow(2**30)
