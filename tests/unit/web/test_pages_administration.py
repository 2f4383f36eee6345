"""Pages of nodes, policies, assets, templates, clusters, and the overview."""

import re
from dataclasses import replace
from typing import Any

import pytest

from runai_core.model.assets import AssetKind
from runai_core.model.meta import Meta
from runai_core.model.nodes import GpuDevice, Node
from runai_core.model.organization import SYSTEM
from runai_core.model.samples import Point
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.workload import Phase, Pod, PodSpec, PodStatus, PolicyType
from runai_core.policy.effective import effective_of
from runai_core.web.pages.asset_form import posted_spec, spec_of
from runai_core.web.pages.node_drawing import devices_of
from runai_core.web.pages.overview import used_of
from runai_core.web.pages.policies import held_fields

NODE = Node(
    meta=Meta(name="node-a"),
    gpu_count=3,
    gpu_memory_mib=10_000,
    devices=tuple(GpuDevice(index=index, product="GPU") for index in range(3)),
)


def pod(name: str, request: PodRequest, **status: Any) -> Pod:
    return Pod(
        meta=Meta(name=name, project="a", owner=f"uid-{name}"),
        workload=name,
        pod_group=name,
        spec=PodSpec(request=request),
        status=PodStatus(state=PodState.RUNNING, node="node-a", **status),
    )


HALF = PodRequest(gpu_portion=500, gpu_devices=1)


def test_devices_are_drawn_with_the_parts_that_pods_hold() -> None:
    pods = [
        pod("whole", PodRequest(gpu_devices=1), gpu_devices=(1,)),
        pod("left", HALF, gpu_devices=(0,), gpu_groups=("g",)),
        pod("right", PodRequest(gpu_memory_mib=2500, gpu_devices=1), gpu_devices=(0,), gpu_groups=("g",)),
        pod("none", PodRequest(cpu=1)),
        replace(pod("ended", HALF, gpu_devices=(2,)), status=PodStatus(state=PodState.SUCCEEDED, node="node-a")),
    ]
    drawn = devices_of(NODE, pods)

    assert [device.sentence for device in drawn] == [
        "GPU 0: 0.75 held by left, right",
        "GPU 1: 1 held by whole",
        "GPU 2: free",
    ]
    assert [(part.begin, part.share) for part in drawn[0].parts] == [(0.0, 0.5), (0.5, 0.25)]


def test_where_no_device_is_named_pods_of_one_group_share_and_others_take_what_is_free() -> None:
    """A cluster names shared devices by group, and whole ones not at all."""
    pods = [
        pod("a", HALF, gpu_groups=("x",)),
        pod("b", HALF, gpu_groups=("x",)),
        pod("c", PodRequest(gpu_devices=2)),
    ]

    assert [len(device.parts) for device in devices_of(NODE, pods)] == [2, 1, 1]


def test_more_than_a_device_has_is_never_drawn() -> None:
    pods = [pod(name, HALF, gpu_devices=(0,), gpu_groups=("g",)) for name in ("a", "b", "c")]

    assert sum(part.share for part in devices_of(NODE, pods)[0].parts) == 1.0


@pytest.mark.asyncio
async def test_all_that_waits_is_counted_by_reason_the_most_frequent_first(api: Any) -> None:
    for name, reason in (("a", "OverLimit"), ("b", "InsufficientCapacity"), ("c", "InsufficientCapacity"), ("d", "")):
        await api.move((await api.submit(name))["workloadId"], Phase.PENDING, phase_reason=reason)
    await api.move((await api.submit("e"))["workloadId"], Phase.RUNNING, phase_reason="OverLimit")

    waiting = await api.orchestrator.waiting.by_reason(SYSTEM)

    assert [(item.reason, item.count) for item in waiting] == [("InsufficientCapacity", 2), ("", 1), ("OverLimit", 1)]
    assert {item.example.name for item in waiting[:1]} <= {"b", "c"}
    assert [item.example.name for item in waiting[1:]] == ["d", "a"]
    page = (await api.client.get("/overview")).text
    assert "Not yet tried" in page
    assert '<a class="big" href="/workloads?phase=Pending">4</a>' in page


def test_utilisation_is_of_the_gpus_that_are_measured() -> None:
    points = {
        "project/a/default": Point("project/a/default", 0.0, {"GPU_MEASURED": 2, "GPU_USED": 1, "GPU_IDLE": 1}),
        "project/a/other": Point("project/a/other", 0.0, {"GPU_ALLOCATION": 4}),
        "project/ab/default": Point("project/ab/default", 0.0, {"GPU_MEASURED": 9, "GPU_USED": 9}),
    }

    assert used_of(points, "project/a").utilisation == 0.5
    assert used_of(points, "project/a").idle == 1
    assert used_of(points, "project/other").utilisation is None


