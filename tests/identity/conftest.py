"""The house that all tests here are about."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from argon2 import PasswordHasher

from runai_core.backends.local.store import open_store
from runai_core.bootstrap import build
from runai_core.plugins.manager import load_plugins
from runai_core.ports import Backend
from runai_core.service.own_identity import Identity
from runai_core.service.passwords import Passwords
from runai_core.settings import Settings
from runai_core.web.app import create_app
from tests.identity.house import Clock, House, NoCluster


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = Clock()
    async with open_store("sqlite://", clock) as store:
        cluster: Any = NoCluster()
        backend = Backend(store=store, cluster=cluster, runtime=cluster, lease=cluster, clock=clock)
        settings = Settings(data_dir=tmp_path, plugins=("builtin",))
        identity = Identity(cluster_id="3f0e2c1a-1111-4222-8333-444455556666", signing_key="k" * 64)
        door, _ = build(settings, backend, identity, load_plugins(settings.plugins))
        await door.organization.ensure_defaults()
        fast = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        door.users._passwords = door.sign_in._passwords = fast  # the real parameters take time on purpose
        yield House(door, create_app(door), clock)
