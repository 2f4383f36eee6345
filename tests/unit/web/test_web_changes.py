"""Bodies that create or change units and node pools become model objects in exact units."""

from typing import Any

import pytest
from pydantic import ValidationError

from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota, SchedulingRules
from runai_core.web import changes
from runai_core.web.merging import merged, without
from runai_core.web.node_pool_bodies import NodePoolCreate, NodePoolUpdate
from runai_core.web.schemas import DepartmentUpdate, NodePoolRef, ProjectUpdate, ResourcesFields, canonical


async def _any_pool(reference: NodePoolRef | None) -> str:
    return changes.pool_ref(reference)


def fields(**given: Any) -> ResourcesFields:
    return ResourcesFields.model_validate(given)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"gpu": {"deserved": 2}}, {"gpu": ResourceQuota(deserved=2000)}, id="devices become thousandths"),
        pytest.param({"gpu": {"deserved": 0.25}}, {"gpu": ResourceQuota(deserved=250)}, id="also parts of a device"),
        pytest.param(
            {"gpu": {"deserved": 1, "limit": 4, "overQuotaWeight": 2}},
            {"gpu": ResourceQuota(deserved=1000, limit=4000, over_quota_weight=2.0)},
            id="limit and weight",
        ),
        pytest.param({"gpu": {"deserved": 1, "limit": -1}}, {"gpu": ResourceQuota(deserved=1000)}, id="-1 is no limit"),
        pytest.param({"cpu": {"deserved": 1500}}, {"cpu": ResourceQuota(deserved=1500)}, id="CPU in millicores"),
        pytest.param({"cpu": {"deserved": None}}, {"cpu": ResourceQuota(deserved=None)}, id="null is unlimited"),
        pytest.param({"cpu": {"deserved": -1}}, {"cpu": ResourceQuota(deserved=None)}, id="and so is -1"),
        pytest.param(
            {"memory": {"deserved": 3, "units": "Mib"}}, {"memory": ResourceQuota(deserved=3 * 1024**2)}, id="MiB"
        ),
        pytest.param(
            {"memory": {"deserved": 3, "units": "GB"}}, {"memory": ResourceQuota(deserved=3 * 1000**3)}, id="GB"
        ),
        pytest.param({"priority": "High"}, {"priority": 150}, id="a rank by name"),
        pytest.param({"priority": "120"}, {"priority": 120}, id="a rank as text"),
        pytest.param({"priority": 7}, {"priority": 7}, id="a rank as a number"),
    ],
)
async def test_quota_is_kept_in_exact_units(given: dict[str, Any], expected: dict[str, Any]) -> None:
    resources = await changes.resources_of([fields(**given)], {}, _any_pool)

    kept = resources["default"]
    assert {name: getattr(kept, name) for name in expected} == expected


