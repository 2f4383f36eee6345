"""Kubernetes objects as the engine sees them: tables of what is read, and what is said of what cannot be."""

from typing import Any

import pytest

from runai_core.backends.kubernetes.codec import claims as dra
from runai_core.backends.kubernetes.codec import expressions, volumes
from runai_core.backends.kubernetes.codec.groups import group_of
from runai_core.backends.kubernetes.codec.nodes import Partition, node_entry, pool_of
from runai_core.backends.kubernetes.codec.pods import Pool, constraints_of, pod_entry, state_of
from runai_core.backends.kubernetes.codec.queues import queue_of, rooted
from runai_core.backends.kubernetes.codec.requests import with_gpu_forms, without_gpus
from runai_core.backends.kubernetes.codec.selectors import all_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.organization import Queue, ResourceQuota
from runai_core.model.snapshot import LabelRequirement, PodRequest, PodState, Preemptibility
from runai_core.model.storage import StorageClass
from tests.kubernetes_world import a_group, a_node, a_pod, a_queue


def container(**requests: str) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {name.replace("_", "-"): value for name, value in requests.items()}}}


def gpus(count: int | str, kind: str = "nvidia.com/gpu") -> dict[str, Any]:
    return {"name": "g", "resources": {"limits": {kind: str(count)}}}


