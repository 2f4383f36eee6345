"""Kinds that administrators teach: what an interface says becomes gangs, places and phases."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest
from runai_core.model.kinds import TaughtKind
from runai_core.model.meta import Meta
from runai_core.model.workload import Phase
from runai_core.plugins.builtin import runai_workload_kinds
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.taught import adapter_of, kinds_of
from runai_core.plugins.types import Divides, KindAdapter, Observes

ROLE = '.metadata.labels["example.io/role"]'


def component(name: str, **more: Any) -> dict[str, Any]:
    selector = {"componentTypeSelector": {"keyPath": ROLE, "value": name}}
    scale = {"replicasPath": f".spec.{name}.replicas", "minReplicasPath": f".spec.{name}.least"}
    return {"name": name, "ownerRef": "job", "podSelector": selector, "scaleDefinition": scale, **more}


def group(*names: str, name: str = "job", **more: Any) -> dict[str, Any]:
    return {"name": name, "members": [{"componentName": each, **more} for each in names]}


def interface(
    *children: Mapping[str, Any], groups: Any = None, status: Any = None, version: str = "v1"
) -> dict[str, Any]:
    root: dict[str, Any] = {"name": "job", "kind": {"group": "example.io", "version": version, "kind": "Swarm"}}
    if status is not None:
        root["statusDefinition"] = status
    spec: dict[str, Any] = {"structureDefinition": {"rootComponent": root, "childComponents": list(children)}}
    if groups is not None:
        spec["optimizationInstructions"] = {"gangScheduling": {"podGroups": groups}}
    return {"apiVersion": "optimization.nvidia.com/v1alpha1", "kind": "ResourceInterface", "spec": spec}


SWARM = {"spec": {"queen": {"replicas": 1}, "bee": {"replicas": 8, "least": 4}}}
BOTH = (component("queen"), component("bee"))


def plans(given: Mapping[str, Any], manifest: Mapping[str, Any] = SWARM) -> list[tuple[str, int, dict[str, int]]]:
    found = adapter_of(given).pod_groups(manifest)
    return [(plan.name, plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in found]


def test_it_is_what_the_operator_asks_of_an_adapter() -> None:
    adapter: object = adapter_of(interface())

    assert isinstance(adapter, KindAdapter)
    assert isinstance(adapter, Divides)
    assert isinstance(adapter, Observes)


GANGS: dict[str, tuple[dict[str, Any], list[tuple[str, int, dict[str, int]]]]] = {
    "nothing said: one gang that starts with any pod": (interface(*BOTH), [("", 1, {})]),
    "components that start together, the least of each": (
        interface(*BOTH, groups=[group("queen", "bee")]),
        [("job", 5, {"queen": 1, "bee": 4})],
    ),
    "one component": (interface(*BOTH, groups=[group("bee")]), [("job", 4, {})]),
    "two gangs": (
        interface(*BOTH, groups=[group("queen", name="q"), group("bee", name="b")]),
        [("q", 1, {}), ("b", 4, {})],
    ),
    "a gang for each value of a label": (
        interface(*BOTH, groups=[group("queen", "bee", groupByKeyPaths=['.metadata.labels["example.io/hive"]'])]),
        [("job", 2, {"queen": 1, "bee": 1})],
    ),
    "a number that the object leaves out counts as one": (
        interface(component("drone"), groups=[group("drone")]),
        [("job", 1, {})],
    ),
}


@pytest.mark.parametrize(("given", "gangs"), GANGS.values(), ids=GANGS)
def test_gangs(given: dict[str, Any], gangs: list[tuple[str, int, dict[str, int]]]) -> None:
    assert plans(given) == gangs


@pytest.mark.parametrize("count", [-1, "3", True, 1_000_000])
def test_a_count_that_is_none_is_refused_by_its_field(count: object) -> None:
    manifest = {"spec": {"queen": {"replicas": count}}}

    with pytest.raises(InvalidRequest, match=r"spec\.queen\.replicas"):
        plans(interface(*BOTH, groups=[group("queen")]), manifest)


PLACES: dict[str, tuple[dict[str, Any], dict[str, str], tuple[str, str]]] = {
    "by its component": (interface(*BOTH, groups=[group("queen", "bee")]), {"example.io/role": "bee"}, ("job", "bee")),
    "of the only component": (interface(*BOTH, groups=[group("bee")]), {"example.io/role": "bee"}, ("job", "")),
    "of no component": (interface(*BOTH, groups=[group("queen", "bee")]), {"example.io/role": "ant"}, ("job", "")),
    "of the gang that its key names": (
        interface(*BOTH, groups=[group("queen", "bee", groupByKeyPaths=['.metadata.labels["example.io/hive"]'])]),
        {"example.io/role": "bee", "example.io/hive": "West_2"},
        ("job-west-2", "bee"),
    ),
    "of one of two gangs": (
        interface(*BOTH, groups=[group("queen", name="q"), group("bee", name="b")]),
        {"example.io/role": "bee"},
        ("b", ""),
    ),
    "of nothing said": (interface(*BOTH), {"example.io/role": "bee"}, ("", "")),
}


@pytest.mark.parametrize(("given", "labels", "place"), PLACES.values(), ids=PLACES)
def test_places(given: dict[str, Any], labels: dict[str, str], place: tuple[str, str]) -> None:
    assert adapter_of(given).place_of(labels) == place


CONDITIONS = {
    "conditionsDefinition": {"path": ".status.conditions"},
    "phaseDefinition": {"path": ".status.state"},
    "statusMappings": {
        "running": [{"byConditions": [{"type": "Running", "status": "True"}, {"type": "Failed", "status": "False"}]}],
        "completed": [{"byConditions": [{"type": "Succeeded", "status": "True"}]}],
        "failed": [{"byPhase": "Broken"}, {"byConditions": [{"type": "Failed", "status": "True"}]}],
        "initializing": [{"byPhase": "Starting", "byConditions": [{"type": "Created", "status": "True"}]}],
    },
}


def told(state: str = "", **conditions: str) -> dict[str, Any]:
    listed = [{"type": name, "status": status} for name, status in conditions.items()]
    return {"status": {"state": state, "conditions": listed}}


PHASES: dict[str, tuple[dict[str, Any], Phase | None]] = {
    "nothing yet": ({}, None),
    "all conditions of a match": (told(Running="True", Failed="False"), Phase.RUNNING),
    "one of two conditions": (told(Running="True"), None),
    "its phase": (told("Broken"), Phase.FAILED),
    "the worst of two": (told(Succeeded="True", Failed="True"), Phase.FAILED),
    "phase and condition": (told("Starting", Created="True"), Phase.INITIALIZING),
    "phase without its condition": (told("Starting"), None),
    "the end": (told(Succeeded="True"), Phase.COMPLETED),
    "a status that is something else": ({"status": "fine"}, None),
}


@pytest.mark.parametrize(("manifest", "phase"), PHASES.values(), ids=PHASES)
def test_phases(manifest: dict[str, Any], phase: Phase | None) -> None:
    assert adapter_of(interface(status=CONDITIONS)).phase_of(manifest) == phase


def changed(path: str, value: Any) -> dict[str, Any]:
    found: Any = deepcopy(interface(*BOTH, groups=[group("queen", "bee")], status=CONDITIONS))
    *above, last = path.split(".")
    item = found
    for part in above:
        item = item[int(part)] if part.isdecimal() else item[part]
    item[last] = value
    return found  # type: ignore[no-any-return]


CHILD = "spec.structureDefinition.childComponents.0"
MEMBER = "spec.optimizationInstructions.gangScheduling.podGroups.0.members.0"
STATUS = "spec.structureDefinition.rootComponent.statusDefinition"
WRONG: dict[str, tuple[str, Any, str]] = {
    "no structure": ("spec.structureDefinition", None, "spec.structureDefinition"),
    "a list of something else": ("spec.structureDefinition.childComponents", ["x"], "childComponents"),
    "a component without a name": (f"{CHILD}.name", "", f"{CHILD}.name"),
    "a filter": (f"{MEMBER}.filters", [".x > 0"], f"{MEMBER}.filters"),
    "an unknown component": (f"{MEMBER}.componentName", "ant", "must be one of job, queen, bee"),
    "a path that computes": (f"{CHILD}.scaleDefinition.replicasPath", ".spec.a + 1", "must be a path that names one"),
    "a path that is no text": (f"{CHILD}.scaleDefinition.replicasPath", 7, "must be a path that names one"),
    "a label that is none": (f"{CHILD}.podSelector.componentTypeSelector.keyPath", ".spec.x", "must be a label"),
    "components that cannot be told apart": (f"{CHILD}.podSelector", None, "queen needs a podSelector"),
    "an unknown status": (f"{STATUS}.statusMappings.sleeping", [], "knows only failed, completed, running"),
    "a match of nothing": (f"{STATUS}.statusMappings.failed", [{}], "must have byPhase or byConditions"),
    "keys that differ": (f"{MEMBER}.groupByKeyPaths", ['.metadata.labels["a"]'], "the same groupByKeyPaths"),
}


@pytest.mark.parametrize(("path", "value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_not_understood_is_refused_by_its_field(path: str, value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        adapter_of(changed(path, value), "resourceInterfaces.0")

    assert words in caught.value.message
    assert caught.value.errors[0].field.startswith("resourceInterfaces.0.spec.")


def taught(*interfaces: Mapping[str, Any], group_: str = "example.io", kind: str = "Swarm") -> TaughtKind:
    return TaughtKind(
        meta=Meta(name=f"{group_}/{kind}"),
        group=group_,
        kind=kind,
        category="Deploy",
        priority_class="very-high",
        interfaces=tuple(interfaces),
    )


def test_there_is_a_kind_for_each_version() -> None:
    found = kinds_of(taught(interface(), interface(version="v1beta1")), {})

    assert [kind.key for kind in found] == [("example.io/v1", "Swarm"), ("example.io/v1beta1", "Swarm")]
    assert {(kind.category, kind.priority_class, kind.serves) for kind in found} == {("Deploy", "very-high", True)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(taught(interface(), interface()), "comes twice", id="a version twice"),
        pytest.param(taught(interface(), kind="Other"), "must be Other, as the type is", id="another kind"),
        pytest.param(taught(interface(), group_="b.io"), "must be b.io, as the type is", id="another group"),
        pytest.param(taught(interface(version="latest")), "must be like group/v1", id="a version that is none"),
    ],
)
def test_versions_must_be_of_the_kind(given: TaughtKind, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        kinds_of(given, {})


def test_what_is_taught_takes_effect_for_who_holds_the_kinds() -> None:
    known = KnownKinds(runai_workload_kinds())
    brought = len(known)

    known.teach(kinds_of(taught(interface()), known.brought))
    learned = (len(known) - brought, known.by_group["example.io", "Swarm"].category)
    known.teach(kinds_of(taught(group_="batch", kind="Job"), known.brought))

    assert learned == (1, "Deploy")
    assert len(known) == brought
    assert known.by_group["batch", "Job"].category == "Deploy"
    assert known.by_group["batch", "Job"].adapter == known.brought["batch/v1", "Job"].adapter
    assert ("example.io/v1", "Swarm") not in known
