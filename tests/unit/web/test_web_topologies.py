"""Network topologies over REST, and the node pools that use them."""

from typing import Any

import pytest

from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology

pytestmark = pytest.mark.asyncio

TOPOLOGIES, POOLS = "/api/v1/network-topologies", "/api/v1/node-pools"
CLUSTER = "3f0e2c1a-1111-4222-8333-444455556666"
LEVELS = ["zone", "rack", "kubernetes.io/hostname"]


async def made(api: Any, expect: int = 201, **given: Any) -> Any:
    """Create a topology."""
    return await api.send(
        "POST", TOPOLOGIES, {"name": "racks", "clusterId": CLUSTER, "levels": LEVELS, **given}, expect
    )


async def pooled(api: Any, expect: int = 201, **given: Any) -> Any:
    """Create a node pool."""
    return await api.send("POST", POOLS, {"name": "a", "labelKey": "pool", "labelValue": "a", **given}, expect)


async def test_a_topology_is_made_read_listed_counted_and_deleted(api: Any) -> None:
    created = await made(api)
    read = await api.get(f"{TOPOLOGIES}/{created['id']}")
    listed = await api.get(TOPOLOGIES, filterBy="source=@Run")
    count = await api.get(f"{TOPOLOGIES}/count", filterBy="name==other")
    await api.send("DELETE", f"{TOPOLOGIES}/{created['id']}")

    assert read == created
    expected = {"name": "racks", "levels": LEVELS, "clusterId": CLUSTER, "phase": "Ready", "source": "Run.ai",
                "nodePools": []}  # fmt: skip
    assert expected.items() <= created.items()
    assert [item["id"] for item in listed["networkTopologies"]] == [created["id"]]
    assert count == {"count": 0}
    assert (await api.get(f"{TOPOLOGIES}/{created['id']}", expect=404))["reason"] == "NotFound"


async def test_one_that_others_made_in_the_cluster_is_listed_as_such(api: Any) -> None:
    await api.orchestrator.backend.store.create(NetworkTopology(meta=Meta(name="theirs"), levels=("rack",)))

    (item,) = (await api.get(TOPOLOGIES))["networkTopologies"]

    assert (item["name"], item["source"]) == ("theirs", "Cluster")


REFUSED = [
    ("no level", {"levels": []}, "levels", "1 to 16"),
    ("a level twice", {"levels": ["rack", "rack"]}, "levels.1", "twice"),
    ("hosts that are not last", {"levels": ["kubernetes.io/hostname", "rack"]}, "levels.0", "last level"),
    ("a level that is no label", {"levels": ["a rack"]}, "levels.0", "key of a node label"),
    ("a cluster that is not there", {"clusterId": "other"}, "clusterId", "there is one cluster"),
    ("a name that is none", {"name": "Racks!"}, "name", "must be 1 to 63 characters"),
]


@pytest.mark.parametrize(("given", "field", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_what_is_no_topology_is_refused(api: Any, given: Any, field: str, text: str) -> None:
    (error,) = (await made(api, 400, **given))["errors"]

    assert error["field"] == field
    assert text in error["message"]
    assert (await api.get(TOPOLOGIES))["networkTopologies"] == []


async def test_two_topologies_of_a_cluster_have_different_names(api: Any) -> None:
    await made(api)

    assert "choose another name" in (await made(api, 409))["message"]


async def test_a_node_pool_names_a_topology_which_stays_until_the_pool_lets_go_of_it(api: Any) -> None:
    topology = await made(api)
    pool = await pooled(api, networkTopologyId=topology["id"])

    listed = (await api.get(f"{TOPOLOGIES}/{topology['id']}"))["nodePools"]
    refused = await api.send("DELETE", f"{TOPOLOGIES}/{topology['id']}", expect=409)
    await api.send("PUT", f"{POOLS}/{pool['id']}", {"labelValue": "b"})
    kept = (await api.get(f"{POOLS}/{pool['id']}"))["networkTopologyId"]
    freed = await api.send("PUT", f"{POOLS}/{pool['id']}", {"networkTopologyId": ""})
    await api.send("DELETE", f"{TOPOLOGIES}/{topology['id']}")

    assert (pool["networkTopologyId"], listed, kept) == (topology["id"], ["a"], topology["id"])
    assert "used by node pool a" in refused["message"]
    assert freed["networkTopologyId"] is None


async def test_a_node_pool_cannot_name_a_topology_that_is_not_there(api: Any) -> None:
    await made(api)

    (error,) = (await pooled(api, 400, networkTopologyId="other"))["errors"]

    assert error["field"] == "networkTopologyId"
    assert "there are: racks" in error["message"]
