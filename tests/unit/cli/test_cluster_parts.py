"""Network topologies and storage classes on the command line."""

from typing import Any

RACKS = {
    "id": "t-1", "name": "racks", "phase": "Ready", "levels": ["zone", "rack"], "nodePools": ["a100"],
    "createdBy": "kim", "clusterId": "c-1",
}  # fmt: skip
FAST = {
    "storageClassName": "fast",
    "spec": {"isDefault": True, "provisioner": "csi.example", "allowVolumeExpansion": False},
}


def test_topologies_are_made_listed_and_deleted(runai: Any, api: Any) -> None:
    api.answers["POST", "/api/v1/network-topologies"] = (201, RACKS)
    api.answers["GET", "/api/v1/network-topologies"] = {"networkTopologies": [RACKS]}
    api.answers["DELETE", "/api/v1/network-topologies/racks"] = RACKS

    made = runai("topology", "create", "racks", "--level", "zone", "--level", "rack", "--cluster", "c-1")
    sent = api.body
    listed = runai("topology", "list")
    gone = runai("topology", "delete", "racks")

    assert sent == {"name": "racks", "levels": ["zone", "rack"], "clusterId": "c-1"}
    assert "zone > rack" in listed.out
    assert (made.code, listed.code, gone.code) == (0, 0, 0)


def test_a_node_pool_is_given_a_topology_and_taken_it_again(runai: Any, api: Any) -> None:
    api.answers["PATCH", "/api/v1/node-pools/a100"] = {"name": "a100"}

    sent = []
    for name in ("racks", ""):
        assert runai("nodepool", "update", "a100", "--network-topology", name).code == 0
        sent.append(api.body)

    assert sent == [{"networkTopologyId": "racks"}, {"networkTopologyId": ""}]


def test_storage_classes_are_listed_for_a_cluster(runai: Any, api: Any) -> None:
    api.answers["GET", "/api/v2/storage-classes"] = {"items": [FAST]}

    found = runai("storage-class", "list", "--cluster", "c-1")

    assert "csi.example" in found.out
    assert api.requests[-1].url.params["clusterId"] == "c-1"


def test_a_cluster_whose_classes_are_not_known_says_so(runai: Any, api: Any) -> None:
    api.answers["GET", "/api/v2/storage-classes"] = {"items": []}

    assert "No storage classes are known." in (found := runai("storage-class", "list")).out + found.err