REQUESTS: dict[str, tuple[dict[str, Any], PodRequest]] = {
    "containers are added up": (
        {"containers": [container(cpu="500m", memory="1Gi"), container(cpu="1", memory="1M")]},
        PodRequest(cpu=1500, memory=2**30 + 10**6),
    ),
    "the largest init container counts where it is larger": (
        {"containers": [container(cpu="1")], "initContainers": [container(cpu="3"), container(cpu="2", memory="5")]},
        PodRequest(cpu=3000, memory=5),
    ),
    "a sidecar runs beside all that follow": (
        {
            "containers": [container(cpu="1")],
            "initContainers": [{**container(cpu="2"), "restartPolicy": "Always"}, container(cpu="4")],
        },
        PodRequest(cpu=6000),
    ),
    "limits stand where there is no request": ({"containers": [gpus(2)]}, PodRequest(gpu_devices=2)),
    "AMD devices are GPUs too": ({"containers": [gpus(1, "amd.com/gpu")]}, PodRequest(gpu_devices=1)),
    "MIG slices are counted by profile": (
        {"containers": [gpus(2, "nvidia.com/mig-3g.20gb")]},
        PodRequest(mig=(("nvidia.com/mig-3g.20gb", 2),)),
    ),
    "other resources are kept by name": (
        {"containers": [gpus(3, "example.org/nic"), container(ephemeral_storage="1Ki")]},
        PodRequest(extended=(("ephemeral-storage", 1024), ("example.org/nic", 3))),
    ),
    "overhead comes on top": (
        {"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}},
        PodRequest(cpu=1250),
    ),
    "resources of the pod as a whole say it for what they name": (
        {"containers": [container(cpu="1", memory="5")], "resources": {"requests": {"cpu": "7"}}},
        PodRequest(cpu=7000, memory=5),
    ),
}


@pytest.mark.parametrize(("spec", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_what_a_pod_asks_for(spec: dict[str, Any], expected: PodRequest) -> None:
    assert without_gpus(spec) == expected


SHARES: dict[str, tuple[dict[str, str], PodRequest]] = {
    "half a device": ({"gpu-fraction": "0.5"}, PodRequest(gpu_portion=500)),
    "memory of a device": ({"gpu-memory": "2000"}, PodRequest(gpu_memory_mib=2000)),
    "a share of two": (
        {"gpu-fraction": "0.25", "gpu-fraction-num-devices": "2"},
        PodRequest(gpu_devices=2, gpu_portion=250),
    ),
}


@pytest.mark.parametrize(("notes", "expected"), SHARES.values(), ids=SHARES)
def test_shares_of_devices(notes: dict[str, str], expected: PodRequest) -> None:
    assert with_gpu_forms(PodRequest(), {"metadata": {"annotations": notes}, "spec": {}}, {}) == expected


def test_a_wrong_share_is_named() -> None:
    with pytest.raises(InvalidRequest, match="gpu-fraction"):
        with_gpu_forms(PodRequest(), {"metadata": {"annotations": {"gpu-fraction": "1.5"}}, "spec": {}}, {})


STATES: dict[str, tuple[dict[str, Any], PodState | None]] = {
    "waiting": ({}, PodState.PENDING),
    "gated": ({"schedulingGates": [{"name": "x"}]}, PodState.GATED),
    "bound": ({"nodeName": "n", "_phase": "Pending"}, PodState.BOUND),
    "running": ({"nodeName": "n", "_phase": "Running"}, PodState.RUNNING),
    "leaving": ({"nodeName": "n", "_phase": "Running", "_leaving": True}, PodState.RELEASING),
    "deleted before it had a node": ({"_leaving": True}, None),
    "succeeded while it is deleted": ({"nodeName": "n", "_phase": "Succeeded", "_leaving": True}, PodState.SUCCEEDED),
    "failed": ({"nodeName": "n", "_phase": "Failed"}, PodState.FAILED),
    "lost sight of": ({"nodeName": "n", "_phase": "Unknown"}, PodState.RUNNING),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), STATES.values(), ids=STATES)
def test_where_a_pod_is_in_its_life(given: dict[str, Any], expected: PodState | None) -> None:
    spec = {key: value for key, value in given.items() if not key.startswith("_")}
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if given.get("_leaving") else {}
    assert state_of({"metadata": meta, "spec": spec, "status": {"phase": given.get("_phase", "Pending")}}) is expected


def test_a_pod_with_everything() -> None:
    pod = a_pod("p", "g", gpus=2, tolerations=[{"operator": "Exists"}], nodeSelector={"a": "b"})
    pod["metadata"]["labels"] = {
        "kai.scheduler/subgroup-name": "worker",
        "kai.scheduler/task-priority": "7",
        "training.kubeflow.org/job-role": "master",
    }
    pod["status"]["nominatedNodeName"] = "n9"
    entry = pod_entry(pod, Pool())
    assert entry is not None
    assert (entry.name, entry.pod_group, entry.sub_group) == ("team/p", "team/g", "worker")
    assert (entry.order, entry.leader, entry.nominated_node) == (7, True, "n9")
    assert entry.constraints.node_selector == (("a", "b"),)
    assert entry.request == PodRequest(cpu=1000, gpu_devices=2)


def test_equal_pods_share_their_parts() -> None:
    pool = Pool()
    one, other = (pod_entry(a_pod(name, "g", nodeSelector={"a": "b"}), pool) for name in ("p", "q"))
    assert one is not None
    assert other is not None
    assert one.request is other.request
    assert one.constraints is other.constraints
    assert one.labels is other.labels


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def needs(key: str, *values: str, operator: str = "In") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


IN_A = LabelRequirement("zone", "In", ("a",))


def test_node_affinity_and_volumes_must_both_hold() -> None:
    pod = a_pod(
        "p", **affinity({"matchExpressions": [needs("zone", "a")]}, {"matchFields": [needs("metadata.name", "n1")]})
    )
    there = ((LabelRequirement("disk", "In", ("ssd",)),),)
    found = constraints_of(pod, [there]).node_affinity
    assert found == (
        (LabelRequirement("disk", "In", ("ssd",)), IN_A),
        (LabelRequirement("disk", "In", ("ssd",)), LabelRequirement("metadata.name", "In", ("n1",))),
    )


def test_a_term_that_asks_nothing_matches_no_node() -> None:
    (term,) = all_of([((),), ((IN_A,),)])
    assert any(requirement.values == () and requirement.operator == "In" for requirement in term)


def test_pod_affinity_looks_at_the_pods_of_its_namespaces() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
    pod = a_pod("p", affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    (found,) = constraints_of(pod).pod_affinity
    assert found.anti
    assert found.selector == (
        LabelRequirement("app", "In", ("x",)),
        LabelRequirement("metadata.namespace", "In", ("team",)),
    )


def test_preferred_nodes_keep_their_weights() -> None:
    preferred = [{"weight": 30, "preference": {"matchExpressions": [needs("zone", "a")]}}]
    pod = a_pod("p", affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})

    assert constraints_of(pod).node_preferences == ((30, (IN_A,)),)


def test_a_spread_counts_the_pods_of_its_namespace_and_of_the_same_template() -> None:
    given = {
        "topologyKey": "zone",
        "maxSkew": 2,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
        "matchLabelKeys": ["pod-template-hash", "missing"],
        "minDomains": 3,
    }
    pod = a_pod("p", topologySpreadConstraints=[given, {**given, "whenUnsatisfiable": "ScheduleAnyway"}])
    pod["metadata"]["labels"] = {"pod-template-hash": "7f"}

    hard, soft = sorted(constraints_of(pod).spread, key=lambda found: not found.required)
    assert (hard.topology_key, hard.max_skew, hard.required, hard.min_domains) == ("zone", 2, True, 3)
    assert hard.selector == (
        LabelRequirement("app", "In", ("x",)),
        LabelRequirement("metadata.namespace", "In", ("team",)),
        LabelRequirement("pod-template-hash", "In", ("7f",)),
    )
    assert not soft.required


def test_a_spread_that_counts_nothing_is_none() -> None:
    given = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    assert constraints_of(a_pod("p", topologySpreadConstraints=[given])).spread == ()


NODES: dict[str, tuple[dict[str, Any], str, object]] = {
    "memory of devices in MiB, rounded down": ({"nvidia.com/gpu.memory": "81559"}, "gpu_memory_mib", 81500),
    "memory of devices in bytes": ({"nvidia.com/gpu.memory": str(80 * 2**30)}, "gpu_memory_mib", 81900),
    "memory of devices that is no number": ({"nvidia.com/gpu.memory": "much"}, "gpu_memory_mib", 0),
    "MIG by one strategy": ({"nvidia.com/mig.strategy": "single"}, "mig_strategy", "single"),
    "devices": ({}, "gpus", 8),
}


@pytest.mark.parametrize(("labels", "field", "expected"), NODES.values(), ids=NODES)
def test_what_a_node_offers(labels: dict[str, str], field: str, expected: object) -> None:
    assert getattr(node_entry(a_node(labels=labels), {}), field) == expected


HEALTH: dict[str, tuple[list[tuple[str, str]], bool]] = {
    "well": ([("Ready", "True"), ("DiskPressure", "False")], True),
    "not ready": ([("Ready", "False")], False),
    "lost": ([("Ready", "Unknown")], False),
    "short of memory": ([("Ready", "True"), ("MemoryPressure", "True")], False),
    "without a network": ([("Ready", "True"), ("NetworkUnavailable", "True")], False),
    "not seen yet": ([], False),
}


@pytest.mark.parametrize(("conditions", "expected"), HEALTH.values(), ids=HEALTH)
def test_a_nodes_health(conditions: list[tuple[str, str]], expected: bool) -> None:
    node = a_node()
    node["status"]["conditions"] = [{"type": kind, "status": status} for kind, status in conditions]
    assert node_entry(node, {}).ready is expected


def test_node_pools_partition_nodes_by_their_label() -> None:
    fast = pool_of({"metadata": {"name": "fast"}, "spec": {"labelKey": "speed", "labelValue": "high"}})
    named = pool_of({"metadata": {"name": "named"}, "spec": {}})
    partition = Partition((fast, named))
    assert partition.of_node({"speed": "high"}) == "fast"
    assert partition.of_node({"kai.scheduler/node-pool": "named"}) == "named"
    assert partition.of_node({"speed": "low"}) == "default"
    assert partition.of_node({"runai/node-pool": "nobody-declared-it"}) is None
    assert partition.of_labels({"runai/node-pool": "fast"}) == "fast"


def test_a_queue_in_our_units() -> None:
    item = a_queue("q", gpus=2.5, parentQueue="d", priority=7, preemptMinRuntime="1h30m")
    item["spec"]["resources"]["memory"] = {"quota": 3, "limit": 4, "overQuotaWeight": 2}
    queue = queue_of(item)
    assert (queue.parent, queue.resources.priority, queue.preempt_min_runtime) == ("d", 7, 5400.0)
    assert queue.resources.gpu.deserved == 2500
    assert queue.resources.gpu.limit is None
    assert queue.resources.memory == ResourceQuota(deserved=3_000_000, limit=4_000_000, over_quota_weight=2.0)


def test_a_resource_that_a_queue_does_not_name_may_not_be_used() -> None:
    queue = queue_of({"metadata": {"name": "q"}, "spec": {"resources": {}}})
    assert queue.resources.gpu == ResourceQuota(deserved=0, limit=0, over_quota_weight=0.0)
    assert queue.resources.priority == 100


WRONG_QUEUES: dict[str, tuple[dict[str, Any], str]] = {
    "a text for a number": ({"resources": {"gpu": {"quota": "many"}}}, "spec.resources.gpu.quota"),
    "a negative limit": ({"resources": {"cpu": {"limit": -5}}}, "spec.resources.cpu.limit"),
    "a broken priority": ({"priority": "high"}, "spec.priority"),
    "a broken duration": ({"preemptMinRuntime": "soon"}, "spec.preemptMinRuntime"),
}


@pytest.mark.parametrize(("spec", "field"), WRONG_QUEUES.values(), ids=WRONG_QUEUES)
def test_a_wrong_queue_is_refused_with_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=field.replace(".", r"\.")):
        queue_of({"metadata": {"name": "q"}, "spec": spec})


def test_queues_without_their_ancestors_do_not_exist() -> None:
    known = [
        Queue(name="root"),
        Queue(name="child", parent="root"),
        Queue(name="orphan", parent="gone"),
        Queue(name="grandchild", parent="orphan"),
        Queue(name="x", parent="y"),
        Queue(name="y", parent="x"),
    ]
    assert [queue.name for queue in rooted(known)] == ["root", "child"]


def test_a_group_with_sub_groups() -> None:
    parts = [{"name": "all"}, {"name": "workers", "minMember": 3, "parent": "all"}]
    item = a_group("g", least=4, subGroups=parts, topologyConstraint={"topology": "t", "requiredTopologyLevel": "rack"})
    item["metadata"]["annotations"] = {
        "runai/workload": "team/w",
        "kai.scheduler/last-start-timestamp": "2026-01-01T00:00:01Z",
    }
    group = group_of(item, {})
    assert (group.name, group.min_members, group.workload) == ("team/g", 4, "team/w")
    assert [(part.name, part.min_members, part.parent) for part in group.sub_groups] == [
        ("all", 1, None),
        ("workers", 3, "all"),
    ]
    assert group.topology is not None
    assert group.topology.required_level == "rack"
    assert group.last_start == 1767225601.0


PRIORITIES: dict[str, tuple[dict[str, Any], int, Preemptibility]] = {
    "a class of the cluster": ({"priorityClassName": "mine"}, 70, Preemptibility.PREEMPTIBLE),
    "a class of the product": ({"priorityClassName": "inference"}, 125, Preemptibility.NON_PREEMPTIBLE),
    "an unknown class": ({"priorityClassName": "what"}, 60, Preemptibility.PREEMPTIBLE),
    "no class": ({}, 60, Preemptibility.PREEMPTIBLE),
    "what it says itself counts": (
        {"priorityClassName": "inference", "preemptibility": "preemptible"},
        125,
        Preemptibility.PREEMPTIBLE,
    ),
    "from 100 on it stays": ({"priorityClassName": "hundred"}, 100, Preemptibility.NON_PREEMPTIBLE),
}


@pytest.mark.parametrize(("spec", "priority", "stays"), PRIORITIES.values(), ids=PRIORITIES)
def test_priority_and_preemptibility_of_a_group(spec: dict[str, Any], priority: int, stays: Preemptibility) -> None:
    group = group_of(a_group("g", **spec), {"mine": 70, "hundred": 100}, 60)
    assert (group.priority, group.preemptibility) == (priority, stays)


# -- volumes

LOCAL: dict[str, Any] = {
    "metadata": {"name": "local"},
    "volumeBindingMode": "WaitForFirstConsumer",
    "provisioner": "kubernetes.io/no-provisioner",
}
MADE: dict[str, Any] = {
    "metadata": {"name": "made"},
    "volumeBindingMode": "WaitForFirstConsumer",
    "provisioner": "example.org/disk",
    "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}],
}
AT_ONCE: dict[str, Any] = {
    "metadata": {"name": "at-once"},
    "volumeBindingMode": "Immediate",
    "provisioner": "example.org/disk",
}


def a_claim(sort: str, volume: str = "", chosen: str = "") -> dict[str, Any]:
    spec = {"storageClassName": sort, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    notes = {"volume.kubernetes.io/selected-node": chosen} if chosen else {}
    return {
        "metadata": {"name": "data", "namespace": "team", "annotations": notes},
        "spec": {**spec, **({"volumeName": volume} if volume else {})},
    }


def a_volume(name: str, node: str, size: str = "2Gi", sort: str = "local") -> dict[str, Any]:
    term = {"matchExpressions": [needs("kubernetes.io/hostname", node)]}
    return {
        "metadata": {"name": name},
        "spec": {
            "storageClassName": sort,
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
        "status": {"phase": "Available"},
    }


def storage(claim: dict[str, Any] | None, *known: dict[str, Any]) -> volumes.Storage:
    sorts = {item["metadata"]["name"]: item for item in (LOCAL, MADE, AT_ONCE)}
    found = {item["metadata"]["name"]: item for item in known}
    return volumes.Storage(lambda name, namespace: claim, found.get, sorts.get, found.values)


WITH_DATA = a_pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])


def on(*nodes: str) -> Any:
    return tuple((LabelRequirement("kubernetes.io/hostname", "In", (node,)),) for node in nodes)


REACH: dict[str, tuple[volumes.Storage, Any]] = {
    "a bound volume says where": (storage(a_claim("made", "v1"), a_volume("v1", "n1")), (on("n1"),)),
    "a volume that is gone": (storage(a_claim("made", "v1")), ((),)),
    "a claim that does not exist": (storage(None), ((),)),
    "a claim that is bound at once, but is not yet": (storage(a_claim("at-once")), ((),)),
    "a volume is made where its class allows": (
        storage(a_claim("made")),
        (((LabelRequirement("zone", "In", ("a",)),),),),
    ),
    "a volume is being made for a node": (
        storage(a_claim("made", chosen="n7")),
        (((LabelRequirement("metadata.name", "In", ("n7",)),),),),
    ),
    "one of the free volumes": (
        storage(a_claim("local"), a_volume("v1", "n1"), a_volume("v2", "n2"), a_volume("v3", "n3", "1Mi")),
        (on("n1", "n2"),),
    ),
    "no free volume": (storage(a_claim("local"), a_volume("v3", "n3", "1Mi")), ((),)),
}


@pytest.mark.parametrize(("known", "expected"), REACH.values(), ids=REACH)
def test_where_volumes_let_a_pod_run(known: volumes.Storage, expected: Any) -> None:
    assert volumes.reachable(WITH_DATA, known) == expected


def test_what_is_written_before_a_pod_with_volumes_is_bound() -> None:
    free = [a_volume("large", "n1", "9Gi"), a_volume("small", "n1", "2Gi"), a_volume("elsewhere", "n2", "1Gi")]
    known = storage(a_claim("local"), *free)
    plan = volumes.plan(WITH_DATA, "n1", known, lambda terms: terms == on("n1"))
    assert plan.give == (("small", "data"),)
    assert volumes.plan(WITH_DATA, "n1", storage(a_claim("made")), lambda terms: True).make == ("data",)
    assert "does not exist" in volumes.plan(WITH_DATA, "n1", storage(None), lambda terms: True).missing
    assert not volumes.plan(WITH_DATA, "n1", storage(a_claim("made", "v1")), lambda terms: True).waits


# -- resource claims


def a_slice(
    node: str, *devices: dict[str, Any], generation: int = 1, driver: str = "gpu.example.org"
) -> dict[str, Any]:
    pool = {"name": node, "generation": generation}
    return {
        "metadata": {"name": f"{node}-{generation}"},
        "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": list(devices)},
    }


