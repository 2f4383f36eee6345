"""Pages of what a cluster has: network topologies, and the choice of a storage class."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.model.storage import StorageClass
from runai_core.service.storage import ClassStatus
from runai_core.web.pages.inputs import Input, Section, Widget
from runai_core.web.pages.storage_choice import STORAGE_CLASS, with_classes

CLUSTER = "3f0e2c1a-1111-4222-8333-444455556666"
FORM = (Section(title="", inputs=(Input(name="path", label="Path"), Input(name=STORAGE_CLASS, label="Class"))),)


@pytest.mark.asyncio
async def test_a_topology_is_made_on_a_page_chosen_for_a_node_pool_and_kept_while_it_is_used(api: Any) -> None:
    wrong = await api.client.post("/topologies/new", data={"name": "racks", "levels": "zone rack zone"})
    made = await api.client.post("/topologies/new", data={"name": "racks", "levels": "zone\nrack"})
    pool = {"name": "a100", "labelKey": "gpu", "labelValue": "a100", "networkTopologyId": "racks"}
    pooled = await api.client.post("/node-pools/new", data=pool)
    (item,) = (await api.get("/api/v1/network-topologies"))["networkTopologies"]
    kept = await api.client.post(f"/topologies/{item['id']}/delete")
    pages = {path: (await api.client.get(path)).text for path in ("/topologies", "/node-pools", "/clusters")}
    await api.client.post("/node-pools/a100/edit", data={"networkTopologyId": ""})
    gone = await api.client.post(f"/topologies/{item['id']}/delete")

    assert (wrong.status_code, made.status_code, pooled.status_code) == (422, 303, 303)
    assert "is there twice" in wrong.text.lower()
    assert (item["levels"], item["nodePools"]) == (["zone", "rack"], ["a100"])
    assert kept.status_code == 409
    assert "is used by node pool a100" in kept.text
    assert all("racks" in text for text in pages.values()), [
        path for path, text in pages.items() if "racks" not in text
    ]
    assert gone.status_code == 303
    assert (await api.get("/api/v1/network-topologies"))["networkTopologies"] == []


@pytest.mark.asyncio
async def test_the_form_of_a_claim_offers_the_classes_of_the_cluster_with_what_each_gives(api: Any) -> None:
    body = {
        "scopeType": "cluster", "scopeId": CLUSTER, "name": "fast",
        "customization": {"claimSize": {"min": "1GB", "default": "5GB"},
                          "accessMode": {"default": {"readWriteMany": True}}},
    }  # fmt: skip
    await api.send("POST", "/api/v1/storage-class-configuration", body, 201)

    form = (await api.client.get("/assets/new/pvc")).text

    assert "fast: from 1GB, 5GB if nothing is said, many nodes write" in form
    assert "standard (default)" in form


def test_classes_that_are_not_known_leave_the_form_as_it_is() -> None:
    assert with_classes(FORM, ()) == FORM


def test_a_class_that_the_cluster_has_no_more_stays_chosen() -> None:
    before = replace(FORM[0].inputs[1], value="old")
    (section,) = with_classes(
        (replace(FORM[0], inputs=(before,)),), [ClassStatus(storage_class=StorageClass(name="fast"))]
    )
    (choice,) = section.inputs

    assert (choice.widget, choice.value) == (Widget.SELECT, "old")
    assert [option.value for option in choice.options] == ["fast", "old"]
