"""The kinds: manifests of the reference pass their schemas, wrong ones do not."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest

from runai_core.model.workload import PRIORITIES
from runai_core.operator.install.crds import DEFINITIONS, crds
from runai_core.policy.v2alpha1_kinds import WORKLOAD_KINDS

CRDS = {item["spec"]["names"]["kind"]: item for item in crds()}


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def closed(schema: Any) -> Any:
    """The schema as an API server reads it that refuses unknown fields (kubectl's strict validation)."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {name: closed(part) for name, part in schema.items() if not name.startswith("x-kubernetes")}
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        found["type"] = [schema["type"], "null"]
        found.pop("nullable")
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    return found


def errors_of(kind: str, **sections: Any) -> list[str]:
    schema = closed(schema_of(kind))
    schema["properties"]["metadata"] = {"type": "object"}
    item = {"apiVersion": "-", "kind": kind, "metadata": {"name": "x"}, **sections}
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(item)]


ACCEPTED: list[tuple[str, str, Mapping[str, Any]]] = [
    (
        "the reference's training",
        "TrainingWorkload",
        {
            "name": {"value": "t1"},
            "image": {"value": "python:3.11"},
            "gpu": {"value": "0.5"},
            "nodePools": {"value": "a100 default"},
            "environment": {"items": {"LR": {"value": "0.1"}, "TOKEN": {"value": "SECRET:my-secret,token"}}},
            "pvcs": {"items": {"pvc--0": {"value": {"claimName": "data", "existingPvc": True, "path": "/data"}}}},
        },
    ),
    ("a template", "TrainingWorkload", {"usage": "Template", "image": {"value": "a:1"}}),
    ("an item that is dropped", "TrainingWorkload", {"environment": {"items": {"LR": {"deleted": True}}}}),
    ("counts as numbers", "InferenceWorkload", {"minScale": {"value": 0}, "maxScale": {"value": 4}}),
    ("counts as texts", "InferenceWorkload", {"minScale": {"value": "0"}}),
    ("a stopped workspace", "InteractiveWorkload", {"active": {"value": False}, "jupyter": {"value": False}}),
    ("a distributed one", "DistributedWorkload", {"jobType": "PyTorchJob", "workers": {"value": 3}}),
    ("extras of its framework", "DistributedWorkload", {"mpiJob": {"slotsPerWorker": 2, "whatever": {"else": 1}}}),
    ("a probe", "InferenceWorkload", {"readinessProbe": {"value": {"handler": {"httpGet": {"port": 80}}}}}),
    (
        "a policy with rules",
        "TrainingPolicy",
        {
            "gpu": {"value": "1", "rules": {"max": "5", "required": True}},
            "image": {"rules": {"options": [{"value": "a:1", "displayed": "A"}]}},
            "volumes": {"rules": {"canAdd": False}, "itemRules": {"path": {"required": True}}},
            "environment": {"items": {"DEFAULTS": {"value": "x"}, "A": {"value": "1", "rules": {"canRemove": False}}}},
        },
    ),
    ("a policy in the current form", "TrainingPolicy", {"document": {"defaults": {"image": "a"}, "rules": {}}}),
    (
        "a project",
        "Project",
        {"department": "r", "resources": [{"nodePool": "default", "gpu": {"deserved": 2.5, "limit": None}}]},
    ),
    ("a project of the older form", "Project", {"deservedGpus": 2, "gpuOverQuotaWeight": 1, "maxAllowedGpus": -1}),
    ("a queue of KAI", "Queue", {"resources": {"gpu": {"quota": -1, "limit": -1, "overQuotaWeight": 1}}}),
    (
        "a pod group of KAI",
        "PodGroup",
        {"minMember": 2, "queue": "q", "subGroups": [{"name": "a", "minMember": 1, "parent": None}]},
    ),
    ("a topology", "Topology", {"levels": [{"nodeLabel": "zone"}, {"nodeLabel": "kubernetes.io/hostname"}]}),
]


