"""Assets: parts of a workload's specification that are kept under a name, and templates made of them.

Kinds and fields are those of Run:ai's API (2.24, /api/v1/asset/...). An asset
belongs to a scope and can be used by everything below it. What is secret in a
credential is never in `spec`: it is in `sealed`, encrypted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runai_core.model.meta import WIRE, Meta, described, listed
from runai_core.model.network import Probes
from runai_core.model.spec import Compute, KeyReference, PodFieldReference
from runai_core.model.volumes import ClaimInfo
from runai_core.model.workload import WorkloadType

MODE = "^0?[0-7]{3}$"
"""A file mode in octal."""


class AssetKind(StrEnum):
    """What an asset is a part of."""

    ENVIRONMENT = "environment"
    COMPUTE = "compute"
    HOST_PATH = "hostPath"
    NFS = "nfs"
    PVC = "pvc"
    GIT = "git"
    S3 = "s3"
    CONFIG_MAP = "config-map"
    SECRET = "secret-volume"  # noqa: S105 - a kind, no secret
    ACCESS_KEY = "accessKey"
    PASSWORD = "password"  # noqa: S105
    DOCKER_REGISTRY = "dockerRegistry"
    GENERIC_SECRET = "genericSecret"  # noqa: S105
    NGC_API_KEY = "ngcApiKey"
    REGISTRY = "registry"


DATA_SOURCES = (
    AssetKind.HOST_PATH,
    AssetKind.NFS,
    AssetKind.PVC,
    AssetKind.GIT,
    AssetKind.S3,
    AssetKind.CONFIG_MAP,
    AssetKind.SECRET,
)
CREDENTIALS = (
    AssetKind.ACCESS_KEY,
    AssetKind.PASSWORD,
    AssetKind.DOCKER_REGISTRY,
    AssetKind.GENERIC_SECRET,
    AssetKind.NGC_API_KEY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedTypes:
    """Types of workloads that may use an asset; what is left out is allowed."""

    __pydantic_config__ = WIRE
    workspace: bool | None = None
    training: bool | None = None
    distributed: bool | None = None
    inference: bool | None = None
    dist_framework: str | None = None  # with distributed: only this framework


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A part of specifications with a name and a scope. `meta.name` is unique over all; people see `title`."""

    __pydantic_config__ = WIRE
    meta: Meta
    kind: AssetKind
    title: str
    scope_type: str = "tenant"  # system | tenant | cluster | department | project
    scope: str = ""  # name of the department or project
    description: str = ""
    supported: SupportedTypes = SupportedTypes()
    spec: Mapping[str, Any] = field(default_factory=dict)  # in the API's form, checked by `SPECS`
    sealed: str = ""  # credentials: what is secret, encrypted
    keys: tuple[str, ...] = ()  # credentials: names of the secret members


