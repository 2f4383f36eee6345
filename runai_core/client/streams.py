"""Cutting streams into what they carry; pure."""

import re
from collections.abc import Iterator

from runai_core.client.answers import read_change
from runai_core.client.results import Change

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uid(text: str) -> bool:
    """Return whether the text is an id of the API; names of workloads are never of this form by accident."""
    return _UID.fullmatch(text) is not None


class EventLines:
    """Server-sent events: bytes in, changes out (HTML standard, section 9.2)."""

    def __init__(self) -> None:
        self._rest = b""
        self._event: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Change]:
        """Yield the changes that are complete with this piece."""
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line:
                self._event.append(line.decode())
                continue
            event, self._event = self._event, []
            if (change := read_change(event)) is not None:
                yield change
