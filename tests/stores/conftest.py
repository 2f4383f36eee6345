"""A store of each kind, empty."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runai_core.ports import Store
from tests.cluster import binaries
from tests.cluster.cluster import Cluster
from tests.databases import postgres  # noqa: F401 - a fixture
from tests.stores.under_test import Database, SteppingClock, emptied

KEPT = os.environ.get("RUNAI_TEST_CLUSTER")
"""Directory of a cluster to use, read before tests hide the environment."""


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster that knows our kinds."""
    from runai_core.operator.install.crds import crds

    try:
        cluster = Cluster.up(Path(KEPT) if KEPT else tmp_path_factory.mktemp("cluster"))
    except binaries.Unavailable as reason:
        pytest.skip(str(reason))
    with cluster.kube() as kube:
        for crd in crds():
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            kube.patch(path, crd, kind="apply")
            kube.wait(path, _is_served)
        for project in ("vision", "speech"):
            path = f"/api/v1/namespaces/runai-{project}"
            kube.patch(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": path[-len(project) - 6:]}},
                       kind="apply")  # fmt: skip
    yield cluster.kubeconfig()
    if not KEPT:
        cluster.down()


def _is_served(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


@pytest.fixture(
    params=["memory", "sqlite", "exclusive", "postgresql", pytest.param("kubernetes", marks=pytest.mark.cluster)]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database."""
    clock = SteppingClock()
    if request.param == "kubernetes":
        found = Database("kubernetes", clock, kubeconfig=request.getfixturevalue("kubernetes"))
        asyncio.run(emptied(found))
        return found
    if request.param == "memory":
        return Database("sqlite://", clock)
    if request.param in ("sqlite", "exclusive"):
        return Database(f"sqlite:///{tmp_path / 'runai.db'}", clock, exclusive=request.param == "exclusive")
    url = request.getfixturevalue("postgres")
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return Database(url, clock)


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An empty store."""
    async with database.open() as opened:
        yield opened
