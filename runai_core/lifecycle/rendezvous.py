"""How the processes of a workload learn who they are and where the others are.

One function for each framework, each returning the environment of one pod. The
names and values are those that the Kubeflow training operator injects, so that
a program written for it runs unchanged.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from runai_core.lifecycle.shape import Place, Shape, framework_of
from runai_core.model.snapshot import PodRequest
from runai_core.model.spec import DistributedFramework
from runai_core.model.workload import Pod, Workload, WorkloadType

DEFAULT_MASTER_PORT = 29500
"""Where PyTorch's own launcher listens when nobody says otherwise."""

_FIRST_FREE_PORT, _PORTS = 1024, 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Where each pod of the gang can be reached.

    `addresses` has one host for each rank; empty means that all pods share the
    master's host, and then each rank needs a port of its own: `ports`, or the
    numbers after `master_port`.
    """

    master_address: str = "127.0.0.1"
    master_port: int = DEFAULT_MASTER_PORT
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    hostfile: str = ""  # path of the MPI host file, where the backend writes one

    def host_of(self, rank: int) -> str:
        """Return the host of a rank."""
        return self.addresses[rank] if rank < len(self.addresses) else self.master_address

    def port_of(self, rank: int) -> int:
        """Return the port on which a rank may listen."""
        if rank < len(self.ports):
            return self.ports[rank]
        if self.addresses:
            return self.master_port
        return _FIRST_FREE_PORT + (self.master_port - _FIRST_FREE_PORT + rank) % (_PORTS - _FIRST_FREE_PORT)


class Roster:
    """What all members of one gang are told alike; worked out once, when the first one asks."""

    def __init__(self, shape: Shape, peers: Peers) -> None:
        self.shape = shape
        self.peers = peers

    @cached_property
    def workers(self) -> tuple[Place, ...]:
        """The places of the workers."""
        return tuple(place for place in self.shape.places if place.role == "worker")

    @cached_property
    def worker_hosts(self) -> str:
        """The hosts of the workers, separated by commas."""
        return ",".join(self.peers.host_of(place.rank) for place in self.workers)

    @cached_property
    def cluster(self) -> str:
        """The members of a TensorFlow cluster by kind, as JSON."""
        members: dict[str, list[str]] = {}
        for place in self.shape.places:
            address = f"{self.peers.host_of(place.rank)}:{self.peers.port_of(place.rank)}"
            members.setdefault(_tensorflow_kind(place), []).append(address)
        return json.dumps(members, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One pod, with all that its environment is made of."""

    workload: Workload
    roster: Roster
    place: Place
    request: PodRequest
    name: str
    uid: str

    @property
    def shape(self) -> Shape:
        """The shape of the gang."""
        return self.roster.shape

    @property
    def peers(self) -> Peers:
        """Where the others are."""
        return self.roster.peers

    @property
    def slots(self) -> int:
        """Processes that a launcher starts in the pod: one for each GPU, at least one."""
        return max(1, self.request.gpu_devices)


def environment_of(member: Member) -> dict[str, str]:
    """Return the variables that are injected into the pod; pure, without those that the user sets."""
    table = _BY_TYPE.get(member.workload.type)
    if member.workload.type == WorkloadType.DISTRIBUTED:
        table = _BY_FRAMEWORK[framework_of(member.workload)]
    return _common(member) | ({} if table is None else table(member))


def meeting_point(workload: Workload, pods: Iterable[Pod]) -> tuple[str, int] | None:
    """Return the address and port where pods of the present attempt meet already; one that joins must go there too."""
    for pod in pods:
        address, port = pod.spec.environment.get("MASTER_ADDR", ""), pod.spec.environment.get("MASTER_PORT", "")
        if pod.attempt == workload.attempt and address and port.isdigit():
            return address, int(port)
    return None


def gpus_of(request: PodRequest) -> str:
    """Return the number of GPUs as RUNAI_NUM_OF_GPUS tells it: ``2``, ``0.5``."""
    slices = sum(count for _, count in request.mig) + sum(count for _, count in request.dra)
    if request.gpu_portion:
        return f"{request.gpu_portion * max(request.gpu_devices, 1) / 1000:g}"
    return str(request.gpu_devices + slices)


def _common(member: Member) -> dict[str, str]:
    """Return what every pod is told (Run:ai docs; the short names are those of its older sample code)."""
    workload, index = member.workload, str(member.place.rank)
    return {
        "RUNAI_PROJECT": workload.meta.project,
        "RUNAI_DEPARTMENT": workload.department,
        "RUNAI_JOB_NAME": workload.name,
        "RUNAI_JOB_UUID": workload.meta.uid,
        "JOB_NAME": workload.name,
        "JOB_UUID": workload.meta.uid,
        "POD_NAME": member.name,
        "POD_UUID": member.uid,
        "POD_INDEX": index,
        "RUNAI_POD_INDEX": index,
        "RUNAI_NUM_OF_GPUS": gpus_of(member.request),
        "RUNAI_ATTEMPT": str(workload.attempt),
        "PYTHONUNBUFFERED": "1",
    }


def _master(member: Member) -> dict[str, str]:
    """Return the four variables that most frameworks share."""
    return {
        "MASTER_ADDR": member.peers.master_address,
        "MASTER_PORT": str(member.peers.master_port),
        "WORLD_SIZE": str(len(member.shape.places)),
        "RANK": str(member.place.rank),
    }


