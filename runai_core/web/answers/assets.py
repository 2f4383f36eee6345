"""Assets, templates and data volumes as the API shows them. What is secret is in none of them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer


class AssetMeta(Answer):
    """Name, scope and story of an asset."""

    id: str
    name: str
    kind: str
    description: str | None = None
    scope: str
    cluster_id: str | None = None
    department_id: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    workload_supported_types: dict[str, Any] = Field(default_factory=dict)
    tenant_id: int = 1
    created_by: str
    created_at: str
    updated_by: str
    updated_at: str


class Reference(Answer):
    """Something that uses an asset."""

    id: str
    name: str
    status: str | None = None


class AssetUsers(Answer):
    """Who uses an asset."""

    workspaces: tuple[Reference, ...] = ()
    trainings: tuple[Reference, ...] = ()
    distributed: tuple[Reference, ...] = ()
    inferences: tuple[Reference, ...] = ()
    templates: tuple[Reference, ...] = ()
    count: Annotated[int, Field(description=OURS)] = 0


class ComplianceReason(Answer):
    """One thing that policies have against an asset."""

    field: str
    details: str


class Compliance(Answer):
    """Whether an asset can be used in a project."""

    imposed: bool
    compliance: bool
    reason: tuple[ComplianceReason, ...] = ()


class AssetStatus(Answer):
    """Where the asset is there to be used."""

    status: str = "No issues found"  # as Run:ai words it: assets are where they are used at once


class AssetItem(Answer):
    """An asset."""

    meta: AssetMeta
    spec: dict[str, Any]
    used_by: AssetUsers | None = None
    compliance: Compliance | None = None
    status: AssetStatus = AssetStatus()


class AssetList(Answer):
    """Assets."""

    entries: tuple[AssetItem, ...]


class TemplateMeta(Answer):
    """Name, scope and story of a template."""

    id: str
    name: str
    description: str | None = None
    workload_type: str
    scope_type: str
    scope_id: str
    cluster_id: str | None = None
    department_id: str | None = None
    project_id: str | None = None
    created_by: str
    created_at: str
    updated_by: str
    updated_at: str


class Runnable(Answer):
    """Whether a workload can be submitted with nothing but the template."""

    is_runnable: bool
    issue: str | None = None


class TemplateMaster(Answer):
    """Where the master differs."""

    spec: dict[str, Any]


class TemplateItem(Answer):
    """A template."""

    meta: TemplateMeta
    spec: dict[str, Any]
    assets: dict[str, Any]
    master_spec_same_as_worker: bool
    master: TemplateMaster | None = None
    runnable: Runnable


class Pagination(Answer):
    """Which part of a list this is."""

    limit: int
    offset: int
    next_offset: int | None = None


class TemplateList(Answer):
    """Templates."""

    entries: tuple[TemplateItem, ...]
    pagination: Pagination


class Availability(Answer):
    """Whether a name is free."""

    available: bool


class OlderTemplate(Answer):
    """A template in the older form: assets and specific fields."""

    meta: AssetMeta
    spec: dict[str, Any]


class OlderTemplateList(Answer):
    """Templates in the older form."""

    entries: tuple[OlderTemplate, ...]


class SharedWith(Answer):
    """A scope whose projects may mount a data volume."""

    scope_type: str
    scope_id: str
    scope_name: str


class DataVolumeStatus(Answer):
    """State of a data volume."""

    phase: str = "Ready"
    phase_message: str | None = None
    datavolume_pvc_name: str | None = None


class DataVolumeItem(Answer):
    """A data volume."""

    id: str
    name: str
    description: str | None = None
    origin_pvc_name: str
    project_id: str
    project_name: str
    cluster_id: str
    use_original_volume: bool = True
    should_delete_original_volume: bool = False
    shared_scopes: tuple[SharedWith, ...] = ()
    status: DataVolumeStatus
    created_by: str
    created_at: str
    updated_by: str
    updated_at: str


class DataVolumeList(Answer):
    """Data volumes."""

    datavolumes: tuple[DataVolumeItem, ...]
    next: int | None = None


class SharedScopes(Answer):
    """With whom a data volume is shared."""

    shared_scopes: tuple[SharedWith, ...]


class KeysAnew(Answer):
    """How many credentials were encrypted anew."""

    credentials: int
