"""Fixtures of the cluster suite: one cluster for the whole session, and things that a test leaves no trace of.

``RUNAI_TEST_CLUSTER=DIR`` makes a session use (and keep) the cluster of that directory; without it, one is started and
removed. Where a cluster cannot run, the tests are skipped with the reason.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.binaries import Unavailable
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube

AddNodes = Callable[..., list[str]]
"""``fake_nodes(count, gpus=8, labels={})``: the names of new KWOK nodes."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test: it may take minutes, and tests have a time limit."""
    if not session.config.option.collectonly and any("cluster" in item.fixturenames for item in _items(session)):
        try:
            binaries.install(binaries.CONTROL_PLANE)
        except Unavailable as reason:
            session.config.stash[_REASON] = str(reason)


_REASON = pytest.StashKey[str]()


def _items(session: pytest.Session) -> list[pytest.Function]:
    return [item for item in session.items if isinstance(item, pytest.Function)]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane with KWOK."""
    if reason := request.config.stash.get(_REASON, ""):
        pytest.skip(reason)
    if kept := os.environ.get("RUNAI_TEST_CLUSTER"):
        yield Cluster.up(Path(kept))
        return
    cluster = Cluster.up(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.down()


@pytest.fixture
def kube(cluster: Cluster) -> Iterator[Kube]:
    """Requests as an administrator."""
    with cluster.kube() as kube:
        yield kube


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own, with its default service account; its pods are gone at once afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    kube.post("/api/v1/namespaces", {"metadata": {"name": name}})
    kube.wait(f"/api/v1/namespaces/{name}/serviceaccounts/default", bool)
    yield name
    kube.delete(f"/api/v1/namespaces/{name}")
    kube.delete(f"/api/v1/namespaces/{name}/pods", grace=0)
    kube.wait(f"/api/v1/namespaces/{name}/pods", lambda seen: not seen.get("items"))


@pytest.fixture
def fake_nodes(cluster: Cluster) -> Iterator[AddNodes]:
    """Make nodes that KWOK plays; they are removed afterwards."""
    made: list[str] = []

    def add(count: int, **how: object) -> list[str]:
        names = add_fake_nodes(cluster, count, prefix=f"fake-{secrets.token_hex(3)}", **how)  # type: ignore[arg-type]
        made.extend(names)
        return names

    yield add
    remove_nodes(cluster, made)
