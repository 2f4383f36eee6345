"""Storage classes over REST: which there are, what is said of them, and what that makes of claims."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio

CONFIGURATIONS = "/api/v1/storage-class-configuration"
CLUSTER = "3f0e2c1a-1111-4222-8333-444455556666"


async def configured(api: Any, expect: int = 201, **given: Any) -> Any:
    """Say something of the class fast."""
    body = {"scopeType": "cluster", "scopeId": CLUSTER, "name": "fast", **given}
    return await api.send("POST", CONFIGURATIONS, body, expect)


def a_claim(**info: Any) -> dict[str, Any]:
    """Return a specification with one new claim."""
    return {"command": "true", "storage": {"pvc": [{"path": "/data", "existingPvc": False, "claimInfo": info}]}}


async def test_storage_classes_are_listed_in_all_three_forms(api: Any) -> None:
    await configured(api, permissions={"allowDataSharing": False})

    newest = (await api.get("/api/v2/storage-classes", clusterId=CLUSTER))["items"]
    older = (await api.get("/api/v1/storage-classes", clusterId=CLUSTER, name="standard"))["items"]
    oldest = await api.get(f"/v1/k8s/clusters/{CLUSTER}/storage-classes", includeNone="true")

    assert [(item["storageClassName"], item["clusterId"]) for item in newest] == [
        ("fast", CLUSTER), ("standard", CLUSTER),
    ]  # fmt: skip
    assert newest[0]["permissions"]["allowDataSharing"] is False
    assert newest[1]["permissions"] is None
    assert newest[1]["spec"] == {"provisioner": "csi.example", "isDefault": True, "allowVolumeExpansion": True}
    spec = {"provisioner": "csi.example", "is_default": True, "allow_volume_expansion": True}
    assert older == [{"cluster_id": CLUSTER, "storage_class_name": "standard", "Spec": spec}]
    assert oldest == {"storageClasses": ["fast", "standard", "runai-none"]}
    assert (await api.get("/api/v2/storage-classes", clusterId="other", expect=404))["reason"] == "NotFound"


async def test_a_configuration_is_made_read_changed_replaced_and_forgotten(api: Any) -> None:
    made = await configured(api, customization={"claimSize": {"min": "1GB", "default": "2GB"}})
    where = f"{CONFIGURATIONS}/{made['id']}"

    patched = await api.send(
        "PATCH", where, {"customization": {"claimSize": {"max": "4GB"}}, "permissions": {"allowedForAssets": False}}
    )
    listed = await api.get(CONFIGURATIONS, filterBy="name==fast")
    replaced = await api.send("PUT", where, {"customization": {"claimSize": {"max": "8GB"}}})
    read = await api.get(where)
    await api.send("DELETE", where)

    sizes = patched["customization"]["claimSize"]
    assert (sizes["min"], sizes["default"], sizes["max"]) == ("1GB", "2GB", "4GB")
    assert patched["permissions"]["allowedForAssets"] is False
    assert [item["id"] for item in listed["storageClassConfigurations"]] == [made["id"]]
    assert replaced == read
    assert (read["customization"]["claimSize"]["min"], read["permissions"]["allowedForAssets"]) == (None, None)
    assert (await api.get(where, expect=404))["reason"] == "NotFound"
    assert (await api.get(CONFIGURATIONS))["storageClassConfigurations"] == []


REFUSED = [
    ("a class that is not there", {"name": "slow"}, "name", "there are: fast, standard"),
    ("a name that no class can have", {"name": "Fast!"}, "name", "must be the name of a storage class"),
    ("a cluster that is not there", {"scopeId": "other"}, "clusterId", "there is one cluster"),
    ("a size that says nothing", {"customization": {"claimSize": {"max": "much"}}}, "customization.claimSize.max",
     "must be a quantity"),
    ("a field that nobody knows", {"customization": {"claimsize": {}}}, "customization.claimsize", "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "field", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_what_cannot_be_said_of_a_class_is_refused(api: Any, given: Any, field: str, text: str) -> None:
    answer = await configured(api, 400, **given)

    assert [error["field"] for error in answer["errors"]] == [field]
    assert text in answer["errors"][0]["message"]


async def test_of_each_class_something_is_said_once(api: Any) -> None:
    await configured(api)

    assert "configured already" in (await configured(api, 409))["message"]


async def test_a_new_claim_gets_what_its_class_has_for_it(api: Any) -> None:
    await configured(api, customization={"claimSize": {"default": "5GB"}})

    made = await api.submit(spec=a_claim(storageClass="fast"))

    claim = (await api.get(f"/api/v1/workloads/trainings/{made['workloadId']}"))["spec"]["storage"]["pvc"][0]
    assert claim["claimInfo"]["size"] == "5GB"


async def test_the_rules_of_the_default_class_hold_for_claims_that_name_none(api: Any) -> None:
    await configured(api, name="standard", customization={"claimSize": {"max": "5GB"}})

    answer = await api.submit(spec=a_claim(size="6GB"), expect=400)

    assert answer["errors"][0]["field"] == "spec.storage.pvc.0.claimInfo.size"


async def test_a_claim_of_a_class_that_is_not_there_is_refused_and_the_others_named(api: Any) -> None:
    answer = await api.submit(spec=a_claim(storageClass="slow", size="1G"), expect=400)

    (error,) = answer["errors"]
    assert (error["field"], error["given"]) == ("spec.storage.pvc.0.claimInfo.storageClass", "slow")
    assert "there are: fast, standard" in error["message"]


async def test_a_claim_may_ask_for_a_volume_that_was_made_by_hand(api: Any) -> None:
    await api.submit(spec=a_claim(storageClass="runai-none", size="1G"))


async def test_a_data_source_is_judged_when_it_is_made(api: Any) -> None:
    await configured(api, permissions={"allowedForAssets": False})
    spec = {"path": "/x", "existingPvc": False, "claimInfo": {"size": "1G", "storageClass": "fast"}}
    body = {"meta": {"name": "a", "scope": "tenant"}, "spec": spec}

    answer = await api.send("POST", "/api/v1/asset/datasource/pvc", body, 400)
    await api.send("POST", "/api/v1/asset/datasource/pvc", {**body, "spec": {**spec, "existingPvc": True,
                   "claimName": "kept"}}, 201)  # fmt: skip

    assert "is not for new claims of assets" in answer["errors"][0]["message"]


async def test_a_data_source_has_a_story_of_who_made_and_changed_it(api: Any) -> None:
    where = "/api/v1/asset/datasource/pvc"
    spec = {"path": "/x", "existingPvc": True, "claimName": "kept"}
    made = await api.send("POST", where, {"meta": {"name": "a", "scope": "tenant"}, "spec": spec}, 201)
    uid = made["meta"]["id"]
    api.clock.time += 1
    await api.send("PUT", f"{where}/{uid}", {"meta": {"description": "new"}})

    whole = await api.get(f"{where}/{uid}/history")
    page = await api.get(f"{where}/{uid}/history", limit=1)

    assert [record["spec"]["event"]["reason"] for record in whole["records"]] == ["Changed", "Created"]
    assert "by tester" in whole["records"][1]["spec"]["event"]["message"]
    assert (len(page["records"]), page["next"], whole["next"]) == (1, 1, None)
    assert (await api.get(f"{where}/other/history", expect=404))["reason"] == "NotFound"


async def test_an_orchestrator_that_is_one_cluster_has_no_file_to_install_another(api: Any) -> None:
    answer = await api.get(f"/v1/k8s/clusters/{CLUSTER}/installfile", expect=422)

    assert "several need a control plane" in answer["message"]
