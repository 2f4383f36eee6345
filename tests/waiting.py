"""Waiting for what a test needs: for the thing itself, and long enough for a machine that does much else."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import IO, Any, TypeVar, overload

PATIENCE = 60.0
"""Seconds that a test waits at most. No test is about this number: what comes at all comes much sooner."""

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: object = "it", *, seconds: float = PATIENCE) -> T:
    """Return what `look` finds, as soon as it is something.

    Raises:
        AssertionError: It found nothing in time; says `what`, which may be a function that describes how things are.

    """
    deadline, pauses = time.monotonic() + seconds, _pauses()
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(_not_seen(what, found, seconds))
        time.sleep(next(pauses))
    return found


@overload
async def until(
    look: Callable[[], Coroutine[Any, Any, T | None]], what: object = "it", *, seconds: float = PATIENCE
) -> T: ...


@overload
async def until(look: Callable[[], T | None], what: object = "it", *, seconds: float = PATIENCE) -> T: ...


async def until(look: Callable[[], Any], what: object = "it", *, seconds: float = PATIENCE) -> Any:
    """Do as `eventually`, and let others work meanwhile; `look` may be a coroutine function."""
    deadline, pauses = time.monotonic() + seconds, _pauses()
    while not (found := await _value_of(look())):
        if time.monotonic() > deadline:
            raise AssertionError(_not_seen(what, found, seconds))
        await asyncio.sleep(next(pauses))
    return found


async def soon(awaited: Awaitable[T]) -> T:
    """Return what is awaited; fail when it does not come at all."""
    async with asyncio.timeout(PATIENCE):
        return await awaited


def heard(stream: IO[str] | None, words: str) -> str:
    """Return what a command has said on a stream up to the line with the words; fail when it ends without them."""
    assert stream is not None
    said = ""
    while words not in said and (line := stream.readline()):
        said += line
    assert words in said, said
    return said


def _pauses() -> Iterator[float]:
    """Yield seconds between two looks: soon at first, then rarer, so that looking does not hold up what is awaited."""
    pause = 0.005
    while True:
        yield pause
        pause = min(pause * 1.2, 0.1)


async def _value_of(found: object) -> object:
    return await found if inspect.isawaitable(found) else found


def _not_seen(what: object, found: object, seconds: float) -> str:
    said = what() if callable(what) else what
    return f"{said}: not seen in {seconds:g} s; last seen: {found!r}"
