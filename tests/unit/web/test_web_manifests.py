"""Objects of frameworks over the second version of the API: submitted, shown, and changed in place."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import Phase, WorkloadType
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.types import Manifest, Native, PodGroupPlan, WorkloadKind

pytestmark = pytest.mark.asyncio

PATH = "/api/v2/workloads"


class Server:
    """A kind of server that one machine runs as an inference."""

    def pod_groups(self, manifest: Manifest) -> Sequence[PodGroupPlan]:
        return (PodGroupPlan(),)

    def native(self, manifest: Manifest) -> Native:
        spec: Mapping[str, Any] = manifest["spec"]
        if "image" not in spec:
            raise InvalidRequest.of(FieldError("spec.image", "is required"))
        return Native(type=WorkloadType.INFERENCE, spec={"image": spec["image"], "servingPort": {"container": 80}})


class Batch(Server):
    """A kind of work that one machine runs as a training."""

    def native(self, manifest: Manifest) -> Native:
        return Native(type=WorkloadType.TRAINING, spec={"image": "b"})


def an_object(kind: str = "Server", name: str = "llm", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "test.io/v1", "kind": kind, "metadata": {"name": name}, "spec": {"image": "one", **spec}}


@pytest.fixture
def frameworks(api: Any) -> Any:
    """Return the API of an orchestrator that knows two more kinds."""
    kinds = [
        WorkloadKind(api_version="test.io/v1", kind="Server", adapter=Server(), priority_class="inference"),
        WorkloadKind(api_version="test.io/v1", kind="Batch", adapter=Batch()),
    ]
    plugins = api.orchestrator.plugins
    known = KnownKinds([*plugins.kinds.values(), *kinds])
    api.app.state.orchestrator = replace(api.orchestrator, plugins=replace(plugins, kinds=known))
    return api


async def submitted(api: Any, manifest: dict[str, Any]) -> Any:
    return await api.send("POST", PATH, {"metadata": {"projectId": "default"}, "manifest": manifest}, 202)


async def test_an_object_is_shown_with_its_state_in_the_cluster(frameworks: Any) -> None:
    created = await submitted(frameworks, an_object())
    await frameworks.move(created["id"], Phase.RUNNING)

    shown = await frameworks.get(f"{PATH}/{created['id']}")

    assert created["syncInfo"]["status"] == "Applying"
    assert shown["syncInfo"]["status"] == "Synced"
    assert shown["workload"]["workloadManifest"] == an_object()
    assert shown["workload"]["metadata"]["gvk"] == {"group": "test.io", "version": "v1", "kind": "Server"}
    assert shown["workload"]["desiredPhase"] == "Running"


async def test_a_server_of_a_framework_is_changed_in_place(frameworks: Any) -> None:
    created = await submitted(frameworks, an_object())
    path = f"{PATH}/{created['id']}"
    await frameworks.move(created["id"], Phase.RUNNING)

    changed = await frameworks.send("PUT", path, {"manifest": an_object(image="two")}, 202)

    assert changed["workload"]["workloadManifest"]["spec"] == {"image": "two"}
    assert changed["spec"]["image"] == "two"
    revisions = await frameworks.get(f"/api/v1/workloads/inferences/{created['id']}/revisions")
    assert [item["images"] for item in revisions["revisions"]] == [["one"], ["two"]]


async def test_what_was_said_besides_can_be_changed_alone(frameworks: Any) -> None:
    created = await submitted(frameworks, an_object())
    await frameworks.move(created["id"], Phase.RUNNING)

    body = {"metadata": {"priority": "low", "category": "Build"}}
    changed = await frameworks.send("PUT", f"{PATH}/{created['id']}", body, 202)

    assert (changed["priorityClassName"], changed["category"]) == ("low", "Build")
    assert changed["workload"]["metadata"]["priority"] == "low"
    assert changed["spec"]["image"] == "one"
    assert changed["workload"]["workloadManifest"] == an_object()


async def test_a_manifest_may_come_as_yaml_in_base64(frameworks: Any) -> None:
    text = b64encode(yaml.safe_dump(an_object()).encode()).decode()
    body = {"metadata": {"projectId": "default"}, "manifestBase64Encoded": text}

    created = await frameworks.send("POST", PATH, body, 202)

    assert created["workload"]["workloadManifest"] == an_object()


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing to change": ({}, 400, "there is nothing to change"),
    "an object of another name": ({"manifest": an_object(name="other")}, 400, "must be that of the Server llm"),
    "an object of another kind": ({"manifest": an_object("Batch")}, 400, "must be that of the Server llm"),
    "a kind that nobody knows": ({"manifest": an_object("Nothing")}, 422, "no plug-in understands Nothing"),
    "a field that is missing": ({"manifest": {**an_object(), "spec": {}}}, 400, "spec.image"),
    "an unknown priority": ({"metadata": {"priority": "urgent"}}, 400, "spec.priorityClass"),
    "both forms of a manifest": (
        {"manifest": an_object(), "manifestBase64Encoded": "e30="},
        400,
        "manifestBase64Encoded",
    ),
    "text that is no base64": ({"manifestBase64Encoded": "%%%"}, 400, "must be YAML of one object"),
    "YAML that is no object": ({"manifestBase64Encoded": "W10="}, 400, "must be YAML of one object"),
    "YAML that grows": (
        {"manifestBase64Encoded": b64encode(b"a: &a [1, 2]\nb: [*a, *a]\n").decode()},
        400,
        "without aliases",
    ),
}


@pytest.mark.parametrize(("body", "status", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_change_that_cannot_be_changes_nothing(
    frameworks: Any, body: dict[str, Any], status: int, words: str
) -> None:
    created = await submitted(frameworks, an_object())
    await frameworks.move(created["id"], Phase.RUNNING)
    before = await frameworks.get(f"{PATH}/{created['id']}")

    error = await frameworks.send("PUT", f"{PATH}/{created['id']}", body, status)

    assert words in error["message"]
    assert await frameworks.get(f"{PATH}/{created['id']}") == before


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("Batch", "a Training workload cannot be changed", id="work that keeps what it was submitted with"),
        pytest.param("", "is no object of a framework", id="a workload that is no object"),
    ],
)
async def test_what_cannot_be_changed_says_why(frameworks: Any, kind: str, words: str) -> None:
    created = await submitted(frameworks, an_object(kind)) if kind else await frameworks.submit("llm")

    error = await frameworks.send("PUT", f"{PATH}/{created['id']}", {"manifest": an_object(kind or "Batch")}, 422)

    assert words in error["message"]
