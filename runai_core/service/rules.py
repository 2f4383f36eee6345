"""Use cases of access rules: a role given to a subject in a scope. A rule is never changed, only made and deleted."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound, RunaiError
from runai_core.model.identity import IdentityProvider, SubjectType, User
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule, Action, Actor, Department, Project, Scope, ServiceAccount
from runai_core.ports import Backend, Filter, Op, Page, Query
from runai_core.service.access import AccessService

RESOURCE = "access_rules"

LONGEST_NUMBER = 15
"""Digits of an id of a rule: JSON's numbers are exact up to there."""

SCOPES = ("system", "tenant", "cluster", "department", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    """What is asked for: ids or names, as a client gave them."""

    subject: str
    subject_type: str
    role: str  # id or name
    scope_type: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one of several requests."""

    ref: str
    rule: AccessRule | None = None
    error: RunaiError | None = None


class RuleService:
    """What can be done with access rules."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._access = access

    async def list(self, actor: Actor, query: Query) -> Page[AccessRule]:
        """Return the rules that match, in scopes where the actor may read rules."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        page = await self._store.list(AccessRule, _whole(query))
        seen = [rule for rule in page.items if await self._access.allows(actor, Action.READ, RESOURCE, scope_of(rule))]
        end = None if query.limit is None else query.offset + query.limit
        return Page(tuple(seen[query.offset : end]), len(seen), page.version)

    async def mine(self, actor: Actor) -> Sequence[AccessRule]:
        """Return the rules that give the actor its rights."""
        kinds = (SubjectType.USER.value,) if actor.kind == SubjectType.USER else ("service-account", "app")
        subjects = [(kind, actor.name) for kind in kinds]
        if actor.kind == SubjectType.USER:
            user = await self._store.get(User, actor.name)
            subjects += [(SubjectType.GROUP.value, group) for group in user.groups]
        return await self._access.places.rules_for(subjects)

    async def get(self, actor: Actor, ref: str) -> AccessRule:
        """Return the rule of this number or id."""
        return await self._find(actor, Action.READ, ref)

    async def create(self, actor: Actor, given: NewRule) -> AccessRule:
        """Give a subject a role in a scope.

        Raises:
            InvalidRequest: there is no such role, subject or scope. AlreadyExists: there is such a rule.
            Forbidden: the actor may not, or has less than it would give.
        """
        role = await self._access.places.role(given.role)
        if role is None:
            names = ", ".join(f"{item.id} ({item.name})" for item in await self._access.places.roles())
            raise InvalidRequest.of(FieldError("roleId", f"must be one of {names}", given.role[:80]))
        scope = await self._scope(given)
        await self._access.require(actor, Action.CREATE, RESOURCE, scope)
        await self._access.require_grantable(actor, role.name, scope)
        subject = await self._subject(given)
        key = f"{given.subject_type}\n{subject}\n{role.name}\n{scope.type}\n{scope.name}"
        rule = AccessRule(
            meta=Meta(name=hashlib.sha256(key.encode()).hexdigest()[:40], created_by=actor.name),
            subject=subject,
            subject_type=given.subject_type,
            role=role.name,
            scope_type=scope.type,
            scope=scope.name,
            number=1 + secrets.randbits(48),
        )
        try:
            return await self._store.create(rule)
        except AlreadyExists:
            raise AlreadyExists(f"{subject} is {role.name} in that scope already", {"kind": "AccessRule"}) from None

    async def create_all(self, actor: Actor, given: Sequence[NewRule]) -> Sequence[tuple[NewRule, Outcome]]:
        """Create several rules, each for itself."""
        found: list[tuple[NewRule, Outcome]] = []
        for item in given:
            try:
                found.append((item, Outcome(item.subject, rule=await self.create(actor, item))))
            except RunaiError as error:
                found.append((item, Outcome(item.subject, error=error)))
        return found

    async def give_only(self, actor: Actor, role: str, scope: Scope, users: Sequence[str]) -> None:
        """Let these users, and no others, have a role in a scope; groups and programs that have it stay.

        Raises:
            InvalidRequest: there is no such user, role or scope; nothing is changed. Forbidden: as for each rule alone.
        """
        wanted = [
            NewRule(subject=name, subject_type=SubjectType.USER, role=role, scope_type=scope.type, scope=scope.name)
            for name in users
        ]
        names = {await self._subject(given): given for given in wanted}
        place = await self._scope(
            NewRule(subject="", subject_type="", role="", scope_type=scope.type, scope=scope.name)
        )
        alike = {"role": role, "subject_type": SubjectType.USER, "scope_type": place.type, "scope": place.name}
        there = (
            await self._store.list(AccessRule, Query(filters=tuple(Filter(k, Op.EQ, v) for k, v in alike.items())))
        ).items
        await self._access.require(actor, Action.DELETE, RESOURCE, place)
        for name, given in names.items():
            if name not in {rule.subject for rule in there}:
                await self.create(actor, given)
        for rule in there:
            if rule.subject not in names:
                await self.delete(actor, rule.meta.uid)

    async def delete(self, actor: Actor, ref: str) -> AccessRule:
        """Take a rule away; it no longer holds for the next request."""
        rule = await self._find(actor, Action.DELETE, ref)
        return await self._store.delete(AccessRule, rule.meta.uid)

    async def delete_all(self, actor: Actor, refs: Sequence[str], *, only_check: bool = False) -> Sequence[Outcome]:
        """Delete several rules, each for itself; or say which could be."""
        found: list[Outcome] = []
        for ref in refs:
            try:
                rule = await self._find(actor, Action.DELETE, ref)
                found.append(Outcome(ref, rule if only_check else await self._store.delete(AccessRule, rule.meta.uid)))
            except RunaiError as error:
                found.append(Outcome(ref, error=error))
        return found

    async def scope_names(self, rules: Sequence[AccessRule]) -> dict[tuple[str, str], str]:
        """Return the names of the units that these rules speak of, by (type, id)."""
        scopes = {(rule.scope_type, rule.scope) for rule in rules}
        return {key: (await self._access.places.normal(Scope(*key))).name for key in scopes}

    async def _find(self, actor: Actor, action: Action, ref: str) -> AccessRule:
        await self._access.require_anywhere(actor, action, RESOURCE)
        by_number = Query(filters=(Filter("number", Op.EQ, int(ref)),), limit=1) if _is_number(ref) else None
        missing = NotFound(f"there is no access rule {ref[:80]}")
        try:
            if by_number is None:
                rule = await self._store.get_by_uid(AccessRule, ref)
            else:
                rule = next(iter((await self._store.list(AccessRule, by_number)).items))
        except (NotFound, StopIteration):
            raise missing from None
        if rule.meta.deleted_at is not None:
            raise missing
        await self._access.require_seen(actor, action, RESOURCE, scope_of(rule), missing)
        return rule

    async def _scope(self, given: NewRule) -> Scope:
        """Return the scope with the id of its unit: a unit that is made later under the same name is another one."""
        if given.scope_type not in SCOPES:
            raise InvalidRequest.of(
                FieldError("scopeType", f"must be one of {', '.join(SCOPES)}", given.scope_type[:80])
            )
        if given.scope_type in ("system", "tenant", "cluster"):
            return await self._access.places.normal(Scope(given.scope_type, given.scope))
        kind: type[Project | Department] = Project if given.scope_type == "project" else Department
        name = (await self._access.places.normal(Scope(given.scope_type, given.scope))).name
        try:
            unit: Project | Department = await self._store.get(kind, name)
        except NotFound:
            message = f"there is no such {given.scope_type}"
            raise InvalidRequest.of(FieldError("scopeId", message, given.scope[:80])) from None
        return Scope(given.scope_type, unit.meta.uid)

    async def _subject(self, given: NewRule) -> str:
        """Return the subject's name: users by e-mail, accounts by client id, groups as they are called."""
        where, ref = "subjectId", given.subject.strip()
        if given.subject_type not in tuple(SubjectType):
            message = f"must be one of {', '.join(SubjectType)}"
            raise InvalidRequest.of(FieldError("subjectType", message, given.subject_type[:80]))
        if not ref or len(ref) > 253:
            raise InvalidRequest.of(FieldError(where, "must be 1 to 253 characters", ref[:80]))
        if given.subject_type == SubjectType.GROUP:
            return ref
        kind: type[User | ServiceAccount] = User if given.subject_type == SubjectType.USER else ServiceAccount
        ref = ref.lower() if kind is User else ref
        for find in (self._store.get, self._store.get_by_uid):
            try:
                found: User | ServiceAccount = await find(kind, ref)
            except NotFound:
                continue
            if found.meta.deleted_at is None:
                return found.meta.name
        if kind is User and (await self._store.list(IdentityProvider, Query(limit=1))).items:
            return ref  # somebody who has not signed in through the provider yet
        raise InvalidRequest.of(FieldError(where, f"there is no such {given.subject_type}", ref[:80]))


def scope_of(rule: AccessRule) -> Scope:
    """Return where a rule holds."""
    return Scope(rule.scope_type, rule.scope)


def _is_number(ref: str) -> bool:
    return ref.isascii() and ref.isdecimal() and len(ref) <= LONGEST_NUMBER


def _whole(query: Query) -> Query:
    return Query(filters=query.filters, sort_by=query.sort_by, descending=query.descending, deleted=query.deleted)
