"""Fixtures of the cluster suite: one cluster for the whole session, and things that a test leaves no trace of.

``RUNAI_TEST_CLUSTER=DIR`` makes a session use (and keep) the cluster of that directory; without it, one is started and
removed. Where a cluster cannot run, the tests are skipped with the reason.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster import binaries, machine
from tests.cluster.binaries import Unavailable
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube

AddNodes = Callable[..., list[str]]
"""``fake_nodes(count, gpus=8, labels={})``: the names of new KWOK nodes."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test: it may take minutes, and tests have a time limit."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    if session.config.option.collectonly:
        return
    for fixture, install in _NEEDS.items():
        if fixture in wanted:
            try:
                install()
            except Unavailable as reason:
                session.config.stash.setdefault(_REASONS, {})[fixture] = str(reason)


_NEEDS: Mapping[str, Callable[[], object]] = {
    "cluster": lambda: binaries.install(binaries.CONTROL_PLANE),
    "real_nodes": machine.require,
}
_REASONS = pytest.StashKey[dict[str, str]]()


def _skip_without(request: pytest.FixtureRequest, fixture: str) -> None:
    if reason := request.config.stash.get(_REASONS, {}).get(fixture, ""):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane with KWOK."""
    _skip_without(request, "cluster")
    if kept := os.environ.get("RUNAI_TEST_CLUSTER"):
        yield Cluster.up(Path(kept), stays=True)
        return
    cluster = Cluster.up(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def own_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane that a module's tests may harm."""
    _skip_without(request, "cluster")
    cluster = Cluster.up(tmp_path_factory.mktemp("own"))
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def real_nodes(request: pytest.FixtureRequest, cluster: Cluster) -> list[str]:
    """The names of two real nodes with 4 simulated GPUs each. A test that breaks one mends it."""
    _skip_without(request, "real_nodes")
    return machine.add_real_nodes(cluster, 2, gpus=4)


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