def test_what_holds_without_any_policy_is_the_product_s_own() -> None:
    held = {line.path: line for line in held_fields(effective_of(PolicyType.TRAINING, []))}

    assert held["security.privileged"].rules == "cannot be changed"
    assert held["terminationGracePeriodSeconds"].rules_from == "training of the system"


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (AssetKind.COMPUTE, {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": 0.5}),
        (AssetKind.PVC, {"path": "/data", "existingPvc": False, "claimInfo": {"size": "1Gi"}}),
        (
            AssetKind.ENVIRONMENT,
            {
                "image": "x",
                "environmentVariables": [{"name": "A", "value": "1"}],
                "connections": [{"name": "lab", "isExternal": False}],
            },
        ),
    ],
    ids=["compute", "volume claim", "environment"],
)
def test_an_asset_survives_being_shown_and_sent_back(kind: AssetKind, spec: dict[str, Any]) -> None:
    assert spec_of(kind, posted_spec(kind, spec)) == (spec, [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "/overview",
        "/node-pools",
        "/node-pools/new",
        "/node-pools/default/edit",
        "/nodes",
        "/nodes/node-a",
        "/policies",
        "/policies/edit",
        "/policies/effective",
        "/assets",
        *(f"/assets/new/{kind.value}" for kind in AssetKind),
        "/templates",
        "/templates/new",
        "/clusters",
        "/clusters/default",
        "/topologies",
        "/topologies/new",
    ],
)
async def test_each_page_opens_in_html_that_runs_nothing(api: Any, path: str) -> None:
    await api.run((await api.submit("w"))["workloadId"])
    answer = await api.client.get(path)

    assert answer.status_code == 200
    assert re.findall(r"<script(?! src=)|\son\w+=|\sstyle=", answer.text) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path", ["/nodes/nowhere", "/policies/edit?type=x&scope=tenant", "/assets/new/spoon", "/assets/x", "/templates/x"]
)
async def test_what_is_not_there_is_told_on_a_page(api: Any, path: str) -> None:
    answer = await api.client.get(path)

    assert answer.status_code == 404
    assert "That is not here" in answer.text


@pytest.mark.asyncio
async def test_a_node_pool_is_created_changed_and_deleted(api: Any) -> None:
    wrong = await api.client.post("/node-pools/new", data={"name": "a100", "labelKey": "gpu"})
    assert wrong.status_code == 422
    assert 'id="f-labelValue-error"' in wrong.text
    data = {"name": "a100", "labelKey": "gpu", "labelValue": "a100", "placementStrategy.gpu": "spread"}
    assert (await api.client.post("/node-pools/new", data=data)).status_code == 303
    changed = {"schedulingConfiguration.minGuaranteedRuntime": "30m"}
    assert (await api.client.post("/node-pools/a100/edit", data=changed)).status_code == 303
    pools = {item["name"]: item for item in (await api.get("/api/v1/node-pools"))["nodepools"]}

    assert pools["a100"]["placementStrategy"]["gpu"] == "spread"
    assert pools["a100"]["schedulingConfiguration"]["minGuaranteedRuntime"] == "0d0h30m"
    assert (await api.client.post("/node-pools/a100/delete")).status_code == 303
    assert (await api.client.post("/node-pools/default/delete")).status_code == 409


@pytest.mark.asyncio
async def test_a_policy_is_checked_kept_shown_and_deleted(api: Any) -> None:
    data = {"isNew": "true", "type": "training", "scope": "project/default"}
    check = await api.client.post("/policies/check", data={**data, "policy": "rules: {imag: {canEdit: false}}"})
    assert "unknown field" in check.text
    wrong = await api.client.post("/policies/edit", data={**data, "policy": "rules: [a"})
    assert (wrong.status_code, "rules: [a" in wrong.text) == (422, True)
    good = {**data, "policy": "rules: {compute: {gpuDevicesRequest: {max: 2}}}"}
    assert (await api.client.post("/policies/edit", data=good)).status_code == 303
    again = await api.client.post("/policies/edit", data=good)
    assert (again.status_code, "already" in again.text) == (422, True), "what nobody has seen is not overwritten"

    effective = await api.client.get("/policies/effective?project=default&type=training")
    assert "at most 2" in effective.text
    assert (await api.client.post("/policies/delete?type=training&scope=project/default")).status_code == 303
    assert (await api.get("/api/v2/policy"))["policies"] == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("password", {"user": "somebody", "password": "hidden-value"}),
        ("genericSecret", {"keyValuePairs:key": "token", "keyValuePairs:value": "hidden-value"}),
        ("ngcApiKey", {"ngcApiKey": "hidden-value"}),
    ],
)
async def test_what_is_secret_is_never_shown(api: Any, kind: str, data: dict[str, str]) -> None:
    created = await api.client.post(f"/assets/new/{kind}", data={"scope": "tenant", "meta.name": "cred", **data})
    assert created.status_code == 303
    listed = await api.client.get(f"/assets?kind={kind}")
    uid = re.findall(r"/assets/([0-9a-f-]{36})", listed.text)[0]
    shown = await api.client.get(f"/assets/{uid}")
    changed = {"meta.name": "cred", "description": "new", "user": data.get("user", "")}
    kept = await api.client.post(f"/assets/{uid}", data=changed)

    assert "hidden-value" not in listed.text + shown.text
    assert kept.status_code == 303, "what is left empty stays"


