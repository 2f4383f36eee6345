"""The doors of a process on a cluster: probes and metrics in the clear, webhooks with a certificate.

Small ASGI applications and one way to serve them beside whatever else runs.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from runai_core.model.errors import InvalidRequest, Unavailable
from runai_core.operator.admission import Admission
from runai_core.operator.certificates import KeyPair
from runai_core.operator.reviews import request_of, review_of
from runai_core.service.exposition import CONTENT_TYPE, Family, exposition

log = logging.getLogger(__name__)

DRAIN = 5
"""Seconds that open requests get when a server stops."""

Trouble = Callable[[], Awaitable[str]]
"""Says why the process cannot do its work; empty: it can."""

Measure = Callable[[], Awaitable[Iterable[Family]]]


def probes(trouble: Trouble, measure: Measure) -> Starlette:
    """Return /healthz, /readyz and /metrics."""

    async def healthz(_: HttpRequest) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: HttpRequest) -> Response:
        problem = await trouble()
        return PlainTextResponse(f"{problem}\n", 503) if problem else PlainTextResponse("ok\n")

    async def metrics(_: HttpRequest) -> Response:
        return Response(exposition(await measure()), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def webhooks(admission: Admission) -> Starlette:
    """Return the questions that the API server asks."""

    async def ask(request: HttpRequest) -> Response:
        try:
            asked = request_of(await request.json())
        except (ValueError, InvalidRequest) as error:
            return PlainTextResponse(f"{error}\n", 400)
        answer = await admission.answer(request.url.path, asked)
        return JSONResponse(review_of(asked.uid, answer))

    return Starlette(routes=[Route(path, ask, methods=["POST"]) for path in admission.paths])


class Certified:
    """A TLS context whose certificate can be exchanged while it is used: new connections get the new one."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.loaded = False

    def load(self, pair: KeyPair) -> None:
        """Serve this certificate from now on."""
        with tempfile.TemporaryDirectory() as folder:  # the library reads files only; the folder is ours alone
            certificate, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
            certificate.write_bytes(pair.certificate)
            key.write_bytes(pair.key)
            self.context.load_cert_chain(certificate, key)
        self.loaded = True


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@contextlib.asynccontextmanager
async def serving(app: Any, host: str, port: int, *, secure: Certified | None = None) -> AsyncIterator[int]:
    """Serve an application while the context is open; yield the port, which is a free one where 0 was given.

    Raises:
        Unavailable: the port cannot be used.
    """
    listener = _bound(host, port)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=DRAIN
    )
    config.load()
    if secure is not None:
        config.ssl = secure.context
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"port {port} of {host} cannot be used: {error.strerror or error}; choose another one"
        ) from None
    listener.listen(128)
    listener.setblocking(False)  # noqa: FBT003 - as the standard library has it
    return listener
