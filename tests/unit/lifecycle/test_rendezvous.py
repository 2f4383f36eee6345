"""What each framework's processes are told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.model.meta import Meta
from runai_core.model.spec import Compute, DistributedFramework, WorkloadSpec
from runai_core.model.workload import Pod, Workload, WorkloadType

ONE_HOST = RunContext(master_address="127.0.0.1", master_port=4000)
MANY_HOSTS = replace(ONE_HOST, master_address="job-0.svc", addresses=("job-0.svc", "job-1.svc", "job-2.svc"))


def pods(
    framework: DistributedFramework | None = None,
    context: RunContext = ONE_HOST,
    kind: WorkloadType = WorkloadType.DISTRIBUTED,
    **fields: Any,
) -> tuple[Pod, ...]:
    has_master = fields.pop("has_master", True)
    workload = Workload(
        meta=Meta(name="job", project="team", uid="u1"),
        department="research",
        type=kind,
        attempt=2,
        has_master=has_master,
        spec=WorkloadSpec(distributed_framework=framework, **fields),
    )
    return gang_of(workload, run_context=context).pods


def told(pod: Pod, *names: str) -> dict[str, str | None]:
    return {name: pod.spec.environment.get(name) for name in names}


PYTORCH, TF, MPI = DistributedFramework.PYTORCH, DistributedFramework.TF, DistributedFramework.MPI
XGBOOST, JAX = DistributedFramework.XGBOOST, DistributedFramework.JAX


def test_every_pod_is_told_who_it_is() -> None:
    (pod,) = pods(kind=WorkloadType.TRAINING, compute=Compute(gpu_portion_request=0.5))
    names = ("RUNAI_PROJECT", "RUNAI_DEPARTMENT", "RUNAI_JOB_NAME", "RUNAI_JOB_UUID", "JOB_NAME", "JOB_UUID")
    assert told(pod, *names, "POD_INDEX", "POD_UUID", "RUNAI_NUM_OF_GPUS", "RUNAI_ATTEMPT") == {
        "RUNAI_PROJECT": "team",
        "RUNAI_DEPARTMENT": "research",
        "RUNAI_JOB_NAME": "job",
        "RUNAI_JOB_UUID": "u1",
        "JOB_NAME": "job",
        "JOB_UUID": "u1",
        "POD_INDEX": "0",
        "POD_UUID": pod.meta.uid,
        "RUNAI_NUM_OF_GPUS": "0.5",
        "RUNAI_ATTEMPT": "2",
    }
    assert "MASTER_ADDR" not in pod.spec.environment


def test_pytorch_processes_meet_at_the_master() -> None:
    master, first, second = pods(PYTORCH, num_workers=2)
    shared = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4000", "LOCAL_RANK": "0"}
    for rank, pod in enumerate((master, first, second)):
        assert told(pod, "RANK", "NODE_RANK", "GROUP_RANK", *shared) == {
            "RANK": str(rank),
            "NODE_RANK": str(rank),
            "GROUP_RANK": str(rank),
            **shared,
        }


def test_torchrun_is_set_up_by_its_own_variables() -> None:
    _, worker = pods(PYTORCH, num_workers=1, compute=Compute(gpu_devices_request=4))
    names = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_PORT", "PET_RDZV_BACKEND")
    assert told(worker, *names) == {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "4",
        "PET_NODE_RANK": "1",
        "PET_MASTER_PORT": "4000",
        "PET_RDZV_BACKEND": None,
    }


def test_an_elastic_torchrun_meets_by_rendezvous() -> None:
    worker = pods(PYTORCH, num_workers=2, min_replicas=1, max_replicas=3)[1]
    names = ("PET_NNODES", "PET_RDZV_BACKEND", "PET_RDZV_ENDPOINT", "PET_RDZV_ID")
    assert told(worker, *names) == {
        "PET_NNODES": "2:4",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": "127.0.0.1:4000",
        "PET_RDZV_ID": "u1-2",
    }


@pytest.mark.parametrize(
    ("context", "cluster"),
    [
        (ONE_HOST, {"chief": ["127.0.0.1:4000"], "worker": ["127.0.0.1:4001", "127.0.0.1:4002"]}),
        (MANY_HOSTS, {"chief": ["job-0.svc:4000"], "worker": ["job-1.svc:4000", "job-2.svc:4000"]}),
        (
            replace(ONE_HOST, ports=(7, 8, 9)),
            {"chief": ["127.0.0.1:7"], "worker": ["127.0.0.1:8", "127.0.0.1:9"]},
        ),
    ],
    ids=["on one host each has its own port", "with a host each they share the port", "ports that were given"],
)
def test_tensorflow_knows_all_its_members(context: RunContext, cluster: dict[str, list[str]]) -> None:
    tasks = []
    for pod in pods(TF, context, num_workers=2):
        config = json.loads(pod.spec.environment["TF_CONFIG"])
        assert config["cluster"] == cluster
        tasks.append((config["task"]["type"], config["task"]["index"]))
    assert tasks == [("chief", 0), ("worker", 0), ("worker", 1)]


def test_the_mpi_launcher_has_the_host_file_and_the_workers_are_the_world() -> None:
    launcher, *workers = pods(MPI, replace(MANY_HOSTS, hostfile="/etc/hosts.mpi"), num_workers=2, slots_per_worker=4)
    assert told(launcher, "RUNAI_MPI_HOSTFILE", "RUNAI_MPI_NUM_WORKERS", "OMPI_MCA_orte_default_hostfile", "RANK") == {
        "RUNAI_MPI_HOSTFILE": "job-1.svc slots=4\njob-2.svc slots=4",
        "RUNAI_MPI_NUM_WORKERS": "2",
        "OMPI_MCA_orte_default_hostfile": "/etc/hosts.mpi",
        "RANK": None,
    }
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "RUNAI_MPI_HOSTFILE")
    assert [told(worker, *names) for worker in workers] == [
        dict(zip(names, (rank, "2", "0", None), strict=True)) for rank in ("0", "1")
    ]


def test_slots_follow_the_gpus_when_nobody_says_otherwise() -> None:
    launcher = pods(MPI, num_workers=1, compute=Compute(gpu_devices_request=8))[0]
    assert launcher.spec.environment["RUNAI_MPI_HOSTFILE"] == "127.0.0.1 slots=8"


def test_xgboost_finds_its_tracker_and_its_workers() -> None:
    _, worker, _ = pods(XGBOOST, MANY_HOSTS, num_workers=2)
    names = ("DMLC_TRACKER_URI", "DMLC_TRACKER_PORT", "DMLC_NUM_WORKER", "DMLC_TASK_ID", "RANK", "WORLD_SIZE")
    assert told(worker, *names, "WORKER_ADDRS", "WORKER_PORT", "MASTER_ADDR") == {
        "DMLC_TRACKER_URI": "job-0.svc",
        "DMLC_TRACKER_PORT": "4000",
        "DMLC_NUM_WORKER": "3",
        "DMLC_TASK_ID": "1",
        "RANK": "1",
        "WORLD_SIZE": "3",
        "WORKER_ADDRS": "job-1.svc,job-2.svc",
        "WORKER_PORT": "4000",
        "MASTER_ADDR": "job-0.svc",
    }


def test_jax_processes_meet_at_the_coordinator() -> None:
    first, second = pods(JAX, num_workers=2, has_master=False)
    names = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    assert told(first, *names) == dict(zip(names, ("127.0.0.1:4000", "2", "0"), strict=True))
    assert told(second, *names) == dict(zip(names, ("127.0.0.1:4000", "2", "1"), strict=True))


def test_each_inference_group_has_its_own_leader() -> None:
    made = pods(kind=WorkloadType.DISTRIBUTED_INFERENCE, replicas=2, workers=1)
    names = ("LWS_GROUP_INDEX", "LWS_WORKER_INDEX", "LWS_GROUP_SIZE", "MASTER_PORT", "RANK", "WORLD_SIZE")
    assert [tuple(told(pod, *names).values()) for pod in made] == [
        ("0", "0", "2", "4000", "0", "2"),
        ("0", "1", "2", "4000", "1", "2"),
        ("1", "0", "2", "4002", "0", "2"),
        ("1", "1", "2", "4002", "1", "2"),
    ]


def test_ports_stay_within_the_range_of_user_ports() -> None:
    made = pods(TF, replace(ONE_HOST, master_port=65535), num_workers=2)
    config = json.loads(made[0].spec.environment["TF_CONFIG"])
    assert config["cluster"] == {"chief": ["127.0.0.1:65535"], "worker": ["127.0.0.1:1024", "127.0.0.1:1025"]}