def a_device(name: str, **attributes: Any) -> dict[str, Any]:
    kinds = {bool: "bool", int: "int", str: "string"}
    return {
        "name": name,
        "attributes": {key: {kinds[type(value)]: value} for key, value in attributes.items()},
        "capacity": {"memory": {"value": "80Gi"}},
    }


def a_device_claim(count: int = 1, **extra: Any) -> dict[str, Any]:
    request = {"name": "r", "exactly": {"deviceClassName": "gpu", "count": count, **extra}}
    return {"metadata": {"name": "c", "namespace": "team"}, "spec": {"devices": {"requests": [request]}}}


GPU_CLASS = {"spec": {"selectors": [{"cel": {"expression": 'device.driver == "gpu.example.org"'}}]}}


def test_devices_of_the_newest_generation_count() -> None:
    found = dra.devices_of([a_slice("n1", a_device("old")), a_slice("n1", a_device("a"), a_device("b"), generation=2)])
    assert [device.name for device in found["n1"]] == ["a", "b"]
    matches = dra.class_matcher({"gpu": GPU_CLASS}.get)
    assert dra.claimable(found["n1"], ["gpu"], matches) == {"gpu": 2}


def test_a_claim_gets_free_devices_that_match() -> None:
    devices = dra.devices_of(
        [a_slice("n1", a_device("a", model="x"), a_device("b", model="y"), a_device("c", model="y"))]
    )["n1"]
    matches = dra.class_matcher({"gpu": GPU_CLASS}.get)
    taken = {("gpu.example.org", "n1", "b")}
    chosen = {"selectors": [{"cel": {"expression": 'device.attributes["gpu.example.org"].model == "y"'}}]}
    given = dra.allocate(a_device_claim(1, **chosen), "n1", devices, taken, matches)
    assert given is not None
    assert [item["device"] for item in given["devices"]["results"]] == ["c"]
    assert ("gpu.example.org", "n1", "c") in taken
    assert dra.allocate(a_device_claim(1, **chosen), "n1", devices, taken, matches) is None


