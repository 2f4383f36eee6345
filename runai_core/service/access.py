"""Whether somebody may do something: the one place where rights are checked.

An actor has grants: roles, each in a scope. A grant holds in its scope and all
that lies below. To read, it is enough that the thing lies above it: who works
in a project may see its department, the node pools and the clusters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runai_core.model.errors import Forbidden, NotFound, RunaiError, Unauthenticated
from runai_core.model.identity import SubjectType, User
from runai_core.model.organization import (
    SYSTEM,
    TENANT,
    AccessRule,
    Action,
    Actor,
    Department,
    Grant,
    Project,
    Scope,
    ServiceAccount,
)
from runai_core.model.roles import ADMINISTRATOR, READ, UNSCOPED, Rights, given_by, granted, resource_of, resource_type
from runai_core.model.workload import Workload
from runai_core.ports import Backend
from runai_core.service.places import CurrentSettings, Places
from runai_core.service.tokens import TOKEN_SECONDS, Claims, Credentials, Token, Tokens

__all__ = ["ADMINISTRATOR", "TOKEN_SECONDS", "AccessService", "Credentials", "Token"]

PRIVATE = frozenset({"events-history", "access-keys", "access_rules"})
"""Resource types that lie in the tenant and are read by whoever has the right there, not from below."""

PLAIN = frozenset({"branding-settings", "cluster-config", "network-topologies", "nodes", "scrapeable-metrics"})
"""Resource types that say nothing of anybody's work: administrators of a part give roles that read them, without
reading them themselves (so it follows from the public table of roles)."""

MACHINES = (SubjectType.SERVICE_ACCOUNT.value, SubjectType.APP.value)


@dataclass(frozen=True, slots=True)
class Visible:
    """What an actor sees of the organization; None stands for everything."""

    projects: frozenset[str] | None
    departments: frozenset[str] | None


class AccessService:
    """Checks tokens and rights; every use case asks here, and nowhere else."""

    def __init__(self, backend: Backend, signing_key: str, cluster_id: str = "") -> None:
        self._store = backend.store
        self.places = Places(backend, cluster_id)
        self.settings = CurrentSettings(backend)
        self.tokens = Tokens(backend, signing_key)

    def forget(self, kind: type[Any]) -> None:
        """Hear that an object of the kind was written here: what is remembered of it is read again."""
        self.places.forget(kind)
        self.settings.forget(kind)

    # -- who it is

    async def create_service_account(self, name: str, role: str = ADMINISTRATOR) -> Credentials:
        """Create a machine identity that has a role everywhere, or give an existing one a new secret."""
        return await self.tokens.create_service_account(name, role)

    async def shared_account(self, name: str, role: str = ADMINISTRATOR) -> Credentials:
        """Create a machine identity whose secret all replicas know, now and after a restart."""
        return await self.tokens.shared_account(name, role)

    async def issue(self, client_id: str, client_secret: str, *, seconds: int = TOKEN_SECONDS) -> Token:
        """Exchange the id and secret of a service account or an access key for a token.

        Raises:
            Unauthenticated: the pair is not known.
        """
        return await self.tokens.issue(client_id, client_secret, seconds=seconds)

    async def authenticate(self, token: str) -> Actor:
        """Return who the token stands for.

        Raises:
            Unauthenticated: the token is not ours, was changed or revoked, or has expired.
        """
        claims = await self.tokens.read(token)
        return await self.actor(claims.subject_type, claims.subject, claims=claims)

    async def actor(self, subject_type: str, subject: str, *, claims: Claims | None = None) -> Actor:
        """Return somebody with all that was granted.

        Raises:
            Unauthenticated: there is no such account, not any more, or it was disabled.
        """
        if subject_type in MACHINES:
            return await self._machine(subject, claims)
        try:
            user = await self._store.get(User, subject)
        except NotFound:
            raise Unauthenticated(f"there is no user {subject[:80]} any more") from None
        if user.disabled:
            raise Unauthenticated(f"user {user.name} was disabled: ask an administrator")
        subjects = [
            (SubjectType.USER.value, user.name),
            *((SubjectType.GROUP.value, group) for group in user.groups),
        ]
        rules = await self.places.rules_for(subjects)
        return Actor(name=user.name, kind=SubjectType.USER.value, grants=await self._grants(rules))

    async def again(self, actor: Actor) -> Actor:
        """Return the actor with what is granted now; raise Unauthenticated where the account is gone or disabled."""
        return actor if actor.kind == SYSTEM.kind else await self.actor(actor.kind, actor.name)

    async def _machine(self, subject: str, claims: Claims | None) -> Actor:
        try:
            account = await self._store.get(ServiceAccount, subject)
        except NotFound:
            raise Unauthenticated(f"there is no service account {subject[:80]} any more") from None
        if not account.enabled:
            raise Unauthenticated(f"service account {subject} was disabled: ask an administrator")
        if claims is not None and not claims.key and claims.generation != account.generation:
            raise Unauthenticated("the token was revoked: ask for a new one")
        rules = await self.places.rules_for([(kind, account.client_id) for kind in MACHINES])
        role = account.meta.labels.get("role")  # made by the orchestrator itself, or before there were access rules
        given = (Grant(role),) if role else ()
        return Actor(name=account.client_id, kind=account.kind, grants=(*given, *await self._grants(rules)))

    async def _grants(self, rules: Iterable[AccessRule]) -> tuple[Grant, ...]:
        return tuple([await self._grant(rule) for rule in rules])

    async def _grant(self, rule: AccessRule) -> Grant:
        role, scope = await self.places.role(rule.role), Scope(rule.scope_type, rule.scope)
        if role is None or role.made is None:
            return Grant(rule.role, scope)
        return Grant(rule.role, scope, role.rights if role.enabled else {})

    # -- what they may do

    async def require(self, actor: Actor, action: Action, resource: str, scope: Scope = TENANT) -> None:
        """Raise Forbidden unless one of the actor's grants allows the action on the resource in the scope."""
        if await self.allows(actor, action, resource, scope):
            return
        where = f" in {scope.type} {scope.name}" if scope.name else ""
        raise Forbidden(
            f"{actor.name} may not {action} {resource}{where}: ask an administrator for a role that allows it"
        )

    async def require_seen(
        self, actor: Actor, action: Action, resource: str, scope: Scope, missing: RunaiError
    ) -> None:
        """Raise `missing` where the actor may not even read, so that nobody learns what exists; else as `require`."""
        if not await self.allows(actor, Action.READ, resource, scope):
            raise missing
        await self.require(actor, action, resource, scope)

    async def require_author(self, actor: Actor, action: Action, workload: Workload) -> None:
        """Raise Forbidden where workloads are protected, and the actor neither submitted it nor stands above it."""
        if action is Action.READ or actor.kind == SYSTEM.kind or workload.meta.created_by in ("", actor.name):
            return
        above, resource = Scope("department", workload.department), resource_of(workload.type)
        if (await self.settings.read()).ownership_protection and not await self.allows(actor, action, resource, above):
            raise Forbidden(
                f"{workload.key} belongs to {workload.meta.created_by}, and workloads are protected: ask its author, "
                "or an administrator of the department"
            )

    async def allows(
        self, actor: Actor, action: Action, resource: str, scope: Scope = TENANT, *, from_below: bool = True
    ) -> bool:
        """Return whether one of the actor's grants allows the action on the resource in the scope.

        `from_below`: to read a thing that lies above the grant is allowed too; it is no right in all of the scope.
        """
        if actor.kind == SYSTEM.kind:
            return True
        path: tuple[Scope, ...] = ()
        for grant in actor.grants:
            if action not in granted(grant, resource):
                continue
            path = path or await self.places.path(scope)
            if await self.places.normal(grant.scope) in path:
                return True
            if from_below and self._from_below(action, resource) and path[0] in await self.places.path(grant.scope):
                return True
        return False

    async def require_anywhere(self, actor: Actor, action: Action, resource: str) -> None:
        """Raise Forbidden unless the actor may do it in some scope: the first check of every request."""
        if actor.kind != SYSTEM.kind and not any(action in granted(grant, resource) for grant in actor.grants):
            raise Forbidden(f"{actor.name} may not {action} {resource}: ask an administrator for a role that allows it")

    async def visible(self, actor: Actor, action: Action, resource: str) -> frozenset[str] | None:
        """Return the names of the projects in which the actor may do it; None for everywhere, also in new ones."""
        return await self.places.below(self.scopes(actor, action, resource), Project)

    async def visible_departments(self, actor: Actor, action: Action, resource: str) -> frozenset[str] | None:
        """Return the names of the departments in which the actor may do it; to read, those of its projects too."""
        scopes = self.scopes(actor, action, resource)
        found = await self.places.below(scopes, Department)
        if found is None or action is not Action.READ:
            return found
        projects = await self.places.below(scopes, Project)
        return found | await self.places.departments_of(projects or ())

    def scopes(self, actor: Actor, action: Action, resource: str) -> tuple[Scope, ...]:
        """Return the scopes of the grants that allow the action on the resource."""
        if actor.kind == SYSTEM.kind:
            return (Scope("system"),)
        found = (grant.scope for grant in actor.grants if action in granted(grant, resource))
        return tuple(dict.fromkeys(found))

    async def require_grantable(self, actor: Actor, role: str, scope: Scope) -> None:
        """Raise Forbidden unless the actor has there what the role gives: no gift exceeds its giver."""
        found = await self.places.role(role)
        if found is not None:
            refusal = f"{actor.name} cannot give the role {role} there"
            await self.require_rights(actor, given_by(found), scope, refusal)

    async def require_rights(self, actor: Actor, rights: Rights, scope: Scope, refusal: str) -> None:
        """Raise Forbidden, with the refusal and what is lacking, unless the actor has all of the rights there."""
        for resource, actions in sorted(rights.items()):
            for action in sorted(actions - READ if resource in PLAIN else actions):
                if not await self.allows(actor, action, resource, scope, from_below=False):
                    raise Forbidden(f"{refusal}: it may {action} {resource}")

    @staticmethod
    def _from_below(action: Action, resource: str) -> bool:
        kind = resource_type(resource)
        return (action is Action.READ and kind not in PRIVATE) or (action is Action.CREATE and kind in UNSCOPED)
