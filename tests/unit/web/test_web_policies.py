"""Policies over REST: set, merge, check, delete; and what they do to a submission."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio

PATH = "/api/v2/policy/trainings"
AT_MOST_FIVE = {"rules": {"compute": {"gpuDevicesRequest": {"max": 5}}}}


async def test_a_policy_is_set_read_listed_and_deleted(api: Any) -> None:
    put = await api.send("PUT", PATH, {"meta": {"scope": "tenant", "name": "limits"}, "policy": AT_MOST_FIVE})
    read = await api.get(PATH, scope="tenant")
    listed = (await api.get("/api/v2/policy", workloadType="training"))["policies"]
    await api.send("DELETE", PATH, scope="tenant")

    assert put["policy"] == read["policy"] == AT_MOST_FIVE
    assert (read["meta"]["scope"], read["meta"]["name"], read["type"]) == ("tenant", "limits", "training")
    assert [item["meta"]["id"] for item in listed] == [read["meta"]["id"]]
    assert (await api.get(PATH, scope="tenant", expect=404))["reason"] == "NotFound"


@pytest.mark.parametrize("value", ["id", "name"])
@pytest.mark.parametrize("scope", ["project", "department"])
async def test_a_policy_can_be_of_one_unit(api: Any, scope: str, value: str) -> None:
    unit = await api.get(f"/api/v1/org-unit/{scope}s/default")
    where = {"scope": scope, f"{scope}Id": unit[value]}

    put = await api.send("PUT", PATH, {"meta": where, "policy": AT_MOST_FIVE})

    assert put["meta"][f"{scope}Id"] == unit["id"]
    assert put["scopeName"] == "default"
    assert (await api.get(PATH, **where))["policy"] == AT_MOST_FIVE
    assert len((await api.get("/api/v2/policy", **{f"{scope}Id": unit["id"]}))["policies"]) == 1


async def test_a_patch_is_merged_and_a_reset_takes_out(api: Any) -> None:
    start = {"defaults": {"image": "a"}, **AT_MOST_FIVE}
    await api.send("PUT", PATH, {"policy": start})

    changed = await api.send(
        "PATCH", PATH, {"policy": {"defaults": {"workingDir": "/w"}}, "reset": ["rules.compute.gpuDevicesRequest.max"]}
    )

    assert changed["policy"]["defaults"] == {"image": "a", "workingDir": "/w"}
    assert changed["policy"]["rules"] == {"compute": {"gpuDevicesRequest": {}}}


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        pytest.param(
            {"rules": {"compute": {"gpuDeviceRequests": {"max": 5}}}}, "gpuDeviceRequests", id="unknown field"
        ),
        pytest.param({"rules": {"compute": {"gpuDevicesRequest": {"max": "x"}}}}, "gpuDevicesRequest", id="no number"),
        pytest.param({"rule": {}}, "rule", id="unknown section"),
    ],
)
@pytest.mark.parametrize("only", [True, False])
async def test_a_wrong_policy_is_refused_whether_kept_or_not(api: Any, policy: Any, field: str, only: bool) -> None:
    error = await api.send("PUT", PATH, {"policy": policy}, 400, validateOnly=only)

    assert any(field in item["field"] for item in error["errors"]), error
    assert (await api.get("/api/v2/policy"))["policies"] == []


async def test_a_check_keeps_nothing(api: Any) -> None:
    wrong = {"rules": {"compute": {"gpuDevicesRequest": {"mx": 5}}}}
    await api.send("PUT", PATH, {"policy": AT_MOST_FIVE}, validateOnly=True)
    good = await api.send("POST", "/api/v1/policies/validate", {"type": "training", "policy": AT_MOST_FIVE})
    bad = await api.send("POST", "/api/v1/policies/validate", {"type": "training", "policy": wrong})

    assert good == {"valid": True, "errors": []}
    assert not bad["valid"]
    assert bad["errors"][0]["message"]
    assert (await api.get("/api/v2/policy"))["policies"] == []


@pytest.mark.parametrize("scope", ["project", "department"])
async def test_a_scope_needs_its_id(api: Any, scope: str) -> None:
    error = await api.get(PATH, scope=scope, expect=400)

    assert error["errors"][0]["field"] == f"{scope}Id"


async def test_a_policy_forbids_and_says_who_may_change_it(api: Any) -> None:
    await api.send("PUT", PATH, {"policy": AT_MOST_FIVE})

    error = await api.submit("a", expect=400, spec={"command": "true", "compute": {"gpuDevicesRequest": 8}})

    assert error["reason"] == "PolicyViolation"
    assert error["errors"][0]["field"].endswith("compute.gpuDevicesRequest")
    assert error["errors"][0]["given"] == 8
    assert error["errors"][0]["policy"]


async def test_a_policy_fills_in_and_the_origin_is_told(api: Any) -> None:
    await api.send("PUT", PATH, {"policy": {"defaults": {"compute": {"gpuDevicesRequest": 1}}}})

    created = await api.submit("a", spec={"command": "true"})

    assert created["spec"]["compute"]["gpuDevicesRequest"] == 1
    assert "compute.gpuDevicesRequest" in created["additionalFields"]["policyOrigins"]
