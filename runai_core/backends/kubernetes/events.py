"""Events on objects, as `kubectl describe` shows them: equal ones are counted, and never too many at once.

Events are told in the background; whoever has more urgent writes makes them
wait (`busy`). When the API server does not take them, the oldest are dropped:
an event is a help, not a record.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.values import rfc3339
from runai_core.backends.kubernetes.names import SCHEDULER
from runai_core.backends.kubernetes.resources import EVENTS
from runai_core.model.errors import NotFound, RunaiError
from runai_core.ports import Clock

log = logging.getLogger(__name__)

PER_SECOND = 50
"""Events written in a second at most."""

MOST_WAITING = 20_000
"""Events that wait to be written; more push the oldest out."""

MOST_KNOWN = 20_000
"""Written events that are remembered, so that a repetition is counted on them."""

MOST_TEXT = 1024
"""Characters of a message that the API server takes."""

REPEAT_AFTER = 60.0
"""Seconds in which repetitions of an event are only counted by us; then its count is written."""

BUSY_WAIT = 0.2
"""Seconds between looks whether more urgent writes are done."""

LONGEST_WAIT = 5.0
"""Seconds that more urgent writes can hold events up."""


@dataclass(frozen=True, slots=True)
class About:
    """What an event is about."""

    kind: str
    api_version: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, item: Mapping[str, Any], kind: str, api_version: str) -> "About":
        """Return the reference to an object."""
        meta = item["metadata"]
        return cls(kind, api_version, meta.get("namespace", ""), meta["name"], meta.get("uid", ""))


@dataclass(slots=True)
class Event:
    """An event that was written, or waits to be."""

    about: About
    kind: str  # Normal or Warning
    reason: str
    message: str
    first: float
    last: float
    count: int = 1
    name: str = ""  # empty: not written yet
    written_at: float = 0.0


class Recorder:
    """Writes events in the name of one component."""

    def __init__(
        self, api: Api, clock: Clock, *, component: str = SCHEDULER, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._api = api
        self._clock = clock
        self._component = component
        self._busy = busy
        self._known: OrderedDict[tuple[str, str, str], Event] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._more = asyncio.Event()

    def tell(self, about: About, reason: str, message: str, *, warning: bool = False) -> None:
        """Tell of something; returns at once."""
        key = (about.uid or f"{about.namespace}/{about.name}", reason, message)
        now = self._clock.now()
        known = self._known.get(key)
        if known is None:
            kind = "Warning" if warning else "Normal"
            self._known[key] = Event(about, kind, reason, message, now, now)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
            known.count += 1
            known.last = now
            if known.name and now - known.written_at < REPEAT_AFTER:
                return
        self._waiting[key] = None
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        self._more.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._more.wait()
            await self._stand_back()
            if not self._waiting:
                self._more.clear()
                continue
            key, _ = self._waiting.popitem(last=False)
            known = self._known.get(key)
            if known is not None:
                try:
                    await self._write(known)
                except RunaiError as error:
                    log.debug("event %s on %s: %s", known.reason, known.about.name, error.message)
            await asyncio.sleep(1 / PER_SECOND)

    async def _stand_back(self) -> None:
        """Let more urgent writes go first, for a while."""
        for _ in range(round(LONGEST_WAIT / BUSY_WAIT)):
            if not self._busy():
                return
            await asyncio.sleep(BUSY_WAIT)

    async def _write(self, known: Event) -> None:
        known.written_at = self._clock.now()
        namespace = known.about.namespace or "default"
        if known.name:
            change = {"count": known.count, "lastTimestamp": rfc3339(known.last)}
            try:
                await self._api.patch(EVENTS, known.name, change, namespace)
                return
            except NotFound:
                known.name, known.count = "", 1  # events are kept for an hour
        name = f"{known.about.name[:200]}.{secrets.token_hex(8)}"
        await self._api.create(EVENTS, body_of(known, name, self._component))
        known.name = name


def body_of(event: Event, name: str, component: str) -> Object:
    """Return an event as it is created, in the name of a component."""
    about = event.about
    involved = {
        "kind": about.kind,
        "apiVersion": about.api_version,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace or "default"},
        "involvedObject": {key: value for key, value in involved.items() if value},
        "type": event.kind,
        "reason": event.reason,
        "message": event.message[:MOST_TEXT],
        "count": event.count,
        "firstTimestamp": rfc3339(event.first),
        "lastTimestamp": rfc3339(event.last),
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": component,
    }
