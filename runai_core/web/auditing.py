"""Opens the notes of every request that may change something, and has them kept before the answer is sent.

Routes say nothing, but for signing in: there the actor is not known before,
and `note_sign_in` tells who it is about.
"""

import re
from collections.abc import Mapping

from starlette.requests import HTTPConnection

from runai_core.model.audit import AuditAction
from runai_core.model.identity import SubjectType
from runai_core.model.organization import Actor
from runai_core.service.audit import Asked, AuditService
from runai_core.service.noting import NOTES, Notes
from runai_core.web.gate import READING, actor_of
from runai_core.web.middleware import App, Message, Receive, Scope, Send

UNKNOWN = 401
"""Who is not known changes nothing: such requests are in the log of the server, not in this one."""

NOT_NOW = 429

QUESTIONS = re.compile(r"(/(validate|check|permitted-scopes|preview|validations?)/?$)|^/api/v1/link")
"""Paths that are asked with POST and change nothing, and the link of clusters, which carries no wish of a person."""

SIGNING: Mapping[str, AuditAction] = {
    "/login": AuditAction.SIGN_IN,
    "/login/callback": AuditAction.SIGN_IN,
    "/api/v1/token": AuditAction.SIGN_IN,
    "/api/v2/token": AuditAction.SIGN_IN,
    "/logout": AuditAction.SIGN_OUT,
    "/api/v1/me/logout": AuditAction.SIGN_OUT,
}

_RESET = re.compile(r"^/api/v1/(users/[^/]+|me)/password$")
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Audit:
    """Sees every request once its body was read, and what became of it."""

    def __init__(self, app: App, audit: AuditService) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not _is_watched(scope):
            await self._app(scope, receive, send)
            return
        notes, scope_state = Notes(), scope.setdefault("state", {})
        token = NOTES.set(notes)

        async def answered(message: Message) -> None:
            started = message["type"] in ("http.response.start", "websocket.accept")
            if started and not notes.closed:
                await self._keep(scope, int(message.get("status", 200)), notes)
            await send(message)

        try:
            await self._app(scope, receive, answered)
        except BaseException:
            if not notes.closed:
                await self._keep(scope, 500, notes)
            raise
        finally:
            NOTES.reset(token)
            notes.closed = True
            scope_state.pop("signing_in", None)

    async def _keep(self, scope: Scope, status: int, notes: Notes) -> None:
        state, path = scope["state"], scope["path"]
        signing, actor = state.get("signing_in"), actor_of(HTTPConnection(scope))
        action = _action(path)
        if action is AuditAction.SIGN_IN and signing is None:
            notes.closed = True  # the form was shown, or a program renewed its token
            return
        if (actor is None and signing is None) or (signing is None and status in (UNKNOWN, NOT_NOW)):
            notes.closed = True
            return
        if signing is not None and actor is None:
            name, kind = signing
            actor = Actor(name=name, kind=kind)
        asked = Asked(
            actor=actor,
            method=scope.get("method", "GET"),
            path=path,
            status=status,
            source_ip=scope["client"][0] if scope.get("client") else "",
            request_id=str(state.get("request_id", "")),
            action=action,
            entity=_entity(path),
        )
        await self._audit.record(asked, notes)


def note_sign_in(connection: HTTPConnection, name: str, kind: str = SubjectType.USER.value) -> None:
    """Tell who is signing in, or tries to; unknown names are kept as they were given, cut short."""
    connection.scope.setdefault("state", {})["signing_in"] = (name[:100], kind)


def _is_watched(scope: Scope) -> bool:
    if scope["type"] == "websocket":
        return bool(scope["path"].endswith("/exec"))
    if scope["type"] != "http":
        return False
    path = scope["path"]
    return not QUESTIONS.search(path) and (scope["method"] not in READING or SIGNING.get(path) is AuditAction.SIGN_IN)


def _action(path: str) -> AuditAction | None:
    if path.endswith("/exec"):
        return AuditAction.UPDATE
    return AuditAction.RESET_PASSWORD if _RESET.match(path) else SIGNING.get(path.rstrip("/"))


def _entity(path: str) -> tuple[str, str]:
    """Return what the path speaks of: the last name of a collection, and the id after it."""
    parts = [part for part in path.split("/") if part]
    for index in range(len(parts) - 1, 0, -1):
        if _ID.fullmatch(parts[index]):
            return parts[index - 1], parts[index]
    return (parts[-1][:80] if parts else ""), ""
