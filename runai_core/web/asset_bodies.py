"""What the API takes for assets, templates and data volumes: bodies and queries, in the API's names."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runai_core.model.assets import SupportedTypes
from runai_core.model.meta import to_camel
from runai_core.service.submission import References
from runai_core.web.listing import CountQuery, ListQuery
from runai_core.web.schemas import Body, Name, Spec

Fields = Annotated[dict[str, Any], Field(description="The fields of this kind; see docs/assets.md.")]
Id = Annotated[str | int | None, Field(description="Id or name.")]
ScopeName = Literal["system", "tenant", "cluster", "department", "project"]


class AssetMetaCreate(Body):
    """Name and scope of an asset."""

    name: Name
    description: Annotated[str | None, Field(max_length=250)] = None
    scope: ScopeName
    cluster_id: str | None = None
    department_id: Id = None
    project_id: Id = None
    auto_delete: bool | None = None
    workload_supported_types: SupportedTypes | None = None
    private: Annotated[Literal[False] | None, Field(description="Assets are for everybody in their scope.")] = None


class AssetCreate(Body):
    """An asset to create."""

    meta: AssetMetaCreate
    spec: Fields = Field(default_factory=dict)


class AssetMetaUpdate(Body):
    """What can be changed of the name of an asset."""

    name: Name | None = None
    description: Annotated[str | None, Field(max_length=250)] = None


class AssetUpdate(Body):
    """Changes of an asset; what is left out stays."""

    meta: AssetMetaUpdate = AssetMetaUpdate()
    spec: Fields | None = None


class PrivateMetaCreate(Body):
    """Name of a credential of one's own; its scope is its owner."""

    name: Name
    description: Annotated[str | None, Field(max_length=250)] = None


class PrivateCreate(Body):
    """A credential of one's own to create."""

    meta: PrivateMetaCreate
    spec: Fields = Field(default_factory=dict)


class UseQuery(BaseModel):
    """What is said of an asset besides itself."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    usage_info: Annotated[bool, Field(description="Say who uses it.")] = False
    status_info: Annotated[bool, Field(description="Accepted; assets are where they are used at once.")] = False
    comply_to_project: Annotated[str, Field(max_length=253, description="Judge it by the policies of a project.")] = ""
    comply_to_workload_type: Annotated[str, Field(max_length=64, description="For this type of workload.")] = ""
    comply_to_replica_type: Annotated[str, Field(max_length=64)] = ""


class AssetListQuery(UseQuery):
    """Which assets."""

    name: Annotated[str, Field(max_length=253)] = ""
    scope: Annotated[ScopeName | None, Field(description="Only those of this kind of scope.")] = None
    project_id: Annotated[str, Field(max_length=253, description="Those that this project may use.")] = ""
    department_id: Annotated[str, Field(max_length=253, description="Those that this department may use.")] = ""
    cluster_id: Annotated[str, Field(max_length=253)] = ""
    asset_ids: Annotated[str, Field(max_length=10_000, description="Only these; ids between commas.")] = ""
    include_descendants: Annotated[bool, Field(description="Also those of scopes below.")] = False


class TemplateMetaCreate(Body):
    """Name and scope of a template."""

    name: Name
    description: Annotated[str | None, Field(max_length=250)] = None
    scope_type: ScopeName
    scope_id: Annotated[str | None, Field(max_length=253)] = None


class MasterSection(Body):
    """Where the master differs from the workers."""

    spec: Spec | None = None
    assets: dict[str, Any] | None = None


class TemplateBody(Body):
    """Values and assets of a template."""

    spec: Spec = Field(default_factory=dict)
    assets: Annotated[References | None, Field(description="Ids or names of assets.")] = None
    master_spec_same_as_worker: bool | None = None
    master: MasterSection | None = None


class TemplateCreate(TemplateBody):
    """A template to create."""

    meta: TemplateMetaCreate


class TemplateUpdate(TemplateBody):
    """What takes the place of a template."""

    meta: AssetMetaUpdate = AssetMetaUpdate()


class TemplatePatch(TemplateUpdate):
    """Changes of a template; what is left out stays."""

    fields_to_clear: Annotated[list[str], Field(max_length=1000, description="Dotted paths in the spec.")] = Field(
        default_factory=list
    )


class TemplateListQuery(ListQuery):
    """Which templates."""

    comply_to_project: Annotated[str, Field(max_length=253)] = ""
    comply_to_workload_type: Annotated[str, Field(max_length=64)] = ""
    comply_to_replica_type: Annotated[str, Field(max_length=64)] = ""


class DataVolumeListQuery(ListQuery):
    """Which data volumes."""

    request_type: Annotated[
        Literal["Originated", "UsableInProject"] | None,
        Field(description="Those of one's projects, or those that one project may mount."),
    ] = None
    usable_in_project_id: Annotated[str, Field(max_length=253, description="That project, by id or name.")] = ""


class DataVolumeCountQuery(CountQuery):
    """The same, to count them."""

    request_type: Literal["Originated", "UsableInProject"] | None = None
    usable_in_project_id: Annotated[str, Field(max_length=253)] = ""


class DataVolumeCreate(Body):
    """A claim to make a data volume."""

    name: Name
    description: Annotated[str | None, Field(max_length=250)] = None
    origin_pvc_name: Annotated[Name, Field(description="Name of the claim in the project's namespace.")]
    project_id: Annotated[Name, Field(description="Id or name of the project.")]
    should_delete_original_volume: Annotated[Literal[False] | None, Field(description="The claim stays.")] = None
    use_original_volume: Annotated[bool | None, Field(description="Always so: the claim itself is mounted.")] = None


class DataVolumePatch(Body):
    """Changes of a data volume."""

    description: Annotated[str, Field(max_length=250)] = ""


class SharedScope(Body):
    """With whom a data volume is shared."""

    scope_type: Literal["tenant", "cluster", "department", "project"]
    scope_id: Annotated[str, Field(max_length=253, description="Id or name.")] = ""


class SharedScopesPatch(Body):
    """Scopes to add and to take away."""

    add: Annotated[list[SharedScope], Field(max_length=100)] = Field(default_factory=list)
    remove: Annotated[list[SharedScope], Field(max_length=100)] = Field(default_factory=list)
