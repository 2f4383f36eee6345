"""An upgrade that names no database goes on with the one that the cluster's installation has."""

from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.model.errors import Forbidden
from runai_core.operator.install.options import Options
from runai_core.operator.install.records import with_known_database
from tests.kubernetes_world import FakeApi, StillWorld

pytestmark = pytest.mark.asyncio


def a_cluster(*, has_database: bool) -> Api:
    world = StillWorld()
    if has_database:
        world.put(SECRETS, {"metadata": {"name": "runai-database", "namespace": "runai"}})
    return cast("Api", FakeApi(world))


@pytest.mark.parametrize(
    ("given", "has_database", "database"),
    [
        pytest.param({}, False, "", id="there is none: a volume"),
        pytest.param({}, True, "runai-database", id="there is one"),
        pytest.param({"database_secret": "mine"}, True, "mine", id="another one is named"),
        pytest.param({"workloads": False}, True, "", id="nothing of ours runs there"),
        pytest.param({"namespace": "ai"}, True, "", id="it is that of another namespace"),
    ],
)
async def test_the_database_of_an_upgrade(given: dict[str, Any], *, has_database: bool, database: str) -> None:
    found = await with_known_database(a_cluster(has_database=has_database), Options(image="x", **given))

    assert found.database == database


async def test_who_may_not_look_is_told_later_what_all_is_missing() -> None:
    class Refusing:
        async def get(self, *_: object) -> None:
            raise Forbidden("no")

    assert (await with_known_database(cast("Api", Refusing()), Options(image="x"))).database == ""