@pytest.mark.parametrize(("kind", "spec"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_manifests_of_the_reference_are_accepted(kind: str, spec: Mapping[str, Any]) -> None:
    assert errors_of(kind, spec=spec) == []


REFUSED: list[tuple[str, str, Mapping[str, Any], str]] = [
    ("an unknown field", "TrainingWorkload", {"gpuu": {"value": "1"}}, "gpuu"),
    ("a field of another kind", "TrainingWorkload", {"minScale": {"value": 1}}, "minScale"),
    ("a value without its object", "TrainingWorkload", {"image": "a:1"}, "a:1"),
    ("a number where a text belongs", "TrainingWorkload", {"gpu": {"value": 0.5}}, "0.5"),
    ("a text where a boolean belongs", "TrainingWorkload", {"largeShm": {"value": "yes"}}, "yes"),
    ("a list of items", "TrainingWorkload", {"environment": {"items": [{"name": "A"}]}}, "name"),
    ("a wrong word", "TrainingWorkload", {"imagePullPolicy": {"value": "Sometimes"}}, "Sometimes"),
    ("an unknown member of an item", "TrainingWorkload", {"nfs": {"items": {"a": {"value": {"host": "x"}}}}}, "host"),
    ("an unknown framework", "DistributedWorkload", {"jobType": "HorovodJob"}, "HorovodJob"),
    ("an unknown rule", "TrainingPolicy", {"image": {"rules": {"maximum": "1"}}}, "maximum"),
    ("quota that is a text", "Project", {"resources": [{"nodePool": "default", "gpu": {"deserved": "2"}}]}, "2"),
    ("quota of no node pool", "Project", {"resources": [{"gpu": {"deserved": 2}}]}, "nodePool"),
    ("a wrong word of a pod group", "PodGroup", {"preemptibility": "maybe"}, "maybe"),
    ("a topology without levels", "Topology", {"levels": []}, "[]"),
]


@pytest.mark.parametrize(("kind", "spec", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_wrong_manifests_are_refused_by_name(kind: str, spec: Mapping[str, Any], named: str) -> None:
    errors = errors_of(kind, spec=spec)

    assert errors
    assert any(named in error for error in errors)


def test_the_master_of_a_distributed_workload_is_described_beside_the_workers() -> None:
    assert errors_of("DistributedWorkload", masterSpec={"gpu": {"value": "0"}}) == []
    assert errors_of("TrainingWorkload", masterSpec={"gpu": {"value": "0"}}) != []


def test_names_are_those_of_the_reference() -> None:
    names = {item["metadata"]["name"] for item in crds()}

    assert names >= {
        "trainingworkloads.run.ai",
        "interactivepolicies.run.ai",
        "projects.run.ai",
        "nodepools.run.ai",
        "departments.scheduling.run.ai",
        "queues.scheduling.run.ai",
        "podgroups.scheduling.run.ai",
        "topologies.kai.scheduler",
    }
    assert CRDS["Project"]["spec"]["names"]["shortNames"] == ["rp"]
    assert CRDS["Queue"]["spec"]["versions"][0]["name"] == "v2"
    assert CRDS["PodGroup"]["spec"]["versions"][0]["name"] == "v2alpha2"


@pytest.mark.parametrize("kind", list(CRDS))
def test_every_schema_is_structural(kind: str) -> None:
    assert problems_of(schema_of(kind), kind) == []


def problems_of(schema: Mapping[str, Any], path: str) -> list[str]:
    """What an API server would refuse of a schema (apiextensions.k8s.io/v1, structural schemas)."""
    found = []
    if "type" not in schema and not schema.get("x-kubernetes-int-or-string"):
        found.append(f"{path}: no type")
    if "properties" in schema and "additionalProperties" in schema:
        found.append(f"{path}: properties and additionalProperties")
    if "$ref" in schema or "anyOf" in schema:
        found.append(f"{path}: a reference or a choice")
    for name, part in schema.get("properties", {}).items():
        found += problems_of(part, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            found += problems_of(schema[name], f"{path}.{name}")
    return found


@pytest.mark.parametrize("kind", [*WORKLOAD_KINDS, "Project", "NodePool", "Queue", "PodGroup"])
def test_people_see_status_and_age(kind: str) -> None:
    version = CRDS[kind]["spec"]["versions"][0]
    titles = [column["name"] for column in version["additionalPrinterColumns"]]

    assert "Age" in titles
    assert version["subresources"]["status"] == {}
    if kind in WORKLOAD_KINDS:
        assert titles[:3] == ["Status", "Project", "GPUs"]


@pytest.mark.parametrize("kind", [*WORKLOAD_KINDS, "TrainingPolicy", "Project", "Queue", "PodGroup"])
def test_every_field_is_explained(kind: str) -> None:
    fields = schema_of(kind)["properties"]["spec"]["properties"]

    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_scaling_has_its_number_in_the_specification() -> None:
    scale = CRDS["DistributedWorkload"]["spec"]["versions"][0]["subresources"]["scale"]

    assert scale["specReplicasPath"] == ".spec.workers.value"


def test_every_kind_is_generated_anew_in_the_same_way() -> None:
    assert json.dumps(crds()) == json.dumps(crds())
    assert len(DEFINITIONS) == len({item.resource.full_name for item in DEFINITIONS})
    assert PRIORITIES
