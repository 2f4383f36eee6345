"""What departments, projects and node pools mean for a cluster."""

from collections.abc import Mapping
from typing import Any

import pytest

from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.organization import AccessRule, Department, Project, QueueResources, ResourceQuota
from runai_core.operator.status import node_pool_status, queue_use, unit_status
from runai_core.operator.wanted import (
    Placed,
    Units,
    bindings_of,
    includes,
    namespace_of,
    node_label,
    place_of,
    queues_of,
)


def project(name: str = "team-a", **more: Any) -> Project:
    return Project(meta=Meta(name=name, uid=f"uid-{name}"), **more)


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {key.replace("__", "/").replace("_", "-"): v for key, v in labels.items()}}
    }


LABEL = "runai/queue"
DEFAULT = NodePool(meta=Meta(name="default"))
A100 = NodePool(meta=Meta(name="a100"), label_key="gpu", label_value="a100")

PLACES: list[tuple[str, Project, list[dict[str, Any]], Placed]] = [
    ("its own name, not there yet", project(), [], Placed(namespace="runai-team-a", exists=False)),
    ("its own name", project(), [namespace("runai-team-a")], Placed(namespace="runai-team-a", exists=True)),
    (
        "one that is labelled",
        project(),
        [namespace("kubeflow-ann", runai__queue="team-a"), namespace("other", runai__queue="team-b")],
        Placed(namespace="kubeflow-ann", exists=True),
    ),
    (
        "its own before others that are labelled",
        project(),
        [namespace("aaa", runai__queue="team-a"), namespace("runai-team-a", runai__queue="team-a")],
        Placed(namespace="runai-team-a", exists=True),
    ),
    ("the one that it names", project(namespace="ml"), [namespace("ml")], Placed(namespace="ml", exists=True)),
]