EXPRESSIONS: dict[str, bool] = {
    'device.driver == "gpu.example.org"': True,
    "device.driver == 'other'": False,
    'device.attributes["gpu.example.org"].model == "H100" && device.attributes["gpu.example.org"].index >= 3': True,
    'device.attributes["gpu.example.org"].model == "A100" || device.driver.startsWith("gpu.")': True,
    '!(device.attributes["gpu.example.org"].model == "A100")': True,
    'device.attributes["gpu.example.org"].model in ["A100", "H100"]': True,
    'device.capacity["gpu.example.org"].memory.compareTo(quantity("40Gi")) >= 0': True,
    'device.capacity["gpu.example.org"].memory.isGreaterThan(quantity("100Gi"))': False,
    'device.attributes["gpu.example.org"].missing == "x"': False,
    'device.attributes["gpu.example.org"].healthy': True,
    "device.driver.matches('.*')": False,
    "device.driver ==": False,
    "exec('rm')": False,
}


@pytest.mark.parametrize(("text", "expected"), EXPRESSIONS.items(), ids=list(EXPRESSIONS))
def test_expressions_about_devices(text: str, expected: bool) -> None:
    device = dra.Device("gpu.example.org", "n1", "a", a_device("a", model="H100", index=3, healthy=True))
    assert expressions.holds(text, device) is expected


def test_a_storage_class_is_read_with_what_marks_the_default() -> None:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    bare = {"metadata": {"name": "slow"}, "provisioner": "csi.example"}
    default = {"metadata": {"name": "fast", "annotations": marks}, "allowVolumeExpansion": True}

    assert volumes.storage_class_of(bare) == StorageClass(name="slow", provisioner="csi.example")
    assert volumes.storage_class_of(default) == StorageClass(name="fast", is_default=True, allow_volume_expansion=True)
