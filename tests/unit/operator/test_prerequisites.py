"""What a cluster lacks: kinds, rights and drivers are looked for, and what was found is kept until it is there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.local.store import open_store
from runai_core.model.errors import NotFound, Unavailable
from runai_core.operator.install.crds import DEFINITIONS
from runai_core.operator.prerequisites import RIGHTS_EVERY, Looking
from runai_core.ports import Store
from runai_core.service.clusters import missing_prerequisites


@dataclass
class Server:
    """An API server that serves all kinds but some, and allows all but some."""

    without: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    is_away: bool = False
    asked: int = 0

    async def raw(self, path: str) -> dict[str, Any]:
        if self.is_away:
            raise Unavailable("no answer")
        group, version = path.removeprefix("/apis/").split("/")
        kinds = [item.resource.plural for item in DEFINITIONS
                 if (item.resource.group, item.resource.version) == (group, version)]  # fmt: skip
        here = [{"name": plural} for plural in kinds if plural not in self.without]
        if not here:
            raise NotFound("no such group")
        return {"resources": here}

    async def can_i(self, verb: str, resource: Resource, *, name: str = "", sub: str = "") -> bool:
        self.asked += 1
        return f"{verb} {resource.plural}{f'/{sub}' if sub else ''}" not in self.forbidden


@dataclass
class World:
    """A server, who looks at it, and where it is noted."""

    server: Server
    looking: Looking
    store: Store

    async def missing(self) -> dict[str, str]:
        """Look, and return what is noted as missing."""
        await self.looking.look()
        return {item.name: item.message for item in await missing_prerequisites(self.store)}


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    server = Server()
    async with open_store("sqlite://", SystemClock()) as store:
        yield World(server, Looking(server, lambda: server.nodes, store), store)


def a_node(name: str, *, gpus: str = "", label: str = "nvidia.com/gpu.present") -> dict[str, Any]:
    allocatable = {"cpu": "8", **({"nvidia.com/gpu": gpus} if gpus else {})}
    return {"metadata": {"name": name, "labels": {label: "true"}}, "status": {"allocatable": allocatable}}


@pytest.mark.asyncio
async def test_where_all_is_there_nothing_is_missing(world: World) -> None:
    world.server.nodes = [a_node("one", gpus="8"), {"metadata": {"name": "cpu"}}]

    assert await world.missing() == {}


@pytest.mark.asyncio
async def test_kinds_that_are_not_served_are_named(world: World) -> None:
    world.server.without = {"projects", "queues"}

    said = (await world.missing())["custom resource definitions"]

    assert "projects.run.ai" in said
    assert "queues.scheduling.run.ai" in said
    assert "run `runai admin install`" in said
    world.server.without = {item.resource.plural for item in DEFINITIONS}
    assert f"and {len(DEFINITIONS) - 5} more" in (await world.missing())["custom resource definitions"]
    world.server.without = set()
    assert await world.missing() == {}


@pytest.mark.asyncio
async def test_rights_that_we_lack_are_named_and_not_asked_for_each_time(world: World) -> None:
    world.server.forbidden = {"create pods/exec", "bind clusterroles"}

    assert (await world.missing())["rights"].startswith("we may not create pods/exec, bind clusterroles: ")
    asked, world.server.forbidden = world.server.asked, set()
    assert "rights" in await world.missing()
    assert world.server.asked == asked
    for _ in range(RIGHTS_EVERY):
        await world.looking.look()
    assert await world.missing() == {}


@pytest.mark.parametrize("label", ["nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present"])
@pytest.mark.asyncio
async def test_nodes_whose_gpus_are_not_offered_are_named(label: str, world: World) -> None:
    world.server.nodes = [a_node("none", label=label), a_node("zero", gpus="0", label=label), a_node("well", gpus="1")]

    assert (await world.missing())["GPU drivers"].startswith("none, zero have GPUs that Kubernetes does not offer")


@pytest.mark.asyncio
async def test_what_cannot_be_found_out_stays_as_it_was(world: World) -> None:
    world.server.without = {"projects"}
    before = await world.missing()
    world.server.is_away, world.server.without = True, set()

    assert await world.missing() == before
