"""Users, service accounts and access keys. A password or secret is shown once, when it is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import AlreadyExists, FieldError, Forbidden, InvalidRequest, NotFound
from runai_core.model.identity import AccessKey, SubjectType, User
from runai_core.model.organization import AccessRule, Actor, ServiceAccount
from runai_core.ports import Filter, Op, Query
from runai_core.web.context import Door
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Posted, Section, Widget, posted_of, text_of, with_errors
from runai_core.web.pages.listing import table_page
from runai_core.web.pages.tables import Cell, Column

router = page_router()

MACHINE = SubjectType.SERVICE_ACCOUNT.value
DAY = 86400.0

USERS = (
    Column("name", "User"),
    Column("type", "Type"),
    Column("status", "Status"),
    Column("login", "Last login"),
    Column("by", "Created by"),
    Column("created", "Created"),
)

ACCOUNTS = (
    Column("name", "Service account"),
    Column("id", "Client id"),
    Column("status", "Status"),
    Column("login", "Last login"),
    Column("by", "Created by"),
    Column("created", "Created"),
)

KEYS = (
    Column("name", "Access key"),
    Column("id", "Client id"),
    Column("expires", "Ends"),
    Column("used", "Last used"),
    Column("created", "Created"),
    Column("delete", "Delete"),
)


@router.get("/users")
async def list_users(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all users."""
    rows = [_user_row(item) for item in (await door.users.list(actor, Query())).items]
    return table_page(request, "accounts.html", "Users", USERS, rows, new="/users/new", word="user")


