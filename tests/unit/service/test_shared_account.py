"""The account of the processes themselves, where several share their records."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.model.errors import Unauthenticated
from runai_core.ports import Backend
from runai_core.service.tokens import Tokens

pytestmark = pytest.mark.asyncio

ROLE = "System administrator"


def replica(store: Any, key: str = "k" * 64) -> Tokens:
    """The tokens of one of several processes."""
    return Tokens(cast("Backend", SimpleNamespace(store=store, clock=SystemClock())), key)


async def test_what_one_replica_gave_out_is_good_at_all_and_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with open_store(url, SystemClock()) as store, open_store(url, SystemClock()) as other:
        first = await replica(store).shared_account("cli", ROLE)
        token = await replica(store).issue(first.client_id, first.client_secret)

        second = await replica(other).shared_account("cli", ROLE)

        assert second == first
        assert (await replica(other).issue(first.client_id, first.client_secret)).access_token
        claims = await replica(other).read(token.access_token)  # a start revokes no token
        assert claims.subject == "cli"


async def test_an_account_of_its_own_gets_another_secret_each_time(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'own.db'}", SystemClock()) as store:
        first = await replica(store).create_service_account("cli", ROLE)
        second = await replica(store).create_service_account("cli", ROLE)

        assert second.client_secret != first.client_secret
        with pytest.raises(Unauthenticated):
            await replica(store).issue(first.client_id, first.client_secret)


async def test_with_another_key_the_secret_is_another(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'keys.db'}", SystemClock()) as store:
        first = await replica(store).shared_account("cli", ROLE)
        second = await replica(store, "n" * 64).shared_account("cli", ROLE)

        assert second.client_secret != first.client_secret
        with pytest.raises(Unauthenticated):
            await replica(store).issue(first.client_id, first.client_secret)
