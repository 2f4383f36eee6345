"""Reads the logs that the supervisor writes: the end, since a time, growing, or of the run before."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from runai_core.backends.local.logfile import STAMP, stamp
from runai_core.ports import Clock, LogOptions

PIECE = 256 * 1024
"""Bytes that are read and handed on at once."""

FOLLOW_PERIOD = 0.1
"""Seconds between looks at a growing log."""


@dataclass(frozen=True, slots=True)
class View:
    """How lines are shown."""

    since: bytes  # the stamp before which lines are left out; empty: none are
    timestamps: bool

    def render(self, piece: bytes) -> bytes:
        """Return whole lines of a log as they are shown."""
        lines = piece.split(b"\n")[:-1]
        if self.since:
            lines = [line for line in lines if line[:STAMP] >= self.since]
        if self.timestamps:
            return b"".join(_dated(line) for line in lines)
        return b"".join([line[STAMP:] + b"\n" for line in lines])


async def read_log(
    path: Path, options: LogOptions, *, has_ended: Callable[[], bool], clock: Clock
) -> AsyncIterator[bytes]:
    """Yield a log, oldest first; with `follow`, until the run has ended and all is told."""
    view = View(stamp(options.since) if options.since is not None else b"", options.timestamps)
    left = options.limit_bytes
    async for piece in _pieces(path, options, view, has_ended=has_ended, clock=clock):
        shown = piece if left is None else piece[:left]
        if shown:
            yield shown
        if left is not None:
            left -= len(shown)
            if left <= 0:
                return


async def _pieces(
    path: Path, options: LogOptions, view: View, *, has_ended: Callable[[], bool], clock: Clock
) -> AsyncIterator[bytes]:
    reader = _Reader(path)
    try:
        await asyncio.to_thread(reader.open, options.tail)
        while True:
            ended = not options.follow or has_ended()  # asked before reading: what came until then is read
            while piece := await asyncio.to_thread(reader.read):
                yield view.render(piece)
            if ended and not reader.may_turn():
                rest = reader.rest()
                if rest:
                    yield view.render(rest + b"\n")
                return
            if not ended:
                await clock.sleep(FOLLOW_PERIOD)
    finally:
        reader.close()


class _Reader:
    """Reads the older piece of a log, then the newer one, and follows when a newer one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[BinaryIO] = []
        self._partial = b""

    def open(self, tail: int | None) -> None:
        """Open both pieces and go to where reading begins."""
        for path in (self._path.with_name(self._path.name + ".1"), self._path):
            try:
                self._files.append(path.open("rb"))
            except FileNotFoundError:
                continue
        # the older piece may have been replaced in between: it is then the same file, or a gap nobody can close
        if len(self._files) > 1 and _same(self._files[0], self._files[1]):
            self._files.pop().close()
        if tail is not None:
            self._go_to_last(tail)

    def read(self) -> bytes:
        """Return whole lines that come next; nothing when all was read."""
        while self._files:
            data = self._files[0].read(PIECE)
            if data:
                body, newline, rest = (self._partial + data).rpartition(b"\n")
                self._partial = rest
                if newline:
                    return body + newline
                continue
            if len(self._files) == 1 and not self.may_turn():
                return b""
            self._turn()
        if self.may_turn():
            self._turn()
            return self.read() if self._files else b""
        return b""

    def may_turn(self) -> bool:
        """Return whether a newer file has begun."""
        if len(self._files) > 1:
            return True
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if not self._files:
            return True
        here = os.fstat(self._files[0].fileno())
        # what was written to the old file before it was put away is read first
        return here.st_ino != there.st_ino and self._files[0].tell() >= here.st_size

    def rest(self) -> bytes:
        """Return the last line that has no end yet."""
        rest, self._partial = self._partial, b""
        return rest

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()
        self._files.clear()

    def _turn(self) -> None:
        if self._files:
            self._files.pop(0).close()
        if not self._files:
            try:
                self._files.append(self._path.open("rb"))
            except FileNotFoundError:
                return

    def _go_to_last(self, lines: int) -> None:
        """Leave out what comes before the last lines."""
        wanted = lines
        for index in range(len(self._files) - 1, -1, -1):
            file = self._files[index]
            position, wanted = _last_lines(file, wanted)
            file.seek(position)
            if wanted <= 0:
                for older in self._files[:index]:
                    older.close()
                del self._files[:index]
                return


def _last_lines(file: BinaryIO, wanted: int) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many are still missing."""
    size = end = file.seek(0, io.SEEK_END)
    if wanted <= 0:
        return size, 0
    for start, block in _backwards(file, end):
        body = block[:-1] if start + len(block) == size and block.endswith(b"\n") else block
        found = body.count(b"\n")
        if found >= wanted:
            position = len(body)
            for _ in range(wanted):
                position = body.rfind(b"\n", 0, position)
            return start + position + 1, 0
        wanted -= found
    return 0, wanted - (1 if size else 0)


def _backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    while end > 0:
        start = max(0, end - PIECE)
        file.seek(start)
        yield start, file.read(end - start)
        end = start


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.fstat(one.fileno()).st_ino == os.fstat(other.fileno()).st_ino


def _dated(line: bytes) -> bytes:
    try:
        moment = datetime.fromtimestamp(float(line[:STAMP]), UTC)
    except (ValueError, OverflowError):
        return line + b"\n"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() + line[STAMP:] + b"\n"
