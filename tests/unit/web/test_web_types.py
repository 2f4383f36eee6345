"""Types of workloads over the API: kinds are taught, changed and forgotten, and take effect at once."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.model.meta import Meta
from runai_core.model.workload import Workload, WorkloadType
from runai_core.plugins.known import KnownKinds
from runai_core.service.kinds import KindService

pytestmark = pytest.mark.asyncio

TYPES = "/api/v1/workload-types"


def interface(version: str = "v1", kind: str = "Swarm") -> dict[str, Any]:
    root = {"name": "swarm", "kind": {"group": "example.io", "version": version, "kind": kind}}
    return {"spec": {"structureDefinition": {"rootComponent": root}}}


def a_type(*versions: str, **given: Any) -> dict[str, Any]:
    return {
        "name": "Swarm",
        "group": "example.io",
        "categoryId": "Deploy",
        "priorityId": "very-high",
        "resourceInterfaces": [interface(version) for version in versions or ("v1",)],
        **given,
    }


async def names(api: Any) -> list[str]:
    return [item["name"] for item in (await api.get(TYPES, externalTypesOnly="true"))["types"]]


async def test_a_kind_is_taught_shown_changed_and_forgotten(api: Any) -> None:
    created = await api.send("POST", TYPES, a_type(), 201)
    path = f"{TYPES}/{created['id']}"
    shown = await api.get(path)
    listed = await names(api)
    changed = await api.send("PUT", path, {"categoryId": "Train", "resourceInterfaces": [interface(), interface("v2")]})
    known = api.orchestrator.plugins.kinds
    versions = [key for key in known if key[1] == "Swarm"]
    await api.send("DELETE", path)

    assert (created["source"], created["createdBy"], created["categoryName"]) == ("taught", "tester", "Deploy")
    assert created["resourceInterfaces"] == [{"version": "v1", "resourceInterface": interface()}]
    assert shown == created
    assert "Swarm" in listed
    assert (changed["categoryName"], changed["priorityName"]) == ("Train", "very-high")
    assert versions == [("example.io/v1", "Swarm"), ("example.io/v2", "Swarm")]
    assert "Swarm" not in await names(api)
    await api.get(path, 404)
    await api.send("POST", TYPES, a_type(), 201)


async def test_ids_of_category_and_priority_are_as_good_as_names(api: Any) -> None:
    [category] = [c for c in (await api.get("/api/v1/workload-categories"))["categories"] if c["name"] == "Build"]
    [priority] = [p for p in (await api.get("/api/v1/workload-priorities"))["priorities"] if p["name"] == "low"]

    created = await api.send("POST", TYPES, a_type(categoryId=category["id"], priorityId=priority["id"]), 201)

    assert (created["categoryId"], created["categoryName"]) == (category["id"], "Build")
    assert (created["priorityId"], created["priorityName"]) == (priority["id"], "low")


async def test_the_defaults_of_a_plug_ins_kind_can_be_changed_and_come_back(api: Any) -> None:
    before = await api.get(f"{TYPES}/Job")
    changed = await api.send("PUT", f"{TYPES}/Job", {"categoryId": "Build", "priorityId": "high"})
    known = api.orchestrator.plugins.kinds["batch/v1", "Job"]
    await api.send("DELETE", f"{TYPES}/Job")

    assert before["source"] == changed["source"] == "plugin"
    assert (known.category, known.priority_class) == ("Build", "high")
    assert changed["id"] == before["id"]
    assert await api.get(f"{TYPES}/Job") == before


async def test_another_process_learns_what_was_taught(api: Any) -> None:
    await api.send("POST", TYPES, a_type(), 201)
    known = KnownKinds()

    await KindService(api.orchestrator.backend, api.orchestrator.access, known).learn()

    assert [*known] == [("example.io/v1", "Swarm")]


async def test_a_kind_with_workloads_cannot_be_forgotten(api: Any) -> None:
    created = await api.send("POST", TYPES, a_type(), 201)
    store = api.orchestrator.backend.store
    swarm = Workload(
        meta=Meta(name="mine", project="default"),
        type=WorkloadType.EXTERNAL,
        api_version="example.io/v1",
        kind="Swarm",
    )
    other = replace(swarm, meta=Meta(name="theirs", project="default"), api_version="other.io/v1")
    await store.create(other)
    made = await store.create(swarm)

    refused = await api.send("DELETE", f"{TYPES}/{created['id']}", expect=409)
    await store.delete(Workload, made.meta.uid)
    await api.send("DELETE", f"{TYPES}/{created['id']}")

    assert "there are 1 workloads of the type example.io/Swarm: delete them first (default/mine)" in refused["message"]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no version": (a_type(resourceInterfaces=[]), 400, "resourceInterfaces: must describe at least one version"),
    "an unknown category": (a_type(categoryId="Play"), 400, "categoryId: must be one of Build, Train, Deploy"),
    "an unknown priority": (a_type(priorityId="urgent"), 400, "priorityId: must be one of"),
    "an interface of another kind": (
        a_type(resourceInterfaces=[interface(kind="Other")]),
        400,
        "resourceInterfaces.0.spec.structureDefinition.rootComponent.kind.kind: must be Swarm",
    ),
    "an interface of nothing": (a_type(resourceInterfaces=[{}]), 400, "resourceInterfaces.0.spec.structureDefinition"),
    "a version twice": (a_type("v1", "v1"), 400, "comes twice"),
    "more than four versions": (a_type("v1", "v2", "v3", "v4", "v5"), 400, "resourceInterfaces"),
    "a name that is no kind": (a_type(name="swarm"), 400, "name"),
    "a plug-in's kind": (a_type(name="Job", group="batch"), 409, "is known already"),
    "a kind of our own": (a_type(name="TrainingWorkload", group="run.ai"), 409, "is known already"),
}


@pytest.mark.parametrize(("body", "status", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_taught_is_refused_and_nothing_is_kept(
    api: Any, body: dict[str, Any], status: int, words: str
) -> None:
    before = await names(api)

    error = await api.send("POST", TYPES, body, status)

    assert words in error["message"]
    assert await names(api) == before


UNCHANGED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "a version that is there": (
        "Swarm",
        {"resourceInterfaces": [{**interface(), "metadata": {"name": "x"}}]},
        400,
        "version v1 is there: it can be taken away, but not changed",
    ),
    "its last version": ("Swarm", {"resourceInterfaces": []}, 400, "must keep a version"),
    "versions of a plug-in's kind": ("Job", {"resourceInterfaces": [interface()]}, 400, "comes with a plug-in"),
    "a native type": ("Training", {"categoryId": "Build"}, 404, "there is no workload type run.ai/Training that can"),
    "a type that is not there": ("Nothing", {"categoryId": "Build"}, 404, "there is no workload type Nothing"),
}


@pytest.mark.parametrize(("name", "body", "status", "words"), UNCHANGED.values(), ids=UNCHANGED)
async def test_what_cannot_be_changed_stays(api: Any, name: str, body: dict[str, Any], status: int, words: str) -> None:
    await api.send("POST", TYPES, a_type(), 201)
    before = (await api.get(TYPES))["types"]

    error = await api.send("PUT", f"{TYPES}/{name}", body, status)

    assert words in error["message"]
    assert (await api.get(TYPES))["types"] == before


async def test_a_plug_ins_kind_cannot_be_forgotten(api: Any) -> None:
    error = await api.send("DELETE", f"{TYPES}/Job", expect=422)

    assert "comes with a plug-in" in error["message"]
