"""Sessions of browsers: what a cookie stands for, its token against forged requests, and links that sign in once.

What a browser keeps is 256 random bits; the store has their hash only. The
token against forgery is derived from them, so that it needs no place of its
own and dies with the session.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from runai_core.model.errors import FieldError, InvalidRequest, NotFound, StaleVersion, Unauthenticated
from runai_core.model.identity import Session, Ticket
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.oauth import challenge_of
from runai_core.service.tokens import hash_of, new_secret

SESSION_SECONDS = 12 * 3600.0
"""How long a browser stays signed in."""

TICKET_SECONDS = 300.0
"""How long a link that signs in can be used."""

CODE_SECONDS = 60.0
"""How long a program has to exchange a code for a token."""

NOTE_USE_EVERY = 30.0
"""Seconds between two notes that a session is used."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")

TICKET_GONE = "the link has expired or was used before: `runai up` prints a new one"


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session: what the browser keeps, and for how many seconds."""

    cookie: str
    seconds: int


class SessionService:
    """Opens, finds and closes sessions of browsers."""

    def __init__(self, backend: Backend, access: AccessService, signing_key: str) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._key = signing_key.encode()

    async def open(self, actor: Actor) -> Opened:
        """Sign somebody in whose identity was proved."""
        cookie = new_secret()
        session = Session(
            meta=Meta(name=hash_of(cookie), created_by=actor.name),
            subject=actor.name,
            subject_type=actor.kind,
            expires_at=self._clock.now() + SESSION_SECONDS,
        )
        await self._store.create(session)
        return Opened(cookie, int(SESSION_SECONDS))

    async def find(self, cookie: str, *, is_used: bool = False) -> Actor:
        """Return who is signed in; `is_used` says that a person is there, and not only an open page.

        Raises:
            Unauthenticated: the session is unknown, was closed, has expired, or nobody used it for too long.
        """
        session = await self._session(cookie)
        idle = (await self._access.settings.read()).idle_minutes
        if idle is not None:
            session = await self._kept_up(session, idle, is_used=is_used)
        return await self._access.actor(session.subject_type, session.subject)

    async def _kept_up(self, session: Session, idle: float, *, is_used: bool) -> Session:
        now = self._clock.now()
        unused = now - max(session.used_at, session.meta.created_at)
        if unused > idle * 60:
            raise Unauthenticated(f"nobody used this browser for {idle:g} minutes: sign in again")
        if not is_used or unused < min(NOTE_USE_EVERY, idle * 6):
            return session
        try:
            return await self._store.update(replace(session, used_at=now))
        except (StaleVersion, NotFound):  # another request of the same browser noted it, or signed out
            return session

    async def close(self, cookie: str) -> None:
        """Sign out; a session that is not there is as good as closed."""
        try:
            session = await self._store.get(Session, hash_of(cookie))
            await self._store.delete(Session, session.meta.uid)
        except NotFound:
            return

    async def close_all(self, actor: Actor) -> int:
        """Close every session of somebody, and return how many there were."""
        mine = (Filter("subject", Op.EQ, actor.name), Filter("subject_type", Op.EQ, actor.kind))
        found = (await self._store.list(Session, Query(filters=mine))).items
        for session in found:
            try:
                await self._store.delete(Session, session.meta.uid)
            except NotFound:
                continue
        return len(found)

    def csrf(self, cookie: str) -> str:
        """Return the token that a changing request of this browser must carry."""
        return hmac.new(self._key, b"csrf:" + cookie.encode(), hashlib.sha256).hexdigest()

    def is_csrf(self, cookie: str, given: str) -> bool:
        """Return whether this is that token."""
        return hmac.compare_digest(self.csrf(cookie).encode(), given.encode())

    async def issue_ticket(self, actor: Actor) -> str:
        """Return what opens a session as the actor, once and soon."""
        ticket = new_secret()
        await self._store.create(
            Ticket(
                meta=Meta(name=hash_of(ticket), created_by=actor.name),
                subject=actor.name,
                subject_type=actor.kind,
                expires_at=self._clock.now() + TICKET_SECONDS,
            )
        )
        return ticket

    async def redeem(self, ticket: str) -> Opened:
        """Open the session that a ticket stands for.

        Raises:
            Unauthenticated: it is unknown, was used, or has expired.
        """
        found = await self._take(ticket, "login", TICKET_GONE)
        return await self.open(await self._access.actor(found.subject_type, found.subject))

    async def issue_code(self, actor: Actor, *, challenge: str, redirect_uri: str) -> str:
        """Return a code for a program on the user's own machine (RFC 8252): good once, soon, and for the program only.

        Raises:
            InvalidRequest: the program does not listen on loopback, or sends no challenge.
        """
        parts = urlsplit(redirect_uri)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK or not parts.port or parts.fragment:
            message = "must be http://127.0.0.1:PORT/... of a program on your own machine"
            raise InvalidRequest.of(FieldError("redirect_uri", message, redirect_uri[:200]))
        if not CHALLENGE.fullmatch(challenge):
            raise InvalidRequest.of(FieldError("code_challenge", "must be an S256 challenge", challenge[:80]))
        code = new_secret()
        await self._store.create(
            Ticket(
                meta=Meta(name=hash_of(code), created_by=actor.name),
                subject=actor.name,
                subject_type=actor.kind,
                expires_at=self._clock.now() + CODE_SECONDS,
                purpose="code",
                facts={"challenge": challenge, "redirect_uri": redirect_uri},
            )
        )
        return code

    async def redeem_code(self, code: str, verifier: str, redirect_uri: str) -> Actor:
        """Return whom a code stands for; raise Unauthenticated unless the program can prove that it asked for it."""
        ticket = await self._take(code, "code", "the code has expired or was used before: sign in again")
        proved = hmac.compare_digest(challenge_of(verifier), ticket.facts["challenge"])
        if not proved or redirect_uri != ticket.facts["redirect_uri"]:
            raise Unauthenticated("the code was given to another program: sign in again")
        return await self._access.actor(ticket.subject_type, ticket.subject)

    async def _take(self, secret: str, purpose: str, gone: str) -> Ticket:
        try:
            found = await self._store.get(Ticket, hash_of(secret))
            await self._store.delete(Ticket, found.meta.uid)  # of two at the same time, one finds it gone
        except NotFound:
            raise Unauthenticated(gone) from None
        if found.purpose != purpose or found.expires_at < self._clock.now():
            raise Unauthenticated(gone)
        return found

    async def forget_expired(self) -> None:
        """Delete sessions and tickets whose time is over, and forget deleted ones for good."""
        now = self._clock.now()
        over = Query(filters=(Filter("expires_at", Op.LE, now),))
        for kind in (Session, Ticket):
            for item in (await self._store.list(kind, over)).items:
                try:
                    await self._store.delete(kind, item.meta.uid)
                except NotFound:
                    continue
            await self._store.purge(kind, now)

    async def _session(self, cookie: str) -> Session:
        try:
            session = await self._store.get(Session, hash_of(cookie))
        except NotFound:
            raise Unauthenticated("you are not signed in any more: sign in again") from None
        if session.expires_at < self._clock.now():
            raise Unauthenticated("the session has expired: sign in again")
        return session
