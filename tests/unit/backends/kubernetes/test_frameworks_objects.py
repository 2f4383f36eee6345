"""What is written on others' objects: merge patches, and manifests that are submitted."""

from typing import Any

import pytest
import yaml

from runai_core.backends.kubernetes.codec.patches import difference
from runai_core.backends.kubernetes.frameworks import submitted
from runai_core.backends.kubernetes.names import FIELD_MANAGER
from runai_core.backends.kubernetes.replacing import joined_records
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.snapshot import Preemptibility
from runai_core.model.workload import Workload, WorkloadType

Object = dict[str, Any]

PATCHES: dict[str, tuple[Object, Object, Object]] = {
    "nothing differs": ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
    "a value": ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, {"a": {"b": 3}}),
    "a new field": ({"a": {}}, {"a": {"b": False}}, {"a": {"b": False}}),
    "a field that is gone": ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, {"a": {"b": None}}),
    "a list is one value": ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
    "a value instead of a mapping": ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
}


@pytest.mark.parametrize(("was", "wanted", "patch"), PATCHES.values(), ids=PATCHES)
def test_merge_patches(was: Object, wanted: Object, patch: Object) -> None:
    assert difference(was, wanted) == patch


def a_workload(text: str, **more: Any) -> Workload:
    return Workload(
        meta=Meta(name="w", project="team-a", created_by="ann@example.org"),
        type=WorkloadType.EXTERNAL,
        manifest=yaml.safe_load(text),
        priority_class="build",
        preemptibility=Preemptibility.NON_PREEMPTIBLE,
        **more,
    )


RAY = """
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: theirs, namespace: default, uid: old, labels: {keep: me}}
spec:
  headGroupSpec: {template: {spec: {containers: [{name: head}]}}}
  workerGroupSpecs:
  - {template: {spec: {schedulerName: other, containers: [{name: w}]}}}
  - {template: {spec: {containers: [{name: w}]}}}
status: {state: ready}
"""


def test_a_manifest_is_made_for_its_project() -> None:
    body = submitted(a_workload(RAY, node_pools=("a100", "default")), "runai-team-a")

    assert body["metadata"] == {
        "name": "w",
        "namespace": "runai-team-a",
        "labels": {
            "keep": "me",
            "runai/queue": "team-a",
            "priorityClassName": "build",
            "kai.scheduler/preemptibility": "non-preemptible",
            "kai.scheduler/node-pool": "a100",
            "user": "ann-example.org",
        },
    }
    assert "status" not in body


def test_every_pod_of_it_is_under_our_scheduler_unless_it_names_another() -> None:
    workload = a_workload(RAY)

    spec = submitted(workload, "ns")["spec"]

    templates = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    found = [each["template"]["spec"]["schedulerName"] for each in templates]
    assert found == ["runai-scheduler", "other", "runai-scheduler"]
    assert workload.manifest == yaml.safe_load(RAY), "what was given stays as it was"


def test_nothing_cannot_be_submitted() -> None:
    with pytest.raises(InvalidRequest, match="manifest"):
        submitted(a_workload("{}"), "ns")


def record(manager: str, operation: str, *fields: str, sub: str = "") -> Object:
    found: Object = {"manager": manager, "operation": operation, "fieldsV1": {f"f:{name}": {} for name in fields}}
    return {**found, "subresource": sub} if sub else found


RECORDS: dict[str, tuple[list[Object], list[Object]]] = {
    "what we created": (
        [record("runai", "Update", "a"), record("other", "Update", "b")],
        [record("other", "Update", "b"), record("runai", "Apply", "a")],
    ),
    "what we applied and stopped later": (
        [record("runai", "Apply", "a"), record("runai", "Update", "b")],
        [record("runai", "Apply", "a", "b")],
    ),
    "what we only applied": ([record("runai", "Apply", "a")], [record("runai", "Apply", "a")]),
    "a status that we wrote": (
        [record("runai", "Update", "a", sub="status")],
        [record("runai", "Update", "a", sub="status")],
    ),
}


@pytest.mark.parametrize(("records", "joined"), RECORDS.values(), ids=RECORDS)
def test_all_that_we_wrote_counts_as_applied(records: list[Object], joined: list[Object]) -> None:
    ours = [{**item, "manager": FIELD_MANAGER} if item["manager"] == "runai" else item for item in records]
    wanted = [{**item, "manager": FIELD_MANAGER} if item["manager"] == "runai" else item for item in joined]

    assert joined_records(ours) == wanted
