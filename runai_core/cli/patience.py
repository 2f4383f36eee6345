"""Closes connections that begin a request and do not go on with it, of which anybody could hold thousands open.

uvicorn itself ends connections that are idle between two requests, and nothing else.
"""

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 30.0
"""How long a client may take from one request, or from the beginning, until the head of the next is there."""


def impatient(seconds: float = HEAD_SECONDS) -> type[asyncio.Protocol]:
    """Return the class of uvicorn's connections, with an end to how long the head of a request may take."""

    class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, chosen at import
        _end: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_head()

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(error)

        def _wait_for_head(self) -> None:
            """Begin to wait where nothing is under way: neither a request nor, in our place, a WebSocket."""
            is_busy = self.cycle is not None and not self.cycle.response_complete
            if is_busy or self.transport.get_protocol() is not self:
                self._stop_waiting()
            elif self._end is None:
                self._end = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._end is not None:
                self._end.cancel()
                self._end = None

    return Impatient


__all__ = ["HEAD_SECONDS", "impatient"]
