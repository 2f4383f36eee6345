"""The Workloads table over the real services: filters, columns, CSV, actions."""

import csv
import io
from typing import Any

import pytest

from runai_core.model.clusters import CLUSTER
from runai_core.model.decision import Reason, Verdict
from runai_core.model.meta import Meta
from runai_core.model.network import ExposedUrl, Port, RelatedUrl, ServingPort
from runai_core.model.snapshot import Preemptibility
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.volumes import Git, Nfs, Storage
from runai_core.model.workload import Phase, Workload, WorkloadType
from runai_core.ports import Filter, Op
from runai_core.web.pages import actions, lines, tools, workloads
from runai_core.web.pages.listed import ENDED, Listed, query_of


async def page_of(api: Any, path: str, expect: int = 200, **headers: str) -> str:
    answer = await api.client.get(path, headers=headers)
    assert answer.status_code == expect, answer.text
    return str(answer.text)


async def posted(api: Any, path: str, **fields: Any) -> Any:
    return await api.client.post(path, data=fields)


def a_workload(phase: Phase = Phase.RUNNING, **given: Any) -> Workload:
    return Workload(meta=Meta(name="w", project="p", uid="u", created_at=100.0), phase=phase, **given)


@pytest.mark.asyncio
async def test_a_newcomer_is_told_what_to_do(api: Any) -> None:
    text = await page_of(api, "/workloads")

    assert "Run your first workload" in text
    assert "runai training submit hello -- echo hello" in text
    assert 'href="/workloads/new/training"' in text


@pytest.mark.asyncio
async def test_one_row_for_each_workload_with_the_reason_of_its_state(api: Any) -> None:
    uid = (await api.submit("waits"))["id"]
    verdict = Verdict("waits-1", Reason.OVER_LIMIT, "The project may use no more GPUs.")
    await api.move(uid, Phase.PENDING, verdict=verdict)
    await api.submit("other", "workspaces")

    text = await page_of(api, "/workloads")

    assert ">waits</a>" in text
    assert ">other</a>" in text
    assert "The project may use no more GPUs." in text
    assert "2 workloads" in text


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("search=ALPH", {"alpha"}),
        ("type=Workspace", {"beta"}),
        ("phase=Running", {"beta"}),
        ("phase=active", {"beta", "alpha"}),
        ("project=default&department=default", {"alpha", "beta", "gone"}),
        ("project=nowhere", set()),
        ("user=TEST", {"alpha", "beta", "gone"}),
        ("user=nobody", set()),
        ("preemptible=no", {"beta"}),
        ("pool=elsewhere", set()),
        ("type=RayJob", set()),
        ("sort=name&order=asc&size=1", {"alpha"}),
        ("sort=name&order=asc&size=1&page=3", {"gone"}),
        ("deleted=true", set()),
    ],
)
@pytest.mark.asyncio
async def test_filters(api: Any, address: str, found: set[str]) -> None:
    await api.submit("alpha")
    await api.move((await api.submit("beta", "workspaces"))["id"], Phase.RUNNING)
    await api.move((await api.submit("gone"))["id"], Phase.COMPLETED)

    text = await page_of(api, f"/workloads?{address}")

    assert {name for name in ("alpha", "beta", "gone") if f">{name}</a>" in text} == found


@pytest.mark.parametrize("address", ["page=0", "page=x", "size=100000", "order=up", f"search={'x' * 300}"])
@pytest.mark.asyncio
async def test_an_address_that_means_nothing_is_refused_in_words(api: Any, address: str) -> None:
    assert "That did not work" in await page_of(api, f"/workloads?{address}", expect=400)


def test_an_address_says_only_what_is_unusual_and_survives_the_way_back() -> None:
    listed = Listed(search="a b", phase="Running", page=3, seen="9")

    assert listed.address() == "/workloads?search=a+b&phase=Running&page=3"
    assert listed.address(page=1) == "/workloads?search=a+b&phase=Running"
    assert listed.sorted_by("name") == "/workloads?search=a+b&phase=Running&sort=name&order=asc"
    assert Listed(sort="name", order="asc").sorted_by("name") == "/workloads?sort=name"


def test_the_choice_becomes_the_stores_question() -> None:
    query = query_of(Listed(type="RayJob", phase="active", user="u", pool="x", page=2, size=25, sort="nonsense"))

    assert query.filters == (
        Filter("node_pool", Op.EQ, "x"),
        Filter("meta.created_by", Op.CONTAINS, "u"),
        Filter("kind", Op.EQ, "RayJob"),
        *(Filter("phase", Op.NE, phase.value) for phase in ENDED),
    )
    assert (query.offset, query.limit, query.sort_by) == (25, 25, "meta.created_at")


