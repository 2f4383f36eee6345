"""The storage section of a specification as volumes, mounts, claims and init containers of a pod."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.spec import WorkloadSpec
from runai_core.model.storage import STATIC
from runai_core.model.volumes import S3, ClaimInfo, Git, Pvc, Storage

Object = dict[str, Any]

GIT_IMAGE = "registry.k8s.io/git-sync/git-sync:v4.4.2"
S3_IMAGE = "public.ecr.aws/aws-cli/aws-cli:2.17.0"
"""Images of the init containers that fetch a repository or a bucket before the workload starts."""

HOME = "/home/runai"
"""Where the temporary home directory appears."""

SHM = "/dev/shm"  # noqa: S108 - where programs look for shared memory

_UNFIT = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Mounts:
    """What a pod mounts, and what must exist for it."""

    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    fetchers: list[Object] = field(default_factory=list)  # init containers
    claims: list[Object] = field(default_factory=list)  # PersistentVolumeClaims to create
    environment: list[Object] = field(default_factory=list)

    def add(self, volume: Object, path: str, *, at: str, **mount: Any) -> None:
        """Mount a volume; `at` is the field that asked for it."""
        if not path.startswith("/"):
            raise InvalidRequest.of(FieldError(at, "must be an absolute path in the container", path))
        self.volumes.append(volume)
        self.mounts.append({"name": volume["name"], "mountPath": path, **{k: v for k, v in mount.items() if v}})


def mounts_of(spec: WorkloadSpec, workload: str, namespace: str, *, at: str = "spec") -> Mounts:
    """Return the mounts of a specification.

    Raises:
        InvalidRequest: an entry contradicts itself; names the field.
    """
    found, storage = Mounts(), spec.storage
    _claims(found, storage, workload, namespace, f"{at}.storage")
    _directories(found, storage, f"{at}.storage")
    _files(found, storage, f"{at}.storage")
    for index, git in _present(storage.git):
        _git(found, git, index, f"{at}.storage.git.{index}")
    for index, bucket in _present(storage.s3):
        _s3(found, bucket, index, f"{at}.storage.s3.{index}")
    if spec.compute.large_shm_request:
        found.add({"name": "shm", "emptyDir": {"medium": "Memory"}}, SHM, at=f"{at}.compute.largeShmRequest")
    if spec.create_home_dir:
        found.add({"name": "home", "emptyDir": {}}, HOME, at=f"{at}.createHomeDir")
        found.environment.append({"name": "HOME", "value": HOME})
    return found


def claim_name(claim: Pvc, workload: str, index: int) -> str:
    """Return the name of the claim that an entry is about."""
    return claim.claim_name or fit_name(f"{workload}-{claim.name or f'pvc-{index}'}")


def fit_name(text: str) -> str:
    """Return a text as the name of an object: lower-case letters, digits and '-', at most 63."""
    return _UNFIT.sub("-", text.lower()).strip("-")[:63].strip("-") or "x"


def _claims(found: Mounts, storage: Storage, workload: str, namespace: str, at: str) -> None:
    for index, claim in _present(storage.pvc):
        name = claim_name(claim, workload, index)
        if claim.existing_pvc and not claim.claim_name:
            raise InvalidRequest.of(FieldError(f"{at}.pvc.{index}.claimName", "is required with existingPvc"))
        if not claim.existing_pvc:
            found.claims.append(_claim(claim, name, namespace, f"{at}.pvc.{index}"))
        source: Object = {"claimName": name, **({"readOnly": True} if claim.read_only else {})}
        volume = {"name": f"pvc-{index}", "persistentVolumeClaim": source}
        found.add(volume, claim.path, at=f"{at}.pvc.{index}.path", readOnly=claim.read_only)
    for index, data in _present(storage.data_volume):
        volume = {"name": f"data-{index}", "persistentVolumeClaim": {"claimName": data.id, "readOnly": True}}
        found.add(volume, data.mount_path, at=f"{at}.dataVolume.{index}.mountPath", readOnly=True)


_MODES: Mapping[str, str] = {
    "read_write_once": "ReadWriteOnce",
    "read_only_many": "ReadOnlyMany",
    "read_write_many": "ReadWriteMany",
}


def _claim(claim: Pvc, name: str, namespace: str, at: str) -> Object:
    wanted = claim.claim_info or ClaimInfo()
    if not wanted.size:
        raise InvalidRequest.of(FieldError(f"{at}.claimInfo.size", "is required for a new claim, for example 10G"))
    modes = [mode for ours, mode in _MODES.items() if wanted.access_modes and getattr(wanted.access_modes, ours)]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace, "labels": {"runai/ephemeral": str(bool(claim.ephemeral))}},
        "spec": {
            "accessModes": modes or ["ReadWriteOnce"],
            "resources": {"requests": {"storage": wanted.size.removesuffix("B")}},  # people write 10GB, Kubernetes 10G
            **({"storageClassName": _class_name(wanted.storage_class)} if wanted.storage_class else {}),
            **({"volumeMode": wanted.volume_mode} if wanted.volume_mode else {}),
        },
    }


def _class_name(name: str) -> str:
    return "" if name == STATIC else name


def _directories(found: Mounts, storage: Storage, at: str) -> None:
    for index, nfs in _present(storage.nfs):
        source = {"server": nfs.server, "path": nfs.path, **({"readOnly": True} if nfs.read_only else {})}
        volume = {"name": f"nfs-{index}", "nfs": source}
        found.add(volume, nfs.mount_path or nfs.path, at=f"{at}.nfs.{index}.path", readOnly=nfs.read_only)
    for index, host in _present(storage.host_path):
        volume = {"name": f"host-{index}", "hostPath": {"path": host.path}}
        found.add(
            volume,
            host.mount_path or host.path,
            at=f"{at}.hostPath.{index}.path",
            readOnly=host.read_only,
            mountPropagation=host.mount_propagation,
        )
    for index, empty in _present(storage.empty_dir_volume):
        source = {
            **({"medium": empty.medium} if empty.medium else {}),
            **({"sizeLimit": empty.size_limit} if empty.size_limit else {}),
        }
        found.add({"name": f"empty-{index}", "emptyDir": source}, empty.path, at=f"{at}.emptyDirVolume.{index}.path")


def _files(found: Mounts, storage: Storage, at: str) -> None:
    for kind, entries in (("configMap", storage.config_map_volume), ("secret", storage.secret_volume)):
        for index, entry in _present(entries):
            field_at = f"{at}.{kind}Volume.{index}"
            name = entry.config_map if kind == "configMap" else entry.secret
            if not name:
                raise InvalidRequest.of(FieldError(f"{field_at}.{kind}", "is required: the name of the object"))
            source: Object = {"name" if kind == "configMap" else "secretName": name}
            if entry.default_mode:
                source["defaultMode"] = _mode(entry.default_mode, f"{field_at}.defaultMode")
            volume = {"name": f"{kind.lower()}-{index}", kind: source}
            found.add(volume, entry.mount_path, at=f"{field_at}.mountPath", subPath=entry.sub_path)


def _mode(text: str, at: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise InvalidRequest.of(FieldError(at, "must be a file mode in octal, for example 0644", text))
    return mode


def _git(found: Mounts, git: Git, index: int, at: str) -> None:
    """A repository is checked out before the container starts, below its path, under the repository's name."""
    path = git.path or f"/workspace/git-{index}"
    name = git.repository.rstrip("/").rpartition("/")[2].removesuffix(".git") or "repository"
    volume = {"name": f"git-{index}", "emptyDir": {}}
    found.add(volume, path, at=f"{at}.path")
    arguments = [f"--repo={git.repository}", f"--root={path}", f"--link={name}", "--one-time"]
    if git.revision or git.branch:
        arguments.append(f"--ref={git.revision or git.branch}")
    fetcher: Object = {
        "name": f"git-{index}",
        "image": GIT_IMAGE,
        "args": arguments,
        "volumeMounts": [found.mounts[-1]],
    }
    if git.password_secret:
        fetcher["env"] = [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": git.password_secret, "key": key}}}
            for variable, key in (("GITSYNC_USERNAME", "username"), ("GITSYNC_PASSWORD", "password"))
        ]
    found.fetchers.append(fetcher)


