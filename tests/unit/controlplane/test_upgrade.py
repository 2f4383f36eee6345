"""A control plane of an older version: its tenants' databases are brought up to date, and keep what they have."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from runai_core.backends.local.tables import HEAD, OBJECTS
from runai_core.backends.local.writes import document_of
from runai_core.bootstrap import open_orchestrator
from runai_core.controlplane.tenants import FOLDER, open_tenants, settings_of
from runai_core.model.clusters import Tenant
from runai_core.model.errors import Unavailable
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Department
from runai_core.model.samples import Point
from runai_core.ports import samples_of
from runai_core.settings import Settings


def old_database(path: Path) -> None:
    """Make a database of the first schema, with one department in it."""
    path.parent.mkdir(parents=True)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "runai_core.backends.local:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        department = Department(meta=Meta(name="old", uid="u-old"), description="from before")
        row = {"uid": "u-old", "kind": "Department", "project": "", "name": "old", "version": 1, "owner": ""}
        times = {"created_at": 1.0, "updated_at": 1.0, "deleted_at": None}
        connection.execute(OBJECTS.insert().values(**row, **times, document=document_of(department)))
        connection.execute(text("UPDATE counters SET value = 1 WHERE name = 'version'"))
    engine.dispose()


@pytest.mark.asyncio
async def test_an_old_database_is_brought_up_to_date_with_all_it_has(tmp_path: Path) -> None:
    old_database(tmp_path / FOLDER / "acme" / "runai.db")
    settings = Settings(data_dir=tmp_path, backend="control-plane", role="api", plugins=("builtin",))
    async with open_tenants(settings) as tenants:
        tenant = await tenants.create("acme", ())
    own = settings_of(tenant, settings)

    async with open_orchestrator(own) as orchestrator:
        found = await orchestrator.organization.get_department(SYSTEM, "old")
        samples = samples_of(orchestrator.backend.store)
        assert samples is not None
        await samples.add([Point("node/a", 5.0, {"CPU": 1.0})])
        assert (found.meta.uid, found.description, found.meta.created_at) == ("u-old", "from before", 1.0)
        assert len(await samples.series("node/a", 0, 10)) == 1
    assert revision(own.data_dir / "runai.db") == HEAD


@pytest.mark.asyncio
async def test_a_newer_database_is_refused_in_words_and_left_as_it_is(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, backend="control-plane", role="api", plugins=("builtin",))
    own = settings_of(Tenant(meta=Meta(name="acme")), settings)
    async with open_orchestrator(own):
        await asyncio.sleep(0)
    with contextlib.closing(create_engine(own.database).raw_connection()) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(Unavailable, match="made by a newer version"):
        async with open_orchestrator(own):
            pass
    assert revision(own.data_dir / "runai.db") == "9999"


def revision(path: Path) -> str:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    engine.dispose()
    return str(found)
