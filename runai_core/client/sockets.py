"""What an exec session needs of a WebSocket."""

from typing import Protocol


class AsyncSocket(Protocol):
    """Frames, both ways."""

    async def recv(self) -> bytes:
        """Return the next frame; empty when the other side has closed, its reason as an error where it had one."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send a frame."""
        ...
