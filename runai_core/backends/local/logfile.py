"""The log of one run of a pod: a file of bounded size, each line with the time at which it came.

A line is ``<seconds since the epoch, 10.6 digits> <text>``. When a file is
full it becomes the older piece ``<file>.1``, and the older piece before it is
forgotten. Standard library only: the supervisor imports this.
"""
# A path is a plain string here: importing pathlib would cost the small process memory.
# ruff: noqa: PTH105, PTH123

import contextlib
import os
import time

MAX_BYTES = 10 * 1024 * 1024
"""Size at which a log becomes the older piece; a pod keeps two pieces at most."""

MAX_LINE = 1024 * 1024
"""A line that goes on for so long beyond the size is cut."""

STAMP = 18
"""Bytes before the text of a line."""


def stamp(moment: float) -> bytes:
    """Return what stands before a line that came at the moment."""
    return b"%017.6f " % moment


class LogFile:
    """Appends output to a log. A full disk loses output, never the pod."""

    def __init__(self, path: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._at_start = True  # of a line
        if self._size:
            self._write(b"\n" if not self._ends_with_newline() else b"")
        self.lost = 0  # bytes that could not be kept

    def append(self, output: bytes) -> None:
        """Keep output that came just now."""
        if not output:
            return
        before = stamp(time.time())
        body = output[:-1] if output.endswith(b"\n") else output
        text = body.replace(b"\n", b"\n" + before)
        text = (before if self._at_start else b"") + text + (b"\n" if body is not output else b"")
        self._at_start = body is not output
        self._write(text)
        if self._size >= self._max_bytes and (self._at_start or self._size >= self._max_bytes + MAX_LINE):
            self._rotate()

    def close(self) -> None:
        """Write nothing any more."""
        os.close(self._fd)

    def _write(self, text: bytes) -> None:
        while text:
            try:
                written = os.write(self._fd, text)
            except OSError:
                self.lost += len(text)
                return
            self._size += written
            text = text[written:]

    def _rotate(self) -> None:
        with contextlib.suppress(OSError):
            os.replace(self._path, self._path + ".1")
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.close(self._fd)
            self._fd, self._size, self._at_start = fd, 0, True

    def _ends_with_newline(self) -> bool:
        with open(self._path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
