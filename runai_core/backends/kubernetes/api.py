"""The one door to the Kubernetes API: requests and answers as plain dictionaries.

Finding the cluster, certificates and tokens is the client library's work (see
`transport`). Its typed models are not used: they cost more than the requests.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runai_core.backends.kubernetes.failures import failure, lost, refused_by_budget
from runai_core.backends.kubernetes.names import FIELD_MANAGER
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.transport import opened, options_of
from runai_core.model.errors import NotFound

Object = dict[str, Any]
Objects = list[Object]
Query = Sequence[tuple[str, str]]

PAGE = 500
"""Objects in one part of a list."""

WATCH_SECONDS = 300
"""Seconds after which the server ends a watch, so that watches spread over the servers."""

SILENCE = 100.0
"""Seconds without a word, not even a bookmark, after which a watch is thought dead.

Bookmarks come every minute, but for a kind of which nothing ever changed since the server started there are none: a
watch that has not heard a word yet is given its whole time.
"""

ANSWER_SECONDS = 60.0
"""Seconds that the server has for an answer."""

TOO_MANY = 429
TRIES = 4
"""How often a request is sent that the server puts off because it has too much to do."""

PATCHES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
APPLY = "application/apply-patch+yaml"


class Api:
    """Requests to one API server.

    Every method raises the errors of `model.errors`: NotFound, AlreadyExists,
    StaleVersion, Forbidden, Unauthenticated, InvalidRequest, Conflict, TooLarge
    and Unavailable; `details["status"]` is the server's code.
    """

    def __init__(self, configuration: Any, session: Any, *, silence: float = SILENCE) -> None:
        self._configuration = configuration
        self._session = session
        self._silence = silence
        self._options = options_of(configuration)
        self.server = str(configuration.host)

    # -- objects

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """Return one object."""
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """Return all objects that the selectors choose, and the resource version of the list."""
        items: Objects = []
        version = ""
        async for part, version in self.pages(resource, namespace, labels=labels, fields=fields):  # noqa: B007
            items += part
        return items, version

    async def pages(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[Objects, str]]:
        """Yield a list in parts, so that a long one need not be held in memory whole. Raise WatchExpired midway."""
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        query = {key: value for key, value in query.items() if value}
        while True:
            answer = await self._request("GET", resource.path(namespace), query=query)
            meta = answer.get("metadata") or {}
            items = answer.get("items") or []
            for item in items:  # lists leave these out
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
            yield items, str(meta.get("resourceVersion", ""))
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def create(self, resource: Resource, body: Object, namespace: str = "", *, dry_run: bool = False) -> Object:
        """Create an object; the namespace is the body's unless given."""
        where = namespace or _meta(body).get("namespace", "")
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return await self._request("POST", resource.path(where), body, query=query)

    async def update(self, resource: Resource, body: Object, *, sub: str = "") -> Object:
        """Replace an object; with its resource version, only if it still has that one (else StaleVersion)."""
        meta = _meta(body)
        path = resource.path(meta.get("namespace", ""), meta["name"], sub)
        return await self._request("PUT", path, body, query={"fieldManager": FIELD_MANAGER})

    async def patch(
        self, resource: Resource, name: str, body: Any, namespace: str = "", *, sub: str = "", kind: str = "merge"
    ) -> Object:
        """Change parts of an object. `kind` is merge, json (a list of operations) or strategic (built-in kinds)."""
        path = resource.path(namespace, name, sub)
        return await self._request("PATCH", path, body, query={"fieldManager": FIELD_MANAGER}, kind=PATCHES[kind])

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = True,
        dry_run: bool = False,
        sub: str = "",
    ) -> Object:
        """Make the object as the body says (server-side apply); fields that others own are taken with `force`."""
        meta = _meta(body)
        path = resource.path(meta.get("namespace", ""), meta["name"], sub)
        query = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        return await self._request("PATCH", path, body, query=query, kind=APPLY)

    async def delete(  # noqa: PLR0913 - as in the API
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        grace: int | None = None,
        propagation: str = "Background",
        uid: str = "",
        version: str = "",
        missing_ok: bool = True,
    ) -> None:
        """Delete an object, with `uid` only that one, with `version` only in that state; `grace` in seconds."""
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        body["preconditions"] = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        try:
            await self._request("DELETE", resource.path(namespace, name), body)
        except NotFound:
            if not missing_ok:
                raise

    async def post(self, path: str, body: Object) -> Object:
        """Send a body to a subresource: bindings, evictions, reviews."""
        return await self._request("POST", path, body)

    # -- streams

    async def watch(
        self, resource: Resource, version: str, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield ADDED, MODIFIED, DELETED and BOOKMARK with the object, until the server ends the watch.

        Raises:
            WatchExpired: changes after this version are no longer known.
            Unavailable: the connection broke.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        query = {key: value for key, value in query.items() if value}
        async for line in self._lines(resource.path(namespace), query):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise failure(event["object"].get("code", 500), event["object"], resource.path(namespace))
            yield event["type"], event["object"]

    async def stream(self, path: str, **query: str) -> AsyncIterator[bytes]:
        """Yield an answer's body in pieces as they come: logs."""
        async with self._open("GET", path, query=query, silence=None) as answer:
            async for piece in answer.content.iter_any():
                yield piece

    @asynccontextmanager
    async def websocket(
        self, path: str, query: Query, protocols: tuple[str, ...] = ("v5.channel.k8s.io",)
    ) -> AsyncIterator[Any]:
        """Open a web socket (exec, attach, port-forward): an `aiohttp.ClientWebSocketResponse`."""
        import aiohttp

        headers = await self._headers()
        try:
            connection = await self._session.ws_connect(
                self.server + path, params=query, headers=headers, protocols=protocols, max_msg_size=0, **self._options
            )
        except aiohttp.WSServerHandshakeError as error:
            raise failure(error.status, {"message": error.message}, path) from None
        except (aiohttp.ClientError, OSError) as error:
            raise lost(self.server, error) from None
        async with contextlib.aclosing(_Closing(connection)):
            yield connection

    # -- about the server

    async def can_i(self, verb: str, resource: Resource, *, namespace: str = "", name: str = "", sub: str = "") -> bool:
        """Return whether we have a right."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "subresource": sub,
            "namespace": namespace,
            "name": name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        answer = await self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        return bool((answer.get("status") or {}).get("allowed"))

    async def who_am_i(self) -> str:
        """Return the name by which the server knows us."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))

    async def server_version(self) -> str:
        """Return the server's version, for example ``v1.36.3``."""
        return str((await self.raw("/version")).get("gitVersion", ""))

    async def raw(self, path: str, **query: str) -> Object:
        """Return the JSON at any path of the server."""
        return await self._request("GET", path, query=query)

    # -- transport

    async def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> Object:
        for attempt in range(1, TRIES + 1):
            async with self._open(method, path, body, query=query, kind=kind, check=False) as answer:
                content = await _read(answer, self.server)
                if answer.status < 400:
                    return _object(content)
                told = _object(content)
                later = answer.headers.get("Retry-After", "1")
            busy = answer.status == TOO_MANY and not refused_by_budget(told)
            if not busy or attempt == TRIES:
                raise failure(answer.status, told, path)
            await asyncio.sleep(min(float(later) if later.isdigit() else 1.0, 10.0))
        raise AssertionError  # the loop returns or raises

    async def _lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        rest, silence = b"", WATCH_SECONDS + self._silence
        async with self._open("GET", path, query=query, silence=None) as answer:
            while True:
                async with asyncio.timeout(silence):
                    piece = await answer.content.readany()
                if not piece:
                    return
                silence = self._silence
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        yield line

    @asynccontextmanager
    async def _open(  # noqa: PLR0913 - the one place where a request is made
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
        check: bool = True,
        silence: float | None = ANSWER_SECONDS,
    ) -> AsyncIterator[Any]:
        import aiohttp

        headers = await self._headers()
        data = None
        if body is not None:
            headers["Content-Type"] = kind
            data = json.dumps(body, separators=(",", ":")).encode()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=silence)
        try:
            async with self._session.request(
                method, self.server + path, params=query, data=data, headers=headers, timeout=timeout, **self._options
            ) as answer:
                if check and answer.status >= 400:
                    raise failure(answer.status, _object(await answer.read()), path)
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise lost(self.server, error) from None

    async def _headers(self) -> dict[str, str]:
        settings = await self._configuration.auth_settings()
        return {item["key"]: item["value"] for item in settings.values() if item.get("in") == "header"}


class _Closing:
    """A web socket that `aclosing` can close."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def aclose(self) -> None:
        await self._connection.close()


def _meta(body: Object) -> Object:
    meta: Object = body.get("metadata") or {}
    return meta


async def _read(answer: Any, server: str) -> bytes:
    import aiohttp

    try:
        content: bytes = await answer.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise lost(server, error) from None
    return content


def _object(content: bytes) -> Object:
    try:
        value = json.loads(content) if content else {}
    except ValueError:
        return {"message": content.decode(errors="replace").strip()[:500]}
    return value if isinstance(value, dict) else {"message": str(value)[:500]}


@asynccontextmanager
async def connect(kubeconfig: Path | None = None, context: str = "", *, silence: float = SILENCE) -> AsyncIterator[Api]:
    """Open the cluster of a kubeconfig file; None means the cluster that this process runs in, or the default file.

    `silence` is after how many seconds without a word a watch is thought dead.

    Raises:
        InvalidRequest: the file, or the context in it, is wrong.
    """
    async with opened(kubeconfig, context) as (configuration, session):
        yield Api(configuration, session, silence=silence)