@pytest.mark.parametrize(("unit", "there", "place"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_the_namespace_of_a_project_is(unit: Project, there: list[dict[str, Any]], place: Placed) -> None:
    assert place_of(unit, there) == place


def test_a_namespace_of_another_project_is_not_taken() -> None:
    found = place_of(project(), [namespace("runai-team-a", runai__queue="team-b")])

    assert "belongs to project team-b" in found.problem


def test_a_namespace_is_labelled_and_left_alone_afterwards() -> None:
    place = Placed(namespace="runai-team-a", exists=True)
    wanted = namespace_of(project(), place, namespace("runai-team-a"))

    assert wanted is not None
    assert wanted["metadata"]["labels"] == {LABEL: "team-a"}
    assert namespace_of(project(), place, namespace("runai-team-a", runai__queue="team-a")) is None


def test_a_project_that_does_not_enforce_the_scheduler_says_so_on_its_namespace() -> None:
    place = Placed(namespace="n", exists=True)
    relaxed = namespace_of(project(enforce_scheduler=False), place, namespace("n", runai__queue="team-a"))
    strict = namespace_of(
        project(), place, {"metadata": {"name": "n", "labels": {LABEL: "team-a", "runai/enforce-scheduler": "false"}}}
    )

    assert relaxed is not None
    assert relaxed["metadata"]["labels"]["runai/enforce-scheduler"] == "false"
    assert strict is not None
    assert strict["metadata"]["labels"]["runai/enforce-scheduler"] == "true"


def test_every_unit_has_a_queue_in_every_node_pool_below_its_department() -> None:
    quota = QueueResources(gpu=ResourceQuota(deserved=2500, limit=4000, over_quota_weight=2.0), priority=75)
    found = queues_of(
        Units(
            [Department(meta=Meta(name="research"))],
            [project(department="research", resources={"a100": quota})],
            [DEFAULT, A100],
        )
    )

    assert set(found.queues) == {"department.research", "department.research-a100", "team-a", "team-a-a100"}
    queue = found.queues["team-a-a100"]
    assert queue["spec"]["parentQueue"] == "department.research-a100"
    assert queue["spec"]["resources"]["gpu"] == {"quota": 2.5, "limit": 4, "overQuotaWeight": 2}
    assert queue["spec"]["resources"]["cpu"]["quota"] == -1
    assert queue["spec"]["priority"] == 75
    assert queue["metadata"]["labels"]["kai.scheduler/node-pool"] == "a100"
    assert "kai.scheduler/node-pool" not in found.queues["team-a"]["metadata"]["labels"]
    assert found.problems == {}


def test_a_project_of_no_department_has_queues_at_the_top_and_says_so() -> None:
    found = queues_of(Units([], [project(department="nowhere")], [DEFAULT]))

    assert "parentQueue" not in found.queues["team-a"]["spec"]
    assert found.problems["runai/project", "team-a"] == "there is no department nowhere"


def test_two_projects_never_share_a_queue() -> None:
    found = queues_of(
        Units([Department(meta=Meta(name="default"))], [project("team"), project("team-a100")], [DEFAULT, A100])
    )

    assert found.queues["team-a100"]["metadata"]["labels"]["runai/project"] == "team"
    assert "rename one of the two" in found.problems["runai/project", "team-a100"]


def rule(role: str, scope_type: str, scope: str, subject: str = "ann", kind: str = "user") -> AccessRule:
    return AccessRule(
        meta=Meta(name="r"), subject=subject, subject_type=kind, role=role, scope_type=scope_type, scope=scope
    )


def test_access_rules_become_role_bindings_where_they_hold() -> None:
    rules = [
        rule("AI practitioner", "project", "team-a"),
        rule("AI practitioner", "project", "uid-team-a", "bob"),
        rule("AI practitioner", "project", "team-b", "eve"),
        rule("Department administrator", "department", "default", "ops", "group"),
        rule("Viewer", "tenant", "", "audit"),
        rule("Nobody knows it", "tenant", "", "eve"),
    ]

    found = {item["metadata"]["name"]: item for item in bindings_of(project(), "runai-team-a", rules)}

    subjects = {name: [(s["kind"], s["name"]) for s in item["subjects"]] for name, item in found.items()}
    assert subjects == {
        "runai-project-administrator": [("Group", "ops")],
        "runai-project-researcher": [("User", "ann"), ("User", "bob")],
        "runai-project-viewer": [("User", "audit")],
    }


NODES: list[tuple[str, Mapping[str, str], str | None]] = [
    ("of a pool gets its label", {"gpu": "a100"}, "a100"),
    ("that has it is left alone", {"gpu": "a100", "kai.scheduler/node-pool": "a100"}, None),
    ("that left the pool loses it", {"gpu": "v100", "kai.scheduler/node-pool": "a100"}, ""),
    ("that somebody labelled by hand is left alone", {"kai.scheduler/node-pool": "h100"}, None),
    ("of no pool is left alone", {}, None),
]


@pytest.mark.parametrize(("labels", "wanted"), [row[1:] for row in NODES], ids=[row[0] for row in NODES])
def test_a_node(labels: Mapping[str, str], wanted: str | None) -> None:
    assert node_label({"metadata": {"name": "n", "labels": dict(labels)}}, [DEFAULT, A100]) == wanted


def test_what_others_added_to_an_object_is_no_difference() -> None:
    assert includes({"spec": {"a": 1, "b": 2}, "metadata": {}}, {"spec": {"a": 1}})
    assert not includes({"spec": {"a": 1}}, {"spec": {"a": 1, "b": None, "c": 2}})
    assert not includes({"subjects": [{"name": "a"}, {"name": "b"}]}, {"subjects": [{"name": "a"}]})


def test_the_use_of_a_unit_is_that_of_its_queues() -> None:
    status = {"allocated": {"nvidia.com/gpu": "1500m", "cpu": "2", "memory": "1Gi"}, "requested": {"cpu": "what"}}
    use = queue_use([{"metadata": {"name": "q"}, "status": status}, {"metadata": {"name": "p"}}])

    found = unit_status(
        {"metadata": {"generation": 3}}, problem="", namespace="n", queues=["q", "p"], use=list(use.values())
    )

    assert found["phase"] == "Ready"
    assert found["quotaStatus"]["allocated"] == {"gpu": 1.5, "cpu": 2000.0, "memory": 1073.742}
    assert found["observedGeneration"] == 3


def test_a_node_pool_counts_its_nodes() -> None:
    nodes = [
        {"metadata": {"name": name, "labels": {"gpu": label}}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
        for name, label in (("b", "a100"), ("a", "a100"), ("c", "v100"))
    ]

    found = node_pool_status({"metadata": {"name": "a100"}}, [DEFAULT, A100], nodes, "")

    assert (found["nodes"], found["nodeCount"], found["gpuCount"], found["phase"]) == (["a", "b"], 2, 16, "Ready")