@pytest.mark.asyncio
async def test_a_wrong_asset_comes_back_with_what_was_typed_but_its_secrets(api: Any) -> None:
    data = {"scope": "tenant", "meta.name": "Wrong", "user": "somebody", "password": "hidden-value"}
    answer = await api.client.post("/assets/new/password", data=data)

    assert answer.status_code == 422
    assert 'value="somebody"' in answer.text
    assert "hidden-value" not in answer.text


@pytest.mark.asyncio
async def test_an_asset_in_use_stays_and_says_by_whom(api: Any) -> None:
    await api.client.post("/assets/new/compute", data={"scope": "tenant", "meta.name": "small", "cpuCoreRequest": "1"})
    listed = await api.client.get("/assets?kind=compute")
    uid = re.findall(r"/assets/([0-9a-f-]{36})", listed.text)[0]
    await api.client.post("/workloads/new/training", data={"name": "u", "project": "default", "assets.compute": uid})

    answer = await api.client.post(f"/assets/{uid}/delete")

    assert answer.status_code == 409
    assert "default/u" in answer.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "/access-rules",
        "/access-rules/new",
        "/roles",
        "/users",
        "/users/new",
        "/service-accounts",
        "/service-accounts/new",
        "/access-keys",
        "/access-keys/new",
        "/audit",
        "/reports",
        "/reports/new",
    ],
)
async def test_each_page_about_people_opens_in_html_that_runs_nothing(api: Any, path: str) -> None:
    answer = await api.client.get(path)

    assert answer.status_code == 200
    assert re.findall(r"<script(?! src=)|\son\w+=|\sstyle=", answer.text) == []


def drawn(text: str) -> str:
    """Return the secret that a page shows."""
    return str(re.findall(r'id="secret">([^<]+)<', text)[0])


@pytest.mark.asyncio
async def test_a_user_is_made_given_a_role_kept_out_and_deleted(api: Any) -> None:
    wrong = await api.client.post("/users/new", data={"email": "nobody"})
    assert (wrong.status_code, 'value="nobody"' in wrong.text) == (422, True)
    made = await api.client.post("/users/new", data={"email": "ann@example.com"})
    secret = drawn(made.text)
    assert made.headers["cache-control"] == "no-store"
    taken = await api.client.post("/users/new", data={"email": "ann@example.com"})
    assert (taken.status_code, 'id="f-email-error"' in taken.text) == (409, True)

    rule = {
        "subjectType": "user",
        "subjectId": "ann@example.com",
        "roleId": "L1 researcher",
        "scope": "project/default",
    }
    assert (await api.client.post("/access-rules/new", data=rule)).status_code == 303
    again = await api.client.post("/access-rules/new", data=rule)
    assert (again.status_code, "in that scope already" in again.text) == (409, True)
    page = await api.client.get("/users/ann@example.com")
    assert "L1 researcher in project default" in page.text
    assert secret not in page.text + (await api.client.get("/users")).text
    assert drawn((await api.client.post("/users/ann@example.com/reset-password")).text) != secret

    for deed in ("disable", "enable", "sign-out", "delete"):
        assert (await api.client.post(f"/users/ann@example.com/{deed}")).status_code == 303
    assert (await api.client.get("/users/ann@example.com")).status_code == 404


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"subjectId": "nobody@example.com"}, "subjectId"),
        ({"roleId": "King"}, "roleId"),
        ({"scope": "project/nowhere"}, "scope"),
        ({"subjectType": "ghost"}, "subjectType"),
    ],
)
async def test_a_wrong_access_rule_is_told_at_its_field(api: Any, change: dict[str, str], field: str) -> None:
    good = {"subjectType": "service-account", "subjectId": "tester", "roleId": "Viewer", "scope": "tenant"}
    answer = await api.client.post("/access-rules/new", data={**good, **change})

    assert answer.status_code == 422
    assert f'id="f-{field}-error"' in answer.text


