"""Storage classes of a cluster, and what administrators allow and propose for the claims of each."""

from dataclasses import dataclass

from runai_core.model.meta import WIRE, Meta, described
from runai_core.model.volumes import AccessModes

STATIC = "runai-none"
"""The class of claims that ask for no class: their volumes were made by hand (Run:ai's API, `includeNone`)."""

UNITS = ("MB", "MiB", "GB", "GiB", "TB", "TiB")
"""Units of sizes that a rule can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """A sort of volumes that claims of a cluster can ask for."""

    __pydantic_config__ = WIRE
    name: str
    provisioner: str = ""
    is_default: bool = False
    allow_volume_expansion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePermissions:
    """What may be made of a storage class; what is left out may."""

    __pydantic_config__ = WIRE
    allowed_for_assets: bool | None = described("Data sources may ask for new claims of the class.")
    allowed_for_workloads: bool | None = described("Workloads may ask for new claims of the class.")
    allowed_for_ephemeral_volumes: bool | None = described("Claims may go with their workload.")
    allowed_for_persistent_volumes: bool | None = described("Claims may outlive their workload.")
    allow_data_sharing: bool | None = described("Claims may be shared in their scope.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessModeRule:
    """How volumes of a class may be mounted."""

    __pydantic_config__ = WIRE
    required: bool | None = described("A new claim has to say it.")
    default: AccessModes | None = described("What a claim gets that does not say it.")
    supported_values: AccessModes | None = described("False: not this one. What is left out may be.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeModes:
    """What a volume can be."""

    __pydantic_config__ = WIRE
    filesystem: bool | None = described("A directory.")
    block: bool | None = described("A device.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeModeRule:
    """What volumes of a class can be."""

    __pydantic_config__ = WIRE
    required: bool | None = described("A new claim has to say it.")
    default: str | None = described("What a claim gets that does not say it.", pattern="^(Filesystem|Block)$")
    supported_values: VolumeModes | None = described("False: not this one. What is left out may be.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSizeRule:
    """How large claims of a class may be."""

    __pydantic_config__ = WIRE
    default: str | None = described("What a claim gets that does not say it, for example 10GB.")
    supported_units: tuple[str, ...] | None = described("Units that may be used: MB, MiB, GB, GiB, TB, TiB.")
    min: str | None = described("The smallest.")
    max: str | None = described("The largest.")
    step: str | None = described("What the numbers in a form differ by.", pattern=r"^[0-9]+(\.[0-9]+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCustomization:
    """Defaults and limits of the claims of a class."""

    __pydantic_config__ = WIRE
    access_mode: AccessModeRule | None = described("How it may be mounted.")
    volume_mode: VolumeModeRule | None = described("What it is.")
    claim_size: ClaimSizeRule | None = described("How large it is.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClassConfiguration:
    """What administrators say of a storage class of one cluster.

    `scope` is the cluster's id in a control plane, and empty in the cluster
    itself, which knows no other.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    storage_class: str
    scope_type: str = "cluster"
    scope: str = ""
    permissions: StoragePermissions = StoragePermissions()
    customization: StorageCustomization = StorageCustomization()
