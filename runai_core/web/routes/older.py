"""Paths of Run:ai's older API, /v1/k8s/...: each is translated into the present one and answered in the older form.

Ids are ours (texts), where the older API had numbers.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from runai_core import wire
from runai_core.model.meta import to_camel
from runai_core.model.organization import Scope
from runai_core.web import listing
from runai_core.web.answers.organization import DepartmentItem, NodePoolItem, ProjectItem
from runai_core.web.context import Door, Names, Who
from runai_core.web.node_pool_bodies import NodePoolCreate, NodePoolUpdate
from runai_core.web.routes import departments, node_pools, projects
from runai_core.web.schemas import Body, Name, ProjectCreate, ProjectUpdate
from runai_core.web.submissions import check_cluster

router = APIRouter(prefix="/v1/k8s/clusters/{cluster_id}", tags=["older paths"])

Cluster = Annotated[str, Path(description="Id of the cluster.")]
EVERYTHING = listing.ListQuery(limit=listing.MAX_LIMIT)

RULES: Mapping[str, str] = {
    "interactiveJobTimeLimitSecs": "interactiveJobTimeLimitSeconds",
    "interactiveJobMaxIdleDurationSecs": "interactiveJobMaxIdleDurationSeconds",
    "interactivePreemptibleJobMaxIdleDurationSecs": "interactiveJobPreemptIdleDurationSeconds",
    "trainingJobTimeLimitSecs": "trainingJobTimeLimitSeconds",
    "trainingJobMaxIdleDurationSecs": "trainingJobMaxIdleDurationSeconds",
}
"""Name of a scheduling rule in the older API -> in the present one."""

QUOTA: Mapping[str, str] = {"deserved": "deserved", "maxAllowed": "limit", "overQuotaWeight": "overQuotaWeight"}

Limit = Annotated[float | None, Field(ge=0, le=1e9)]


class OlderQuery(BaseModel):
    """What older clients say; it changes nothing."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    exclude_permissions: bool = False
    memory_unit_mb: bool = False


Older = Annotated[OlderQuery, Query()]


class OlderProject(Body):
    """A project as the older API writes it; what is left out stays."""

    deserved_gpus: Limit = None
    max_allowed_gpus: Annotated[float | None, Field(ge=-1, le=1e9)] = None
    gpu_over_quota_weight: Annotated[float | None, Field(ge=0, le=1000)] = None
    default_node_pools: Annotated[list[Name] | None, Field(max_length=100)] = None
    interactive_job_time_limit_secs: Limit = None
    interactive_job_max_idle_duration_secs: Limit = None
    interactive_preemptible_job_max_idle_duration_secs: Limit = None
    training_job_time_limit_secs: Limit = None
    training_job_max_idle_duration_secs: Limit = None
    permissions: Annotated[None, Field(description="Access rules do this.")] = None


class OlderProjectCreate(OlderProject):
    """A project to create."""

    name: Name
    department_id: Annotated[str | int | None, Field(description="Id or name of the department.")] = None
    namespace: Annotated[str | None, Field(max_length=63)] = None


@router.get("/projects", summary="List projects (older form)")
async def list_projects(
    cluster_id: Cluster, door: Door, actor: Who, names: Names, _given: Older
) -> list[dict[str, Any]]:
    """All of them."""
    await check_cluster(cluster_id, door)
    return [_project(item) for item in (await projects.list_projects(door, actor, names, EVERYTHING)).projects]


@router.post("/projects", status_code=201, summary="Create a project (older form)")
async def create_project(
    cluster_id: Cluster, door: Door, actor: Who, body: OlderProjectCreate, _given: Older
) -> dict[str, Any]:
    """Quota is that of the default node pool."""
    parent = None if body.department_id is None else str(body.department_id)
    new = ProjectCreate.model_validate(
        {
            "name": body.name,
            "clusterId": cluster_id,
            "parentId": parent,
            "requestedNamespace": body.namespace,
            **_changes(body),
        }
    )
    return _project(await projects.create_project(door, actor, new))


@router.get("/projects/{project_id}", summary="Get a project (older form)")
async def get_project(cluster_id: Cluster, project_id: str, door: Door, actor: Who, _given: Older) -> dict[str, Any]:
    """By id or by name."""
    await check_cluster(cluster_id, door)
    return _project(await projects.get_project(project_id, door, actor))


@router.put("/projects/{project_id}", summary="Change a project (older form)")
async def update_project(
    cluster_id: Cluster, project_id: str, door: Door, actor: Who, body: OlderProject, _given: Older
) -> dict[str, Any]:
    """What is left out stays."""
    await check_cluster(cluster_id, door)
    changes = ProjectUpdate.model_validate(_changes(body))
    return _project(await projects.update_project(project_id, door, actor, changes))


@router.delete("/projects/{project_id}", summary="Delete a project (older form)")
async def delete_project(cluster_id: Cluster, project_id: str, door: Door, actor: Who) -> dict[str, Any]:
    """It must have no workload in work any more."""
    await check_cluster(cluster_id, door)
    return _project(await projects.delete_project(project_id, door, actor))