@pytest.mark.asyncio
async def test_a_service_account_s_secret_is_shown_once_and_replaced(api: Any) -> None:
    first = drawn((await api.client.post("/service-accounts/new", data={"name": "ci"})).text)
    second = drawn((await api.client.post("/service-accounts/ci/secret")).text)
    shown = await api.client.get("/service-accounts/ci")

    assert first != second
    assert first not in shown.text
    assert second not in shown.text
    assert (await api.client.post("/service-accounts/ci/disable")).status_code == 303
    assert (await api.client.post("/service-accounts/ci/delete")).status_code == 303


@pytest.mark.asyncio
async def test_an_access_key_ends_when_it_was_said_to(api: Any) -> None:
    wrong = await api.client.post("/access-keys/new", data={"name": "laptop", "days": "forever"})
    assert 'id="f-days-error"' in wrong.text
    made = await api.client.post("/access-keys/new", data={"name": "laptop", "days": "30"})

    assert drawn(made.text)
    assert "laptop" in (await api.client.get("/access-keys")).text
    assert (await api.client.post("/access-keys/laptop/delete")).status_code == 303


@pytest.mark.asyncio
async def test_the_audit_log_is_sorted_by_what_is_asked_for(api: Any) -> None:
    for name in ("banana", "apple", "cherry"):
        assert (await api.client.post("/assets/new/compute", data={"scope": "tenant", "meta.name": name})).is_redirect

    async def names(**asked: str) -> list[str]:
        page = (await api.client.get("/audit", params={"entity": "Asset", **asked})).text
        return re.findall("banana|apple|cherry", "".join(re.findall(r'<td class="text">([^<]*)', page)))

    assert await names(sort="name") == ["apple", "banana", "cherry"]
    assert await names(sort="name", order="desc") == ["cherry", "banana", "apple"]
    page = (await api.client.get("/audit", params={"sort": "nonsense"})).text
    assert re.search(r'aria-sort="descending"><a href="[^"]*sort=time[^"]*">When', page), "the newest first"


@pytest.mark.asyncio
async def test_a_change_is_in_the_audit_log_with_before_and_after(api: Any) -> None:
    await api.client.post("/projects/new", data={"name": "seen", "parentId": "default", "description": "old"})
    await api.client.post("/projects/seen/edit", data={"description": "<new>"})
    page = await api.client.get("/audit", params={"name": "seen", "action": "update"})
    file = await api.client.get("/audit", params={"name": "seen", "format": "csv"})

    assert "<del>old</del>" in page.text
    assert "<ins>&lt;new&gt;</ins>" in page.text
    assert [line.split(",")[3] for line in file.text.splitlines()] == ["What", "update", "create"]


@pytest.mark.asyncio
async def test_a_report_is_asked_for_and_deleted(api: Any) -> None:
    wrong = await api.client.post(
        "/reports/new", data={"name": "r", "start": "soon", "end": "2027-01-02", "groupBy": "Project"}
    )
    assert 'id="f-start-error"' in wrong.text
    data = {"name": "r", "start": "2027-01-01", "end": "2027-01-15", "groupBy": "Department"}
    assert (await api.client.post("/reports/new", data=data)).status_code == 303
    listed = await api.client.get("/reports/saved")

    assert "Pending" in listed.text
    uid = re.findall(r"/reports/([0-9a-f-]{36})/delete", listed.text)[0]
    assert (await api.client.post(f"/reports/{uid}/delete")).status_code == 303


@pytest.mark.asyncio
async def test_one_s_own_password_is_changed_with_the_present_one(api: Any) -> None:
    first = drawn((await api.client.post("/users/new", data={"email": "ann@example.com"})).text)
    chosen = "violet-harbour-lantern"
    door = api.orchestrator
    await door.sign_in.with_password("ann@example.com", first, new="another-long-phrase")
    session = await door.sessions.open(await door.sign_in.with_password("ann@example.com", "another-long-phrase"))
    cookie = {"Cookie": f"runai_session={session.cookie}"}
    del api.client.headers["Authorization"]
    shown = await api.client.get("/settings", headers=cookie)
    token = re.findall(r'name="csrf_token" value="([^"]+)"', shown.text)[-1]

    async def change(**fields: str) -> Any:
        return await api.client.post("/settings/password", data={"csrf_token": token, **fields}, headers=cookie)

    differs = await change(current="another-long-phrase", password=chosen, again="something-else")
    wrong = await change(current="not-this-one", password=chosen, again=chosen)
    weak = await change(current="another-long-phrase", password="ann", again="ann")
    done = await change(current="another-long-phrase", password=chosen, again=chosen)

    assert "ann@example.com" in shown.text
    assert 'id="f-again-error"' in differs.text
    assert 'id="f-current-error"' in wrong.text
    assert 'id="f-password-error"' in weak.text
    assert done.status_code == 303
    assert (await door.sign_in.with_password("ann@example.com", chosen)).name == "ann@example.com"
