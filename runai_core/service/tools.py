"""Tools of workloads in a browser, and ports from a command line: who may reach which.

A tool's page is somebody's program: it may not act in the name of who looks at
it. So tools live under host names of their own, where the cookie of the
session is never sent, and are opened with a ticket that becomes a cookie for
one port of one workload. It is good as long as the session that it came from.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from runai_core.model.errors import Conflict, NotFound, Unauthenticated
from runai_core.model.identity import Session, Ticket
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Workload
from runai_core.ports import Backend, Connect, Connection
from runai_core.service.access import AccessService
from runai_core.service.reaching import MOST_REMEMBERED, REMEMBERED, Place, Ways
from runai_core.service.workloads import WorkloadService

TICKET_SECONDS = 60.0
"""Time between the answer that leads to a tool and the browser's arrival there."""

TOOL_SECONDS = 3600.0
"""How long a tool stays open that was not opened from a browser's session."""

CLOSED = "open the tool again from the workload's page"


@dataclass(frozen=True, slots=True)
class _Known:
    at: float  # looked at then; of no use once the clock was set back
    actor: Actor


class ToolService:
    """Opens tools, and connects to ports."""

    def __init__(self, backend: Backend, access: AccessService, workloads: WorkloadService) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._workloads = workloads
        self._known: dict[tuple[str, Place], _Known] = {}
        self._ways = Ways(backend, workloads)

    async def find_port(self, actor: Actor, uid: str, port: str) -> Place:
        """Return the port that a number or name stands for.

        Raises:
            Forbidden: who may not run commands in the workload may not use its tools.
            NotFound: it has no such port. Conflict: it does not run.
        """
        workload = await self._checked(actor, uid)
        ports = dict(declared_ports(workload.spec))
        number = ports.get(port, int(port) if port.isdigit() and int(port) in ports.values() else 0)
        if not number:
            has = ", ".join(f"{name} ({number})" for name, number in ports.items()) or "none"
            raise NotFound(f"{workload.key} declares no port {port[:80]}; it has: {has}")
        return Place(workload.meta.uid, number)

    async def issue(self, actor: Actor, place: Place, session_cookie: str) -> str:
        """Return the ticket that opens the port, once and soon."""
        await self._checked(actor, place.uid)
        facts = {"session": _hash(session_cookie)} if session_cookie else {}
        return await self._make(actor, place.purpose, TICKET_SECONDS, facts)

    async def redeem(self, ticket: str, place: Place) -> str:
        """Return the cookie that a ticket becomes.

        Raises:
            Unauthenticated: it is unknown, for another port, was used, or is too old.
        """
        try:
            found = await self._store.get(Ticket, _hash(ticket))
            await self._store.delete(Ticket, found.meta.uid)  # of two at the same time, one finds it gone
        except NotFound:
            raise Unauthenticated(CLOSED) from None
        if found.purpose != place.purpose or found.expires_at < self._clock.now():
            raise Unauthenticated(CLOSED)
        actor = await self._access.actor(found.subject_type, found.subject)
        seconds = TOOL_SECONDS
        if session := found.facts.get("session"):
            seconds = (await self._session(session)).expires_at - self._clock.now()
        return await self._make(actor, f"open {place.purpose}", seconds, dict(found.facts))

    async def enter(self, cookie: str, place: Place) -> Actor:
        """Return who uses the tool, if they still may.

        Raises:
            Unauthenticated: the cookie is none for this port, or its session is over.
            Forbidden: the right was taken away.
        """
        now, key = self._clock.now(), (_hash(cookie), place)
        if (known := self._known.get(key)) is not None and 0.0 <= now - known.at < REMEMBERED:
            return known.actor
        try:
            found = await self._store.get(Ticket, key[0])
        except NotFound:
            raise Unauthenticated(CLOSED) from None
        if found.purpose != f"open {place.purpose}" or found.expires_at < now:
            raise Unauthenticated(CLOSED)
        if session := found.facts.get("session"):
            await self._session(session)
        actor = await self._access.actor(found.subject_type, found.subject)
        await self._checked(actor, place.uid)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = _Known(now, actor)
        return actor

    async def way(self, actor: Actor, place: Place) -> Connect:
        """Return how the port is connected to; raises as `Ways.to`."""
        return await self._ways.to(actor, place)

    async def forward(self, actor: Actor, place: Place, pod: str) -> Connection:
        """Return a connection to any port of a pod: of this name, or of the first that listens there.

        Raises:
            Forbidden: who may not run commands in the workload may not use its ports. And as `Ways.to`.
        """
        await self._checked(actor, place.uid)
        return await (await self._ways.to(actor, place, pod))()

    async def _checked(self, actor: Actor, uid: str) -> Workload:
        workload = await self._workloads.get(actor, uid, Action.UPDATE)
        if workload.meta.deleted_at is not None:
            raise Conflict(f"{workload.key} was deleted")
        return workload

    async def _session(self, name: str) -> Session:
        try:
            session = await self._store.get(Session, name)
        except NotFound:
            raise Unauthenticated(CLOSED) from None
        if session.expires_at < self._clock.now():
            raise Unauthenticated(CLOSED)
        return session

    async def _make(self, actor: Actor, purpose: str, seconds: float, facts: dict[str, str]) -> str:
        secret = secrets.token_urlsafe(32)
        ticket = Ticket(
            meta=Meta(name=_hash(secret), created_by=actor.name),
            subject=actor.name,
            subject_type=actor.kind,
            expires_at=self._clock.now() + seconds,
            purpose=purpose,
        )
        await self._store.create(replace(ticket, facts=facts))
        return secret


def declared_ports(spec: WorkloadSpec) -> Iterator[tuple[str, int]]:
    """Yield the name and number of each port that the specification offers."""
    for url in spec.exposed_urls:
        yield url.name or url.tool_name or str(url.container), url.container
    for port in spec.ports:
        yield port.name or port.tool_name or str(port.container), port.container
    if spec.serving_port is not None:
        yield "serving", spec.serving_port.container


def _hash(secret: str) -> str:
    # Plain, as in `sessions`: 256 random bits cannot be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
