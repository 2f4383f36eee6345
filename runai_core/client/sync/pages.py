"""Generated from runai_core/client/pages.py by tests/unit/client/test_sync_twin.py: change that file instead."""

# ruff: noqa: C416, RUF100, UP028

from collections.abc import Callable
from typing import TypeVar

from runai_core.client.requests import PAGE, Call
from runai_core.client.sync.transport import Transport

T = TypeVar("T")


def all_pages(
    transport: Transport, page: Callable[[int, int], Call[tuple[T, ...]]], limit: int | None
) -> tuple[T, ...]:
    """Return all objects of a list, or the first `limit` of them."""
    found: list[T] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        items = transport.call(page(len(found), size))
        found += items
        if len(items) < size:
            break
    return tuple(found)
