"""The revisions of an inference workload on its page, and the way back to an earlier one."""

from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden, NotFound, RunaiError
from runai_core.model.organization import Action, Actor, Scope
from runai_core.model.roles import resource_of
from runai_core.model.workload import Workload
from runai_core.web.context import Door
from runai_core.web.pages import frame
from runai_core.web.pages.frame import Viewer
from runai_core.web.pages.rights import deeds_on

router = frame.page_router()

Number = Annotated[int, Path(ge=1, le=10**9)]


async def shown(door: Orchestrator, actor: Actor, workload: Workload) -> dict[str, Any]:
    """Return what the tab is made from, the present revision first."""
    stories = await door.workloads.revisions(actor, workload.meta.uid)
    deeds = await deeds_on(door, actor, resource_of(workload.type), Scope("project", workload.meta.project))
    may = Action.UPDATE in deeds and workload.meta.deleted_at is None
    return {"stories": stories[::-1], "may_go_back": may}


@router.post("/workloads/{uid}/revisions/{number}")
async def go_back(request: Request, uid: str, number: Number, door: Door, actor: Viewer) -> Response:
    """Give a server an earlier specification back, and say what became of it."""
    try:
        await door.workloads.update(actor, uid, None, revision=number)
        said = f"It goes back to revision {number}, as a new one."
    except (Forbidden, NotFound):
        raise
    except RunaiError as error:
        said = f"It stays as it is: {error.message}"
    return frame.go_to(request, f"/workloads/{uid}?tab=revisions", said)
