"""Forms that make or change one thing, and the question before one is deleted.

What a service refuses is told in the form, with all that was typed still in
it: neither a right that is lacking nor somebody who was faster costs anybody
their work.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound, RunaiError, Unauthenticated
from runai_core.model.organization import Action
from runai_core.web.errors import status_of
from runai_core.web.pages.frame import go_to, page
from runai_core.web.pages.inputs import Section, with_errors

T = TypeVar("T")

UNREADABLE = 422
"""Status of a form whose values are wrong."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why what was posted was not done."""

    errors: tuple[FieldError, ...] = ()
    status: int = 200


NOTHING = Refusal()
"""Nothing was refused: the form is shown for the first time."""

Moved = Callable[[Sequence[FieldError]], Sequence[FieldError]]
"""Brings errors of the API's fields to the inputs of a form."""


def wrong(errors: Sequence[FieldError]) -> Refusal:
    """Return the refusal of values that cannot be read; of none, nothing."""
    return Refusal(tuple(errors), UNREADABLE) if errors else NOTHING


def refusal_of(error: RunaiError, *, name: str = "", moved: Moved = tuple) -> Refusal:
    """Return the refusal as a form shows it; `name` is the input of a name that is taken already."""
    if isinstance(error, InvalidRequest):
        return wrong(moved(error.errors) or [FieldError("", error.message)])
    at = name if isinstance(error, AlreadyExists) else ""
    return Refusal((FieldError(at, error.message),), status_of(error))


async def tried(
    errors: Sequence[FieldError], act: Callable[[], Awaitable[T]], *, name: str = "", moved: Moved = tuple
) -> tuple[T | None, Refusal]:
    """Do it unless something is wrong already; return what was made, or why nothing was."""
    if errors:
        return None, wrong(errors)
    try:
        return await act(), NOTHING
    except Unauthenticated:
        raise
    except RunaiError as error:
        return None, refusal_of(error, name=name, moved=moved)


USUAL: Mapping[str, Any] = {
    "save": "Save",
    "help": "",
    "hidden": {},
    "delete": "",
    "more": "",
    "checked_at": "",
    "check": "Check",
    "fields": (),
}
"""What a form has where its page says nothing else."""


def form_page(
    request: Request,
    sections: Sequence[Section],
    refusal: Refusal = NOTHING,
    *,
    template: str = "edit.html",
    prefixes: Sequence[str] = (),
    may_save: bool = True,
    **values: Any,
) -> Response:
    """Return the page of a form; who may not save it sees the values, and cannot write.

    Templates know: title, back, save, help, hidden (further values), delete (where that is asked), more (where an
    empty row of a table comes from), checked_at and check (where it is tried out, and the button's text).
    """
    shown, problems = with_errors(sections if may_save else _locked(sections), refusal.errors, prefixes)
    return page(
        request,
        template,
        status=refusal.status,
        sections=shown,
        problems=problems,
        may_save=may_save,
        **{**USUAL, **values},
    )


def thing_page(
    request: Request,
    sections: Sequence[Section],
    refusal: Refusal,
    *,
    noun: str,
    name: str | None,
    deeds: Collection[Action],
    **values: Any,
) -> Response:
    """Return the form of the thing of this name, or with None of a new one; `deeds` is what who looks may do to it.

    Values are those of `form_page`; what is asked before it is deleted is only for whoever may.
    """
    delete = values.pop("delete", "")
    return form_page(
        request,
        sections,
        refusal,
        may_save=(Action.CREATE if name is None else Action.UPDATE) in deeds,
        title=f"New {noun}" if name is None else f"{noun[:1].upper()}{noun[1:]} {name}",
        save="Create" if name is None else "Save",
        delete=delete if name is not None and Action.DELETE in deeds else "",
        **values,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked before something is deleted: what would be lost, and what stands in the way."""

    title: str
    text: str
    back: str
    inside: tuple[str, ...] = ()
    button: str = "Delete"


def ask(request: Request, question: Question) -> Response:
    """Return the page that asks."""
    return page(request, "delete.html", question=question, error="")


async def deleted(request: Request, question: Question, act: Awaitable[object], path: str, notice: str) -> Response:
    """Delete and go on; or ask again, and say why it cannot be."""
    try:
        await act
    except (NotFound, Unauthenticated):
        raise
    except RunaiError as error:
        return page(request, "delete.html", status=status_of(error), question=question, error=error.message)
    return go_to(request, path, notice)


def _locked(sections: Sequence[Section]) -> tuple[Section, ...]:
    return tuple(
        replace(part, inputs=tuple(replace(item, locked=True, required=False, note="") for item in part.inputs))
        for part in sections
    )