class OlderAdministrators(Body):
    """Who administers a department."""

    department_id: Annotated[str | int | None, Field(description="May be left out: the path has it.")] = None
    department_admins: Annotated[tuple[Name, ...], Field(max_length=500, description="Names or ids of users.")] = ()


@router.put("/departments/{department_id}/access-control", summary="Set a department's administrators (older form)")
async def set_administrators(
    cluster_id: Cluster, department_id: str, door: Door, actor: Who, body: OlderAdministrators
) -> None:
    """Access rules are made and taken away so that these users have the role, and no others."""
    await check_cluster(cluster_id, door)
    scope = Scope("department", department_id)
    await door.rules.give_only(actor, "Department administrator", scope, body.department_admins)


@router.get("/departments", summary="List departments (older form)")
async def list_departments(
    cluster_id: Cluster, door: Door, actor: Who, names: Names, _given: Older
) -> list[dict[str, Any]]:
    """All of them."""
    await check_cluster(cluster_id, door)
    found = await departments.list_departments(door, actor, names, EVERYTHING)
    return [_department(item) for item in found.departments]


@router.get("/node-pools", summary="List node pools (older form)")
async def list_node_pools(cluster_id: Cluster, door: Door, actor: Who, names: Names) -> list[NodePoolItem]:
    """All of them."""
    await check_cluster(cluster_id, door)
    return list((await node_pools.list_node_pools(door, actor, names, EVERYTHING)).nodepools)


@router.post("/node-pools", status_code=201, summary="Create a node pool (older form)")
async def create_node_pool(cluster_id: Cluster, door: Door, actor: Who, body: NodePoolCreate) -> NodePoolItem:
    """The nodes that have the label move into it."""
    await check_cluster(cluster_id, door)
    return await node_pools.create_node_pool(door, actor, body)


@router.put("/node-pools/{node_pool_id}", summary="Change a node pool (older form)")
@router.put("/node-pools/{node_pool_id}/labels", summary="Change the label of a node pool (older form)")
async def update_node_pool(
    cluster_id: Cluster, node_pool_id: str, door: Door, actor: Who, body: NodePoolUpdate
) -> NodePoolItem:
    """What is left out stays."""
    await check_cluster(cluster_id, door)
    return await node_pools.update_node_pool(node_pool_id, door, actor, body)


@router.delete("/node-pools/{node_pool_id}", summary="Delete a node pool (older form)")
async def delete_node_pool(cluster_id: Cluster, node_pool_id: str, door: Door, actor: Who) -> NodePoolItem:
    """Its nodes go back to the default pool."""
    await check_cluster(cluster_id, door)
    return await node_pools.delete_node_pool(node_pool_id, door, actor)


def _changes(body: OlderProject) -> dict[str, Any]:
    """Return what the body gives, in the present API's form."""
    given = body.model_dump(by_alias=True, exclude_none=True)
    changes: dict[str, Any] = {}
    older = {"deserved": "deservedGpus", "limit": "maxAllowedGpus", "overQuotaWeight": "gpuOverQuotaWeight"}
    if gpu := {name: given[key] for name, key in older.items() if key in given}:
        changes["resources"] = [{"gpu": gpu}]
    if rules := {RULES[name]: int(given[name]) for name in RULES if name in given}:
        changes["schedulingRules"] = rules
    if "defaultNodePools" in given:
        changes["defaultNodePools"] = given["defaultNodePools"]
    return changes


def _project(item: ProjectItem) -> dict[str, Any]:
    rules = wire.encode(item.scheduling_rules)
    return {
        "id": item.id,
        "name": item.name,
        "departmentId": item.department_id,
        "departmentName": item.department_name,
        "clusterUuid": item.cluster_id,
        "namespace": item.status.namespace,
        "phase": item.status.phase,
        "createdAt": item.created_at,
        "defaultNodePools": list(item.default_node_pools),
        **{older: rules.get(name) for older, name in RULES.items()},
        **_quota(item),
    }


def _department(item: DepartmentItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "clusterUuid": item.cluster_id,
        "createdAt": item.created_at,
        "projects": [{"id": child.id, "name": child.name} for child in item.children],
        **_quota(item),
    }


def _quota(item: ProjectItem | DepartmentItem) -> dict[str, Any]:
    """Return the quota of each node pool, and its sum of GPUs."""
    pools = [resources.model_dump(by_alias=True) for resources in item.resources]
    limits = [pool["gpu"]["limit"] for pool in pools]
    return {
        "deservedGpus": sum(pool["gpu"]["deserved"] or 0 for pool in pools),
        "maxAllowedGpus": -1 if None in limits or not limits else sum(limits),
        "gpuOverQuotaWeight": max((pool["gpu"]["overQuotaWeight"] for pool in pools), default=0),
        "nodePoolsResources": [
            {
                "id": pool["nodePool"]["id"],
                "nodePool": pool["nodePool"],
                **{name: {older: pool[name][new] for older, new in QUOTA.items()} for name in ("gpu", "cpu", "memory")},
            }
            for pool in pools
        ],
    }
