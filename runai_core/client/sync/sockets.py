"""Generated from runai_core/client/sockets.py by tests/unit/client/test_sync_twin.py: change that file instead."""

# ruff: noqa: C416, RUF100, UP028

from typing import Protocol


class Socket(Protocol):
    """Frames, both ways."""

    def recv(self) -> bytes:
        """Return the next frame; empty when the other side has closed, its reason as an error where it had one."""
        ...

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        ...
