"""Actions on workloads: what will happen is said first, then it is done.

`outcome` says it for one workload and one action; the same words are on the
page that asks and decide what is carried out.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, RunaiError
from runai_core.model.organization import Action, Actor, Scope
from runai_core.model.roles import WORKLOADS, resource_of
from runai_core.model.workload import TERMINAL, TYPE_DEFAULTS, Phase, Workload, WorkloadType
from runai_core.web.context import Door
from runai_core.web.pages import frame, phases
from runai_core.web.pages.form_kinds import form_of
from runai_core.web.pages.frame import Viewer
from runai_core.web.pages.listed import back_to_list
from runai_core.web.pages.rights import deeds_on, may_somewhere
from runai_core.web.pages.tools import tools_of

router = frame.page_router()

MOST = 500
"""Workloads of one action."""

LEAVES = frozenset({Phase.DELETING, Phase.TERMINATING})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action would do to a workload, in a sentence; not `possible` means that it is left as it is."""

    workload: Workload
    text: str
    possible: bool = True

    @property
    def badge(self) -> str:
        """The kind of badge of the workload's phase."""
        return phases.KINDS[self.workload.phase]


def _pods(workload: Workload) -> str:
    count = workload.pods_running
    return f"its {count} running pod{'s' if count != 1 else ''}"


def on_stop(workload: Workload) -> Outcome:
    """Say what stopping would do."""
    if workload.phase is Phase.STOPPED:
        return Outcome(workload, "It is stopped already.", possible=False)
    if workload.phase in TERMINAL or workload.phase in LEAVES:
        return Outcome(workload, f"It is {workload.phase}: there is nothing to stop.", possible=False)
    if workload.type is WorkloadType.EXTERNAL:
        return Outcome(workload, f"The {workload.kind or 'framework object'} is asked to suspend, where it can.")
    if not TYPE_DEFAULTS[workload.type].can_stop:
        return Outcome(workload, f"{workload.type} workloads cannot be stopped, only deleted.", possible=False)
    if not workload.pods_running:
        return Outcome(workload, "It leaves the queue. Run puts it back, at the end.")
    return Outcome(workload, f"It ends {_pods(workload)} and frees what they hold; files outside its volumes are lost.")


def on_run(workload: Workload) -> Outcome:
    """Say what running it again would do."""
    if workload.phase is Phase.STOPPED:
        return Outcome(workload, "It starts anew from its specification, and waits in the queue until there is room.")
    return Outcome(workload, f"It is {workload.phase}: only stopped workloads can be run.", possible=False)


def on_delete(workload: Workload) -> Outcome:
    """Say what deleting would do."""
    if workload.meta.deleted_at is not None or workload.phase in LEAVES:
        return Outcome(workload, "It is being deleted, or was.", possible=False)
    ends = f"It ends {_pods(workload)}. " if workload.pods_running else ""
    return Outcome(workload, f"{ends}Its record and events are kept for 14 days; it cannot be run again.")


Act = Callable[[Actor, str], Awaitable[Workload]]


@dataclass(frozen=True, slots=True)
class Asks:
    """An action that is confirmed."""

    title: str
    button: str
    outcome: Callable[[Workload], Outcome]
    done: str  # after the number and "workloads"
    is_harmful: bool = False


ASKS: Mapping[str, Asks] = {
    "stop": Asks("Stop", "Stop", on_stop, "asked to stop"),
    "run": Asks("Run", "Run", on_run, "asked to run"),
    "delete": Asks("Delete", "Delete", on_delete, "being deleted", is_harmful=True),
}


NEEDS: Mapping[str, Action] = {
    "details": Action.READ,
    "connect": Action.UPDATE,
    "stop": Action.UPDATE,
    "run": Action.UPDATE,
    "clone": Action.CREATE,
    "delete": Action.DELETE,
}
"""Action -> the right that it needs, in the order of the buttons."""

RESOURCES = tuple(dict.fromkeys([*WORKLOADS.values(), "workloads"]))


def offered(request: Request) -> list[str]:
    """Return the actions that who looks has a right to, on some type of workload somewhere."""
    return [
        name for name, needs in NEEDS.items() if any(may_somewhere(request, needs, resource) for resource in RESOURCES)
    ]


async def allowed_on(door: Orchestrator, actor: Actor, workload: Workload) -> frozenset[str]:
    """Return the actions that the actor has a right to on the workload."""
    deeds = await deeds_on(door, actor, resource_of(workload.type), Scope("project", workload.meta.project))
    return frozenset(name for name, needs in NEEDS.items() if needs in deeds)


