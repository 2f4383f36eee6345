"""The page of one workload over the real services."""

import json
import shlex
from typing import Any

import pytest
import yaml

from runai_core.model.decision import Reason, Suggestion, Verdict
from runai_core.model.meta import Meta
from runai_core.model.workload import HistoryRecord, Phase, RecordType, Workload
from runai_core.web.pages import again, details, story


async def page_of(api: Any, path: str, expect: int = 200) -> str:
    answer = await api.client.get(path)
    assert answer.status_code == expect, answer.text
    return str(answer.text)


@pytest.mark.asyncio
async def test_the_verdict_and_what_would_start_it_come_first(api: Any) -> None:
    uid = (await api.submit("a", spec={"command": "true", "compute": {"gpuDevicesRequest": 3}}))["id"]
    verdict = Verdict(
        "a-1",
        Reason.NEVER_FITS,
        "It can never fit.",
        nodes_refused={"not enough GPUs": 2},
        suggestions=(Suggestion("fewer_gpus", "With 2 GPUs instead of 3 it would start now."),),
    )
    await api.move(uid, Phase.PENDING, verdict=verdict)

    text = await page_of(api, f"/workloads/{uid}")

    assert text.index("Why it waits") < text.index("What would start it") < text.index("Event history")
    assert "instead of 3 it would start now." in text
    assert "number 1 of the waiting workloads" in text


@pytest.mark.parametrize("tab", [*details.TABS, "nonsense"])
@pytest.mark.asyncio
async def test_every_tab_opens_for_a_workload_in_every_state(api: Any, tab: str) -> None:
    uid = (await api.submit("a", spec={"command": "true", "ports": [{"container": 8888}]}))["id"]
    assert ">a</h1>" in await page_of(api, f"/workloads/{uid}?tab={tab}")

    await api.run(uid)
    assert ">a</h1>" in await page_of(api, f"/workloads/{uid}?tab={tab}")

    await api.orchestrator.backend.store.delete(Workload, uid)
    text = await page_of(api, f"/workloads/{uid}?tab={tab}")
    assert "deleted" in text
    assert 'id="do-delete"' not in text


@pytest.mark.asyncio
async def test_a_workload_that_is_not_there_is_an_error_in_words(api: Any) -> None:
    assert "That is not here" in await page_of(api, "/workloads/nothing", expect=404)
    assert "That is not here" in await page_of(api, "/workloads/nothing/log", expect=404)


@pytest.mark.asyncio
async def test_the_state_is_sent_again_only_when_it_changed(api: Any) -> None:
    uid = (await api.submit("a"))["id"]
    version = (await api.run(uid)).meta.version

    quiet = await api.client.get(f"/workloads/{uid}/state?seen={version}")
    await api.move(uid, Phase.FAILED, phase_message="It failed <b>badly</b>.")
    changed = await api.client.get(f"/workloads/{uid}/state?seen={version}")

    assert quiet.status_code == 204
    assert "It failed &lt;b&gt;badly&lt;/b&gt;." in changed.text
    assert "<html" not in changed.text


@pytest.mark.asyncio
async def test_a_log_is_a_file_with_a_telling_name(api: Any) -> None:
    uid = (await api.submit("a"))["id"]
    await api.run(uid)
    api.runtime.lines = [b"one\n", b"two\n"]

    answer = await api.client.get(f"/workloads/{uid}/log")

    assert answer.text == "one\ntwo\n"
    assert answer.headers["content-disposition"] == 'attachment; filename="a_a-1-0_main_2027-01-15T08-00-00Z.log"'
    assert api.runtime.asked[0][1].tail is None


def test_nothing_in_a_name_can_leave_the_header() -> None:
    assert details.log_name('a"\r\nX: y', "../p", "main", 0) == "a---X--y_..-p_main_1970-01-01T00-00-00Z.log"


