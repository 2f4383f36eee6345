"""Gangs as Kubernetes objects, field by field."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from runai_core.backends.kubernetes.codec.manifests import pod_object
from runai_core.backends.kubernetes.codec.mpi import hostfile_object
from runai_core.backends.kubernetes.codec.places import Place, address
from runai_core.backends.kubernetes.codec.pod_groups import group_object, topology_object
from runai_core.backends.kubernetes.codec.services import services_of
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.shape import shape_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling, HttpGet, Port, Probe, ProbeHandler, Probes, ServingPort
from runai_core.model.spec import (
    Compute,
    DistributedFramework,
    EnvironmentVariable,
    GpuRequestType,
    ImagePullSecret,
    KeyReference,
    NamedValue,
    PodAffinitySpec,
    PodFieldReference,
    RestartPolicy,
    Security,
    TolerationSpec,
    WorkloadSpec,
)
from runai_core.model.volumes import S3, AccessModes, ClaimInfo, EmptyDir, Git, HostPath, MountedMap, Nfs, Pvc, Storage
from runai_core.model.workload import Gang, Workload, WorkloadType

Object = dict[str, Any]
PLACE = Place(
    namespace="runai-a", owner={"apiVersion": "run.ai/v2alpha1", "kind": "TrainingWorkload", "name": "t", "uid": "u-1"}
)
FOLLOWED = frozenset({"secret", "configMap", "userCredential", "podFieldRef"})


def a_workload(spec: WorkloadSpec, kind: WorkloadType = WorkloadType.TRAINING, **fields: Any) -> Workload:
    meta = Meta(name="t", project="a", uid="u-1", created_by="kim")
    spec = spec if spec.image else replace(spec, image="img")
    return Workload(meta=meta, type=kind, spec=spec, attempt=1, node_pool="default", **fields)


def gang(workload: Workload) -> Gang:
    grouped = workload.type in (WorkloadType.DISTRIBUTED, WorkloadType.DISTRIBUTED_INFERENCE)
    names = [address(workload, "runai-a", place.role, place.rank) for place in shape_of(workload).places]
    context = RunContext(
        master_address=names[0] if grouped else "127.0.0.1",
        addresses=tuple(names) if grouped else (),
        deferred=FOLLOWED,
    )
    return gang_of(workload, run_context=context)


def pods(workload: Workload) -> list[Object]:
    made = gang(workload)
    return [pod_object(workload, made, pod, PLACE) for pod in made.pods]


def a_pod(kind: WorkloadType = WorkloadType.TRAINING, **spec: Any) -> Object:
    return pods(a_workload(WorkloadSpec(**spec), kind))[0]


def container(**spec: Any) -> Object:
    found: Object = a_pod(**spec)["spec"]["containers"][0]
    return found


def variables(pod: Object) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in pod["spec"]["containers"][0]["env"]}


def test_a_pod_belongs_to_its_workload_queue_and_group() -> None:
    pod = a_pod(labels=(NamedValue(name="team", value="x"),), annotations=(NamedValue(name="note", value="y"),))
    meta = pod["metadata"]
    assert (meta["name"], meta["namespace"]) == ("t-1-0", "runai-a")
    assert meta["ownerReferences"] == [{**PLACE.owner, "controller": True}]
    assert pod["spec"]["schedulerName"] == "runai-scheduler"
    expected = {
        "team": "x",
        "runai/queue": "a",
        "project": "a",
        "runai/workload": "t",
        "runai/workload-uid": "u-1",
        "runai/attempt": "1",
        "runai/rank": "0",
        "runai/role": "worker",
        "user": "kim",
        "priorityClassName": "low",
    }
    assert meta["labels"].items() >= expected.items()
    assert meta["annotations"].items() >= {"note": "y", "pod-group-name": "a.t.1", "runai/workload": "a/t"}.items()


def test_a_pod_of_another_node_pool_is_labelled_with_it() -> None:
    workload = replace(a_workload(WorkloadSpec()), node_pool="gold")
    made = gang(workload)
    pool = made.pods[0].node_pool
    assert pod_object(workload, made, made.pods[0], PLACE)["metadata"]["labels"]["kai.scheduler/node-pool"] == "gold"
    assert group_object(workload, made.group, PLACE, pool)["spec"]["queue"] == "a-gold"


def test_an_author_whose_name_is_no_label_is_noted() -> None:
    workload = replace(a_workload(WorkloadSpec()), meta=Meta(name="t", project="a", uid="u", created_by="k@x.org"))
    meta = pods(workload)[0]["metadata"]
    assert "user" not in meta["labels"]
    assert meta["annotations"]["user"] == "k@x.org"


CONTAINERS: list[Any] = [
    pytest.param(
        {"command": "python 'a b.py'", "args": "--lr 1"},
        {"command": ["python", "a b.py"], "args": ["--lr", "1"]},
        id="command and arguments",
    ),
    pytest.param({"args": "--lr 1"}, {"args": ["--lr", "1"]}, id="arguments of the image's own entry point"),
    pytest.param({"image_pull_policy": "Never"}, {"imagePullPolicy": "Never"}, id="pull policy"),
    pytest.param({"working_dir": "/w"}, {"workingDir": "/w"}, id="working directory"),
    pytest.param({"tty": True, "stdin": True}, {"tty": True, "stdin": True}, id="a terminal"),
    pytest.param(
        {"compute": Compute(gpu_devices_request=2, cpu_core_request=1.5, cpu_memory_limit="1Gi")},
        {
            "resources": {
                "requests": {"cpu": "1500m", "memory": "1073741824", "nvidia.com/gpu": "2"},
                "limits": {"memory": "1073741824", "nvidia.com/gpu": "2"},
            }
        },
        id="requests and limits",
    ),
    pytest.param(
        {"ports": (Port(container=80), Port(container=81, exclude=True))},
        {"ports": [{"containerPort": 80, "protocol": "TCP"}]},
        id="ports",
    ),
    pytest.param(
        {
            "probes": Probes(
                readiness=Probe(period_seconds=5, handler=ProbeHandler(http_get=HttpGet(path="/x", port=8)))
            )
        },
        {"readinessProbe": {"httpGet": {"path": "/x", "port": 8}, "periodSeconds": 5}},
        id="a probe",
    ),
    pytest.param(
        {
            "security": Security(
                run_as_uid=5,
                run_as_gid=6,
                run_as_non_root=True,
                capabilities=("SYS_PTRACE",),
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                seccomp_profile_type="RuntimeDefault",
            )
        },
        {
            "securityContext": {
                "runAsUser": 5,
                "runAsGroup": 6,
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"add": ["SYS_PTRACE"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
        },
        id="rights",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), CONTAINERS)
def test_the_container(spec: dict[str, Any], expected: Object) -> None:
    found = container(**spec)
    assert {name: found.get(name) for name in expected} == expected


PODS: list[Any] = [
    pytest.param({"node_type": "a100"}, {"nodeSelector": {"run.ai/type": "a100"}}, id="a node type"),
    pytest.param(
        {"tolerations": (TolerationSpec(key="k", operator="Exists", effect="NoExecute", seconds=5),)},
        {"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]},
        id="a toleration with its seconds",
    ),
    pytest.param(
        {"tolerations": (TolerationSpec(operator="Exists", effect="Any"),)},
        {"tolerations": [{"operator": "Exists"}]},
        id="a toleration of everything",
    ),
    pytest.param(
        {"security": Security(supplemental_groups="5;6", host_ipc=True, host_network=True)},
        {
            "securityContext": {"supplementalGroups": [5, 6]},
            "hostIPC": True,
            "hostNetwork": True,
            "dnsPolicy": "ClusterFirstWithHostNet",
        },
        id="groups and the host's namespaces",
    ),
    pytest.param({"restart_policy": RestartPolicy.ON_FAILURE}, {"restartPolicy": "OnFailure"}, id="restart policy"),
    pytest.param({"termination_grace_period_seconds": 7}, {"terminationGracePeriodSeconds": 7}, id="grace period"),
    pytest.param(
        {"image_pull_secrets": (ImagePullSecret(name="s"), ImagePullSecret(name="t", exclude=True))},
        {"imagePullSecrets": [{"name": "s"}]},
        id="pull secrets",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), PODS)
def test_the_pod(spec: dict[str, Any], expected: Object) -> None:
    found = a_pod(**spec)["spec"]
    assert {name: found.get(name) for name in expected} == expected


FRACTIONS: list[Any] = [
    pytest.param(
        Compute(gpu_devices_request=1, gpu_request_type=GpuRequestType.PORTION, gpu_portion_request=0.25),
        {"gpu-fraction": "0.25"},
        id="a part of one device",
    ),
    pytest.param(
        Compute(gpu_devices_request=2, gpu_request_type=GpuRequestType.PORTION, gpu_portion_request=0.5),
        {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "2"},
        id="a part of each of two",
    ),
    pytest.param(
        Compute(gpu_request_type=GpuRequestType.MEMORY, gpu_memory_request="2Gi"),
        {"gpu-memory": "2048"},
        id="memory of a device",
    ),
]


@pytest.mark.parametrize(("compute", "expected"), FRACTIONS)
def test_shares_of_devices_are_asked_for_by_annotation(compute: Compute, expected: dict[str, str]) -> None:
    pod = a_pod(compute=compute)
    notes = pod["metadata"]["annotations"]
    assert {name: value for name, value in notes.items() if name.startswith("gpu-")} == expected
    assert "nvidia.com/gpu" not in str(pod["spec"]["containers"][0]["resources"])
    assert "NVIDIA_VISIBLE_DEVICES" in variables(pod)


def test_references_are_left_to_the_kubelet() -> None:
    pod = a_pod(
        environment_variables=(
            EnvironmentVariable(name="A", value="text"),
            EnvironmentVariable(name="B", secret=KeyReference(name="s", key="k")),
            EnvironmentVariable(name="C", config_map=KeyReference(name="m", key="k")),
            EnvironmentVariable(name="D", user_credential=KeyReference(name="c", key="k")),
            EnvironmentVariable(name="E", pod_field_ref=PodFieldReference(path="status.hostIP")),
            EnvironmentVariable(name="F", secret=KeyReference(name="s", key="k"), exclude=True),
            EnvironmentVariable(name="RUNAI_PROJECT", value="own"),
        )
    )
    found = variables(pod)
    assert found["A"] == "text"
    assert found["B"] == {"secretKeyRef": {"name": "s", "key": "k"}}
    assert found["C"] == {"configMapKeyRef": {"name": "m", "key": "k"}}
    assert found["D"] == {"secretKeyRef": {"name": "c", "key": "k"}}
    assert found["E"] == {"fieldRef": {"fieldPath": "status.hostIP"}}
    assert "F" not in found
    assert found["RUNAI_PROJECT"] == "own"
    assert found["NODE_NAME"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert found["POD_UUID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


def test_every_kind_of_volume_is_mounted() -> None:
    storage = Storage(
        pvc=(Pvc(claim_name="data", existing_pvc=True, path="/pvc", read_only=True),),
        nfs=(Nfs(server="n", path="/export", mount_path="/nfs"),),
        host_path=(HostPath(path="/host", mount_propagation="HostToContainer"),),
        config_map_volume=(MountedMap(config_map="m", mount_path="/cm", default_mode="0640"),),
        secret_volume=(MountedMap(secret="s", mount_path="/s", sub_path="k"),),
        empty_dir_volume=(EmptyDir(path="/tmp2", medium="Memory", size_limit="1G"),),
        git=(Git(repository="https://x/y/repo.git", branch="main", path="/git", password_secret="p"),),
        s3=(S3(bucket="b", path="/s3", url="http://minio", access_key_secret="k"),),
    )
    pod = a_pod(storage=storage, compute=Compute(large_shm_request=True), create_home_dir=True)["spec"]
    sources = {volume["name"]: {k: v for k, v in volume.items() if k != "name"} for volume in pod["volumes"]}
    assert sources == {
        "pvc-0": {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        "nfs-0": {"nfs": {"server": "n", "path": "/export"}},
        "host-0": {"hostPath": {"path": "/host"}},
        "configmap-0": {"configMap": {"name": "m", "defaultMode": 0o640}},
        "secret-0": {"secret": {"secretName": "s"}},
        "empty-0": {"emptyDir": {"medium": "Memory", "sizeLimit": "1G"}},
        "git-0": {"emptyDir": {}},
        "s3-0": {"emptyDir": {}},
        "shm": {"emptyDir": {"medium": "Memory"}},
        "home": {"emptyDir": {}},
    }
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    paths = {name: mount["mountPath"] for name, mount in mounts.items()}
    assert (paths["nfs-0"], paths["host-0"]) == ("/nfs", "/host")
    assert mounts["pvc-0"]["readOnly"] is True
    assert mounts["secret-0"]["subPath"] == "k"
    assert mounts["host-0"]["mountPropagation"] == "HostToContainer"
    git, bucket = pod["initContainers"]
    assert git["args"] == ["--repo=https://x/y/repo.git", "--root=/git", "--link=repo", "--one-time", "--ref=main"]
    assert bucket["args"] == ["--endpoint-url", "http://minio", "s3", "sync", "s3://b", "/s3"]


WRONG: list[Any] = [
    pytest.param({"storage": Storage(pvc=(Pvc(path="/p", existing_pvc=True),))}, "pvc.0.claimName", id="which claim"),
    pytest.param({"storage": Storage(pvc=(Pvc(path="/p"),))}, "pvc.0.claimInfo.size", id="how large a new claim"),
    pytest.param({"storage": Storage(nfs=(Nfs(server="n", path="rel"),))}, "nfs.0.path", id="a relative path"),
    pytest.param(
        {"storage": Storage(secret_volume=(MountedMap(mount_path="/s"),))}, "secretVolume.0.secret", id="which secret"
    ),
    pytest.param(
        {"storage": Storage(secret_volume=(MountedMap(secret="s", mount_path="/s", default_mode="9"),))},
        "secretVolume.0.defaultMode",
        id="no file mode",
    ),
    pytest.param({"security": Security(supplemental_groups="five")}, "supplementalGroups", id="groups by name"),
]


@pytest.mark.parametrize(("spec", "field"), WRONG)
def test_what_cannot_be_a_pod_is_refused_by_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        a_pod(**spec)
    assert caught.value.errors[0].field.endswith(field)


def test_an_image_is_needed() -> None:
    workload = a_workload(WorkloadSpec())
    workload = replace(workload, spec=replace(workload.spec, image=None))
    with pytest.raises(InvalidRequest, match=r"spec\.image: is required on a cluster"):
        pods(workload)


def test_a_new_claim_asks_for_what_it_says() -> None:
    from runai_core.backends.kubernetes.codec.mounts import mounts_of

    info = ClaimInfo(size="10G", storage_class="fast", access_modes=AccessModes(read_write_many=True))
    spec = WorkloadSpec(storage=Storage(pvc=(Pvc(path="/p", name="data", ephemeral=True, claim_info=info),)))
    (claim,) = mounts_of(spec, "t", "runai-a").claims
    assert claim["metadata"]["name"] == "t-data"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "10G"}},
        "storageClassName": "fast",
    }


def test_a_new_claim_may_be_written_in_gb_and_may_ask_for_no_class() -> None:
    from runai_core.backends.kubernetes.codec.mounts import mounts_of

    info = ClaimInfo(size="10GB", storage_class="runai-none")
    (claim,) = mounts_of(WorkloadSpec(storage=Storage(pvc=(Pvc(path="/p", claim_info=info),))), "t", "runai-a").claims

    assert claim["spec"]["resources"]["requests"]["storage"] == "10G"
    assert claim["spec"]["storageClassName"] == ""


# -- gangs


def a_gang(**fields: Any) -> Workload:
    return a_workload(WorkloadSpec(num_workers=2, **fields), WorkloadType.DISTRIBUTED)


def test_the_pods_of_a_gang_have_names_that_last() -> None:
    found = pods(a_gang())
    assert [pod["spec"]["hostname"] for pod in found] == ["master-0", "worker-1", "worker-2"]
    assert {pod["spec"]["subdomain"] for pod in found} == {"t"}
    assert {variables(pod)["MASTER_ADDR"] for pod in found} == {"master-0.t.runai-a.svc"}
    assert [pod["metadata"]["labels"]["kai.scheduler/subgroup-name"] for pod in found] == ["master", "worker", "worker"]


def test_the_group_of_a_gang_has_its_parts() -> None:
    workload = a_gang(terminate_after_preemption=True, pod_affinity=PodAffinitySpec(type="Required", key="rack/x"))
    item = group_object(workload, gang(workload).group, PLACE, "default")
    assert item["spec"] == {
        "minMember": 3,
        "queue": "a",
        "priorityClassName": "low",
        "preemptibility": "preemptible",
        "subGroups": [{"name": "master", "minMember": 1}, {"name": "worker", "minMember": 2}],
        "topologyConstraint": {"topology": "runai-rack-x", "requiredTopologyLevel": "rack/x"},
    }
    assert yaml.safe_load(item["metadata"]["annotations"]["kai.scheduler/top-owner-metadata"]) == {
        "name": "t", "uid": "u-1", "group": "run.ai", "version": "v2alpha1", "kind": "TrainingWorkload",
    }  # fmt: skip
    assert item["metadata"]["annotations"]["runai/terminate-after-preemption"] == "true"
    assert topology_object("rack/x")["spec"] == {"levels": [{"nodeLabel": "rack/x"}]}


def test_a_master_may_have_a_specification_of_its_own() -> None:
    workload = replace(a_gang(compute=Compute(gpu_devices_request=1)), master_spec=WorkloadSpec(image="other"))
    found = pods(workload)
    assert [pod["spec"]["containers"][0]["image"] for pod in found] == ["other", "img", "img"]


def test_mpi_has_keys_a_host_file_and_servers() -> None:
    workload = replace(
        a_gang(distributed_framework=DistributedFramework.MPI, slots_per_worker=2),
        master_spec=WorkloadSpec(command="mpirun x"),
    )
    launcher, worker, _ = pods(workload)
    assert launcher["spec"]["containers"][0]["command"] == ["mpirun", "x"]
    assert worker["spec"]["containers"][0]["command"] == ["/usr/sbin/sshd", "-De"]
    assert [volume["name"] for volume in launcher["spec"]["volumes"]] == ["ssh", "mpi"]
    assert [volume["name"] for volume in worker["spec"]["volumes"]] == ["ssh"]
    data = hostfile_object(workload, gang(workload), PLACE)["data"]["hostfile"]
    assert data == "worker-1.t.runai-a.svc slots=2\nworker-2.t.runai-a.svc slots=2\n"


SERVICES: list[Any] = [
    pytest.param(a_workload(WorkloadSpec()), [], id="none without ports"),
    pytest.param(
        a_workload(
            WorkloadSpec(ports=(Port(container=80), Port(container=81, service_type="NodePort", external=30080)))
        ),
        [
            ("t-ports", "ClusterIP", [{"name": "port-80", "port": 80, "targetPort": 80}]),
            ("t-nodeport", "NodePort", [{"name": "port-81", "port": 81, "targetPort": 81, "nodePort": 30080}]),
        ],
        id="one for each way in",
    ),
    pytest.param(
        a_workload(
            WorkloadSpec(serving_port=ServingPort(container=8000), autoscaling=Autoscaling(min_replicas=2)),
            WorkloadType.INFERENCE,
        ),
        [("t", "ClusterIP", [{"name": "serving", "port": 80, "targetPort": 8000}])],
        id="one for an inference server",
    ),
    pytest.param(
        a_gang(),
        [("t", None, [{"name": "rendezvous", "port": 29500, "targetPort": 29500}])],
        id="a headless one for a gang",
    ),
]


@pytest.mark.parametrize(("workload", "expected"), SERVICES)
def test_services(workload: Workload, expected: list[Any]) -> None:
    found = services_of(workload, PLACE)
    assert [(s["metadata"]["name"], s["spec"].get("type"), s["spec"]["ports"]) for s in found] == expected
    assert all(s["spec"]["selector"]["runai/workload-uid"] == "u-1" for s in found)


def test_a_headless_service_knows_the_present_attempt_and_pods_that_are_not_ready() -> None:
    (service,) = services_of(replace(a_gang(), attempt=3), PLACE)
    assert service["spec"]["selector"]["runai/attempt"] == "3"
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)


def test_an_unknown_service_type_is_refused() -> None:
    workload = a_workload(WorkloadSpec(ports=(Port(container=80, service_type="Magic"),)))
    with pytest.raises(InvalidRequest, match=r"spec\.ports\.0\.serviceType: must be one of ClusterIP"):
        services_of(workload, PLACE)
