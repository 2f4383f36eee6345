"""Whatever is sent as a policy or a specification, the answer is errors, never an exception."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.evaluate import evaluate
from runai_core.policy.rules import validate_against, validate_document
from runai_core.policy.v2alpha1 import from_v2alpha1
from runai_core.policy.v2alpha1_fields import ITEMS, SCALARS

WORDS = [
    "defaults",
    "rules",
    "imposedAssets",
    "compute",
    "gpuDevicesRequest",
    "cpuMemoryRequest",
    "environmentVariables",
    "instances",
    "attributes",
    "name",
    "value",
    "exclude",
    "locked",
    "canAdd",
    "required",
    "canEdit",
    "min",
    "max",
    "step",
    "options",
    "defaultFrom",
    "field",
    "factor",
    "blocked",
    "image",
    "labels",
    "storage",
    "pvc",
    "claimInfo",
    "size",
    "security",
    "privileged",
    "worker",
    "master",
    "podAffinity",
    "key",
    "tolerations",
    "backoffLimit",
    "gpu_devices_request",
    "compute.gpuDevicesRequest",
]
OLD_WORDS = [*SCALARS, *ITEMS, "gpu", "jobType", "value", "items", "rules", "itemRules", "DEFAULTS", "canRemove", "max"]
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*WORDS, "1", "5G", "-3", "1e99", "SECRET:a,b"])
)


def json_of(words: list[str]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(words) | st.text(max_size=4)
    return st.recursive(
        SCALAR,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=8,
    )


TREES = json_of(WORDS)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "defaults": st.dictionaries(st.sampled_from(WORDS), TREES, max_size=4),
        "rules": st.dictionaries(st.sampled_from(WORDS), TREES, max_size=4),
        "imposedAssets": TREES,
    },
)


@given(kind=st.sampled_from(PolicyType), document=TREES | SECTIONS)
def test_any_document_is_judged(kind: PolicyType, document: Any) -> None:
    errors: tuple[object, ...] = validate_document(kind, document)
    assert all(isinstance(error, FieldError) and str(error) for error in errors)


@given(
    kind=st.sampled_from(PolicyType),
    spec=st.dictionaries(st.sampled_from(WORDS), TREES, max_size=5),
    documents=st.lists(SECTIONS, max_size=2),
    part=st.sampled_from(["worker", "master"]),
)
def test_any_specification_is_judged_by_any_policies(
    kind: PolicyType, spec: dict[str, Any], documents: list[Any], part: str
) -> None:
    scopes = ("project", "tenant")
    policies = [
        Policy(meta=Meta(name=scope), type=kind, scope_type=scope, scope="", document=document)
        for scope, document in zip(scopes, documents, strict=False)
    ]
    evaluation = evaluate(kind, spec, policies, part=part)
    assert all(str(violation) for violation in evaluation.violations)
    for policy in policies:
        assert all(str(error) for error in validate_against(policy, policies))


@given(
    kind=st.sampled_from(["TrainingPolicy", "DistributedPolicy", "JobPolicy"]) | SCALAR,
    spec=json_of(OLD_WORDS) | st.dictionaries(st.sampled_from(OLD_WORDS), json_of(OLD_WORDS), max_size=4),
)
def test_any_object_of_the_older_form_is_translated_or_refused(kind: Any, spec: Any) -> None:
    manifest = {"apiVersion": "run.ai/v2alpha1", "kind": kind, "spec": spec}
    with contextlib.suppress(InvalidRequest):
        policy_type, document = from_v2alpha1(manifest)
        assert all(str(error) for error in validate_document(policy_type, document))
