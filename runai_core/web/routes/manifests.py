"""Objects of frameworks as workloads: what Run:ai calls submitting by YAML."""

from fastapi import APIRouter

from runai_core.web.answers.manifests import ManifestWorkload
from runai_core.web.context import Door, Names, Who
from runai_core.web.lookup import around
from runai_core.web.manifest_bodies import ManifestCreate, ManifestUpdate
from runai_core.web.routes.typed import Agent
from runai_core.web.submissions import check_cluster, framework_change, framework_submission
from runai_core.web.views.manifests import manifest_workload

router = APIRouter(prefix="/api/v2/workloads", tags=["workloads"])


@router.post("", status_code=202, summary="Submit a framework's own object")
async def create_manifest(door: Door, actor: Who, body: ManifestCreate, agent: Agent = "") -> ManifestWorkload:
    """Submit an object of a kind that a plug-in knows; the project that is chosen wins over the object's namespace."""
    await check_cluster(body.metadata.cluster_id, door)
    project = await door.organization.get_project(actor, body.metadata.project_id)
    submission = framework_submission(body, project.name, agent, door)
    submitted = await door.workloads.submit(actor, submission)
    return manifest_workload(submitted, await around(door, project))


@router.get("/{workload_id}", summary="Get a workload that was submitted as an object of a framework")
async def get_manifest(workload_id: str, door: Door, actor: Who, names: Names) -> ManifestWorkload:
    """The same as GET /api/v1/workloads/{id}, with the object."""
    return manifest_workload(await door.workloads.get(actor, workload_id), names)


@router.put("/{workload_id}", status_code=202, summary="Change a framework's own object")
async def update_manifest(
    workload_id: str, body: ManifestUpdate, door: Door, actor: Who, names: Names
) -> ManifestWorkload:
    """What the manifest does not say any more is taken out; fields that its controllers decide are left to them."""
    workload = await door.workloads.get(actor, workload_id)
    wanted = framework_change(body, workload, door)
    return manifest_workload(await door.workloads.change_object(actor, workload_id, wanted), names)


@router.delete("/{workload_id}", status_code=202, summary="Delete a workload (as under /api/v1)")
async def delete_manifest(workload_id: str, door: Door, actor: Who, names: Names) -> ManifestWorkload:
    """The same as DELETE /api/v1/workloads/{id}."""
    return manifest_workload(await door.workloads.delete(actor, workload_id), names)