@dataclass(frozen=True, slots=True, kw_only=True)
class DataVolume:
    """A volume of one project that others may mount to read. `meta.project` is where it comes from."""

    __pydantic_config__ = WIRE
    meta: Meta
    claim_name: str
    description: str = ""
    shared: tuple[str, ...] = ()  # "<scope type>/<name>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A submission to start from: values of its own, and assets."""

    __pydantic_config__ = WIRE
    meta: Meta
    title: str
    type: WorkloadType
    scope_type: str = "tenant"
    scope: str = ""
    description: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)  # in the API's form
    master_spec: Mapping[str, Any] | None = None
    assets: Mapping[str, Any] = field(default_factory=dict)  # as `Submission.assets`


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetKey:
    """One key of a credential that is an asset."""

    __pydantic_config__ = WIRE
    asset_id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariableOfAsset:
    """One environment variable of an environment; at most one source is given."""

    __pydantic_config__ = WIRE
    name: str = field(metadata={"min_length": 1, "max_length": 253})
    value: str | None = described("The text of the variable.")
    credential: AssetKey | None = described("Take the value from a key of a credential.")
    config_map: KeyReference | None = described("Take the value from a key of a config map.")
    pod_field_ref: PodFieldReference | None = described("Take the value from a field of the pod.")
    exclude: bool | None = described("Leave out the variable of this name that a policy brings.")
    description: str | None = described("What the variable is for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalTool:
    """A tool that runs in the container."""

    __pydantic_config__ = WIRE
    tool_type: str
    connection_type: str = field(metadata={"pattern": "^(LoadBalancer|NodePort|ExternalUrl|ServingPort)$"})
    container_port: int = field(metadata={"ge": 1, "le": 65535})
    node_port_info: Mapping[str, Any] | None = None
    external_url_info: Mapping[str, Any] | None = None
    serving_port_info: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTool:
    """A tool somewhere else."""

    __pydantic_config__ = WIRE
    tool_type: str
    external_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A tool that users of an environment connect to."""

    __pydantic_config__ = WIRE
    name: str = field(metadata={"min_length": 1, "max_length": 253})
    is_external: bool | None = None
    internal_tool_info: InternalTool | None = None
    external_tool_info: ExternalTool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """What runs, and as whom."""

    __pydantic_config__ = WIRE
    image: str | None = described("Container image.", max_length=1024)
    image_pull_policy: str | None = described("Always, IfNotPresent or Never.", pattern="^(Always|IfNotPresent|Never)$")
    command: str | None = described("Program with arguments.", max_length=100_000)
    args: str | None = described("Arguments.", max_length=100_000)
    working_dir: str | None = described("Working directory.", max_length=4096)
    environment_variables: tuple[EnvironmentVariableOfAsset, ...] = listed("Environment variables.")
    connections: tuple[Connection, ...] = listed("Tools.")
    create_home_dir: bool | None = described("A temporary home directory.")
    stdin: bool | None = described("Keep standard input open.")
    tty: bool | None = described("Allocate a terminal.")
    probes: Probes | None = described("Health checks.")
    uid_gid_source: str | None = described("fromTheImage, fromIdpToken or custom.")
    run_as_uid: int | None = described("User id.", ge=0)
    run_as_gid: int | None = described("Group id.", ge=0)
    override_uid_gid_in_workspace: bool | None = described("Users may choose other ids in a workspace.")
    supplemental_groups: str | None = described("Further group ids.")
    run_as_non_root: bool | None = described("Refuse to run as root.")
    capabilities: tuple[str, ...] = listed("Linux capabilities to add.")
    seccomp_profile_type: str | None = described("RuntimeDefault, Unconfined or Localhost.")
    allow_privilege_escalation: bool | None = described("Let a process gain more rights than its parent.")
    read_only_root_filesystem: bool | None = described("Mount the root file system read-only.")
    host_ipc: bool | None = described("Use the host's IPC namespace.")
    host_network: bool | None = described("Use the host's network.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPathSource:
    """A directory of the node."""

    __pydantic_config__ = WIRE
    path: str = field(metadata={"min_length": 1, "max_length": 4096})
    mount_path: str | None = described("Where it appears; the same path when left out.", max_length=4096)
    read_only: bool | None = described("Mount read-only.")
    mount_propagation: str | None = described("None or HostToContainer.", pattern="^(None|HostToContainer)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class NfsSource:
    """A directory of an NFS server."""

    __pydantic_config__ = WIRE
    server: str = field(metadata={"min_length": 1, "max_length": 253})
    path: str = field(metadata={"min_length": 1, "max_length": 4096})
    mount_path: str | None = described("Where it appears; the same path when left out.", max_length=4096)
    read_only: bool | None = described("Mount read-only.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PvcSource:
    """A persistent volume claim, existing or new."""

    __pydantic_config__ = WIRE
    path: str = field(metadata={"min_length": 1, "max_length": 4096})
    existing_pvc: bool | None = described("Mount the claim that claimName names.")
    claim_name: str | None = described("Name of the claim.", max_length=63)
    read_only: bool | None = described("Mount read-only.")
    ephemeral: bool | None = described("Remove the claim with the workload.")
    data_sharing: bool | None = described("The claim is shared in its scope.")
    claim_info: ClaimInfo | None = described("What a new claim asks for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """A checkout of a git repository."""

    __pydantic_config__ = WIRE
    repository: str = field(metadata={"min_length": 1, "max_length": 4096})
    path: str = field(metadata={"min_length": 1, "max_length": 4096})
    branch: str | None = described("Branch to check out.", max_length=253)
    revision: str | None = described("Commit or tag to check out.", max_length=253)
    password_asset_id: str | None = described("Id of the password to use.")
    credential_id: str | None = described("The same, in its newer spelling.")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Source:
    """A bucket of an S3 service."""

    __pydantic_config__ = WIRE
    bucket: str = field(metadata={"min_length": 1, "max_length": 253})
    path: str = field(metadata={"min_length": 1, "max_length": 4096})
    url: str | None = described("Address of the service.", max_length=4096)
    access_key_asset_id: str | None = described("Id of the access key to use.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapSource:
    """A config map as files."""

    __pydantic_config__ = WIRE
    config_map: str = field(metadata={"min_length": 1, "max_length": 253})
    mount_path: str = field(metadata={"min_length": 1, "max_length": 4096})
    sub_path: str | None = described("Only this key.", max_length=253)
    default_mode: str | None = described("File mode in octal.", pattern=MODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """A credential as files."""

    __pydantic_config__ = WIRE
    credential_asset_id: str = field(metadata={"min_length": 1})
    mount_path: str = field(metadata={"min_length": 1, "max_length": 4096})
    default_mode: str | None = described("File mode in octal.", pattern=MODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """One member of a generic secret."""

    __pydantic_config__ = WIRE
    key: str = field(metadata={"min_length": 1, "max_length": 253, "pattern": "^[-._a-zA-Z0-9]+$"})
    value: str = field(default="", metadata={"max_length": 1_000_000})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKeySpec:
    """A pair of keys for a service such as S3."""

    __pydantic_config__ = WIRE
    existing_secret_name: str | None = described("A secret of the cluster, in place of the values.", max_length=253)
    access_key_id: str | None = described("Id of the key.", max_length=4096)
    secret_access_key: str | None = described("The secret; never shown.", max_length=65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSpec:
    """A user's name and password."""

    __pydantic_config__ = WIRE
    existing_secret_name: str | None = described("A secret of the cluster, in place of the values.", max_length=253)
    user: str | None = described("Name of the user.", max_length=4096)
    password: str | None = described("The password; never shown.", max_length=65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRegistrySpec:
    """A user of an image registry."""

    __pydantic_config__ = WIRE
    existing_secret_name: str | None = described("A secret of the cluster, in place of the values.", max_length=253)
    url: str | None = described("Address of the registry.", max_length=4096)
    user: str | None = described("Name of the user.", max_length=4096)
    password: str | None = described("The password; never shown.", max_length=65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericSecretSpec:
    """Any secret members."""

    __pydantic_config__ = WIRE
    existing_secret_name: str | None = described("A secret of the cluster, in place of the values.", max_length=253)
    key_value_pairs: tuple[KeyValue, ...] = listed("The members; their values are never shown.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NgcApiKeySpec:
    """A key for NVIDIA's catalogue."""

    __pydantic_config__ = WIRE
    ngc_api_key: str | None = described("The key; never shown.", max_length=65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySpec:
    """An image registry that is offered in forms."""

    __pydantic_config__ = WIRE
    url: str = field(metadata={"min_length": 1, "max_length": 4096})
    credential_kind: str | None = described("What user and password are.", max_length=64)
    user: str | None = described("Name of the user.", max_length=4096)
    password: str | None = described("The password; never shown.", max_length=65_536)


SPECS: Mapping[AssetKind, type[Any]] = {
    AssetKind.ENVIRONMENT: EnvironmentSpec,
    AssetKind.COMPUTE: Compute,
    AssetKind.HOST_PATH: HostPathSource,
    AssetKind.NFS: NfsSource,
    AssetKind.PVC: PvcSource,
    AssetKind.GIT: GitSource,
    AssetKind.S3: S3Source,
    AssetKind.CONFIG_MAP: ConfigMapSource,
    AssetKind.SECRET: SecretSource,
    AssetKind.ACCESS_KEY: AccessKeySpec,
    AssetKind.PASSWORD: PasswordSpec,
    AssetKind.DOCKER_REGISTRY: DockerRegistrySpec,
    AssetKind.GENERIC_SECRET: GenericSecretSpec,
    AssetKind.NGC_API_KEY: NgcApiKeySpec,
    AssetKind.REGISTRY: RegistrySpec,
}
"""Kind -> the form of its `spec`."""
