"""Who may work with a data directory: one orchestrator at a time."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from runai_core.model.errors import Unavailable

FILE = "orchestrator.lock"


class AlwaysHeld:
    """A `ports.Lease` where nobody else can want it."""

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        """Enter at once."""
        del name
        yield


@asynccontextmanager
async def lock_directory(data_dir: Path) -> AsyncIterator[None]:
    """Hold the data directory; the lock goes with the process, however it ends.

    Raises:
        Unavailable: another orchestrator uses it, or it cannot be written.
    """
    try:
        lock = _open(data_dir)
    except OSError as error:
        raise Unavailable(f"the data directory {data_dir} cannot be used: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            raise Unavailable(
                f"another orchestrator{f' (process {pid})' if pid else ''} uses {data_dir}: "
                "stop it with `runai down`, or choose another data directory"
            ) from None
        with suppress(OSError):  # a full disk: the number is only for people
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _open(data_dir: Path) -> int:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
