"""One's own account: what one may do, and a new password; for administrators, the logo of the tenant."""

import base64
from collections.abc import Sequence

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, Forbidden, InvalidRequest, NotFound, Unauthenticated
from runai_core.model.identity import SubjectType, User
from runai_core.model.organization import Actor
from runai_core.service.branding import LARGEST
from runai_core.service.passwords import rules_in_words
from runai_core.web.context import Door
from runai_core.web.pages import editing
from runai_core.web.pages.editing import UNREADABLE, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Section, Widget, posted_of

router = page_router("/settings")


@router.get("")
async def settings(request: Request, door: Door, actor: Viewer) -> Response:
    """Show who is signed in, with which roles."""
    return await _shown(request, door, actor)


@router.post("/password")
async def change_password(request: Request, door: Door, actor: Viewer) -> Response:
    """Change one's own password; all other sessions end, and this one with them."""
    posted = posted_of((await request.form()).multi_items())
    current, new, again = (posted.get(name, [""])[0] for name in ("current", "password", "again"))
    if new != again:
        return await _shown(request, door, actor, [FieldError("again", "must be the same as the new password")])
    address = request.client.host if request.client else ""
    try:
        await door.sign_in.change_password(actor, current, new, address=address)
    except InvalidRequest as error:
        errors = [FieldError("password", item.message) for item in error.errors]
        return await _shown(request, door, actor, errors or [FieldError("password", error.message)])
    except Unauthenticated as error:
        return await _shown(request, door, actor, [FieldError("current", error.message)])
    return go_to(request, "/login", "Your password is changed: sign in with it.")


@router.post("/logo")
async def put_logo(request: Request, door: Door, actor: Viewer) -> Response:
    """Show a picture at the top of all pages."""
    async with request.form(max_files=1) as form:
        given = form.get("logo")
        picture = await given.read(LARGEST + 1) if isinstance(given, UploadFile) else b""
    try:
        await door.branding.put(actor, base64.b64encode(picture).decode())
    except InvalidRequest as error:
        return await _shown(request, door, actor, logo_error=error.errors[0].message)
    return go_to(request, "/settings", "All pages have the logo now.")


@router.post("/logo/delete")
async def delete_logo(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the program's own sign again."""
    await door.branding.delete(actor)
    return go_to(request, "/settings", "Pages have the program's own sign again.")


async def _shown(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    errors: Sequence[FieldError] = (),
    *,
    logo_error: str = "",
) -> Response:
    user = await _user(door, actor)
    try:
        rules = await door.rules.mine(actor)
    except NotFound:
        rules = ()
    shapes = (
        ("current", "Present password", ""),
        ("password", "New password", rules_in_words(await door.tenant_settings.current())),
        ("again", "New password again", ""),
    )
    inputs = tuple(
        Input(name=name, label=label, widget=Widget.PASSWORD, required=True, help=text) for name, label, text in shapes
    )
    return editing.form_page(
        request,
        (Section(title="", inputs=inputs),),
        Refusal(status=UNREADABLE) if logo_error else editing.wrong(errors),
        template="settings.html",
        logo_error=logo_error,
        has_logo=await door.branding.shown() is not None,
        user=user,
        rules=rules,
        names=await door.rules.scope_names(rules),
        has_password=actor.kind == SubjectType.USER and not (user and user.provider),
    )


async def _user(door: Orchestrator, actor: Actor) -> User | None:
    """Return the signed-in person, where the account's own data may be read."""
    if actor.kind != SubjectType.USER:
        return None
    try:
        return await door.users.get(actor, actor.name)
    except (NotFound, Forbidden):
        return None