@pytest.mark.asyncio
async def test_an_open_page_loads_nothing_while_nothing_changes(api: Any) -> None:
    await api.submit("a")
    part = {"HX-Request": "true", "HX-Target": "list"}
    seen = await api.orchestrator.backend.store.version()

    quiet = await api.client.get(f"/workloads?seen={seen}", headers=part)
    await api.submit("b")
    changed = await api.client.get(f"/workloads?seen={seen}", headers=part)

    assert quiet.status_code == 204
    assert changed.status_code == 200
    assert "<html" not in changed.text
    assert ">b</a>" in changed.text
    assert "HX-Push-Url" not in changed.headers


@pytest.mark.asyncio
async def test_filters_that_are_changed_on_the_page_change_its_address(api: Any) -> None:
    part = {"HX-Request": "true", "HX-Target": "list"}

    answer = await api.client.get("/workloads?search=x&project=&page=1&order=desc", headers=part)

    assert answer.headers["HX-Push-Url"] == "/workloads?search=x"


@pytest.mark.asyncio
async def test_columns_are_kept_for_the_person_in_every_browser(api: Any) -> None:
    await api.submit("a")

    for choice in (["status"], ["image", "nodes", "nonsense"]):
        kept = await posted(api, "/workloads/columns", column=choice, next="/workloads?search=a")
        assert kept.headers["location"] == "/workloads?search=a"
    api.client.cookies.clear()
    whole = await api.client.get("/workloads")
    part = await api.client.get("/workloads", headers={"HX-Request": "true", "HX-Target": "list"})

    assert whole.cookies[workloads.COLUMNS_COOKIE] == "nodes.image"
    for text in (whole.text, part.text):
        heads = text.split("<thead>")[1].split("</thead>")[0]
        assert [title in heads for title in ("Workload", "Nodes", "Image", "Status")] == [True, True, True, False]
    other = await api.orchestrator.access.create_service_account("somebody-else")
    token = (await api.orchestrator.access.issue(other.client_id, other.client_secret)).access_token
    theirs = await api.client.get("/workloads", headers={"Authorization": f"Bearer {token}"})
    assert theirs.cookies.get(workloads.COLUMNS_COOKIE, "") == '""'
    assert "Status</a>" in theirs.text


@pytest.mark.parametrize("cookie", ["", "nonsense", "<script>", "." * 5000])
def test_a_choice_that_means_nothing_is_the_usual_one(cookie: str) -> None:
    assert [column.key for column in lines.chosen(cookie)] == list(lines.DEFAULT_KEYS)


@pytest.mark.parametrize("cookie", [".".join(lines.BY_KEY), "gpu-utilization.nodes.cpu-utilization"])
@pytest.mark.asyncio
async def test_every_column_can_be_shown(api: Any, cookie: str) -> None:
    await api.run((await api.submit("a", spec={"command": "true", "ports": [{"container": 8080}]}))["id"])
    await posted(api, "/workloads/columns", column=cookie.split("."))

    text = await page_of(api, "/workloads")

    assert "node-a" in text
    assert text.count("<th ") == len(lines.chosen(cookie)) + 1


@pytest.mark.asyncio
async def test_every_column_that_offers_it_sorts(api: Any) -> None:
    await posted(api, "/workloads/columns", column=list(lines.BY_KEY))
    await api.submit("a")

    for column in lines.COLUMNS:
        text = await page_of(api, f"/workloads?sort={column.key}&order=asc")
        assert (f'aria-sort="ascending"><a id="sort-{column.key}"' in text) is bool(column.sort), column.key


def cell(line: lines.Line, key: str) -> Any:
    return lines.BY_KEY[key].value(line)


PROTECTED = lines.Around(guaranteed={"fast": 600.0}, clusters={"c1": "berlin", "c2": "oslo"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, 500.0, id="begun 100 s ago in a pool that protects work for 600 s"),
        pytest.param({"last_start": 10.0}, 0.0, id="longer ago"),
        pytest.param({"node_pool": "slow"}, None, id="a pool that protects nothing"),
        pytest.param({"phase": Phase.PENDING}, None, id="it does not run"),
        pytest.param({"preemptibility": Preemptibility.NON_PREEMPTIBLE}, None, id="nothing may evict it"),
    ],
)
def test_the_time_that_is_guaranteed_still(given: dict[str, Any], expected: float | None) -> None:
    workload = a_workload(**{"node_pool": "fast", "last_start": 1000.0, **given})

    assert cell(lines.line_of(workload, 1100.0, PROTECTED), "guaranteed") == expected


