"""Readiness: asks a pod's process by HTTP whether it can serve, in the manner of Kubernetes."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

from runai_core.model.network import HttpGet
from runai_core.model.workload import PodSpec
from runai_core.ports import Clock

EAGER_PERIOD = 0.25
"""Seconds between tries, at most, until the first success: starting is when people wait."""

LOOPBACK = "127.0.0.1"
MAX_LINE = 8192


async def watch_readiness(spec: PodSpec, clock: Clock, report: Callable[[bool], Awaitable[None]]) -> None:
    """Ask again and again, and report each change; the first report is a success. Runs until cancelled."""
    ready, failures = False, 0
    await clock.sleep(spec.readiness_initial_delay)
    while True:
        if await is_healthy(spec):
            failures = 0
            if not ready:
                ready = True
                await report(ready)
        else:
            failures += 1
            if ready and failures >= spec.readiness_failure_threshold:
                ready = False
                await report(ready)
        await clock.sleep(spec.readiness_period if ready else min(spec.readiness_period, EAGER_PERIOD))


async def is_healthy(spec: PodSpec) -> bool:
    """Return whether the pod's readiness request is answered with a status from 200 to 399 in time."""
    if spec.readiness is None:
        return True
    try:
        async with asyncio.timeout(spec.readiness_timeout):
            status = await _status(spec.readiness)
    except (OSError, TimeoutError, ValueError, asyncio.LimitOverrunError):
        return False
    return 200 <= status < 400


async def _status(probe: HttpGet) -> int:
    host, path = probe.host or LOOPBACK, probe.path if probe.path.startswith("/") else f"/{probe.path}"
    if not path.isprintable() or " " in path or not host.isprintable():
        raise ValueError("not a path")
    reader, writer = await asyncio.open_connection(
        host, probe.port, ssl=_unchecked() if probe.scheme == "HTTPS" else None, limit=MAX_LINE
    )
    try:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{probe.port}\r\nUser-Agent: runai-probe\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("latin-1"))
        line = await reader.readuntil(b"\n")
        version, status, *_ = line.split()
        if not version.startswith(b"HTTP/"):
            raise ValueError("not HTTP")
        return int(status)
    except asyncio.IncompleteReadError:
        raise ValueError("no answer") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _unchecked() -> ssl.SSLContext:
    """Return a context that takes any certificate, as probes of Kubernetes do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
