"""A PostgreSQL server of a test's own, that can go and come back."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, eventually


def binaries() -> Path | None:
    """Return where a PostgreSQL server is installed: on the path, or where Debian keeps its versions."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@dataclass
class PostgresServer:
    """Listens on a socket in a directory of its own."""

    home: Path
    programs: Path
    user: str | None  # the server refuses to run as root
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its database, as the orchestrator wants it."""
        return f"postgresql+psycopg://runai@/postgres?host={self.home}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.home / "data"), "-k", str(self.home)]
        command += ["-c", "listen_addresses=", "-c", "fsync=off"]
        self.process = subprocess.Popen(
            command, user=self.user, env=self.environment, cwd=self.home, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, "an answer of PostgreSQL")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"host={self.home} user=runai dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def crash(self) -> None:
        """End it at once, as a machine that fails: connections break, what was committed stays."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE)

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find in their environment."""
        return {"PATH": os.environ["PATH"], "LANG": "C"}


@contextmanager
def a_postgres_server(programs: Path) -> Iterator[PostgresServer]:
    """Yield a running server with an empty database; nothing of it is left afterwards."""
    user: str | None = None
    if os.geteuid() == 0:
        user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), "nobody")
    home = Path(tempfile.mkdtemp(prefix="runai-pg-"))  # not below pytest's directory: the user may not pass through
    (home / "data").mkdir()
    for directory in (home, home / "data"):
        if user is not None:
            shutil.chown(directory, user)
    server = PostgresServer(home, programs, user)
    try:
        command = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "runai", "--auth=trust", "-E", "UTF8"]
        command += ["--no-sync"]
        subprocess.run(command, check=True, user=user, env=server.environment, cwd=home, stdout=subprocess.DEVNULL)
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.send_signal(signal.SIGINT)
            server.process.wait(PATIENCE)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of our own; import it by name where it is needed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra: postgres)")
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: tools/debian install postgresql")
    with a_postgres_server(programs) as server:
        yield server.url
