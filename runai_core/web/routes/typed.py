"""The five native types: one set of paths, made for each row of a table."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header

from runai_core import wire
from runai_core.model.errors import NotFound, Unsupported
from runai_core.model.organization import Actor
from runai_core.model.workload import Workload, WorkloadType
from runai_core.service.workloads import WorkloadService
from runai_core.web.answers.workloads import TypedWorkload
from runai_core.web.context import Door, Names, Who
from runai_core.web.lookup import around
from runai_core.web.merging import merged
from runai_core.web.schemas import (
    DistributedCreate,
    DistributedInferenceCreate,
    DistributedScale,
    InferenceCreate,
    InferenceUpdate,
    TrainingCreate,
    WorkloadCreate,
    WorkspaceCreate,
    canonical,
)
from runai_core.web.submissions import check_cluster, split_groups, submission_of
from runai_core.web.views.workloads import joined_groups, typed_workload

Agent = Annotated[str, Header(alias="User-Agent", include_in_schema=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedPaths:
    """A native type and its part of the path."""

    path: str
    kind: WorkloadType
    body: type[WorkloadCreate]
    stops: bool = True  # suspend and resume exist
    changes: bool = False  # PATCH exists
    scales: bool = False  # workers can come and go on demand


PATHS: tuple[TypedPaths, ...] = (
    TypedPaths(path="workspaces", kind=WorkloadType.WORKSPACE, body=WorkspaceCreate),
    TypedPaths(path="trainings", kind=WorkloadType.TRAINING, body=TrainingCreate),
    TypedPaths(path="distributed", kind=WorkloadType.DISTRIBUTED, body=DistributedCreate, scales=True),
    TypedPaths(path="inferences", kind=WorkloadType.INFERENCE, body=InferenceCreate, stops=False, changes=True),
    TypedPaths(
        path="distributed-inferences",
        kind=WorkloadType.DISTRIBUTED_INFERENCE,
        body=DistributedInferenceCreate,
        stops=False,
        changes=True,
    ),
)


def routers() -> list[APIRouter]:
    """Return the routes of every native type."""
    return [_router(row) for row in PATHS]


def _router(row: TypedPaths) -> APIRouter:
    router = APIRouter(prefix=f"/api/v1/workloads/{row.path}", tags=[row.path])
    _add_lifecycle(router, row)
    if row.stops:
        _add_stops(router, row)
    if row.changes:
        _add_changes(router, row)
    if row.scales:
        _add_scale(router, row)
    return router


def _add_lifecycle(router: APIRouter, row: TypedPaths) -> None:
    async def create(door: Door, actor: Who, body: WorkloadCreate, agent: Agent = "") -> TypedWorkload:
        await check_cluster(body.cluster_id, door)
        project = await door.organization.get_project(actor, body.project_id)
        submission = submission_of(row.kind, body, project.name, agent)
        submitted = await door.workloads.submit(actor, submission)
        return typed_workload(submitted, await around(door, project))

    create.__annotations__["body"] = row.body  # each type has a body of its own
    router.post("", status_code=202, operation_id=f"create_{row.kind.value}", summary=f"Submit: {row.kind}")(create)

    @router.get("/{workload_id}", operation_id=f"get_{row.kind.value}", summary=f"Get: {row.kind}")
    async def get(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
        return typed_workload(await typed(door.workloads, actor, workload_id, row.kind), names)

    @router.delete(
        "/{workload_id}", status_code=202, operation_id=f"delete_{row.kind.value}", summary=f"Delete: {row.kind}"
    )
    async def delete(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
        workload = await typed(door.workloads, actor, workload_id, row.kind)
        return typed_workload(await door.workloads.delete(actor, workload.meta.uid), names)


def _add_stops(router: APIRouter, row: TypedPaths) -> None:
    @router.post(
        "/{workload_id}/suspend", status_code=202, operation_id=f"suspend_{row.kind.value}", summary=f"Stop: {row.kind}"
    )
    async def suspend(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
        workload = await typed(door.workloads, actor, workload_id, row.kind)
        return typed_workload(await door.workloads.stop(actor, workload.meta.uid), names)

    @router.post(
        "/{workload_id}/resume", status_code=202, operation_id=f"resume_{row.kind.value}", summary=f"Run: {row.kind}"
    )
    async def resume(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
        workload = await typed(door.workloads, actor, workload_id, row.kind)
        return typed_workload(await door.workloads.resume(actor, workload.meta.uid), names)


def _add_changes(router: APIRouter, row: TypedPaths) -> None:
    @router.patch(
        "/{workload_id}", status_code=202, operation_id=f"update_{row.kind.value}", summary=f"Change: {row.kind}"
    )
    async def update(workload_id: str, body: InferenceUpdate, door: Door, actor: Who, names: Names) -> TypedWorkload:
        workload = await typed(door.workloads, actor, workload_id, row.kind)
        changes = None if body.spec is None else changes_of(workload, body.spec)
        changed = await door.workloads.update(actor, workload.meta.uid, changes, revision=body.revision)
        return typed_workload(changed, names)


def _add_scale(router: APIRouter, row: TypedPaths) -> None:
    @router.post(
        "/{workload_id}/scale",
        status_code=202,
        operation_id=f"scale_{row.kind.value}",
        summary=f"Let workers join and leave: {row.kind} (ours)",
    )
    async def scale(workload_id: str, body: DistributedScale, door: Door, actor: Who, names: Names) -> TypedWorkload:
        workload = await typed(door.workloads, actor, workload_id, row.kind)
        changed = await door.workloads.scale(actor, workload.meta.uid, add=body.add, remove=body.remove)
        return typed_workload(changed, names)


def changes_of(workload: Workload, patch: dict[str, Any]) -> dict[str, Any]:
    """Return the workload's specification with the patch merged into it; lists are replaced.

    Raises:
        Unsupported: the patch changes the leader of a distributed inference.
    """
    spec = wire.encode(workload.spec)
    if workload.type is not WorkloadType.DISTRIBUTED_INFERENCE:
        return merged(spec, canonical(patch))
    leader = None if workload.master_spec is None else wire.encode(workload.master_spec)
    changed, new_leader = split_groups(merged(joined_groups(spec, leader), patch))
    if leader is not None and new_leader != leader:
        raise Unsupported(f"{workload.key}: the leader cannot be changed; delete the workload and submit it again")
    return changed


async def typed(workloads: WorkloadService, actor: Actor, uid: str, kind: WorkloadType) -> Workload:
    """Return the workload of this id and type.

    Raises:
        NotFound: no such workload, or it is of another type.
    """
    workload = await workloads.get(actor, uid)
    if workload.type is not kind:
        raise NotFound(f"{workload.key} is a {workload.type} workload, not {kind}: look under its own path")
    return workload
