"""Policies in the older form mean the same in the current one."""

from collections.abc import Mapping
from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest
from runai_core.model.workload import PolicyType
from runai_core.policy.evaluate import evaluate
from runai_core.policy.rules import validate_document
from runai_core.policy.v2alpha1 import from_v2alpha1, policy_of


def manifest(namespace: str = "runai-team", kind: str = "TrainingPolicy", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "run.ai/v2alpha1",
        "kind": kind,
        "metadata": {"name": "p", "namespace": namespace},
        "spec": spec,
    }


TRANSLATED: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("a default", {"image": {"value": "a:1"}}, {"image": "a:1"}, {}),
    (
        "a rule with texts for numbers",
        {"cpu": {"value": "2", "rules": {"min": "1", "max": "8.5"}}},
        {"compute": {"cpuCoreRequest": 2}},
        {"compute": {"cpuCoreRequest": {"min": 1, "max": 8.5}}},
    ),
    (
        "whole GPUs",
        {"gpu": {"value": "1", "rules": {"max": "5", "required": True}}},
        {"compute": {"gpuDevicesRequest": 1}},
        {"compute": {"gpuDevicesRequest": {"max": 5, "required": True}}},
    ),
    (
        "a part of a GPU",
        {"gpu": {"value": "0.5", "rules": {"max": "0.5", "canEdit": True}}},
        {"compute": {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": 0.5}},
        {
            "compute": {
                "gpuDevicesRequest": {"max": 1, "canEdit": True},
                "gpuPortionRequest": {"max": 0.5, "canEdit": True},
            }
        },
    ),
    (
        "options keep their labels",
        {"image": {"rules": {"options": [{"value": "a:1", "displayed": "A"}]}}},
        {},
        {"image": {"options": [{"value": "a:1", "displayed": "A"}]}},
    ),
    ("pools in order", {"nodePools": {"value": "a100 default"}}, {"nodePools": ["a100", "default"]}, {}),
    ("hard affinity", {"podAffinitySchedulingRule": {"value": "hard"}}, {"podAffinity": {"type": "Required"}}, {}),
    ("the submitter's identity", {"runAsUser": {"value": True}}, {"security": {"uidGidSource": "fromIdpToken"}}, {}),
    (
        "variables and secrets",
        {"environment": {"items": {"LR": {"value": "0.1"}, "T": {"value": "SECRET:my-secret,token"}}}},
        {
            "environmentVariables": {
                "instances": [
                    {"name": "LR", "value": "0.1"},
                    {"name": "T", "secret": {"name": "my-secret", "key": "token"}},
                ]
            }
        },
        {},
    ),
    (
        "items that stay, and no others",
        {
            "environment": {
                "rules": {"canAdd": False},
                "items": {"LR": {"value": "1", "rules": {"canRemove": False, "canEdit": False}}},
            }
        },
        {"environmentVariables": {"instances": [{"name": "LR", "value": "1"}]}},
        {"environmentVariables": {"instances": {"canAdd": False, "locked": ["LR"]}}},
    ),
    (
        "a claim, defaults of members, and rules of members",
        {
            "pvcs": {
                "items": {
                    "pvc--0": {"value": {"claimName": "data", "existingPvc": True, "path": "/data"}},
                    "DEFAULTS": {"value": {"storageClass": "fast", "accessModeRWM": True}},
                },
                "itemRules": {"size": {"max": "10G"}, "readOnly": {"required": True}},
            }
        },
        {
            "storage": {
                "pvc": {
                    "instances": [{"name": "pvc--0", "claimName": "data", "existingPvc": True, "path": "/data"}],
                    "attributes": {
                        "claimInfo": {"storageClass": "fast", "accessModes": {"readWriteMany": True}},
                    },
                }
            }
        },
        {"storage": {"pvc": {"attributes": {"claimInfo": {"size": {"max": "10G"}}, "readOnly": {"required": True}}}}},
    ),
    (
        "ports with texts for numbers",
        {"ports": {"items": {"p": {"value": {"container": "8080", "serviceType": "NodePort"}}}}},
        {"ports": {"instances": [{"name": "p", "container": 8080, "serviceType": "NodePort"}]}},
        {},
    ),
]


@pytest.mark.parametrize(
    ("spec", "defaults", "rules"), [case[1:] for case in TRANSLATED], ids=[case[0] for case in TRANSLATED]
)
def test_fields_are_translated(spec: dict[str, Any], defaults: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    kind, document = from_v2alpha1(manifest(**spec))
    assert kind == PolicyType.TRAINING
    assert document == {"defaults": defaults, "rules": rules}
    assert validate_document(kind, document) == ()
    assert validate_document(kind, manifest(**spec)) == (), "the object itself is accepted wherever a document is"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("InteractivePolicy", PolicyType.WORKSPACE),
        ("TrainingPolicy", PolicyType.TRAINING),
        ("DistributedPolicy", PolicyType.DISTRIBUTED),
        ("InferencePolicy", PolicyType.INFERENCE),
    ],
)
def test_each_kind_is_a_type(kind: str, expected: PolicyType) -> None:
    assert policy_of(manifest(kind=kind)).type == expected


