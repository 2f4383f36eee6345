"""What the API answers about storage classes."""

from pydantic import BaseModel, Field

from runai_core.model.storage import StorageCustomization, StoragePermissions
from runai_core.web.answers.base import Answer


class StorageClassSpec(Answer):
    """What a storage class is."""

    provisioner: str
    allow_volume_expansion: bool
    is_default: bool


class StorageClassItem(Answer):
    """A storage class of a cluster, and what administrators say of it."""

    cluster_id: str
    storage_class_name: str
    spec: StorageClassSpec
    permissions: StoragePermissions | None = None
    customization: StorageCustomization | None = None


class StorageClassList(Answer):
    """All storage classes of a cluster."""

    items: tuple[StorageClassItem, ...]


class OlderSpec(BaseModel):
    """What a storage class is, in the words of the first version."""

    provisioner: str
    allow_volume_expansion: bool
    is_default: bool


class OlderItem(BaseModel):
    """A storage class, in the words of the first version."""

    cluster_id: str
    storage_class_name: str
    spec: OlderSpec = Field(alias="Spec")


class OlderList(BaseModel):
    """All storage classes of a cluster, in the words of the first version."""

    items: tuple[OlderItem, ...]


class StorageClassNames(Answer):
    """The names of all storage classes of a cluster."""

    storage_classes: tuple[str, ...]


class ConfigurationItem(Answer):
    """What administrators say of a storage class."""

    id: str
    tenant_id: int
    scope_type: str
    scope_id: str
    name: str
    permissions: StoragePermissions
    customization: StorageCustomization


class ConfigurationList(Answer):
    """A page of what administrators say of storage classes."""

    storage_class_configurations: tuple[ConfigurationItem, ...]
    next: int | None = None


class ClaimEvent(Answer):
    """Something that happened to a data source."""

    id: str
    created_at: str
    type: str
    cluster_id: str
    reason: str
    message: str
    source: str


class ClaimRecordMeta(Answer):
    """When it happened, and what sort of record it is."""

    creation_timestamp: str
    type: str


class ClaimRecordSpec(Answer):
    """What happened."""

    event: ClaimEvent


class ClaimRecord(Answer):
    """One entry of the history of a data source."""

    meta: ClaimRecordMeta
    spec: ClaimRecordSpec


class ClaimHistory(Answer):
    """A page of the history of a data source."""

    records: tuple[ClaimRecord, ...]
    next: int | None = None
