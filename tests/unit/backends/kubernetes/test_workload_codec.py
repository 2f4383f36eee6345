"""Workloads as custom resources: nothing is lost, and what people write by hand is understood."""

import json
import re
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runai_core.backends.kubernetes.codec.fields import read_spec, write_spec
from runai_core.backends.kubernetes.codec.patches import difference, patched
from runai_core.backends.kubernetes.codec.times import duration_of, duration_text, seconds_of, text_of
from runai_core.backends.kubernetes.codec.workloads import (
    is_workload,
    object_of,
    request_of,
    specs_of,
    status_of,
    workload_of,
)
from runai_core.model.decision import Reason, Suggestion, Verdict
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.network import ExposedUrl, Port
from runai_core.model.snapshot import Preemptibility
from runai_core.model.spec import Compute, EnvironmentVariable, GpuRequestType, KeyReference, Security, WorkloadSpec
from runai_core.model.volumes import Pvc, Storage
from runai_core.model.workload import POLICY_TYPES, Phase, PolicyType, Workload, WorkloadType

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=8)
NATIVE = [kind for kind in WorkloadType if kind is not WorkloadType.EXTERNAL]


def values(hint: Any, entry: "Field[Any] | None" = None) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a table
    """Values of a field of the model, within its bounds."""
    bounds = {} if entry is None else dict(entry.metadata)
    if get_origin(hint) in (Union, UnionType):
        present = [values(part, entry) for part in get_args(hint) if part is not NoneType]
        return st.none() | st.one_of(present)
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if isinstance(hint, type) and is_dataclass(hint):
        return objects(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if pattern := bounds.get("pattern"):
        return st.sampled_from(re.sub(r"[\^$()]", "", pattern).split("|"))
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(bounds.get("ge", 0), min(bounds.get("le", 2**31 - 1), 2**31 - 1))
    if hint is float:
        return st.floats(bounds.get("ge", 0), min(bounds.get("le", 1e6), 1e6))
    return TEXT.filter(lambda text: len(text) >= bounds.get("min_length", 0))


def objects(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Objects of a class of the model; fields with a default are often left out."""
    hints = get_type_hints(kind)
    needed = {item.name: values(hints[item.name], item) for item in fields(kind) if _is_needed(item)}
    others = {item.name: values(hints[item.name], item) for item in fields(kind) if not _is_needed(item)}
    return st.fixed_dictionaries(needed, optional=others).map(lambda given: kind(**given))


def _is_needed(item: "Field[Any]") -> bool:
    return item.default is MISSING and item.default_factory is MISSING


TIMES = st.integers(0, 2**42).map(lambda ticks: ticks / 2**20)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    kind = draw(st.sampled_from(NATIVE))
    spec = objects(WorkloadSpec)
    return Workload(
        meta=Meta(
            name="train",
            project="team-a",
            created_by=draw(TEXT),
            created_at=draw(TIMES),
            updated_at=draw(TIMES.filter(bool)),
            labels=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
            annotations=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        ),
        type=kind,
        department=draw(TEXT),
        spec=draw(spec),
        master_spec=draw(st.none() | spec) if kind is WorkloadType.DISTRIBUTED else None,
        has_master=draw(st.booleans()),
        phase=draw(st.sampled_from(Phase)),
        phase_message=draw(TEXT),
        phase_updated_at=draw(TIMES),
        stop_requested=draw(st.booleans()),
        delete_requested=draw(st.booleans()),
        attempt=draw(st.integers(0, 100)),
        failures=draw(st.integers(0, 100)),
        node_pools=tuple(draw(st.lists(TEXT, max_size=2))),
        origins=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        preemptibility=draw(st.sampled_from(Preemptibility)),
        verdict=draw(st.none() | st.just(A_VERDICT)),
        last_start=draw(st.none() | TIMES),
        completed_at=draw(st.none() | TIMES),
        running_seconds=draw(st.floats(0, 1e9)),
        pods_requested=draw(st.integers(0, 100)),
    )


A_VERDICT = Verdict(
    pod_group="team-a.train.1",
    reason=Reason.INSUFFICIENT_CAPACITY,
    message="it waits",
    nodes_refused={"no GPU": 2},
    suggestions=(Suggestion("fewer_gpus", "ask for 1", {"gpus": 1}),),
)


def as_stored(workload: Workload) -> dict[str, Any]:
    """The object as the API server gives it back: mappings are sorted, uid and version are its own."""
    item = {**object_of(workload, "runai-team-a"), "status": status_of(workload, 3)}
    item["metadata"] |= {"uid": "u-1", "resourceVersion": "17", "creationTimestamp": "2026-01-01T00:00:00Z"}
    stored: dict[str, Any] = json.loads(json.dumps(item, sort_keys=True))
    return stored


def read_back(item: dict[str, Any]) -> Workload:
    return workload_of(item, "team-a", specs_of(item))


@given(workloads())
@settings(max_examples=100, deadline=None)
def test_a_workload_comes_back_from_its_object_as_it_was(workload: Workload) -> None:
    found = read_back(as_stored(workload))

    meta = replace(workload.meta, uid="u-1", version=17)
    if not meta.created_at:
        meta = replace(meta, created_at=found.meta.created_at)
    assert found == replace(workload, meta=meta)


@given(st.sampled_from([POLICY_TYPES[kind] for kind in NATIVE]), objects(WorkloadSpec))
@settings(max_examples=50, deadline=None)
def test_what_was_written_by_us_is_always_readable(kind: PolicyType, spec: WorkloadSpec) -> None:
    from runai_core import wire

    read_spec(write_spec(wire.encode(spec), kind), kind)


JSON = st.recursive(
    st.booleans() | st.integers(-5, 5) | TEXT | st.lists(TEXT, max_size=2),
    lambda inner: st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=3))
def test_a_difference_makes_the_one_of_the_other(have: dict[str, Any], want: dict[str, Any]) -> None:
    assert patched(have, difference(have, want)) == want


@given(TIMES)
def test_times_are_exact(seconds: float) -> None:
    assert seconds_of(text_of(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:00Z", 1_800_000_000.0),
        ("2027-01-15T08:00:00.5Z", 1_800_000_000.5),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000.0),
        ("1969-12-31T23:59:59Z", -1.0),
        ("yesterday", None),
        ("2027-13-15T08:00:00Z", None),
        (None, None),
        (5, None),
    ],
)
def test_times_are_read(text: object, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800.0), ("1h30m", 5400.0), ("90s", 90.0), ("1.5h", 5400.0), (60, 60.0), ("x", None)]
)
def test_durations_are_read(text: object, seconds: float | None) -> None:
    assert duration_of(text) == seconds


def test_durations_are_written_in_seconds() -> None:
    assert (duration_text(1800.0), duration_text(0.5), duration_of(duration_text(0.5))) == ("1800s", "0.5s", 0.5)


# -- what people write

EXAMPLE = {
    "name": {"value": "t1"},
    "image": {"value": "python:3.11"},
    "gpu": {"value": "0.5"},
    "nodePools": {"value": "a100 default"},
    "environment": {"items": {"LR": {"value": "0.1"}, "TOKEN": {"value": "SECRET:my-secret,token"}}},
    "pvcs": {
        "items": {"pvc--0": {"value": {"claimName": "data", "existingPvc": True, "path": "/data", "readOnly": True}}}
    },
}


def test_the_example_of_the_documents_is_understood() -> None:
    """Run:ai surface, section 2.3."""
    spec, master = specs_of({"kind": "TrainingWorkload", "metadata": {"name": "t1"}, "spec": EXAMPLE})
    assert master is None
    assert spec == WorkloadSpec(
        image="python:3.11",
        compute=Compute(gpu_devices_request=1, gpu_request_type=GpuRequestType.PORTION, gpu_portion_request=0.5),
        node_pools=("a100", "default"),
        environment_variables=(
            EnvironmentVariable(name="LR", value="0.1"),
            EnvironmentVariable(name="TOKEN", secret=KeyReference(name="my-secret", key="token")),
        ),
        storage=Storage(pvc=(Pvc(claim_name="data", existing_pvc=True, path="/data", read_only=True),)),
    )


READ = [
    pytest.param({"gpu": {"value": "2"}}, {"compute": {"gpuDevicesRequest": 2}}, id="whole devices"),
    pytest.param({"gpu": {"value": "0"}}, {"compute": {"gpuDevicesRequest": 0}}, id="no device"),
    pytest.param({"memory": {"value": "2Gi"}}, {"compute": {"cpuMemoryRequest": "2Gi"}}, id="memory"),
    pytest.param({"cpu": {"value": "0.5"}}, {"compute": {"cpuCoreRequest": 0.5}}, id="half a core"),
    pytest.param({"nodePool": {"value": "a"}}, {"nodePools": ["a"]}, id="one node pool, the deprecated way"),
    pytest.param({"podAffinity": {"value": True}}, {"podAffinity": {}}, id="affinity without a rule"),
    pytest.param(
        {"podAffinity": {"value": False}, "podAffinitySchedulingRule": {"value": "hard"}}, {}, id="affinity turned off"
    ),
    pytest.param(
        {"podAffinitySchedulingRule": {"value": "hard"}, "podAffinityTopology": {"value": "zone"}},
        {"podAffinity": {"type": "Required", "key": "zone"}},
        id="affinity by rule",
    ),
    pytest.param(
        {"runAsUser": {"value": True}, "runAsUid": {"value": 1000}},
        {"security": {"uidGidSource": "custom", "runAsUid": 1000}},
        id="a user of one's own",
    ),
    pytest.param(
        {"ports": {"items": {"http": {"value": {"container": "8080"}}}}, "serviceType": {"value": "NodePort"}},
        {"ports": [{"container": 8080, "name": "http", "serviceType": "NodePort"}]},
        id="a service type for all ports, and a port given as text",
    ),
    pytest.param(
        {"volumes": {"items": {"d": {"value": {"path": "/d"}}}}, "mountPropagation": {"value": True}},
        {"storage": {"hostPath": [{"path": "/d", "name": "d", "mountPropagation": "HostToContainer"}]}},
        id="mount propagation for all host paths",
    ),
    pytest.param(
        {"environment": {"items": {"A": {"deleted": True}}}},
        {"environmentVariables": [{"exclude": True, "name": "A"}]},
        id="an item left out",
    ),
    pytest.param({"image": {}, "args": None} | {"image": {"value": None}}, {}, id="values that are not there"),
    pytest.param({"ttlAfterFinish": {"value": 60}}, {"autoDeletionTimeAfterCompletionSeconds": 60}, id="an old name"),
]


@pytest.mark.parametrize(("spec", "expected"), READ)
def test_reading(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    spec.pop("args", None)
    assert read_spec(spec, PolicyType.TRAINING) == expected


def test_the_framework_and_its_extras_are_read() -> None:
    spec = {
        "jobType": "MPIJob",
        "workers": {"value": 4},
        "mpiJob": {"slotsPerWorker": 2},
        "runPolicy": {"cleanPodPolicy": "All"},
    }
    assert read_spec(spec, PolicyType.DISTRIBUTED) == {
        "distributedFramework": "MPI",
        "numWorkers": 4,
        "slotsPerWorker": 2,
        "cleanPodPolicy": "All",
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"imag": {"value": "x"}}, "spec.imag: unknown field, did you mean image", id="a misspelt field"),
        pytest.param({"image": "x"}, "spec.image: must be an object with value", id="a value without its object"),
        pytest.param({"workers": {"value": 1}}, "spec.workers: unknown field", id="a field of another kind"),
        pytest.param({"mpi": {"value": True}}, "use a DistributedWorkload", id="the old form of MPI"),
        pytest.param(
            {"pvcs": {"items": {"a": {"value": {"pth": "/"}}}}},
            "spec.pvcs.items.a.value.pth: unknown field, did you mean path",
            id="a misspelt member",
        ),
        pytest.param({"ports": {"items": [1]}}, "spec.ports.items: must be a mapping", id="a list of items"),
    ],
)
def test_a_wrong_object_is_refused_by_its_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        read_spec(spec, PolicyType.TRAINING)


def test_several_wrong_fields_are_all_named() -> None:
    item = {
        "kind": "DistributedWorkload",
        "metadata": {"name": "d"},
        "spec": {"imag": {"value": "x"}},
        "masterSpec": {"comand": {"value": "y"}},
    }
    with pytest.raises(InvalidRequest) as caught:
        request_of(item)
    assert [error.field for error in caught.value.errors] == ["spec.imag", "masterSpec.comand"]


def test_a_request_names_what_is_not_about_pods() -> None:
    item = {
        "kind": "DistributedWorkload",
        "metadata": {"name": "object"},
        "spec": {
            "namePrefix": {"value": "sweep"},
            "noMaster": {"value": True},
            "active": {"value": False},
            "baseWorkload": "base",
            "username": {"value": "kim"},
        },
    }
    asked = request_of(item)
    assert (asked.name, asked.name_is_prefix, asked.has_master, asked.active) == ("sweep", True, False, False)
    assert (asked.base, asked.username, asked.is_template) == ("base", "kim", False)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"spec": {}, "status": {"phase": "Running"}}, True),
        ({"spec": {}}, False),
        ({"spec": {"usage": "Template"}, "status": {"phase": "Running"}}, False),
    ],
    ids=["taken up", "only written", "a template"],
)
def test_what_is_a_workload(item: dict[str, Any], expected: bool) -> None:
    assert is_workload(item) is expected


# -- what we write


def test_a_simple_workload_needs_no_annotation() -> None:
    """What the public fields can express is there, readable, and nowhere else."""
    workload = Workload(
        meta=Meta(name="t1", project="a", created_by="kim"),
        spec=WorkloadSpec(
            image="python",
            command="python train.py",
            compute=Compute(gpu_devices_request=2, cpu_core_request=2.0, cpu_memory_request="1Gi"),
            environment_variables=(EnvironmentVariable(name="A", value="1"),),
            ports=(Port(container=80),),
            security=Security(run_as_uid=5, capabilities=("SYS_PTRACE",)),
            node_pools=("a", "b"),
        ),
    )
    item = object_of(workload, "runai-a")
    assert "annotations" not in item["metadata"]
    assert item["spec"] == {
        "name": {"value": "t1"},
        "username": {"value": "kim"},
        "image": {"value": "python"},
        "command": {"value": "python train.py"},
        "gpu": {"value": "2"},
        "cpu": {"value": "2"},
        "memory": {"value": "1Gi"},
        "environment": {"items": {"A": {"value": "1"}}},
        "ports": {"items": {"ports--0": {"value": {"container": 80}}}},
        "runAsUid": {"value": 5},
        "capabilities": {"value": "SYS_PTRACE"},
        "nodePools": {"value": "a b"},
    }


def test_what_the_public_fields_lack_is_a_patch_in_an_annotation() -> None:
    spec = WorkloadSpec(image="x", exposed_urls=(ExposedUrl(container=80, tool_name="a tool"),))
    item = object_of(Workload(meta=Meta(name="t1", project="a"), spec=spec), "runai-a")
    assert "image" not in item["metadata"]["annotations"]["run.ai/specification"]
    assert "a tool" in item["metadata"]["annotations"]["run.ai/specification"]


def test_items_keep_their_order() -> None:
    names = ("Z", "A", "M")
    spec = WorkloadSpec(environment_variables=tuple(EnvironmentVariable(name=name, value="1") for name in names))
    item = as_stored(Workload(meta=Meta(name="t1", project="a"), spec=spec))
    assert set(item["metadata"]["annotations"]) == {"run.ai/item-order"}
    item["spec"]["environment"]["items"]["B"] = {"value": "new"}
    found, _ = specs_of(item)
    assert [variable.name for variable in found.environment_variables] == ["Z", "A", "M", "B"]


def test_a_stopped_workload_is_not_active_and_its_status_is_readable() -> None:
    workload = Workload(
        meta=Meta(name="t1", project="a"),
        spec=WorkloadSpec(compute=Compute(gpu_devices_request=2)),
        phase=Phase.STOPPED,
        stop_requested=True,
        phase_updated_at=1_800_000_000.25,
        pods_requested=2,
    )
    assert object_of(workload, "runai-a")["spec"]["active"] == {"value": False}
    status = status_of(workload)
    shown = {name: status[name] for name in ("phase", "requestedPods", "runningPods", "gpus", "phaseUpdatedAt")}
    assert shown == {
        "phase": "Stopped",
        "requestedPods": 2,
        "runningPods": 0,
        "gpus": "4",
        "phaseUpdatedAt": "2027-01-15T08:00:00.25Z",
    }


def test_a_damaged_annotation_is_named() -> None:
    item = as_stored(Workload(meta=Meta(name="t1", project="a")))
    item["metadata"]["annotations"] = {"run.ai/specification": "{"}
    with pytest.raises(InvalidRequest, match=r"run\.ai/specification"):
        specs_of(item)
