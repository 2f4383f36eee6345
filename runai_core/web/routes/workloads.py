"""Workloads of every type: lists, pods, story, explanation, preview, actions on several."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import RunaiError
from runai_core.model.organization import Actor
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.workloads import (
    BatchAnswer,
    BatchFailure,
    EventList,
    HistoryList,
    PodList,
    PreviewAnswer,
    TypedWorkload,
    WhyAnswer,
    WorkloadList,
)
from runai_core.web.context import Door, Names, Who
from runai_core.web.errors import status_of
from runai_core.web.lookup import page_of_workloads, with_unit_names
from runai_core.web.routes.typed import Agent
from runai_core.web.schemas import WorkloadBatch, WorkloadPreview
from runai_core.web.submissions import check_cluster, submission_of
from runai_core.web.views import workloads as views
from runai_core.web.views.pods import pod_item
from runai_core.web.views.resources import idle_gpus
from runai_core.web.views.stories import event_item, history_item, preview_answer, why_answer

router = APIRouter(prefix="/api/v1/workloads", tags=["workloads"])

Listing = Annotated[listing.ListQuery, Query()]


@router.get("", summary="List workloads")
async def list_workloads(
    door: Door, actor: Who, names: Names, given: Annotated[listing.WorkloadListQuery, Query()]
) -> WorkloadList:
    """Every type in one list; filtered, sorted and cut to a page by the store."""
    page = await page_of_workloads(door, actor, given)
    items = tuple(
        views.workload_item(item, names).model_copy(update=idle_gpus(item, door.sampler.idle_seconds(item)))
        for item in page.items
    )
    return WorkloadList(workloads=items, next=listing.next_offset(page, given.offset))


@router.get("/count", summary="Count workloads")
async def count_workloads(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    query = await with_unit_names(door, actor, listing.query_of(given, listing.WORKLOADS))
    return Count(count=(await door.workloads.list(actor, query)).total)


@router.get("/pods", summary="List pods of all workloads")
async def list_pods(door: Door, actor: Who, names: Names, given: Annotated[listing.PodListQuery, Query()]) -> PodList:
    """The pods of every workload in one list."""
    query = await with_unit_names(door, actor, listing.query_of(given, listing.PODS))
    page = await door.workloads.all_pods(actor, listing.with_completed(query, given.completed))
    items = tuple(pod_item(pod, None, names) for pod in page.items)
    return PodList(pods=items, next=listing.next_offset(page, given.offset))


@router.get("/pods/count", summary="Count pods of all workloads")
async def count_pods(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    query = await with_unit_names(door, actor, listing.query_of(given, listing.PODS))
    return Count(count=(await door.workloads.all_pods(actor, query)).total)


@router.post("/batch", status_code=207, summary="Delete, stop or run several workloads")
async def batch(door: Door, actor: Who, body: WorkloadBatch) -> BatchAnswer:
    """Each on its own: one failure does not keep the others back."""
    failed: list[BatchFailure] = []
    for uid in body.ids:
        try:
            await _act(door, actor, body.action, uid)
        except RunaiError as error:
            failed.append(BatchFailure(id=uid, code=status_of(error), message=error.message))
    wrong = {item.id for item in failed}
    succeeded = tuple(uid for uid in body.ids if uid not in wrong)
    return BatchAnswer(id=str(uuid.uuid4()), succeeded=succeeded, failed=tuple(failed))


@router.post("/preview", summary="What a submission would become, without keeping anything")
async def preview(door: Door, actor: Who, body: WorkloadPreview, agent: Agent = "") -> PreviewAnswer:
    """The completed specification, what a policy forbids, and whether it would start now."""
    await check_cluster(body.cluster_id, door)
    project = await door.organization.get_project(actor, body.project_id)
    submission = submission_of(body.type, body, project.name, agent)
    return preview_answer(await door.workloads.check(actor, submission))


@router.get("/{workload_id}", summary="Get a workload of any type")
async def get_workload(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
    """With its specification, also for some time after it was deleted."""
    return views.typed_workload(await door.workloads.get(actor, workload_id), names)


@router.delete("/{workload_id}", status_code=202, summary="Delete a workload of any type (ours)")
async def delete_workload(workload_id: str, door: Door, actor: Who, names: Names) -> TypedWorkload:
    """The pods end, the record is kept for some time."""
    return views.typed_workload(await door.workloads.delete(actor, workload_id), names)


@router.get("/{workload_id}/pods", summary="List the pods of a workload")
async def list_workload_pods(
    workload_id: str, door: Door, actor: Who, names: Names, given: Annotated[listing.PodListQuery, Query()]
) -> PodList:
    """The pods that exist now."""
    workload = await door.workloads.get(actor, workload_id)
    pods = await door.workloads.pods(actor, workload_id)
    page = listing.page_in_memory(pods, given)
    items = tuple(pod_item(pod, workload, names) for pod in page.items)
    return PodList(pods=items, next=listing.next_offset(page, given.offset))


@router.get("/{workload_id}/events", summary="List the events of a workload")
async def list_events(workload_id: str, door: Door, actor: Who, names: Names, given: Listing) -> EventList:
    """What happened without a change of phase."""
    page = await door.workloads.events(actor, workload_id, listing.query_of(given, listing.RECORDS))
    items = tuple(event_item(record, names) for record in page.items)
    return EventList(events=items, next=listing.next_offset(page, given.offset))


@router.get("/{workload_id}/history", summary="The story of a workload")
async def list_history(workload_id: str, door: Door, actor: Who, names: Names, given: Listing) -> HistoryList:
    """Changes of phase, with cause and actor, and events."""
    page = await door.workloads.history(actor, workload_id, listing.query_of(given, listing.RECORDS))
    items = tuple(history_item(record, names) for record in page.items)
    return HistoryList(records=items, next=listing.next_offset(page, given.offset))


@router.get("/{workload_id}/why", summary="Why a workload is where it is (ours)")
async def why(workload_id: str, door: Door, actor: Who) -> WhyAnswer:
    """One sentence, then the scheduler's numbers and the smallest change that would start it."""
    return why_answer(await door.workloads.why(actor, workload_id))


async def _act(door: Orchestrator, actor: Actor, action: str, uid: str) -> None:
    actions = {
        "delete": door.workloads.delete,
        "suspend": door.workloads.stop,
        "resume": door.workloads.resume,
    }
    await actions[action](actor, uid)