@pytest.mark.parametrize(("idle", "expected"), [(None, None), (299.0, 0.0), (301.0, 2.0)])
def test_gpus_are_idle_after_five_minutes_and_unknown_where_nobody_measures(
    idle: float | None, expected: float | None
) -> None:
    spec = WorkloadSpec(compute=Compute(gpu_devices_request=2))
    line = lines.line_of(a_workload(spec=spec), 0.0, idle_seconds=idle)

    assert cell(line, "gpu-idle") == expected


@pytest.mark.parametrize(
    ("clusters", "uid", "expected"),
    [
        pytest.param({"c1": "berlin", "c2": "oslo"}, "c2", "oslo", id="the one that it was submitted to"),
        pytest.param({"c1": "berlin"}, "", "berlin", id="the only one"),
        pytest.param({}, "c1", "", id="who looks may see none"),
    ],
)
def test_the_name_of_its_cluster(clusters: dict[str, str], uid: str, expected: str) -> None:
    workload = Workload(meta=Meta(name="w", project="p", annotations={CLUSTER: uid}))

    assert cell(lines.line_of(workload, 0.0, lines.Around(clusters=clusters)), "cluster") == expected


def test_what_it_mounts_how_often_it_runs_and_of_how_many_pods_it_is() -> None:
    storage = Storage(nfs=(Nfs(name="imagenet"),), git=(Git(),))
    workload = a_workload(type=WorkloadType.DISTRIBUTED, spec=WorkloadSpec(storage=storage, completions=3))
    line = lines.line_of(workload, 0.0)

    assert [cell(line, key) for key in ("sources", "runs", "architecture")] == [("imagenet", "git"), 3, "Distributed"]


@pytest.mark.asyncio
async def test_csv_has_every_row_and_no_formulas(api: Any) -> None:
    for index in range(3):
        await api.submit(f"w{index}", spec={"command": "true", "image": "=cmd|'/C'!A0"})

    answer = await api.client.get("/workloads.csv?sort=name&order=asc&size=1&page=2")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))

    assert answer.headers["content-disposition"] == 'attachment; filename="workloads.csv"'
    assert [row["Workload"] for row in rows] == ["w0", "w1", "w2"]
    assert {row["Image"] for row in rows} == {"'=cmd|'/C'!A0"}


@pytest.mark.asyncio
async def test_csv_stops_at_the_limit(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "MOST_CSV", 5)
    monkeypatch.setattr(workloads, "CSV_PIECE", 2)
    for index in range(7):
        await api.submit(f"w{index}")

    answer = await api.client.get("/workloads.csv")

    assert len(answer.text.splitlines()) == 1 + 5


EXTERNAL: dict[str, Any] = {"type": WorkloadType.EXTERNAL, "kind": "RayJob"}


@pytest.mark.parametrize(
    ("action", "workload", "possible", "words"),
    [
        ("stop", a_workload(pods_running=2), True, "ends its 2 running pods"),
        ("stop", a_workload(Phase.PENDING), True, "leaves the queue"),
        ("stop", a_workload(Phase.STOPPED), False, "stopped already"),
        ("stop", a_workload(Phase.COMPLETED), False, "nothing to stop"),
        ("stop", a_workload(type=WorkloadType.INFERENCE), False, "cannot be stopped"),
        ("stop", a_workload(**EXTERNAL), True, "The RayJob is asked to suspend"),
        ("run", a_workload(Phase.STOPPED), True, "starts anew"),
        ("run", a_workload(Phase.FAILED), False, "only stopped workloads"),
        ("delete", a_workload(pods_running=1), True, "ends its 1 running pod."),
        ("delete", a_workload(Phase.DELETING), False, "is being deleted"),
    ],
)
def test_what_will_happen_is_said_first(action: str, workload: Workload, words: str, *, possible: bool) -> None:
    outcome = actions.ASKS[action].outcome(workload)

    assert (outcome.possible, words in outcome.text) == (possible, True)


@pytest.mark.asyncio
async def test_nothing_happens_before_it_is_confirmed(api: Any) -> None:
    uid = (await api.submit("a"))["id"]
    await api.run(uid)

    asked = await posted(api, "/workloads/confirm", action="stop", uid=[uid], next="/workloads?search=a")
    phase = (await api.get(f"/api/v1/workloads/{uid}"))["phase"]
    done = await posted(api, "/workloads/do", action="stop", uid=[uid], next="/workloads?search=a")

    assert "It ends its 1 running pod" in asked.text
    assert phase == "Running"
    assert done.headers["location"] == "/workloads?search=a"
    assert "1%20workload%20is%20asked%20to%20stop" in done.headers["set-cookie"]
    assert (await api.get(f"/api/v1/workloads/{uid}"))["phase"] == "Stopping"