@pytest.mark.parametrize(
    ("kind", "spec", "more"),
    [
        ("trainings", {"command": "echo 'a b'", "compute": {"gpuDevicesRequest": 2}}, {}),
        ("workspaces", {"command": "true", "ports": [{"container": 8888}]}, {}),
        (
            "distributed",
            {"command": "w", "numWorkers": 2, "distributedFramework": "PyTorch"},
            {"masterSpecSameAsWorker": False, "masterSpec": {"command": "m"}},
        ),
        ("inferences", {"command": "x", "servingPort": {"container": 8000}}, {}),
        ("distributed-inferences", {"workers": 1, "worker": {"command": "w"}, "leader": {"command": "l"}}, {}),
    ],
)
@pytest.mark.asyncio
async def test_the_call_makes_the_workload_again(api: Any, kind: str, spec: dict[str, Any], more: Any) -> None:
    made = await api.submit("a", kind, spec=spec, **more)
    workload = await api.orchestrator.backend.store.get_by_uid(Workload, made["id"])
    call = shlex.split(again.as_call(workload, "http://x", api.orchestrator.cluster_id))
    body = json.loads(call[-1])

    copy = await api.send("POST", call[3].removeprefix("http://x"), body | {"name": "b"}, expect=202)
    content = yaml.safe_load(again.as_yaml(workload))

    assert copy["spec"] == made["spec"]
    assert copy.get("masterSpec") == made.get("masterSpec")
    assert (content["name"], content["project"]) == ("a", "default")
    assert {key: content[key] for key in ("spec", "masterSpec") if key in content} == {
        key: body[key] for key in ("spec", "masterSpec") if key in body
    }


def a_record(**given: Any) -> HistoryRecord:
    return HistoryRecord(meta=Meta(name="r", created_at=1.0), **given)


STORY = (
    a_record(type=RecordType.PHASE_UPDATE, to_phase=Phase.RUNNING, cause="Its pod is ready.", actor="system"),
    a_record(reason="Evicted", message="Taken off node-a.", severity="Warning", involved="pod/a-1-0"),
    a_record(reason="Scheduled", message="Placed on node-b."),
)


@pytest.mark.parametrize(
    ("which", "search", "found"),
    [
        ("", "", ["Running", "Evicted", "Scheduled"]),
        ("phases", "", ["Running"]),
        ("events", "", ["Evicted", "Scheduled"]),
        ("warnings", "", ["Evicted"]),
        ("", "NODE-", ["Evicted", "Scheduled"]),
        ("", "pod a", ["Evicted"]),
        ("", "system", ["Running"]),
        ("warnings", "ready", []),
        ("nonsense", "", ["Running", "Evicted", "Scheduled"]),
    ],
)
def test_the_story_is_filtered_and_searched(which: str, search: str, found: list[str]) -> None:
    assert [entry.what for entry in story.chosen(STORY, which, search)] == found


@pytest.mark.asyncio
async def test_a_server_shows_its_revisions_and_goes_back_to_one(api: Any) -> None:
    spec = {"image": "<b>one</b>", "servingPort": {"container": 8000}}
    uid = (await api.submit("llm", "inferences", spec=spec))["id"]
    await api.move(uid, Phase.RUNNING)
    await api.send("PATCH", f"/api/v1/workloads/inferences/{uid}", {"spec": {"image": "two"}}, 202)
    await api.move(uid, Phase.RUNNING)

    before = await page_of(api, f"/workloads/{uid}?tab=revisions")
    answer = await api.client.post(f"/workloads/{uid}/revisions/1")
    unknown = await api.client.post(f"/workloads/{uid}/revisions/9")
    after = await page_of(api, f"/workloads/{uid}?tab=revisions")

    assert "&lt;b&gt;one" in before
    assert before.count("Go back to revision") == 1
    assert (answer.status_code, unknown.status_code) == (303, 404)
    assert after.count("Go back to revision") == 2
    assert (await api.get(f"/api/v1/workloads/{uid}"))["spec"]["image"] == "<b>one</b>"


@pytest.mark.asyncio
async def test_only_servers_have_a_tab_for_revisions(api: Any) -> None:
    uid = (await api.submit("a"))["id"]

    assert "tab=revisions" not in await page_of(api, f"/workloads/{uid}")
