"""What the API takes: the bodies of requests, in the API's names.

Specifications of workloads are the model's own (`model.spec`); here they stay
raw mappings, because policies judge what the user wrote, before defaults.
Unknown fields are refused, so that a typing error is not silently ignored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import to_camel
from runai_core.model.organization import SchedulingRules
from runai_core.model.workload import PolicyType, WorkloadType

MAX_LIST = 10_000
"""Entries of one list in a request."""

MODEL = "x-model"
"""Marks a field whose form is a model class; the API's description puts a reference in its place."""

MAX_QUOTA = 1e12
"""Largest quota, in devices, millicores or the unit of memory."""

Name = Annotated[str, Field(min_length=1, max_length=253)]
Text = Annotated[str, Field(max_length=4096)]
Names = Annotated[list[Name], Field(max_length=100)]
Spec = Annotated[dict[str, Any], Field(json_schema_extra={MODEL: "WorkloadSpec"})]


class Body(BaseModel):
    """A request's body: camelCase, nothing unknown, numbers finite.

    A null says nothing: clients with typed models send it for what was not set.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


class WorkloadCreate(Body):
    """A workload to submit."""

    name: Annotated[str, Field(description="Unique in the project: lower-case letters, digits and '-'.")]
    project_id: Annotated[Name, Field(description="Id or name of the project.")]
    cluster_id: Annotated[str | None, Field(description="May be left out: there is one cluster.")] = None
    use_given_name_as_prefix: Annotated[bool, Field(description="Add a random ending to the name.")] = False
    template_id: Annotated[
        Name | None, Field(description="Id or name of a template; what is given here wins over it.")
    ] = None
    assets: Annotated[
        dict[str, Any] | None,
        Field(
            description="Ids or names of assets (ours): environment, compute, datasources [{id, kind, overrides}].",
            json_schema_extra={MODEL: "References"},
        ),
    ] = None
    spec: Spec = Field(default_factory=dict)


class WorkspaceCreate(WorkloadCreate):
    """A workspace: one pod to work in."""


class TrainingCreate(WorkloadCreate):
    """A training: one pod, or several runs of it."""


class DistributedCreate(WorkloadCreate):
    """A distributed training: a gang of pods that starts whole or not at all."""

    master_spec_same_as_worker: Annotated[
        bool | None, Field(description="True: the master runs what the workers run; masterSpec is then left out.")
    ] = None
    master_spec: Annotated[Spec | None, Field(description="Where the master differs from the workers.")] = None
    has_master: Annotated[
        bool, Field(description="False: workers only; the first one leads (ours, not in Run:ai's API).")
    ] = True


class DistributedScale(Body):
    """Workers that join, and pods of workers that leave (ours, not in Run:ai's API)."""

    add: Annotated[int, Field(ge=0, le=MAX_LIST)] = 0
    remove: Annotated[list[Name], Field(max_length=MAX_LIST, description="Names of pods.")] = []


class InferenceCreate(WorkloadCreate):
    """An inference workload: replicas that answer requests."""


class DistributedInferenceCreate(WorkloadCreate):
    """Replicas that are gangs: a leader and its workers (`spec.leader`, `spec.worker`)."""


class InferenceUpdate(Body):
    """Changes of an inference workload's specification; what is left out stays."""

    spec: Annotated[Spec | None, Field(description="May be left out with revision.")] = None
    revision: Annotated[
        int | None, Field(ge=1, le=10**9, description="Number of an earlier revision to go back to, instead (ours).")
    ] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "InferenceUpdate":
        if (self.spec is None) == (self.revision is None):
            raise InvalidRequest.of(FieldError("spec", "give either the changes, or the revision to go back to"))
        return self


class WorkloadPreview(DistributedCreate):
    """A submission to judge, without keeping anything."""

    type: WorkloadType = WorkloadType.TRAINING


class WorkloadBatch(Body):
    """One action on several workloads."""

    action: Literal["delete", "suspend", "resume"]
    ids: Annotated[list[str], Field(min_length=1, max_length=MAX_LIST)]


class NodePoolRef(Body):
    """A node pool by id or by name."""

    id: str | None = None
    name: str | None = None


class QuotaFields(BaseModel):
    """Quota of one resource. Here a null does say something: unlimited."""

    model_config = Body.model_config

    deserved: Annotated[float | None, Field(ge=-1, le=MAX_QUOTA, description="Null or -1: unlimited.")] = 0
    limit: Annotated[float | None, Field(ge=-1, le=MAX_QUOTA, description="Null or -1: no limit.")] = None
    over_quota_weight: Annotated[float | None, Field(ge=0, le=1000, description="1 when left out.")] = None


class GpuQuotaFields(QuotaFields):
    """Quota of GPUs, in devices: never below 0, never unlimited; a null says nothing."""

    deserved: Annotated[float | None, Field(ge=0, le=MAX_QUOTA)] = 0

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("deserved", 0) is None:
            return {key: value for key, value in given.items() if key != "deserved"}
        return given


class MemoryQuotaFields(QuotaFields):
    """Quota of memory, with its unit."""

    units: Literal["Mib", "MB", "GB"] = "MB"


class ResourcesFields(Body):
    """Quota in one node pool: GPUs in devices, CPU in millicores, memory in `units`."""

    node_pool: Annotated[NodePoolRef | None, Field(description="The default pool when left out.")] = None
    gpu: GpuQuotaFields | None = None
    cpu: QuotaFields | None = None
    memory: MemoryQuotaFields | None = None
    priority: Annotated[
        str | int | None, Field(description="Rank of the queue: one of /api/v1/org-unit/priorities, or a number.")
    ] = None


class NodeTypes(Body):
    """Node types that workloads may use; empty: all. A project may leave out some of its department's."""

    training: Names | None = None
    workspace: Names | None = None


class UnitUpdate(Body):
    """What can be changed of a project or department; what is left out stays."""

    description: Text | None = None
    resources: Annotated[list[ResourcesFields] | None, Field(max_length=1000)] = None
    default_node_pools: Names | None = None
    scheduling_rules: SchedulingRules | None = None


class DepartmentCreate(UnitUpdate):
    """A department to create."""

    name: Name
    cluster_id: str | None = None
    node_types: NodeTypes | None = None


class DepartmentUpdate(UnitUpdate):
    """Changes of a department."""

    node_types: NodeTypes | None = None


class ProjectUpdate(UnitUpdate):
    """Changes of a project."""

    node_types: NodeTypes | None = None
    enforce_runai_scheduler: bool | None = None


class ProjectCreate(ProjectUpdate):
    """A project to create."""

    name: Name
    cluster_id: str | None = None
    parent_id: Annotated[str | None, Field(description="Id or name of the department.")] = None
    requested_namespace: Annotated[str | None, Field(max_length=63)] = None


class PolicyScope(Body):
    """What a policy is for."""

    scope: Literal["system", "tenant", "cluster", "department", "project"] = "tenant"
    name: str | None = None
    project_id: str | int | None = None
    department_id: str | int | None = None
    cluster_id: str | None = None


PolicyDocument = Annotated[
    dict[str, Any], Field(description="{defaults, rules, imposedAssets}, or a policy object of run.ai/v2alpha1.")
]
"""A policy as its author writes it; the policy room knows its fields."""


class PolicyPut(Body):
    """A policy that takes the place of the one of its type and scope."""

    meta: PolicyScope = PolicyScope()
    policy: PolicyDocument


class PolicyPatch(PolicyPut):
    """Changes of a policy: merged into it; `reset` names fields to take out first."""

    reset: Annotated[list[str], Field(description="Dotted paths, for example rules.image.", max_length=1000)] = []


class PolicyCheck(Body):
    """A policy to check, without keeping it."""

    type: PolicyType
    meta: PolicyScope = PolicyScope()
    policy: dict[str, Any]


SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "compute": {"gpuDeviceRequest": "gpuDevicesRequest", "gpuMigProfile": "migProfile"},
    "security": {"runasUid": "runAsUid", "runasGid": "runAsGid", "runasNonRoot": "runAsNonRoot"},
    "storage": {
        "configMapVolumes": "configMapVolume",
        "configMaps": "configMapVolume",
        "secretVolumes": "secretVolume",
        "emptyDirVolumes": "emptyDirVolume",
        "dataVolumes": "dataVolume",
        "pvcs": "pvc",
        "hostPaths": "hostPath",
        "gits": "git",
    },
}
"""Section of a spec -> other spelling in Run:ai's own documents -> the spelling that we use."""


def canonical(spec: Mapping[str, Any], at: str = "spec") -> dict[str, Any]:
    """Return the specification without nulls and with one spelling for each field.

    Raises:
        InvalidRequest: a field is given in two spellings.
    """
    result: dict[str, Any] = without_nulls(spec)
    for section, spellings in SPELLINGS.items():
        if isinstance(result.get(section), Mapping):
            result[section] = _respelled(result[section], spellings, f"{at}.{section}")
    return result


def without_nulls(value: Any) -> Any:
    """Return the value without members that are null, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _respelled(fields: Mapping[str, Any], spellings: Mapping[str, str], at: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in fields.items():
        ours = spellings.get(name, name)
        if ours in result or (ours != name and ours in fields):
            raise InvalidRequest.of(FieldError(f"{at}.{name}", f"is another spelling of {ours}: give only one of them"))
        result[ours] = value
    return result
