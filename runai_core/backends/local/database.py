"""Opens the embedded database: connections, migrations, and errors in the user's words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from runai_core.backends.local.tables import HEAD
from runai_core.model.errors import FieldError, InvalidRequest, Unavailable

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that holds the lock of an SQLite database."""

_MIGRATION_LOCK = 0x72756E6169
"""Key of the PostgreSQL advisory lock under which migrations run."""

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # NORMAL: a commit survives the death of the process, and of the machine but for the last moments;
    # ``?synchronous=FULL`` in the URL also waits for the disk.
    "PRAGMA synchronous={synchronous}",
    f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16384",
)

_ADVICE = (
    ("disk is full", "the disk is full: free some space; nothing of this request was kept"),
    ("no space left", "the disk is full: free some space; nothing of this request was kept"),
    ("database is locked", "another process holds the database: stop it, or try again"),
    ("not a database", "the file is not a database: move it away, or restore it from a backup"),
    ("malformed", "the database is damaged: restore it from a backup, or move it away to start anew"),
    ("readonly", "the database cannot be written to: check who owns the file and its directory"),
    ("read-only", "the database cannot be written to: check who owns the file and its directory"),
    ("unable to open", "the database file cannot be opened: check that its directory exists and is yours"),
    ("disk i/o error", "the disk does not answer as it should: check it, then try again"),
    ("connection refused", "the database server does not answer: check that it runs and the URL names it"),
    ("authentication failed", "the database server refused user or password: check the URL"),
)
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database error into `Unavailable` that says what to do."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> Unavailable:
    """Return the error to show for what the database said."""
    said = str(getattr(error, "orig", None) or error).strip()
    lowered = said.lower()
    advice = next((advice for sign, advice in _ADVICE if sign in lowered), "try again")
    return Unavailable(f"the database cannot be used now: {advice} ({said.splitlines()[0] if said else 'no detail'})")


def is_memory(url: str) -> bool:
    """Return whether the URL names a database that ends with the process."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite database; None where it is in memory."""
    return None if is_memory(url) else Path(str(make_url(url).database)).absolute()


def open_engine(url: str) -> Engine:
    """Return an engine for the URL, its schema brought to `HEAD`.

    Raises:
        InvalidRequest: the URL is not one of SQLite or PostgreSQL.
        Unavailable: it cannot be opened, is damaged, or was made by a newer version.
    """
    engine = _engine(url)
    try:
        with translated():
            _keep_private(url)
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _keep_private(url: str) -> None:
    """Let nobody else read the file of an SQLite database; SQLite gives the files beside it the same mode."""
    if not url.startswith("sqlite") or (file := file_of(url)) is None:
        return
    with suppress(FileNotFoundError, PermissionError):  # said better when it is opened
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_size=5, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise _bad_url(url, str(error)) from None
    except ModuleNotFoundError:
        raise _bad_url(url, "the driver is missing: pip install 'runai-core[postgres]'") from None
    query = dict(parsed.query)
    synchronous = str(query.pop("synchronous", "NORMAL")).upper()
    if backend != "sqlite":
        raise _bad_url(url, f"{backend} is not supported")
    if synchronous not in _SYNCHRONOUS:
        raise _bad_url(url, f"synchronous is one of {', '.join(_SYNCHRONOUS)}")
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT, "check_same_thread": False}}
    if is_memory(url):
        options["poolclass"] = StaticPool
    engine = create_engine(parsed.set(query=query), **options)
    _prepare_sqlite(engine, synchronous)
    return engine


def _bad_url(url: str, why: str) -> InvalidRequest:
    message = f"must be sqlite:///<file>, sqlite:// or postgresql+psycopg://<user>@<host>/<database>; {why}"
    return InvalidRequest.of(FieldError("databaseUrl", message, url.rpartition("@")[2]))


def _prepare_sqlite(engine: Engine, synchronous: str) -> None:
    """Let us, not the driver, begin transactions: a writer must take the lock at once."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma.format(synchronous=synchronous))

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD`; an empty database gets all of it."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        found = _revision(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise Unavailable(
                f"the database was made by a newer version (schema {found}, this one knows {HEAD}): "
                "upgrade runai-core, or use another data directory"
            )
        _run_alembic(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run_alembic(connection: Connection) -> None:
    # Imported here: Alembic is needed once in the life of a database, and its import takes longer than our start.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "runai_core.backends.local:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
