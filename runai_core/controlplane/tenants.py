"""The tenants of a control plane: which there are, and where each has its own database.

The registry holds names only. Everything of a tenant, its signing key
included, lies in a database of its own: a file, or a schema of a server.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.database import translated
from runai_core.backends.local.store import LocalStore, open_store
from runai_core.model.clusters import Tenant
from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.ports import Query
from runai_core.settings import Settings

NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
NAME_RULE = "must be 1 to 40 characters: lower-case letters, digits and '-', beginning with a letter"

HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?")

FOLDER = "tenants"
REGISTRY = "control-plane.db"


class Tenants:
    """The registry of tenants."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store

    async def list(self) -> "tuple[Tenant, ...]":
        """Return all tenants, the oldest first."""
        return (await self.store.list(Tenant, Query())).items

    async def create(self, name: str, hosts: "tuple[str, ...]") -> Tenant:
        """Create a tenant; a running control plane opens it within a second.

        Raises:
            InvalidRequest: name or host is wrong. AlreadyExists: one of them is taken.
        """
        if not NAME.fullmatch(name):
            raise InvalidRequest.of(FieldError("name", NAME_RULE, name[:80]))
        for host in hosts:
            if not HOST.fullmatch(host):
                raise InvalidRequest.of(FieldError("host", "must be a host name", host[:80]))
        wanted = tuple(host.lower() for host in hosts)
        for other in await self.list():
            if taken := set(wanted) & set(other.hosts):
                raise AlreadyExists(f"{min(taken)} is the host name of tenant {other.name}: choose another one")
        return await self.store.create(Tenant(meta=Meta(name=name), hosts=wanted))

    async def delete(self, name: str) -> Tenant:
        """Stop serving a tenant; its database stays where it is. Raise NotFound."""
        found = next((item for item in await self.list() if item.name == name), None)
        if found is None:
            has = ", ".join(item.name for item in await self.list()) or "none"
            raise NotFound(f"there is no tenant {name[:80]}; there are: {has}")
        return await self.store.delete(Tenant, found.meta.uid)


@asynccontextmanager
async def open_tenants(settings: Settings) -> AsyncIterator[Tenants]:
    """Open the registry; several processes may.

    Raises:
        InvalidRequest, Unavailable: the database cannot be used.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = settings.database_url or f"sqlite:///{settings.data_dir / REGISTRY}"
    async with open_store(url, SystemClock()) as store:
        yield Tenants(store)


def settings_of(tenant: Tenant, settings: Settings) -> Settings:
    """Return the settings of one tenant: everything it keeps is its own.

    The key of its credentials is the one that is given to all replicas, if one is.
    """
    folder = settings.data_dir / FOLDER / tenant.name
    return replace(
        settings,
        data_dir=folder,
        database_url=_own_database(settings.database_url, tenant.name, folder),
        backend="control-plane",
        role="api",
        allowed_hosts=(*tenant.hosts, *settings.allowed_hosts),  # its own first: by that other replicas ask for it
    )


def _own_database(url: str | None, name: str, folder: Path) -> str:
    """Return the URL of the tenant's database; on a server, a schema of its own that is made here."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if url is None or url.startswith("sqlite"):
        return f"sqlite:///{folder / 'runai.db'}"
    schema = "tenant_" + name.replace("-", "_")
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    try:
        with translated(), engine.begin() as connection:
            # Two replicas may start at once, and PostgreSQL's own "if not exists" can fail for one of them.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": schema})
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    finally:
        engine.dispose()
    own = parsed.update_query_dict({"options": f"-csearch_path={schema}"})
    return own.render_as_string(hide_password=False)
