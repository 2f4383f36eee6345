"""Which replica of a control plane does what only one may do, by a note in the database that they share.

A note that nobody has renewed for its time may be taken. Time is measured on
our own clock from when we saw it change, so that clocks need not agree.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from runai_core.controlplane.store import the_only
from runai_core.model.clusters import Leadership
from runai_core.model.errors import RunaiError, StaleVersion, Unavailable
from runai_core.model.meta import Meta
from runai_core.ports import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of a lease."""

    good: float = 20.0  # after which one that was not renewed may be taken
    renew: float = 4.0  # between renewals, and between looks of those who wait
    give_up: float = 12.0  # without a renewal after which we stop: well before anybody else may begin


class StoredLease:
    """A `ports.Lease` between the processes of one database."""

    def __init__(self, store: Store, times: Times | None = None) -> None:
        self._store = store
        self._times = times or Times()
        self.holder = secrets.token_hex(8)

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        """Enter when this process leads in this name; the body is cancelled when it no longer does.

        Raises:
            Unavailable: it led, and does not any more.
        """
        held = await self._acquire(name)
        try:
            async with asyncio.timeout(None) as body:
                keeping = asyncio.create_task(self._keep(held, body), name=f"lease {name}")
                try:
                    yield
                finally:
                    keeping.cancel()
                    await asyncio.gather(keeping, return_exceptions=True)
        except TimeoutError:
            if body.expired():
                raise Unavailable(f"this process does not lead as {name} any more") from None
            raise
        finally:
            await self._release(name)

    async def _acquire(self, name: str) -> Leadership:
        seen: tuple[int, float] = (-1, 0.0)  # version of the note, and when we first saw it
        while True:
            try:
                note = await the_only(self._store, Leadership(meta=Meta(name=name)))
                if note.meta.version != seen[0]:
                    seen = (note.meta.version, time.monotonic())
                if not note.holder or time.monotonic() - seen[1] > self._times.good:
                    return await self._store.update(replace(note, holder=self.holder))
            except StaleVersion:
                continue  # somebody else was faster: look again
            except RunaiError as error:
                log.warning("lease %s: %s", name, error.message)
            await asyncio.sleep(self._times.renew)

    async def _keep(self, note: Leadership, body: asyncio.Timeout) -> None:
        """Renew until that fails for too long, or another one has taken it; then end the body."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < self._times.give_up:
            await asyncio.sleep(self._times.renew)
            try:
                async with asyncio.timeout(self._times.give_up):
                    note = await self._store.update(replace(note, renewals=note.renewals + 1))
                renewed = time.monotonic()
            except StaleVersion:
                break
            except (RunaiError, TimeoutError) as error:
                log.warning("lease %s is not renewed: %s", note.meta.name, error)
        body.reschedule(asyncio.get_running_loop().time())

    async def _release(self, name: str) -> None:
        """Let the next one take it at once."""
        with contextlib.suppress(RunaiError):
            note = await self._store.get(Leadership, name)
            if note.holder == self.holder:
                await self._store.update(replace(note, holder=""))