BAD: list[tuple[str, str, Any, str, str]] = [
    ("an unknown kind", "JobPolicy", {}, "kind", "must be one of"),
    ("an unknown field", "TrainingPolicy", {"gpus": {"value": "1"}}, "spec.gpus", "did you mean"),
    (
        "a field of another type",
        "InteractivePolicy",
        {"completions": {"value": 1}},
        "spec.completions",
        "does not apply",
    ),
    ("a bare value", "TrainingPolicy", {"image": "a"}, "spec.image", "must be a mapping"),
    ("an unknown rule", "TrainingPolicy", {"image": {"rules": {"maximum": 1}}}, "spec.image.rules.maximum", "mean max"),
    ("GPU options", "TrainingPolicy", {"gpu": {"rules": {"options": [1]}}}, "spec.gpu.rules.options", "no counterpart"),
    ("items that are a list", "TrainingPolicy", {"environment": {"items": []}}, "spec.environment.items", "a mapping"),
    (
        "an unknown member",
        "TrainingPolicy",
        {"nfs": {"items": {"n": {"value": {"serve": "x"}}}}},
        "spec.nfs.items.n.value.serve",
        "did you mean server",
    ),
    (
        "a rule for an unknown member",
        "TrainingPolicy",
        {"nfs": {"itemRules": {"serve": {"required": True}}}},
        "spec.nfs.itemRules.serve",
        "did you mean server",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "path", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_cannot_be_translated_is_named(kind: str, spec: Any, path: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        from_v2alpha1(manifest(kind=kind, **spec))
    assert [error.field for error in caught.value.errors] == [path]
    assert words in caught.value.message


def test_the_global_policy_is_for_projects_that_have_none() -> None:
    everywhere = policy_of(manifest("runai", image={"value": "global"}, workingDir={"value": "/global"}))
    own = policy_of(manifest("runai-team", image={"value": "own"}))
    assert (everywhere.scope_type, everywhere.scope) == ("tenant", "")
    assert (own.scope_type, own.scope) == ("project", "team")
    assert evaluate(PolicyType.TRAINING, {}, [everywhere]).spec["image"] == "global"
    spec = evaluate(PolicyType.TRAINING, {}, [everywhere, own]).spec
    assert (spec["image"], spec.get("workingDir")) == ("own", None), "the two are not merged"


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"apiVersion": "run.ai/v1"}, "apiVersion"), ({"metadata": {"namespace": "default"}}, "metadata.namespace")],
    ids=["another version", "a namespace that is no project's"],
)
def test_an_object_of_no_scope_is_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        policy_of(manifest() | changes)
    assert [error.field for error in caught.value.errors] == [path]


def test_the_object_itself_is_the_document() -> None:
    errors = validate_document(PolicyType.TRAINING, manifest(gpus={"value": "1"}))
    assert [error.field for error in errors] == ["spec.gpus"]
    (error,) = validate_document(PolicyType.WORKSPACE, manifest())
    assert str(error) == (
        "kind: is for training workloads, and this is the policy for workspace workloads (given: TrainingPolicy)"
    )
