"""Whether a policy makes sense in itself, and beside others."""

from collections.abc import Mapping
from typing import Any

import pytest

from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.rules import validate_against, validate_document

TRAINING, DISTRIBUTED, INFERENCE = PolicyType.TRAINING, PolicyType.DISTRIBUTED, PolicyType.INFERENCE

GOOD: Mapping[str, Any] = {
    "defaults": {
        "imagePullPolicy": "IfNotPresent",
        "environmentVariables": {
            "instances": [{"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
            "attributes": {"description": "from the platform team"},
        },
        "compute": {"cpuCoreRequest": 1, "gpuDevicesRequest": 1, "cpuMemoryLimit": "4Gi"},
        "storage": {"pvc": {"attributes": {"claimInfo": {"accessModes": {"readWriteMany": True}}}}},
        "tolerations": None,
    },
    "rules": {
        "image": {"required": True, "options": [{"value": "team/base:1", "displayed": "base"}, "team/next:2"]},
        "environmentVariables": {"instances": {"locked": ["HTTP_PROXY"]}},
        "compute": {
            "gpuDevicesRequest": {"min": 0, "max": 8, "step": 1},
            "cpuMemoryRequest": {"defaultFrom": {"field": "compute.cpuMemoryLimit", "factor": 0.5}},
        },
        "storage": {
            "hostPath": {"instances": {"canAdd": False}},
            "nfs": {"attributes": {"readOnly": {"required": True}}},
        },
        "security": {"runAsUid": {"min": 500}},
    },
    "imposedAssets": ["b4a1"],
}


def test_a_policy_of_the_product_is_accepted() -> None:
    assert validate_document(TRAINING, GOOD) == ()


@pytest.mark.parametrize(
    "document", [{}, {"defaults": None, "rules": None, "imposedAssets": None}], ids=["empty", "nulls"]
)
def test_a_policy_may_be_empty(document: Mapping[str, Any]) -> None:
    assert validate_document(TRAINING, document) == ()


def test_workers_and_masters_have_parts_of_their_own() -> None:
    document = {
        "defaults": {"distributedFramework": "PyTorch", "worker": {"image": "w:1"}, "master": {"image": "m:1"}},
        "rules": {"worker": {"compute": {"gpuDevicesRequest": {"max": 4}}}, "master": {"image": {"canEdit": False}}},
    }
    assert validate_document(DISTRIBUTED, document) == ()
    assert {error.field for error in validate_document(TRAINING, document)} == {
        "defaults.distributedFramework",
        "defaults.worker.image",
        "defaults.master.image",
        "rules.worker.compute.gpuDevicesRequest.max",
        "rules.master.image.canEdit",
    }


BAD: list[tuple[str, PolicyType, Any, str, str]] = [
    ("no mapping", TRAINING, ["image"], "policy", "must be a mapping"),
    ("an unknown section", TRAINING, {"default": {}}, "default", "did you mean defaults?"),
    ("a section that is a list", TRAINING, {"rules": [1]}, "rules", "must be a mapping"),
    (
        "an unknown field",
        TRAINING,
        {"defaults": {"imagePulPolicy": "x"}},
        "defaults.imagePulPolicy",
        "did you mean imagePullPolicy",
    ),
    (
        "an unknown nested field",
        TRAINING,
        {"rules": {"compute": {"gpus": {"max": 1}}}},
        "rules.compute.gpus.max",
        "unknown field",
    ),
    (
        "a field of another type of workload",
        INFERENCE,
        {"defaults": {"completions": 1}},
        "defaults.completions",
        "unknown field",
    ),
    ("a member of a text", TRAINING, {"defaults": {"image": {"tag": "1"}}}, "defaults.image", "must be a text"),
    (
        "a text for a number",
        TRAINING,
        {"defaults": {"compute": {"gpuDevicesRequest": "1"}}},
        "defaults.compute.gpuDevicesRequest",
        "whole number",
    ),
    (
        "a half for a whole number",
        TRAINING,
        {"defaults": {"compute": {"gpuDevicesRequest": 0.5}}},
        "defaults.compute.gpuDevicesRequest",
        "whole number",
    ),
    ("true for a number", TRAINING, {"defaults": {"backoffLimit": True}}, "defaults.backoffLimit", "whole number"),
    (
        "no quantity",
        TRAINING,
        {"defaults": {"compute": {"cpuMemoryRequest": "lots"}}},
        "defaults.compute.cpuMemoryRequest",
        "quantity",
    ),
    (
        "not a number at all",
        TRAINING,
        {"defaults": {"compute": {"cpuCoreRequest": float("nan")}}},
        "defaults.compute.cpuCoreRequest",
        "a number",
    ),
    ("no boolean", TRAINING, {"defaults": {"tty": "yes"}}, "defaults.tty", "true or false"),
    ("no list", TRAINING, {"defaults": {"nodePools": "a"}}, "defaults.nodePools", "a list"),
    (
        "a word that the API does not take",
        TRAINING,
        {"defaults": {"restartPolicy": "Maybe"}},
        "defaults.restartPolicy",
        "one of Always, OnFailure, Never",
    ),
    (
        "a limit for a text",
        TRAINING,
        {"rules": {"image": {"max": 3}}},
        "rules.image.max",
        "no rule for a field of type string",
    ),
    (
        "a step for a quantity",
        TRAINING,
        {"rules": {"compute": {"cpuMemoryRequest": {"step": "1G"}}}},
        "rules.compute.cpuMemoryRequest.step",
        "no rule for a field of type quantity",
    ),
    (
        "a misspelt rule",
        TRAINING,
        {"rules": {"image": {"require": True}}},
        "rules.image.require",
        "did you mean required?",
    ),
    (
        "a rule that is no mapping",
        TRAINING,
        {"rules": {"image": True}},
        "rules.image",
        "must be a mapping with canEdit",
    ),
    (
        "a limit of the wrong type",
        TRAINING,
        {"rules": {"compute": {"gpuDevicesRequest": {"max": "many"}}}},
        "rules.compute.gpuDevicesRequest.max",
        "whole number",
    ),
    ("a flag that is none", TRAINING, {"rules": {"image": {"canEdit": "no"}}}, "rules.image.canEdit", "true or false"),
    (
        "options that are none",
        TRAINING,
        {"rules": {"image": {"options": "a"}}},
        "rules.image.options",
        "a list of {value, displayed}",
    ),
    (
        "an option of the wrong type",
        TRAINING,
        {"rules": {"image": {"options": [{"value": 1}]}}},
        "rules.image.options",
        "each option must be a text",
    ),
    (
        "minimum above maximum",
        TRAINING,
        {"rules": {"compute": {"cpuMemoryRequest": {"min": "2Gi", "max": "1G"}}}},
        "rules.compute.cpuMemoryRequest.min",
        "above max",
    ),
    ("a step of nothing", TRAINING, {"rules": {"backoffLimit": {"step": 0}}}, "rules.backoffLimit.step", "above 0"),
    (
        "a default that its own rule forbids",
        TRAINING,
        {"defaults": {"backoffLimit": 9}, "rules": {"backoffLimit": {"max": 5}}},
        "defaults.backoffLimit",
        "must be no greater than 5",
    ),
    (
        "a default that is no option",
        TRAINING,
        {"defaults": {"image": "b"}, "rules": {"image": {"options": ["a"]}}},
        "defaults.image",
        "must be one of a",
    ),
    (
        "required and blocked",
        TRAINING,
        {"rules": {"image": {"required": True, "blocked": True}}},
        "rules.image.blocked",
        "contradicts required",
    ),
    (
        "a default for a blocked field",
        TRAINING,
        {"defaults": {"image": "b"}, "rules": {"image": {"blocked": True}}},
        "rules.image.blocked",
        "contradicts the default",
    ),
    (
        "asked for, and forbidden to give",
        TRAINING,
        {"rules": {"image": {"required": True, "canEdit": False}}},
        "rules.image.canEdit",
        "add a default",
    ),
    (
        "a value from an unknown field",
        TRAINING,
        {"rules": {"backoffLimit": {"defaultFrom": {"field": "completion"}}}},
        "rules.backoffLimit.defaultFrom",
        "did you mean completions",
    ),
    (
        "a value from itself",
        TRAINING,
        {"rules": {"backoffLimit": {"defaultFrom": {"field": "backoffLimit"}}}},
        "rules.backoffLimit.defaultFrom.field",
        "names the field itself",
    ),
    (
        "memory from cores",
        TRAINING,
        {"rules": {"compute": {"cpuMemoryRequest": {"defaultFrom": {"field": "compute.cpuCoreLimit"}}}}},
        "rules.compute.cpuMemoryRequest.defaultFrom",
        "cannot give",
    ),
    (
        "a factor below nothing",
        TRAINING,
        {"rules": {"backoffLimit": {"defaultFrom": {"field": "completions", "factor": -1}}}},
        "rules.backoffLimit.defaultFrom",
        "above 0",
    ),
    ("assets that are no list", TRAINING, {"imposedAssets": "x"}, "imposedAssets", "list of texts"),
    (
        "an instance without its key",
        TRAINING,
        {"defaults": {"labels": {"instances": [{"value": "1"}]}}},
        "defaults.labels.instances.0.name",
        "is required",
    ),
    (
        "an instance that is a text",
        TRAINING,
        {"defaults": {"labels": {"instances": ["a"]}}},
        "defaults.labels.instances.0",
        "must be a mapping",
    ),
    (
        "two instances of one key",
        TRAINING,
        {"defaults": {"labels": {"instances": [{"name": "a"}, {"name": "a"}]}}},
        "defaults.labels.instances",
        "two instances",
    ),
    (
        "an unknown member",
        TRAINING,
        {"defaults": {"labels": {"instances": [{"name": "a", "vlue": "1"}]}}},
        "defaults.labels.instances.0.vlue",
        "did you mean value",
    ),
    (
        "an unknown attribute",
        TRAINING,
        {"rules": {"labels": {"attributes": {"vlue": {"required": True}}}}},
        "rules.labels.attributes.vlue.required",
        "unknown field",
    ),
    (
        "a lock without an instance",
        TRAINING,
        {"rules": {"labels": {"instances": {"locked": ["a"]}}}},
        "rules.labels.instances.locked",
        "no default instance",
    ),
    (
        "an itemized field ruled like a text",
        TRAINING,
        {"rules": {"labels": {"required": True}}},
        "rules.labels.required",
        "unknown field",
    ),
]


@pytest.mark.parametrize(
    ("kind", "document", "path", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_what_is_wrong_is_named_by_path(kind: PolicyType, document: Any, path: str, words: str) -> None:
    errors = validate_document(kind, document)
    assert [error.field for error in errors] == [path]
    assert words in str(errors[0])


def a_policy(document: Mapping[str, Any], scope_type: str, scope: str, kind: PolicyType = TRAINING) -> Policy:
    return Policy(meta=Meta(name="p"), type=kind, scope_type=scope_type, scope=scope, document=document)


FIVE_GPUS = {"rules": {"compute": {"gpuDevicesRequest": {"max": 5}}}}
NEAR_FIRST = {"rules": {"image": {"required": True}}}


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        (
            a_policy(FIVE_GPUS, "project", "a"),
            a_policy(FIVE_GPUS, "department", "d"),
            ["rules.compute.gpuDevicesRequest"],
        ),
        (
            a_policy(FIVE_GPUS, "department", "d"),
            a_policy(FIVE_GPUS, "project", "a"),
            ["rules.compute.gpuDevicesRequest"],
        ),
        (a_policy(FIVE_GPUS, "project", "a"), a_policy(FIVE_GPUS, "project", "a"), []),
        (a_policy(FIVE_GPUS, "project", "a"), a_policy(FIVE_GPUS, "tenant", "", INFERENCE), []),
        (
            a_policy(FIVE_GPUS, "project", "a"),
            a_policy({"defaults": {"compute": {"gpuDevicesRequest": 1}}}, "tenant", ""),
            [],
        ),
        (a_policy(NEAR_FIRST, "project", "a"), a_policy(NEAR_FIRST, "tenant", ""), []),
    ],
    ids=[
        "a compute rule that the department has",
        "a compute rule that a project has",
        "its own rule is replaced",
        "another type of workload",
        "a default is no rule",
        "the nearest scope may rule other fields again",
    ],
)
def test_a_field_has_the_rules_of_one_scope(mine: Policy, theirs: Policy, refused: list[str]) -> None:
    errors = validate_against(mine, [theirs])
    assert [error.field for error in errors] == refused
    assert all("already has rules" in error.message for error in errors)


def test_the_refusal_names_who_has_the_rule() -> None:
    (error,) = validate_against(a_policy(FIVE_GPUS, "project", "a"), [a_policy(FIVE_GPUS, "department", "d")])
    assert "training of department d" in str(error)