def _s3(found: Mounts, bucket: S3, index: int, at: str) -> None:
    """A bucket is copied before the container starts: mounting one needs a driver that few clusters have."""
    path = bucket.path or f"/workspace/s3-{index}"
    found.add({"name": f"s3-{index}", "emptyDir": {}}, path, at=f"{at}.path")
    fetcher: Object = {
        "name": f"s3-{index}",
        "image": S3_IMAGE,
        "args": [
            *(["--endpoint-url", bucket.url] if bucket.url else []),
            *([] if bucket.access_key_secret else ["--no-sign-request"]),
            "s3", "sync", f"s3://{bucket.bucket}", path,
        ],
        "volumeMounts": [found.mounts[-1]],
    }  # fmt: skip
    if bucket.access_key_secret:
        keys = {
            "AWS_ACCESS_KEY_ID": bucket.secret_key_of_access_key_id or "AccessKeyId",
            "AWS_SECRET_ACCESS_KEY": bucket.secret_key_of_secret_key or "SecretKey",
        }
        fetcher["env"] = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": bucket.access_key_secret, "key": key}}}
            for name, key in keys.items()
        ]
    found.fetchers.append(fetcher)


def _present(entries: Iterable[Any]) -> list[tuple[int, Any]]:
    """Return the entries that are not left out, each with its place."""
    return [(index, entry) for index, entry in enumerate(entries) if not entry.exclude]
