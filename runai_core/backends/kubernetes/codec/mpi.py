"""What MPI needs besides its pods: a host file, and keys by which they reach each other."""

from typing import Any

from runai_core.backends.kubernetes.codec.mounts import Mounts
from runai_core.backends.kubernetes.codec.places import Place, labels_of
from runai_core.lifecycle.shape import framework_of
from runai_core.model.spec import DistributedFramework
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType

Object = dict[str, Any]

HOSTFILE_FOLDER, HOSTFILE = "/etc/mpi", "hostfile"
"""Where a launcher finds its host file."""

ROOT_HOME = "/root"
SSH_FOLDER = f"{ROOT_HOME}/.ssh"
"""Where MPI keeps its keys when nobody says otherwise (Kubeflow's MPI operator)."""

SSH_SERVER = ("/usr/sbin/sshd", "-De")
"""What an MPI worker without a command runs (Kubeflow's MPI operator)."""

SSH_FILES = (
    ("ssh-privatekey", "id_rsa", 0o600),
    ("ssh-publickey", "id_rsa.pub", 0o644),
    ("ssh-publickey", "authorized_keys", 0o600),
)
"""Keys of the secret, and the files that they become."""


def is_mpi(workload: Workload) -> bool:
    """Return whether a workload's processes find each other through MPI."""
    return workload.type is WorkloadType.DISTRIBUTED and framework_of(workload) is DistributedFramework.MPI


def mpi_name(workload: Workload) -> str:
    """Return the name of the config map and of the secret of an MPI workload; empty where it is none."""
    return f"{workload.name[:59]}-mpi" if is_mpi(workload) else ""


def hostfile_object(workload: Workload, gang: Gang, place: Place) -> Object:
    """Return the config map with the host file, which the launcher's environment has too."""
    lines = next((pod.spec.environment.get("RUNAI_MPI_HOSTFILE", "") for pod in gang.pods if pod.spec.leader), "")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": mpi_name(workload),
            "namespace": place.namespace,
            "labels": labels_of(workload, ""),
            "ownerReferences": [place.reference],
        },
        "data": {HOSTFILE: lines + "\n"},
    }


def add_mpi(mounts: Mounts, workload: Workload, pod: Pod) -> None:
    """Give every pod of an MPI workload the keys, and the launcher the host file."""
    name = mpi_name(workload)
    if not name:
        return
    keys = [{"key": key, "path": path, "mode": mode} for key, path, mode in SSH_FILES]
    folder = workload.spec.ssh_auth_mount_path or SSH_FOLDER
    secret = {"name": "ssh", "secret": {"secretName": name, "items": keys}}
    mounts.add(secret, folder, at="spec.sshAuthMountPath")
    if pod.spec.leader:
        mounts.add({"name": "mpi", "configMap": {"name": name}}, HOSTFILE_FOLDER, at="spec")
