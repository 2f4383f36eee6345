"""What a specification says of volumes: the part `storage`, field by field as in the public API (`model.spec`)."""

from dataclasses import dataclass

from runai_core.model.meta import WIRE, described, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessModes:
    """How a volume may be mounted."""

    __pydantic_config__ = WIRE
    read_write_once: bool | None = described("By one node, to read and write.")
    read_only_many: bool | None = described("By many nodes, to read.")
    read_write_many: bool | None = described("By many nodes, to read and write.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimInfo:
    """The volume that a new claim asks for."""

    __pydantic_config__ = WIRE
    size: str | None = described("Capacity, for example 10G.")
    storage_class: str | None = described("Storage class; the cluster's default when left out.")
    access_modes: AccessModes | None = described("How it may be mounted.")
    volume_mode: str | None = described("Filesystem or Block.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pvc:
    """A persistent volume claim, existing or new."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    path: str = ""
    existing_pvc: bool | None = described("Mount the claim that claimName names.")
    claim_name: str | None = described("Name of the claim.")
    read_only: bool | None = described("Mount read-only.")
    ephemeral: bool | None = described("Remove the claim with the workload.")
    data_sharing: bool | None = described("The claim is shared in its scope.")
    claim_info: ClaimInfo | None = described("What a new claim asks for.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nfs:
    """A directory of an NFS server."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    path: str = ""
    server: str = ""
    mount_path: str | None = described("Where it appears; the same path when left out.")
    read_only: bool | None = described("Mount read-only.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """A directory of the node."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    path: str = ""
    mount_path: str | None = described("Where it appears; the same path when left out.")
    read_only: bool | None = described("Mount read-only.")
    mount_propagation: str | None = described("None or HostToContainer.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """A checkout of a git repository."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    repository: str = ""
    branch: str | None = described("Branch to check out.")
    revision: str | None = described("Commit or tag to check out.")
    path: str | None = described("Where it appears.")
    password_secret: str | None = described("Secret with user name and password.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """A bucket of an S3 service."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    bucket: str = ""
    path: str | None = described("Where it appears.")
    url: str | None = described("Address of the service.")
    access_key_secret: str | None = described("Secret with the access key.")
    secret_key_of_access_key_id: str | None = described("Key of the access key id in that secret.")
    secret_key_of_secret_key: str | None = described("Key of the secret key in that secret.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedMap:
    """A config map or secret mounted as files."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    config_map: str | None = described("Name of the config map.")
    secret: str | None = described("Name of the secret.")
    mount_path: str = ""
    sub_path: str | None = described("Only this key.")
    default_mode: str | None = described("File mode in octal, for example 0644.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyDir:
    """A directory that lives as long as the pod."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry.")
    path: str = ""
    medium: str | None = described("Memory, or empty for disk.")
    size_limit: str | None = described("Largest size, for example 10G.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataVolume:
    """A shared snapshot of a volume."""

    __pydantic_config__ = WIRE
    id: str = ""
    name: str | None = described("Name of the entry.")
    mount_path: str = ""
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Volumes of the pods, by kind."""

    __pydantic_config__ = WIRE
    pvc: tuple[Pvc, ...] = listed("Persistent volume claims.")
    nfs: tuple[Nfs, ...] = listed("NFS directories.")
    host_path: tuple[HostPath, ...] = listed("Directories of the node.")
    git: tuple[Git, ...] = listed("Git checkouts.")
    s3: tuple[S3, ...] = listed("S3 buckets.")
    config_map_volume: tuple[MountedMap, ...] = listed("Config maps as files.")
    secret_volume: tuple[MountedMap, ...] = listed("Secrets as files.")
    empty_dir_volume: tuple[EmptyDir, ...] = listed("Empty directories.")
    data_volume: tuple[DataVolume, ...] = listed("Data volumes.")