@pytest.mark.asyncio
async def test_what_is_not_given_stays() -> None:
    old = {"a": QueueResources(gpu=ResourceQuota(deserved=1000, limit=3000), priority=5), "b": QueueResources()}

    changed = await changes.resources_of([fields(nodePool={"name": "a"}, gpu={"limit": 4})], old, _any_pool)

    assert changed["a"] == QueueResources(gpu=ResourceQuota(deserved=1000, limit=4000), priority=5)
    assert changed["b"] == old["b"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param([fields(cpu={"deserved": -0.5})], "must be 0 or more", id="below zero"),
        pytest.param(
            [fields(memory={"deserved": 1e12, "units": "GB"})], "must be at most", id="more than can be counted"
        ),
        pytest.param([fields(priority="Urgent")], "one of VeryLow", id="an unknown rank"),
        pytest.param([fields(priority=-3)], "must be from 0", id="a rank below zero"),
        pytest.param([fields(), fields()], "comes twice", id="one pool twice"),
    ],
)
async def test_wrong_quota_is_refused_by_name(given: list[ResourcesFields], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        await changes.resources_of(given, {}, _any_pool)


def test_a_null_says_nothing_but_for_quota_of_cpu_and_memory() -> None:
    given = fields(nodePool=None, unheardOf=None, gpu={"deserved": None, "limit": 2}, cpu={"deserved": None})

    assert given.gpu is not None
    assert given.gpu.model_fields_set == {"limit"}
    assert given.cpu is not None
    assert given.cpu.model_fields_set == {"deserved"}


def test_nulls_of_a_specification_are_left_out_at_any_depth() -> None:
    spec = {"image": None, "compute": {"gpuDevicesRequest": 1, "cpuCoreRequest": None}, "ports": [{"name": None}]}

    assert canonical(spec) == {"compute": {"gpuDevicesRequest": 1}, "ports": [{}]}


@pytest.mark.parametrize("wrong", [{"deserved": -1}, {"deserved": float("nan")}, {"deserved": "many"}, {"deservd": 1}])
def test_gpus_are_never_negative_nor_no_number(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fields(gpu=wrong)


def test_a_change_of_a_project_keeps_the_rest() -> None:
    rules = SchedulingRules(training_job_time_limit_seconds=60)
    project = Project(meta=Meta(name="p"), description="old", scheduling_rules=rules, node_types_training=("a",))

    changed = changes.changed_project(project, ProjectUpdate(description="new"), project.resources)

    assert (changed.description, changed.scheduling_rules, changed.node_types_training) == ("new", rules, ("a",))


def test_departments_have_node_types() -> None:
    body = DepartmentUpdate.model_validate({"nodeTypes": {"training": ["a"]}})

    changed = changes.changed_department(Department(meta=Meta(name="d")), body, {})

    assert changed.node_types_training == ("a",)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5d8h40m", 463200.0), ("30m", 1800.0), ("90s", 90.0), ("90", 90.0), ("0d0h0m", 0.0), ("1h30s", 3630.0)],
)
def test_a_guaranteed_time_is_read(text: str, seconds: float) -> None:
    assert changes.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 days", "-1m", "1m1h"])
def test_a_time_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="must be a time such as"):
        changes.seconds_of(text)


def test_a_node_pool_takes_either_form_of_placement() -> None:
    pool = changes.new_node_pool(NodePoolCreate(name="a", label_key="k", label_value="v"))
    body = NodePoolUpdate.model_validate({"schedulingConfiguration": {"placementStrategy": {"gpu": "spread"}}})

    changed = changes.changed_node_pool(pool, body)

    assert pool == NodePool(meta=Meta(name="a"), label_key="k", label_value="v")
    assert (changed.gpu_placement, changed.cpu_placement) == ("spread", "binpack")


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="a new field"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}, id="a field inside"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"a": 1, "b": 2}, id="null says nothing"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="a list is replaced"),
        pytest.param({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}, id="an object takes the place of a value"),
    ],
)
def test_a_patch_is_merged(document: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merged(document, patch) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a", {"c": 1}), ("a.b", {"a": {"d": 2}, "c": 1}), ("x.y", {"a": {"b": 1, "d": 2}, "c": 1}), ("c.z", None)],
)
def test_a_field_is_taken_out_by_its_path(path: str, expected: dict[str, Any] | None) -> None:
    document = {"a": {"b": 1, "d": 2}, "c": 1}

    assert without(document, path) == (document if expected is None else expected)


def test_both_spellings_of_a_field_are_understood() -> None:
    spec = {"compute": {"gpuDeviceRequest": 1}, "security": {"runasGid": 5}, "storage": {"configMapVolumes": []}}

    assert canonical(spec) == {
        "compute": {"gpuDevicesRequest": 1},
        "security": {"runAsGid": 5},
        "storage": {"configMapVolume": []},
    }


def test_a_field_in_two_spellings_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="another spelling of gpuDevicesRequest"):
        canonical({"compute": {"gpuDeviceRequest": 1, "gpuDevicesRequest": 2}})