@router.get("/users/new")
async def new_user(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new user."""
    return _user_form(request, {})


@router.post("/users/new")
async def create_user(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the user and show the password, this once."""
    posted = posted_of((await request.form()).multi_items())
    try:
        user, password = await door.users.create(actor, text_of(posted, "email"))
    except InvalidRequest as error:
        return _user_form(request, posted, list(error.errors) or [FieldError("", error.message)])
    except AlreadyExists as error:
        return _user_form(request, posted, [FieldError("email", error.message)])
    return _secret(request, f"User {user.name}", "Password", password, f"/users/{user.meta.uid}", more=PASSWORD_SAYS)


PASSWORD_SAYS = "It must be changed at the first sign-in. The user may do nothing until an access rule gives a role."  # noqa: S105  a sentence


@router.get("/users/{ref}")
async def show_user(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one user with the roles."""
    user = await door.users.get(actor, ref)
    rules, names = await _rules(door, actor, user.name, SubjectType.USER.value)
    return page(request, "user.html", user=user, rules=rules, names=names)


@router.post("/users/{ref}/{deed}")
async def change_user(request: Request, ref: str, deed: str, door: Door, actor: Viewer) -> Response:
    """Reset the password, end all sessions, let in or keep out, or delete."""
    user = await door.users.get(actor, ref)
    back = f"/users/{user.meta.uid}"
    if deed == "reset-password":
        user, password = await door.users.reset_password(actor, ref)
        return _secret(request, f"User {user.name}", "New password", password, back, more="All sessions have ended.")
    if deed == "sign-out":
        count = await door.users.sign_out(actor, ref)
        return go_to(request, back, f"{count} sessions of {user.name} have ended.")
    if deed in ("enable", "disable"):
        await door.users.enable(actor, ref, enabled=deed == "enable")
        return go_to(request, back, f"{user.name} is {'let in again' if deed == 'enable' else 'kept out'}.")
    if deed == "delete":
        try:
            await door.users.delete(actor, ref)
        except Forbidden as error:
            return page(request, "delete.html", status=403, **_question("user", user.name, back), error=error.message)
        return go_to(request, "/users", f"User {user.name} is deleted.")
    raise NotFound(f"nothing is called {deed[:80]} here")


@router.get("/users/{ref}/delete")
async def ask_delete_user(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    user = await door.users.get(actor, ref)
    return page(request, "delete.html", **_question("user", user.name, f"/users/{user.meta.uid}"), error="")


@router.get("/service-accounts")
async def list_accounts(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all service accounts."""
    rows = [_account_row(item) for item in (await door.accounts.list(actor, MACHINE, Query())).items]
    new = "/service-accounts/new"
    return table_page(request, "accounts.html", "Service accounts", ACCOUNTS, rows, new=new, word="service account")


@router.get("/service-accounts/new")
async def new_account(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new service account."""
    return _name_form(request, "New service account", "/service-accounts", {})


@router.post("/service-accounts/new")
async def create_account(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the account and show the secret, this once."""
    posted = posted_of((await request.form()).multi_items())
    try:
        account, secret = await door.accounts.create(actor, MACHINE, text_of(posted, "name"))
    except InvalidRequest as error:
        return _name_form(request, "New service account", "/service-accounts", posted, list(error.errors))
    except AlreadyExists as error:
        return _name_form(
            request, "New service account", "/service-accounts", posted, [FieldError("name", error.message)]
        )
    says = f"The client id is {account.client_id}. It may do nothing until an access rule gives it a role."
    return _secret(request, f"Service account {account.client_id}", "Secret", secret, "/service-accounts", more=says)


@router.get("/service-accounts/{ref}")
async def show_account(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one service account with its roles."""
    account = await door.accounts.get(actor, MACHINE, ref)
    rules, names = await _rules(door, actor, account.client_id, MACHINE)
    return page(request, "service_account.html", account=account, rules=rules, names=names)


@router.post("/service-accounts/{ref}/{deed}")
async def change_account(request: Request, ref: str, deed: str, door: Door, actor: Viewer) -> Response:
    """Draw a new secret, let in or keep out, or delete."""
    account = await door.accounts.get(actor, MACHINE, ref)
    back, title = f"/service-accounts/{account.meta.uid}", f"Service account {account.client_id}"
    if deed == "secret":
        _, secret = await door.accounts.new_secret(actor, MACHINE, ref)
        says = "The old one, and all tokens issued for it, are worthless from now on."
        return _secret(request, title, "New secret", secret, back, more=says)
    if deed in ("enable", "disable"):
        await door.accounts.enable(actor, MACHINE, ref, enabled=deed == "enable")
        return go_to(request, back, f"{title} is {'let in again' if deed == 'enable' else 'kept out'}.")
    if deed == "delete":
        await door.accounts.delete(actor, MACHINE, ref)
        return go_to(request, "/service-accounts", f"{title} is deleted.")
    raise NotFound(f"nothing is called {deed[:80]} here")


@router.get("/service-accounts/{ref}/delete")
async def ask_delete_account(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    account = await door.accounts.get(actor, MACHINE, ref)
    question = _question("service account", account.client_id, f"/service-accounts/{account.meta.uid}")
    return page(request, "delete.html", **question, error="")


@router.get("/access-keys")
async def list_keys(request: Request, door: Door, actor: Viewer) -> Response:
    """Show one's own access keys."""
    rows = [_key_row(item) for item in await door.accounts.list_keys(actor)]
    return table_page(request, "accounts.html", "Access keys", KEYS, rows, new="/access-keys/new", word="access key")


@router.get("/access-keys/new")
async def new_key(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new access key."""
    return _key_form(request, {"days": ["90"]})


@router.post("/access-keys/new")
async def create_key(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the key and show its secret, this once."""
    posted = posted_of((await request.form()).multi_items())
    days = text_of(posted, "days")
    if days and not (days.isdecimal() and 0 < int(days[:6]) <= 3660):
        return _key_form(request, posted, [FieldError("days", "must be a whole number from 1 to 3660", days[:80])])
    try:
        key, secret = await door.accounts.create_key(
            actor, text_of(posted, "name"), seconds=int(days) * DAY if days else None
        )
    except InvalidRequest as error:
        return _key_form(request, posted, list(error.errors))
    except AlreadyExists as error:
        return _key_form(request, posted, [FieldError("name", error.message)])
    says = f"The client id is {key.client_id}. Programs that use it act in your name."
    return _secret(request, f"Access key {key.name}", "Secret", secret, "/access-keys", more=says)


@router.get("/access-keys/{ref}/delete")
async def ask_delete_key(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    key = await door.accounts.get_key(actor, ref)
    return page(request, "delete.html", **_question("access key", key.name, "/access-keys"), error="")


@router.post("/access-keys/{ref}/delete")
async def delete_key(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it."""
    key = await door.accounts.delete_key(actor, ref)
    return go_to(request, "/access-keys", f"Access key {key.name} is deleted.")


async def _rules(
    door: Door, actor: Actor, subject: str, kind: str
) -> tuple[Sequence[AccessRule], Mapping[tuple[str, str], str]]:
    filters = (Filter("subject", Op.EQ, subject), Filter("subject_type", Op.EQ, kind))
    try:
        rules = (await door.rules.list(actor, Query(filters=filters))).items
    except Forbidden:
        return (), {}
    return rules, await door.rules.scope_names(rules)


def _user_row(user: User) -> dict[str, Cell]:
    text, badge = ("Kept out", "bad") if user.disabled else ("Active", "good")
    return {
        "name": Cell(text=user.name, link=f"/users/{user.meta.uid}"),
        "type": Cell(text=user.provider or "local"),
        "status": Cell(text=text, badge=badge),
        "login": _moment(user.last_login),
        "by": Cell(text=user.meta.created_by),
        "created": Cell(time=user.meta.created_at),
    }


def _account_row(account: ServiceAccount) -> dict[str, Cell]:
    text, badge = ("Active", "good") if account.enabled else ("Kept out", "bad")
    return {
        "name": Cell(text=account.meta.name, link=f"/service-accounts/{account.meta.uid}"),
        "id": Cell(text=account.client_id),
        "status": Cell(text=text, badge=badge),
        "login": _moment(account.last_login),
        "by": Cell(text=account.meta.created_by),
        "created": Cell(time=account.meta.created_at),
    }


def _key_row(key: AccessKey) -> dict[str, Cell]:
    return {
        "name": Cell(text=key.name),
        "id": Cell(text=key.client_id),
        "expires": _moment(key.expires_at),
        "used": _moment(key.last_used),
        "created": Cell(time=key.meta.created_at),
        "delete": Cell(text="Delete", link=f"/access-keys/{key.meta.uid}/delete"),
    }


def _moment(seconds: float | None) -> Cell:
    return Cell(text="never") if seconds is None else Cell(time=seconds)


def _secret(request: Request, title: str, word: str, secret: str, back: str, *, more: str) -> Response:
    """Show what was drawn; the page is not kept by the browser, and nothing can show it again."""
    return page(request, "secret.html", title=title, word=word, secret=secret, back=back, more=more)


def _user_form(request: Request, posted: Posted, errors: Sequence[FieldError] = ()) -> Response:
    email = Input(
        name="email",
        label="E-mail address",
        required=True,
        value=text_of(posted, "email"),
        help="With it the user signs in. A password is drawn, and shown once.",
    )
    return _form(request, "New user", "/users", (email,), errors)


def _name_form(request: Request, title: str, back: str, posted: Posted, errors: Sequence[FieldError] = ()) -> Response:
    return _form(request, title, back, (_name(posted),), errors)


def _key_form(request: Request, posted: Posted, errors: Sequence[FieldError] = ()) -> Response:
    days = Input(
        name="days",
        label="Good for",
        unit="days",
        widget=Widget.NUMBER,
        value=text_of(posted, "days"),
        help="Empty: until you delete it.",
    )
    return _form(request, "New access key", "/access-keys", (_name(posted), days), errors)


def _name(posted: Posted) -> Input:
    return Input(
        name="name",
        label="Name",
        required=True,
        value=text_of(posted, "name"),
        help="Lower-case letters, digits, '-' and '_'. The secret is shown once.",
    )


def _form(request: Request, title: str, back: str, inputs: tuple[Input, ...], errors: Sequence[FieldError]) -> Response:
    sections, problems = with_errors((Section(title="", inputs=inputs),), errors)
    return page(
        request,
        "edit.html",
        status=422 if errors else 200,
        title=title,
        sections=sections,
        problems=problems,
        back=back,
        save="Create",
    )


def _question(word: str, name: str, back: str) -> dict[str, Any]:
    return {
        "title": f"Delete {word} {name}?",
        "text": "Its roles, keys and sessions end at once. Workloads that it submitted go on. This cannot be undone.",
        "inside": [],
        "back": back,
    }