@pytest.mark.asyncio
async def test_what_failed_is_told_beside_what_was_done(api: Any) -> None:
    uid = (await api.submit("a"))["id"]
    await api.run(uid)
    other = (await api.submit("b", "inferences", spec={"command": "x", "servingPort": {"container": 8000}}))["id"]

    done = await posted(api, "/workloads/do", action="stop", uid=[uid, other, uid])

    notice = done.headers["set-cookie"]
    assert "1%20workload%20is%20asked%20to%20stop.%201%20failed" in notice


@pytest.mark.parametrize(
    ("fields", "location", "notice"),
    [
        ({"action": "stop"}, "/workloads", "Nothing%20was%20done"),
        ({"action": "details", "uid": ["1", "2"]}, "/workloads", "choose%20one%20workload"),
        ({"action": "stop", "next": "https://evil.invalid/"}, "/workloads", "Nothing"),
        ({"action": "stop", "next": "//evil.invalid"}, "/workloads", "Nothing"),
        ({"action": "stop", "next": "/workloads?search=x"}, "/workloads?search=x", "Nothing"),
        ({"action": "stop", "next": "/workloads/an-id"}, "/workloads/an-id", "Nothing"),
        ({"action": "stop", "next": "/workloads/an-id/../../logout"}, "/workloads", "Nothing"),
    ],
)
@pytest.mark.asyncio
async def test_where_a_browser_goes_back_to(api: Any, fields: dict[str, Any], location: str, notice: str) -> None:
    answer = await posted(api, "/workloads/confirm", **fields)

    assert (answer.status_code, answer.headers["location"]) == (303, location)
    assert notice in answer.headers["set-cookie"]


@pytest.mark.asyncio
async def test_an_action_that_does_not_exist_is_refused(api: Any) -> None:
    uid = (await api.submit("a"))["id"]

    assert (await posted(api, "/workloads/confirm", action="explode", uid=[uid])).status_code == 400
    assert (await posted(api, "/workloads/do", action="details", uid=[uid])).status_code == 400
    assert (await posted(api, "/workloads/do", action="stop", uid=[str(n) for n in range(501)])).status_code == 400


@pytest.mark.parametrize(
    ("workload", "action", "path"),
    [
        (a_workload(), "details", "/workloads/u"),
        (a_workload(), "clone", "/workloads/new/training?clone=u"),
        (a_workload(**EXTERNAL), "clone", "/workloads/u?tab=copy"),
        (a_workload(), "connect", "/workloads/u?tab=connect"),
        (
            a_workload(pods_running=1, spec=WorkloadSpec(ports=(Port(container=8888),))),
            "connect",
            "/proxy/u/8888/",
        ),
        (a_workload(spec=WorkloadSpec(ports=(Port(container=8888),))), "connect", "/workloads/u?tab=connect"),
    ],
)
def test_where_actions_on_one_workload_lead(workload: Workload, action: str, path: str) -> None:
    assert actions.LEADS[action](workload)[0] == path


def test_tools_are_offered_once_and_links_are_only_links() -> None:
    spec = WorkloadSpec(
        exposed_urls=(ExposedUrl(container=8888, tool_type="jupyter-notebook", url="https://lab.invalid/"),),
        ports=(Port(container=8888, name="again"), Port(container=6006, tool_type="tensorboard")),
        serving_port=ServingPort(container=8000),
        related_urls=(RelatedUrl(url="javascript:alert(1)"), RelatedUrl(url="https://wandb.invalid/x", type="wandb")),
    )

    assert tools.tools_of(spec) == (
        tools.Tool("Jupyter", 8888, "https://lab.invalid/"),
        tools.Tool("TensorBoard", 6006),
        tools.Tool("serving", 8000),
        tools.Tool("wandb", 0, "https://wandb.invalid/x"),
    )


HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


@pytest.mark.asyncio
async def test_what_an_address_says_stays_text(api: Any) -> None:
    for field in ("search", "project", "department", "type", "phase", "user", "pool", "sort"):
        answer = await api.client.get("/workloads", params={field: HOSTILE})

        assert answer.status_code == 200, field
        assert "<script>alert" not in answer.text, field