async def _outcome(door: Orchestrator, actor: Actor, action: str, uid: str) -> Outcome:
    workload = await door.workloads.get(actor, uid)
    if action not in await allowed_on(door, actor, workload):
        text = f"Your roles do not allow you to {action} it: ask an administrator of project {workload.meta.project}."
        return Outcome(workload, text, possible=False)
    return ASKS[action].outcome(workload)


@router.post("/workloads/confirm")
async def confirm(request: Request, door: Door, actor: Viewer) -> Response:
    """Say what would happen, and ask; or go where an action on one workload leads."""
    action, uids, back = await _given(request)
    if not uids:
        return frame.go_to(request, back, "Nothing was done: choose at least one workload first.")
    if action not in ASKS:
        return await _lead(request, door, actor, action, uids, back)
    outcomes = [await _outcome(door, actor, action, uid) for uid in uids]
    template = "workloads_confirm_part.html" if frame.is_partial(request) else "workloads_confirm.html"
    return frame.page(
        request,
        template,
        asks=ASKS[action],
        action=action,
        affected=[item for item in outcomes if item.possible],
        spared=[item for item in outcomes if not item.possible],
        back=back,
    )


@router.post("/workloads/do")
async def carry_out(request: Request, door: Door, actor: Viewer) -> Response:
    """Do what was confirmed to each workload, and say what became of it."""
    action, uids, back = await _given(request)
    if action not in ASKS:
        raise InvalidRequest.of(FieldError("action", f"must be one of {', '.join(ASKS)}", action[:80]))
    done, failed = 0, []
    for uid in uids:
        try:
            await _act(door, action)(actor, uid)
            done += 1
        except RunaiError as error:
            failed.append(error.message)
    return frame.go_to(request, back, _told(ASKS[action], done, failed))


def _act(door: Orchestrator, action: str) -> Act:
    return {"stop": door.workloads.stop, "run": door.workloads.resume, "delete": door.workloads.delete}[action]


def _told(asks: Asks, done: int, failed: list[str]) -> str:
    text = f"{done} workload{'s are' if done != 1 else ' is'} {asks.done}."
    if failed:
        more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
        text += f" {len(failed)} failed: {'; '.join(failed[:3])}{more}"
    return text


async def _lead(
    request: Request, door: Orchestrator, actor: Actor, action: str, uids: list[str], back: str
) -> Response:
    """Go to the page of one workload that the action is about."""
    if action not in LEADS:
        raise InvalidRequest.of(FieldError("action", f"must be one of {', '.join([*ASKS, *LEADS])}", action[:80]))
    if len(uids) != 1:
        return frame.go_to(request, back, "Nothing was done: choose one workload for this.")
    return frame.go_to(request, *LEADS[action](await door.workloads.get(actor, uids[0])))


def to_details(workload: Workload) -> tuple[str, str]:
    """Return the page of the workload."""
    return f"/workloads/{workload.meta.uid}", ""


def to_clone(workload: Workload) -> tuple[str, str]:
    """Return the form that is filled in as the workload was."""
    form = form_of(workload)
    if not form:
        return to_details(workload)[0] + "?tab=copy", f"{workload.type} workloads have no form: take the call below."
    return f"/workloads/new/{form}?clone={workload.meta.uid}", ""


def to_connect(workload: Workload) -> tuple[str, str]:
    """Return the tool, where there is one; or where connections are listed."""
    found = [tool for tool in tools_of(workload.spec) if tool.port]
    if len(found) == 1 and workload.pods_running:
        return f"/proxy/{workload.meta.uid}/{found[0].port}/", ""
    return to_details(workload)[0] + "?tab=connect", ""


LEADS: Mapping[str, Callable[[Workload], tuple[str, str]]] = {
    "details": to_details,
    "clone": to_clone,
    "connect": to_connect,
}
"""Actions on one workload that only lead somewhere: a path, and what is said there."""


async def _given(request: Request) -> tuple[str, list[str], str]:
    """Return the action, the workloads, and where to go back to.

    Raises:
        InvalidRequest: there are too many of them.
    """
    async with request.form(max_fields=MOST + 50) as form:
        action, back = str(form.get("action", "")), back_to_list(str(form.get("next", "")))
        uids = list(dict.fromkeys(str(value) for value in form.getlist("uid")))
    if len(uids) > MOST:
        raise InvalidRequest.of(FieldError("uid", f"must be at most {MOST} workloads at once", str(len(uids))))
    if back == "/workloads" and len(uids) == 1 and request.query_params.get("from") == "details":
        back = f"/workloads/{uids[0]}" if action != "delete" else "/workloads"
    return action, uids, back
