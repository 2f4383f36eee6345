"""What the store says when the database cannot be used, and that nothing is half-written."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, text

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.database import open_engine, unavailable
from runai_core.backends.local.store import open_store
from runai_core.backends.local.tables import HEAD, METADATA
from runai_core.model.errors import InvalidRequest, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.organization import Department


def a_department(name: str, description: str = "") -> Department:
    return Department(meta=Meta(name=name), description=description)


def test_the_newest_migration_makes_the_schema_that_the_code_expects(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "runai_core.backends.local:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD

    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_only_its_owner_reads_the_files_of_a_database_new_or_old(tmp_path: Path) -> None:
    (tmp_path / "old").touch(0o644)
    for name in ("new", "old"):
        engine = open_engine(f"sqlite:///{tmp_path / name}")
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE held (one INTEGER)")
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob(f"{name}*")}
        engine.dispose()
        assert modes == dict.fromkeys((name, f"{name}-wal", f"{name}-shm"), 0o600)


def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    """An empty file, as a crash before the first commit leaves it."""
    (tmp_path / "db").touch()
    open_engine(f"sqlite:///{tmp_path / 'db'}").dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db'}"
    open_engine(url).dispose()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(Unavailable, match=r"made by a newer version.*upgrade runai-core"):
        open_engine(url)


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(Unavailable, match=r"not a database.*backup"):
        open_engine(f"sqlite:///{tmp_path / 'db'}")


@pytest.mark.asyncio
async def test_a_damaged_database_is_reported_and_the_process_lives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db'}"
    async with open_store(url, SystemClock()) as store:
        for number in range(200):
            await store.create(a_department(f"d-{number}", "x" * 500))
    content = bytearray((tmp_path / "db").read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(Unavailable, match="database"):
        async with open_store(url, SystemClock()) as store:
            await store.list(Department)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        open_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'db'}")


@pytest.mark.parametrize(
    "url", ["mysql://u@h/d", "nonsense", "sqlite:///x?synchronous=SOMETIMES"], ids=["mysql", "nonsense", "synchronous"]
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="databaseUrl"):
        open_engine(url)


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_engine("mysql://user:hunter2@host/db")
    assert "hunter2" not in caught.value.message


def limit_pages(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA max_page_count = 40")


@pytest.mark.asyncio
async def test_a_full_disk_loses_only_what_was_refused(tmp_path: Path) -> None:
    """SQLite is told to take no more pages: it then says the same as on a full disk."""
    url = f"sqlite:///{tmp_path / 'db'}"
    async with open_store(url, SystemClock()) as store:
        first = await store.create(a_department("first"))
        event.listen(store._engine, "connect", limit_pages)
        with pytest.raises(ZeroDivisionError):  # what fails gives its connection up: the next one has the limit
            await store._writer.submit(lambda batch: 1 // 0)

        results = await asyncio.gather(
            *(store.create(a_department(f"d-{number}", "x" * 20_000)) for number in range(40)), return_exceptions=True
        )

        kept = [result for result in results if isinstance(result, Department)]
        refused = [result for result in results if isinstance(result, Unavailable)]
        assert refused
        assert len(kept) + len(refused) == 40
        assert "disk is full" in refused[0].message
        assert (await store.list(Department)).total == 1 + len(kept)
        assert await store.version() == 1 + len(kept)
        event.remove(store._engine, "connect", limit_pages)
        with pytest.raises(ZeroDivisionError):
            await store._writer.submit(lambda batch: 1 // 0)
        assert (await store.update(replace(first, description="again"))).description == "again"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("database or disk is full", "free some space"),
        ("database is locked", "another process holds the database"),
        ("file is not a database", "restore it from a backup"),
        ("database disk image is malformed", "damaged"),
        ("attempt to write a readonly database", "check who owns the file"),
        ("connection to server failed: Connection refused", "does not answer"),
        ("something new", "try again"),
    ],
)
def test_what_the_database_says_becomes_what_to_do(said: str, advice: str) -> None:
    assert advice in unavailable(sqlite3.OperationalError(said)).message


@pytest.mark.asyncio
async def test_a_change_that_breaks_the_writer_fails_alone(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'db'}", SystemClock()) as store:
        broken = store._writer.submit(lambda batch: 1 // 0)
        results = await asyncio.gather(
            store.create(a_department("a")), broken, store.create(a_department("b")), return_exceptions=True
        )
        assert [type(result) for result in results] == [Department, ZeroDivisionError, Department]
        assert (await store.list(Department)).total == 2


@pytest.mark.asyncio
async def test_a_cancelled_caller_harms_nobody(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'db'}", SystemClock()) as store:
        tasks = [asyncio.create_task(store.create(a_department(f"d-{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Department) for result in results[1::2])
        names = {item.name for item in (await store.list(Department)).items}
        assert {f"d-{n}" for n in range(1, 20, 2)} <= names
