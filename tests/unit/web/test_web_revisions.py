"""Revisions of inference workloads: each change is kept, is looked at, and can be gone back to."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM
from runai_core.model.revisions import Revision
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Edition, Phase, Pod, PodSpec, PodStatus, Workload, WorkloadType
from runai_core.ports import Query
from runai_core.service.asking import Asking
from runai_core.service.explaining import Judge
from runai_core.service.revisions import Revisions
from runai_core.service.submission import of_workload
from runai_core.service.submissions import Submissions

pytestmark = pytest.mark.asyncio

SPEC: dict[str, Any] = {
    "image": "one",
    "servingPort": {"container": 8000},
    "environmentVariables": [{"name": "A", "value": "1"}],
}
SERVERS = "/api/v1/workloads/inferences"


async def changed(api: Any, uid: str, expect: int = 202, **body: Any) -> Any:
    """Change the server a second later, when its pods of now are there."""
    api.clock.time += 1
    await api.move(uid, Phase.RUNNING)
    return await api.send("PATCH", f"{SERVERS}/{uid}", body, expect)


async def revisions(api: Any, uid: str) -> list[Any]:
    return list((await api.get(f"{SERVERS}/{uid}/revisions"))["revisions"])


async def test_each_change_of_a_specification_is_a_revision(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    await changed(api, uid, spec={"image": "two"})
    await changed(api, uid, spec={"autoscaling": {"minReplicas": 3}})

    found = await revisions(api, uid)

    assert [(item["number"], item["name"], item["isPresent"]) for item in found] == [
        (1, "llm-00001", False),
        (2, "llm-00002", False),
        (3, "llm-00003", True),
    ]
    assert [item["images"] for item in found] == [["one"], ["two"], ["two"]]
    assert [item["phase"] for item in found[:2]] == ["Stopped", "Stopped"]
    assert [item["createdBy"] for item in found] == ["tester"] * 3
    assert len({item["createdAt"] for item in found}) == 3
    assert (await api.get(f"{SERVERS}/{uid}/revisions/count"))["count"] == 3
    assert await api.get(f"{SERVERS}/revisions/{found[0]['id']}") == found[0]


async def test_a_change_that_changes_nothing_is_no_revision(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    await changed(api, uid, spec={"image": "one"})

    assert [item["number"] for item in await revisions(api, uid)] == [1]


async def test_an_earlier_revision_comes_back_whole_as_a_new_one(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    await changed(api, uid, spec={"image": "two", "command": "serve", "environmentVariables": []})

    back = await changed(api, uid, revision=1)

    found = await revisions(api, uid)
    assert back["spec"] == found[0]["spec"] == found[2]["spec"]
    assert "command" not in back["spec"]
    events = (await api.get(f"/api/v1/workloads/{uid}/history"))["records"]
    assert any("went back to revision 1" in str(record) for record in events)


async def test_what_a_control_plane_wants_of_a_server_is_its_whole_specification(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec={**SPEC, "command": "serve"}))["id"]
    await api.move(uid, Phase.RUNNING)

    changed_there = await api.orchestrator.workloads.respecify(SYSTEM, uid, {**SPEC, "environmentVariables": []})

    assert changed_there.spec.command is None
    assert changed_there.spec.environment_variables == ()
    assert [item["number"] for item in await revisions(api, uid)] == [1, 2]


async def test_a_change_that_is_refused_leaves_no_revision(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    await changed(api, uid, 400, spec={"nodePools": ["none"]})
    unknown = await changed(api, uid, 404, revision=7)
    both = await changed(api, uid, 400, revision=1, spec={"image": "x"})
    neither = await changed(api, uid, 400)

    assert [item["number"] for item in await revisions(api, uid)] == [1]
    assert unknown["message"] == "default/llm has no revision 7; it has: 1"
    assert "either the changes, or the revision" in both["message"] + str(both["details"])
    assert neither["message"] == both["message"]


async def test_a_server_of_before_there_were_revisions_has_the_first_one(api: Any) -> None:
    store = api.orchestrator.backend.store
    old = await store.create(
        Workload(
            meta=Meta(name="old", project="default", created_by="somebody"), type=WorkloadType.INFERENCE, attempt=4
        )
    )
    uid = old.meta.uid

    assert [(item["number"], item["createdBy"]) for item in await revisions(api, uid)] == [(1, "somebody")]
    assert [item["id"] for item in await revisions(api, uid)] == [item["id"] for item in await revisions(api, uid)]
    assert len((await store.list(Revision, Query(owner=uid))).items) == 1


async def test_pods_and_events_are_those_of_the_time_of_a_revision(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    api.cluster.made[uid] = [a_pod(uid, 1), a_pod(uid, 2)]  # the second attempt begins while the first still answers
    await changed(api, uid, spec={"image": "two"})
    first, second = await revisions(api, uid)

    async def pods(revision: Any) -> list[tuple[str, str]]:
        listed = (await api.get(f"{SERVERS}/revisions/{revision['id']}/pods"))["pods"]
        return [(pod["name"], pod["revisionId"]) for pod in listed]

    async def told(revision: Any, what: str) -> str:
        return str(await api.get(f"{SERVERS}/revisions/{revision['id']}/{what}"))

    assert await pods(first) == [("llm-1-0", first["id"])]
    assert await pods(second) == [("llm-2-0", second["id"])]
    assert (first["phase"], first["runningPods"]) == ("Running", 1)
    assert "submitted by tester" in await told(first, "history")
    assert "submitted by tester" not in await told(second, "history")
    assert "changed by tester" in await told(second, "history")
    assert (await api.get(f"{SERVERS}/revisions/{second['id']}/events"))["events"] == []


async def test_the_attempt_of_a_revision_that_only_changes_the_number_is_the_one_before(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    api.cluster.made[uid] = [a_pod(uid, 1)]
    await changed(api, uid, spec={"autoscaling": {"minReplicas": 2}})

    first, second = await revisions(api, uid)

    assert (first["runningPods"], second["runningPods"]) == (0, 1)


async def test_revisions_go_with_their_workload(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    store = api.orchestrator.backend.store
    await revisions(api, uid)
    await store.delete(Workload, uid)

    shown = await api.get(f"{SERVERS}/{uid}/revisions", deleted="true")
    assert [item["number"] for item in shown["revisions"]] == [1]
    assert await revisions(api, uid) == []
    await store.purge(Workload, api.clock.time + 1)
    assert (await store.list(Revision, Query(owner=uid))).items == ()


@pytest.mark.parametrize("path", ["", "/pods", "/events", "/history"])
async def test_a_revision_that_is_not_there_is_not_found(api: Any, path: str) -> None:
    answer = await api.get(f"{SERVERS}/revisions/none{path}", 404)

    assert answer["message"] == "there is no revision none"


async def test_only_servers_have_revisions(api: Any) -> None:
    uid = (await api.submit("a"))["id"]

    await api.get(f"{SERVERS}/{uid}/revisions", 422)


async def test_the_oldest_are_forgotten_when_there_are_many(api: Any) -> None:
    server = await api.orchestrator.backend.store.create(
        Workload(meta=Meta(name="llm", project="default"), type=WorkloadType.INFERENCE)
    )
    kept = Revisions(api.orchestrator.backend, kept=3)
    for number in range(1, 6):
        server = replace(server, edition=Edition(number=number, made_at=api.clock.time))
        await kept.keep(server)

    assert [revision.edition.number for revision in await kept.all(server)] == [3, 4, 5]


async def test_two_changes_at_once_are_two_revisions(api: Any) -> None:
    uid = (await api.submit("llm", "inferences", spec=SPEC))["id"]
    server = await api.move(uid, Phase.RUNNING)
    backend = replace(api.orchestrator.backend, store=Racing(api.orchestrator.backend.store, uid))
    submissions = Submissions(backend, api.orchestrator.policies)
    judge = cast("Judge", SimpleNamespace(poke=lambda _: None))
    asking = Asking(backend, api.orchestrator.journal, submissions, judge, Revisions(backend))

    await asking.respecify(SYSTEM, server, of_workload(server, spec={**SPEC, "image": "mine"}), "changed")

    assert [(item["number"], item["images"]) for item in await revisions(api, uid)] == [
        (1, ["one"]),
        (2, ["theirs"]),
        (3, ["mine"]),
    ]


class Racing:
    """A store in which somebody else changes the server just before the first update of it."""

    def __init__(self, inner: Any, uid: str) -> None:
        self._inner, self._uid, self._raced = inner, uid, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def update(self, item: Any) -> Any:
        if isinstance(item, Workload) and not self._raced:
            self._raced = True
            present = await self._inner.get_by_uid(Workload, self._uid)
            edition = Edition(number=2, made_at=item.phase_updated_at, first_attempt=present.attempt)
            theirs = replace(present.spec, image="theirs")
            await self._inner.update(replace(present, spec=theirs, edition=edition))
        return await self._inner.update(item)


def a_pod(uid: str, attempt: int) -> Pod:
    return Pod(
        meta=Meta(name=f"llm-{attempt}-0", uid=f"pod-{attempt}", project="default", owner=uid),
        workload="llm",
        pod_group=f"llm-{attempt}",
        attempt=attempt,
        spec=PodSpec(),
        status=PodStatus(state=PodState.RUNNING, ready=True),
    )
