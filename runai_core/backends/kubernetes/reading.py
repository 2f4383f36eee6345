"""Reading objects that somebody else wrote: one that cannot be read is left out, and said so, once."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.values import key_of
from runai_core.model.errors import RunaiError

log = logging.getLogger(__name__)

T = TypeVar("T")

UNREADABLE = (RunaiError, KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a malformed object raises."""


class Reader:
    """Reads objects, and remembers which it could not."""

    def __init__(self) -> None:
        self.problems: dict[tuple[str, str], str] = {}  # (kind, name) -> why an object is left out

    def read(self, kind: str, item: Object, how: Callable[[Object], T]) -> T | None:
        """Return what an object says; None where it cannot be read."""
        try:
            found = how(item)
        except UNREADABLE as error:
            self.complain(kind, key_of(item), error)
            return None
        if self.problems:
            self.problems.pop((kind, key_of(item)), None)
        return found

    def read_all(self, kind: str, items: Iterable[Object], how: Callable[[Object], T]) -> list[T]:
        """Return what each of the objects says that can be read."""
        return [found for item in items if (found := self.read(kind, item, how)) is not None]

    def complain(self, kind: str, name: str, error: BaseException) -> None:
        """Note why an object is left out."""
        text = error.message if isinstance(error, RunaiError) else f"it cannot be read: {error!r}"
        if self.problems.get((kind, name)) != text:
            log.warning("%s %s is left out: %s", kind, name.removeprefix("/"), text)
            self.problems[kind, name] = text
