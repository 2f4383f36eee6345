"""Records in one SQLite file that several processes share, as API and operator do on a cluster."""

import asyncio
from pathlib import Path

import pytest

from runai_core.backends.local.backend import open_records
from runai_core.model.errors import StaleVersion, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule
from runai_core.ports import ChangeType, Query

pytestmark = pytest.mark.asyncio


def a_rule(name: str, subject: str = "ann") -> AccessRule:
    return AccessRule(
        meta=Meta(name=name), subject=subject, subject_type="user", role="Viewer", scope_type="tenant", scope=""
    )


async def test_what_one_writes_the_other_reads_watches_and_cannot_write_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared' / 'runai.db'}"
    (tmp_path / "shared").mkdir()
    async with open_records(tmp_path / "api", url) as api, open_records(tmp_path / "operator", url) as operator:
        before = (await operator.list(AccessRule, Query())).version
        watch = operator.watch(AccessRule, before)
        heard = asyncio.ensure_future(anext(watch))

        made = await api.create(a_rule("one"))

        async with asyncio.timeout(60):
            change = await heard
        assert (change.type, change.object.meta.name) == (ChangeType.ADDED, "one")
        assert await operator.get(AccessRule, "one") == made
        await operator.update(made)
        assert (await api.get(AccessRule, "one")).meta.version > made.meta.version, "nothing old is remembered"
        with pytest.raises(StaleVersion):
            await api.update(made)


async def test_many_may_write_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runai.db'}"
    async with open_records(tmp_path / "api", url) as api, open_records(tmp_path / "operator", url) as operator:
        await asyncio.gather(*(store.create(a_rule(f"{kind}-{number}")) for number in range(50)
                               for kind, store in (("a", api), ("o", operator))))  # fmt: skip

        assert (await api.list(AccessRule, Query())).total == 100


async def test_the_file_in_a_data_directory_is_for_one_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runai.db'}"
    async with open_records(tmp_path, url):
        with pytest.raises(Unavailable, match="another orchestrator"):
            async with open_records(tmp_path, url):
                pytest.fail("two processes have one data directory")