def _pytorch(member: Member) -> dict[str, str]:
    """One process for each pod, or torchrun with one for each GPU: PET_* are torchrun's own settings."""
    peers, rank, size = member.peers, str(member.place.rank), len(member.shape.places)
    fewest = member.shape.min_members
    environment = _master(member) | {
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "NODE_RANK": rank,
        "GROUP_RANK": rank,
        "PET_NODE_RANK": rank,
        "PET_NNODES": str(size) if fewest == size else f"{fewest}:{size}",
        "PET_NPROC_PER_NODE": str(member.slots),
        "PET_MASTER_ADDR": peers.master_address,
        "PET_MASTER_PORT": str(peers.master_port),
    }
    if fewest == size:
        return environment
    return environment | {
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"{peers.master_address}:{peers.master_port}",
        "PET_RDZV_ID": f"{member.workload.meta.uid or member.workload.name}-{member.workload.attempt}",
        "PET_MAX_RESTARTS": str(member.workload.spec.backoff_limit or 0),
    }


def _tensorflow(member: Member) -> dict[str, str]:
    """TF_CONFIG: the whole cluster, and the task of this pod."""
    kind, place = _tensorflow_kind(member.place), member.place
    first = 0 if place.role == "master" else len(member.shape.places) - len(member.roster.workers)
    task = json.dumps({"type": kind, "index": place.rank - first}, separators=(",", ":"))
    config = f'{{"cluster":{member.roster.cluster},"task":{task},"environment":"cloud"}}'
    return _master(member) | {"TF_CONFIG": config}


def _tensorflow_kind(place: Place) -> str:
    return "chief" if place.role == "master" else place.role


def _mpi(member: Member) -> dict[str, str]:
    """The launcher gets the host file; the workers are the ranks of the world."""
    workload, peers, workers = member.workload, member.peers, member.roster.workers
    slots = workload.spec.slots_per_worker or member.slots
    environment = {
        "RUNAI_MPI_NUM_WORKERS": str(len(workers)),
        "MASTER_ADDR": peers.master_address,
        "MASTER_PORT": str(peers.master_port),
    }
    if member.place.leader:
        lines = [f"{peers.host_of(place.rank)} slots={slots}" for place in workers]
        environment["RUNAI_MPI_HOSTFILE"] = "\n".join(lines)
    if member.place.leader and peers.hostfile:
        environment |= {"OMPI_MCA_orte_default_hostfile": peers.hostfile, "I_MPI_HYDRA_HOST_FILE": peers.hostfile}
    if member.place.role != "worker":
        return environment
    rank = str(member.place.rank - (len(member.shape.places) - len(workers)))
    return environment | {
        "OMPI_COMM_WORLD_RANK": rank,
        "OMPI_COMM_WORLD_SIZE": str(len(workers)),
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
        "OMPI_COMM_WORLD_NODE_RANK": "0",
        "RANK": rank,
        "WORLD_SIZE": str(len(workers)),
    }


def _xgboost(member: Member) -> dict[str, str]:
    """The operator's variables, and the DMLC_* names that Rabit's tracker and its workers read."""
    peers = member.peers
    environment = _master(member) | {
        "DMLC_TRACKER_URI": peers.master_address,
        "DMLC_TRACKER_PORT": str(peers.master_port),
        "DMLC_NUM_WORKER": str(len(member.shape.places)),
        "DMLC_TASK_ID": str(member.place.rank),
        "DMLC_ROLE": "worker",
    }
    if len(member.shape.places) > 1:
        environment |= {
            "WORKER_PORT": str(peers.port_of(member.place.rank)),
            "WORKER_ADDRS": member.roster.worker_hosts,
        }
    return environment


def _jax(member: Member) -> dict[str, str]:
    peers, size, rank = member.peers, len(member.shape.places), member.place.rank
    return {
        "COORDINATOR_ADDRESS": f"{peers.master_address}:{peers.master_port}",
        "COORDINATOR_PORT": str(peers.master_port),
        "NUM_PROCESSES": str(size),
        "PROCESS_ID": str(rank),
    }


def _serving(member: Member) -> dict[str, str]:
    """Knative tells the port as PORT."""
    port = member.workload.spec.serving_port
    return {} if port is None else {"PORT": str(port.container)}


def _leader_worker(member: Member) -> dict[str, str]:
    """The names of LeaderWorkerSet: each group has its leader."""
    place, peers = member.place, member.peers
    size = member.shape.minimum_of(place.sub_group)
    leader = place.rank - place.rank % size
    return _serving(member) | {
        "LWS_LEADER_ADDRESS": peers.host_of(leader),
        "LWS_GROUP_SIZE": str(size),
        "LWS_WORKER_INDEX": str(place.rank - leader),
        "LWS_GROUP_INDEX": place.sub_group.removeprefix("replica-"),
        "MASTER_ADDR": peers.host_of(leader),
        "MASTER_PORT": str(peers.port_of(leader)),
        "WORLD_SIZE": str(size),
        "RANK": str(place.rank - leader),
    }


Table = Callable[[Member], dict[str, str]]

_BY_FRAMEWORK: Mapping[DistributedFramework, Table] = {
    DistributedFramework.PYTORCH: _pytorch,
    DistributedFramework.TF: _tensorflow,
    DistributedFramework.MPI: _mpi,
    DistributedFramework.XGBOOST: _xgboost,
    DistributedFramework.JAX: _jax,
}

_BY_TYPE: Mapping[WorkloadType, Table] = {
    WorkloadType.INFERENCE: _serving,
    WorkloadType.DISTRIBUTED_INFERENCE: _leader_worker,
}
