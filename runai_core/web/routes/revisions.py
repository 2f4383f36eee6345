"""Revisions of inference workloads: each change of a specification, what ran of it, and what happened meanwhile."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.revisions import RevisionItem, RevisionList
from runai_core.web.answers.workloads import EventList, HistoryList, PodList
from runai_core.web.context import Door, Names, Who
from runai_core.web.views.pods import pod_item
from runai_core.web.views.revisions import revision_item
from runai_core.web.views.stories import event_item, history_item

router = APIRouter(prefix="/api/v1/workloads/inferences", tags=["revisions"])

Listing = Annotated[listing.ListQuery, Query()]
Deleted = Annotated[bool, Query(description="Only revisions of a deleted workload.")]


@router.get("/{workload_id}/revisions", summary="List the revisions of an inference workload")
async def list_revisions(
    workload_id: str,
    door: Door,
    actor: Who,
    names: Names,
    deleted: Deleted = False,  # noqa: FBT002
) -> RevisionList:
    """The first one first; the last one is what the workload runs."""
    found = [revision_item(story, names) for story in await door.workloads.revisions(actor, workload_id)]
    return RevisionList(revisions=tuple(item for item in found if (item.deleted_at is not None) is deleted))


@router.get("/{workload_id}/revisions/count", summary="Count the revisions of an inference workload")
async def count_revisions(
    workload_id: str,
    door: Door,
    actor: Who,
    names: Names,
    deleted: Deleted = False,  # noqa: FBT002
) -> Count:
    """How many are kept."""
    found = await list_revisions(workload_id, door, actor, names, deleted)
    return Count(count=len(found.revisions))


@router.get("/revisions/{revision_id}", summary="Get a revision of an inference workload")
async def get_revision(revision_id: str, door: Door, actor: Who, names: Names) -> RevisionItem:
    """With its specification."""
    return revision_item(await door.workloads.revision(actor, revision_id), names)


@router.get("/revisions/{revision_id}/pods", summary="List the pods of a revision")
async def list_revision_pods(revision_id: str, door: Door, actor: Who, names: Names) -> PodList:
    """Those that exist now: of an earlier one, only while it is being replaced."""
    story = await door.workloads.revision(actor, revision_id)
    pods = (pod_item(pod, story.revision.workload, names) for pod in story.pods)
    return PodList(pods=tuple(pod.model_copy(update={"revision_id": revision_id}) for pod in pods))


@router.get("/revisions/{revision_id}/events", summary="List the events of a revision")
async def list_revision_events(revision_id: str, door: Door, actor: Who, names: Names, given: Listing) -> EventList:
    """Those of the workload from the time of this revision."""
    story = await door.workloads.revision(actor, revision_id)
    query = listing.query_of(given, listing.RECORDS)
    query = replace(query, filters=(*query.filters, *story.records))
    page = await door.workloads.events(actor, story.revision.meta.owner, query)
    items = tuple(event_item(record, names) for record in page.items)
    return EventList(events=items, next=listing.next_offset(page, given.offset))


@router.get("/revisions/{revision_id}/history", summary="The story of a workload while it had this revision")
async def list_revision_history(revision_id: str, door: Door, actor: Who, names: Names, given: Listing) -> HistoryList:
    """Changes of phase, and events."""
    story = await door.workloads.revision(actor, revision_id)
    query = listing.query_of(given, listing.RECORDS)
    query = replace(query, filters=(*query.filters, *story.records))
    page = await door.workloads.history(actor, story.revision.meta.owner, query)
    items = tuple(history_item(record, names) for record in page.items)
    return HistoryList(records=items, next=listing.next_offset(page, given.offset))
