"""Leader election over a Lease object, by the rules of Kubernetes' own components.

Whoever's name stands in the lease leads, as long as it is renewed. When a
lease was seen unchanged for its duration, another may take it: time is measured
on our own clock from when we saw it, so clocks need not agree.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.values import micro_time
from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.backends.kubernetes.resources import LEASES, NAMESPACES
from runai_core.model.errors import AlreadyExists, Conflict, NotFound, RunaiError, Unavailable
from runai_core.ports import Clock

log = logging.getLogger(__name__)

DURATION = 15.0
"""Seconds after which a lease that was not renewed may be taken."""

RENEW_EVERY = 2.0
"""Seconds between renewals, and between looks of those who wait."""

GIVE_UP = 10.0
"""Seconds without a renewal after which we stop leading: well before anybody else may begin."""


def identity() -> str:
    """Return a name for this process that no other has."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


class KubernetesLease:
    """A `ports.Lease` on coordination.k8s.io."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        namespace: str = SYSTEM_NAMESPACE,
        duration: float = DURATION,
        renew_every: float = RENEW_EVERY,
        give_up: float = GIVE_UP,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._duration = duration
        self._renew_every = renew_every
        self._give_up = give_up
        self.identity = identity()
        self.leads: set[str] = set()  # names in which we lead, for readiness and metrics

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        """Enter when this process leads in this name; the body is cancelled when it no longer does.

        Raises:
            Unavailable: it led, and does not any more.
        """
        await self._acquire(name)
        body = asyncio.current_task()
        assert body is not None  # noqa: S101 - this is a coroutine of some task
        lost = False

        async def keep() -> None:
            nonlocal lost
            await self._keep(name)
            lost = True
            body.cancel()

        keeping = asyncio.create_task(keep(), name=f"lease {name}")
        self.leads.add(name)
        try:
            yield
        except asyncio.CancelledError:
            if lost and body.uncancel() <= 0:
                raise Unavailable(f"this process does not lead as {name} any more") from None
            raise
        finally:
            self.leads.discard(name)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            if not lost:
                await self._release(name)

    async def _acquire(self, name: str) -> None:
        """Wait until the lease is ours."""
        seen: tuple[str, float] = ("", 0.0)  # its version, and when we first saw it
        while True:
            try:
                lease = await self._read(name)
                version = lease["metadata"]["resourceVersion"]
                if version != seen[0]:
                    seen = (version, time.monotonic())
                if self._is_free(lease, seen[1]):
                    await self._write(lease)
                    return
            except Conflict:
                continue  # somebody else was faster: look again
            except RunaiError as error:
                log.warning("lease %s: %s", name, error.message)
            await asyncio.sleep(self._renew_every)

    def _is_free(self, lease: Object, seen_at: float) -> bool:
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity") or spec["holderIdentity"] == self.identity:
            return True
        return time.monotonic() - seen_at > float(spec.get("leaseDurationSeconds") or self._duration)

    async def _read(self, name: str) -> Object:
        with contextlib.suppress(NotFound):
            return await self._api.get(LEASES, name, self._namespace)
        body: Object = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {},
        }
        try:
            return await self._api.create(LEASES, body)
        except NotFound:  # a cluster on which nothing is installed yet
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
            with contextlib.suppress(AlreadyExists):
                await self._api.create(NAMESPACES, namespace)
            return await self._api.create(LEASES, body)

    async def _write(self, lease: Object, *, release: bool = False) -> Object:
        """Write ourselves into the lease, or out of it; raise StaleVersion where somebody else was faster."""
        spec = dict(lease.get("spec") or {})
        now = micro_time(self._clock.now())
        if spec.get("holderIdentity") != self.identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = now
        spec |= {
            "holderIdentity": "" if release else self.identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "renewTime": now,
        }
        return await self._api.update(LEASES, {**lease, "spec": spec})

    async def _keep(self, name: str) -> None:
        """Renew until it fails for too long, or somebody else holds the lease."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._renew_every)
            try:
                async with asyncio.timeout(renewed + self._give_up - time.monotonic()):
                    lease = await self._read(name)
                    if (lease.get("spec") or {}).get("holderIdentity") != self.identity:
                        log.warning("lease %s: somebody else holds it", name)
                        return
                    await self._write(lease)
                renewed = time.monotonic()
            except (RunaiError, TimeoutError) as error:
                log.warning("lease %s could not be renewed: %s", name, error)
            if time.monotonic() - renewed > self._give_up:
                return

    async def _release(self, name: str) -> None:
        """Let the next one lead at once."""
        with contextlib.suppress(RunaiError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(2.0):
                lease = await self._read(name)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    await self._write(lease, release=True)


class NoElection:
    """A `ports.Lease` where the administrator says that there is only one replica."""

    def __init__(self) -> None:
        self.leads: set[str] = set()

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        """Enter at once."""
        self.leads.add(name)
        try:
            yield
        finally:
            self.leads.discard(name)
