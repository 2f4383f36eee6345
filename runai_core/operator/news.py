"""Hearing of changes of what is kept in a store, without a gap that goes unnoticed."""

import logging
from collections.abc import Callable
from typing import TypeVar

from runai_core.model.errors import RunaiError, WatchExpired
from runai_core.ports import Clock, Query, Store, Stored

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Stored)

AGAIN = 1.0
"""Seconds until a store that does not answer is asked again."""


async def told(store: Store, kind: type[T], listener: Callable[[T | None], None], clock: Clock) -> None:
    """Tell of every change of a kind until cancelled; None means that anything may have changed."""
    while True:
        try:
            version = (await store.list(kind, Query(limit=1))).version
            listener(None)
            async for change in store.watch(kind, version):
                listener(change.object)
        except WatchExpired:
            continue
        except RunaiError as error:
            log.warning("changes of %s cannot be followed now: %s", kind.__name__, error.message)
        await clock.sleep(AGAIN)
