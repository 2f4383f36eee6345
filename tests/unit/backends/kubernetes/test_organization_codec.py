"""Projects, departments, node pools and policies as custom resources."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.backends.kubernetes.codec import organization as codec
from runai_core.backends.kubernetes.codec.pod_groups import topology_object
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota, SchedulingRules
from runai_core.model.workload import Policy, PolicyType

NAMES = st.text("abcxyz-", min_size=1, max_size=5)
AMOUNTS = st.none() | st.integers(0, 2**50)
QUOTAS = st.builds(
    ResourceQuota, deserved=AMOUNTS, limit=AMOUNTS, over_quota_weight=st.floats(0, 1e6).map(lambda x: round(x, 3))
)
QUEUES = st.builds(QueueResources, gpu=QUOTAS, cpu=QUOTAS, memory=QUOTAS, priority=st.integers(0, 1000))
RESOURCES = st.dictionaries(NAMES, QUEUES, max_size=3)
RULES = st.builds(SchedulingRules, training_job_time_limit_seconds=st.none() | st.integers(1, 10**6))
LISTS = st.lists(NAMES, max_size=2).map(tuple)
METAS = st.builds(Meta, name=NAMES, uid=st.just("4500001"), created_by=NAMES, labels=st.dictionaries(NAMES, NAMES))


def as_stored(item: dict[str, Any]) -> dict[str, Any]:
    item["metadata"] |= {"uid": "u-1", "resourceVersion": "7", "creationTimestamp": "1970-01-01T00:00:00Z"}
    stored: dict[str, Any] = json.loads(json.dumps(item, sort_keys=True))
    return stored


def versioned(item: Any) -> Any:
    return replace(item, meta=replace(item.meta, version=7))


@given(
    st.builds(
        Project,
        meta=METAS,
        department=NAMES,
        description=NAMES,
        resources=RESOURCES,
        default_node_pools=LISTS,
        node_types_training=LISTS,
        node_types_workspace=LISTS,
        scheduling_rules=RULES,
        enforce_scheduler=st.booleans(),
        namespace=NAMES,
    )
)
def test_a_project_comes_back(project: Project) -> None:
    assert codec.project_of(as_stored(codec.project_object(project))) == versioned(project)


@given(
    st.builds(
        Department,
        meta=METAS,
        description=NAMES,
        resources=RESOURCES,
        default_node_pools=LISTS,
        scheduling_rules=RULES,
    )
)
def test_a_department_comes_back(department: Department) -> None:
    assert codec.department_of(as_stored(codec.department_object(department))) == versioned(department)


@given(
    st.builds(
        NodePool,
        meta=METAS,
        label_key=NAMES,
        label_value=NAMES,
        gpu_placement=st.sampled_from(["binpack", "spread", "mine"]),
        min_guaranteed_runtime=st.integers(0, 10**6).map(lambda ticks: ticks / 8),
        network_topology=NAMES,
        time_based_fair_share=st.booleans(),
        fair_share_history_weight=st.integers(0, 80).map(lambda ticks: ticks / 8),
        fair_share_window=st.integers(600, 10**6).map(float),
        fair_share_window_type=st.sampled_from(["sliding", "tumbling"]),
        fair_share_window_start=st.integers(0, 10**9).map(float),
        fair_share_half_life=st.integers(0, 10**6).map(lambda ticks: ticks / 8),
    )
)
def test_a_node_pool_comes_back(pool: NodePool) -> None:
    assert codec.node_pool_of(as_stored(codec.node_pool_object(pool))) == versioned(pool)


def test_a_network_topology_comes_back_and_one_that_was_made_for_a_gang_is_none() -> None:
    topology = NetworkTopology(meta=Meta(name="racks", uid="4500001", created_by="kim"), levels=("zone", "rack"))

    stored = as_stored(codec.network_topology_object(topology))

    assert (stored["apiVersion"], stored["kind"]) == ("kai.scheduler/v1alpha1", "Topology")
    assert codec.network_topology_of(stored) == versioned(topology)
    assert codec.network_topology_of(as_stored(topology_object("rack"))) is None


SCOPES = [("tenant", ""), ("cluster", "here"), ("department", "research"), ("project", "team-a")]


@pytest.mark.parametrize("kind", list(PolicyType))
@pytest.mark.parametrize(("scope_type", "scope"), SCOPES, ids=[scope for scope, _ in SCOPES])
def test_a_policy_comes_back(kind: PolicyType, scope_type: str, scope: str) -> None:
    name = ".".join(part for part in (kind.value, scope_type, scope) if part)
    document = {"defaults": {"image": "a"}, "rules": {"compute": {"gpuDevicesRequest": {"max": 8}}}}
    policy = Policy(meta=Meta(name=name, uid="4"), type=kind, scope_type=scope_type, scope=scope, document=document)

    item = as_stored(codec.policy_object(policy, "runai-team-a"))

    assert item["metadata"]["namespace"] == ("runai-team-a" if scope_type == "project" else "runai")
    assert item["metadata"]["name"] == name.lower()
    assert codec.policy_of(item, lambda namespace: "team-a") == versioned(policy)


@pytest.mark.parametrize(
    ("namespace", "scope_type", "scope", "name"),
    [("runai", "tenant", "", "training.tenant"), ("kubeflow-kim", "project", "kim", "training.project.kim")],
)
def test_a_policy_in_the_older_form_is_its_own_document(namespace: str, scope_type: str, scope: str, name: str) -> None:
    spec = {"gpu": {"rules": {"max": "2"}}}
    item = {"kind": "TrainingPolicy", "metadata": {"name": "mine", "namespace": namespace, "uid": "u"}, "spec": spec}
    policy = codec.policy_of(item, lambda _: "kim")
    assert (policy.scope_type, policy.scope, policy.meta.name) == (scope_type, scope, name)
    assert (policy.document["apiVersion"], policy.document["spec"]) == ("run.ai/v2alpha1", spec)


def test_the_older_fields_of_a_project_are_read() -> None:
    item = {
        "metadata": {"name": "team-a", "uid": "u"},
        "spec": {
            "deservedGpus": 2.5,
            "gpuOverQuotaWeight": 2,
            "maxAllowedGpus": -1,
            "interactiveJobTimeLimitSecs": 3600,
            "nodeAffinityTrain": ["a100"],
            "nodeAffinityInteractive": ["v100"],
        },
    }
    project = codec.project_of(item)
    assert project.resources == {
        "default": QueueResources(gpu=ResourceQuota(deserved=2500, limit=None, over_quota_weight=2.0))
    }
    assert project.scheduling_rules.interactive_job_time_limit_seconds == 3600
    assert (project.node_types_training, project.node_types_workspace) == (("a100",), ("v100",))
    assert (project.namespace, project.department) == ("runai-team-a", "default")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"resources": [{"gpu": {}}]}, r"spec\.resources\.0\.nodePool: is required"),
        (
            {"resources": [{"nodePool": "a", "gpu": {"deserved": "x"}}]},
            r"resources\.0\.gpu\.deserved: must be a number",
        ),
        (
            {"resources": [{"nodePool": "a", "gpu": {"limit": -2}}]},
            r"gpu\.limit: must be -1 \(unlimited\) or at least 0",
        ),
        ({"resources": [{"nodePool": "a", "cpu": 4}]}, r"resources\.0\.cpu: must be an object"),
        ({"schedulingRules": {"x": 1}}, r"spec\.schedulingRules\.x: unknown field"),
    ],
    ids=["no node pool", "no number", "below -1", "no object", "an unknown rule"],
)
def test_a_wrong_unit_is_refused_by_its_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        codec.project_of({"metadata": {"name": "a"}, "spec": spec})


def test_a_wrong_duration_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="must be a duration such as 30m"):
        codec.node_pool_of({"metadata": {"name": "a"}, "spec": {"minGuaranteedRuntime": "soon"}})
