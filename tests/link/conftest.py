"""One control plane with one cluster, for the tests of one file that break neither."""

from collections.abc import Iterator

import pytest

from tests.controlplanes import World, a_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a control plane with the cluster `west`, as processes of their own."""
    with a_world(tmp_path_factory.mktemp("link")) as made:
        made.cluster("west")
        yield made
