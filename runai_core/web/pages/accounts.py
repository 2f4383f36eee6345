"""Users, service accounts and access keys. A password or secret is shown once, when it is drawn."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import FieldError, Forbidden, NotFound
from runai_core.model.identity import AccessKey, SubjectType, User
from runai_core.model.organization import AccessRule, Action, Actor, ServiceAccount
from runai_core.ports import Filter, Op, Query
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Posted, Section, Widget, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
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
    new = Button(path="/users/new", text="New user", right=("create", "users"))
    advice = "Users sign in with a password, or through an identity provider."
    return table_page(request, "Users", USERS, rows, new, has_tabs=True, nothing="There is no user yet", advice=advice)


@router.get("/users/new")
async def new_user(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new user."""
    await door.access.require_anywhere(actor, Action.CREATE, "users")
    return _user_form(request, {})


@router.post("/users/new")
async def create_user(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the user and show the password, this once."""
    posted = posted_of((await request.form()).multi_items())
    made, refusal = await editing.tried((), lambda: door.users.create(actor, text_of(posted, "email")), name="email")
    if made is None:
        return _user_form(request, posted, refusal)
    user, password = made
    return _secret(request, f"User {user.name}", "Password", password, f"/users/{user.meta.uid}", more=PASSWORD_SAYS)


PASSWORD_SAYS = "It must be changed at the first sign-in. The user may do nothing until an access rule gives a role."  # noqa: S105  a sentence


@router.get("/users/{ref}")
async def show_user(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one user with the roles."""
    user = await door.users.get(actor, ref)
    rules, names = await _rules(door, actor, user.name, SubjectType.USER.value)
    may_change = await rights.allowed(door.users.over(actor, Action.UPDATE, ref))
    may_delete = await rights.allowed(door.users.over(actor, Action.DELETE, ref))
    return page(request, "user.html", user=user, rules=rules, names=names, may_change=may_change, may_delete=may_delete)


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
        question = _question("user", user.name, back)
        act = door.users.delete(actor, ref)
        return await editing.deleted(request, question, act, "/users", f"User {user.name} is deleted.")
    raise NotFound(f"nothing is called {deed[:80]} here")


@router.get("/users/{ref}/delete")
async def ask_delete_user(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    user = await door.users.over(actor, Action.DELETE, ref)
    return editing.ask(request, _question("user", user.name, f"/users/{user.meta.uid}"))


@router.get("/service-accounts")
async def list_accounts(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all service accounts."""
    rows = [_account_row(item) for item in (await door.accounts.list(actor, MACHINE, Query())).items]
    new = Button(path="/service-accounts/new", text="New service account", right=("create", MACHINE))
    nothing, advice = "There is no service account yet", "Programs that act for nobody in particular use one."
    return table_page(request, "Service accounts", ACCOUNTS, rows, new, has_tabs=True, nothing=nothing, advice=advice)


@router.get("/service-accounts/new")
async def new_account(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new service account."""
    await door.access.require_anywhere(actor, Action.CREATE, MACHINE)
    return _account_form(request, {})


@router.post("/service-accounts/new")
async def create_account(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the account and show the secret, this once."""
    posted = posted_of((await request.form()).multi_items())
    name = text_of(posted, "name")
    made, refusal = await editing.tried((), lambda: door.accounts.create(actor, MACHINE, name), name="name")
    if made is None:
        return _account_form(request, posted, refusal)
    account, secret = made
    says = f"The client id is {account.client_id}. It may do nothing until an access rule gives it a role."
    return _secret(request, f"Service account {account.client_id}", "Secret", secret, "/service-accounts", more=says)


@router.get("/service-accounts/{ref}")
async def show_account(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one service account with its roles."""
    account = await door.accounts.get(actor, MACHINE, ref)
    rules, names = await _rules(door, actor, account.client_id, MACHINE)
    may_change = await rights.allowed(door.accounts.over(actor, Action.UPDATE, MACHINE, ref))
    may_delete = await rights.allowed(door.accounts.over(actor, Action.DELETE, MACHINE, ref))
    return page(
        request,
        "service_account.html",
        account=account,
        rules=rules,
        names=names,
        may_change=may_change,
        may_delete=may_delete,
    )


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
        question = _question("service account", account.client_id, back)
        act = door.accounts.delete(actor, MACHINE, ref)
        return await editing.deleted(request, question, act, "/service-accounts", f"{title} is deleted.")
    raise NotFound(f"nothing is called {deed[:80]} here")


@router.get("/service-accounts/{ref}/delete")
async def ask_delete_account(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    account = await door.accounts.over(actor, Action.DELETE, MACHINE, ref)
    return editing.ask(
        request, _question("service account", account.client_id, f"/service-accounts/{account.meta.uid}")
    )


@router.get("/access-keys")
async def list_keys(request: Request, door: Door, actor: Viewer) -> Response:
    """Show one's own access keys."""
    rows = [_key_row(item) for item in await door.accounts.list_keys(actor)]
    new = Button(path="/access-keys/new", text="New access key")
    nothing, advice = "There is no access key yet", "With an access key programs act in your name."
    return table_page(request, "Access keys", KEYS, rows, new, has_tabs=True, nothing=nothing, advice=advice)


@router.get("/access-keys/new")
async def new_key(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new access key."""
    return _key_form(request, {"days": ["90"]})


@router.post("/access-keys/new")
async def create_key(request: Request, door: Door, actor: Viewer) -> Response:
    """Create the key and show its secret, this once."""
    posted = posted_of((await request.form()).multi_items())
    days, name = text_of(posted, "days"), text_of(posted, "name")
    is_wrong = days and not (days.isdecimal() and 0 < int(days[:6]) <= 3660)
    errors = [FieldError("days", "must be a whole number from 1 to 3660", days[:80])] if is_wrong else []
    made, refusal = await editing.tried(
        errors,
        lambda: door.accounts.create_key(actor, name, seconds=int(days) * DAY if days else None),
        name="name",
    )
    if made is None:
        return _key_form(request, posted, refusal)
    key, secret = made
    says = f"The client id is {key.client_id}. Programs that use it act in your name."
    return _secret(request, f"Access key {key.name}", "Secret", secret, "/access-keys", more=says)


@router.get("/access-keys/{ref}/delete")
async def ask_delete_key(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    key = await door.accounts.get_key(actor, ref)
    return editing.ask(request, _question("access key", key.name, "/access-keys"))


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


def _user_form(request: Request, posted: Posted, refusal: Refusal = NOTHING) -> Response:
    email = Input(
        name="email",
        label="E-mail address",
        required=True,
        value=text_of(posted, "email"),
        help="With it the user signs in. A password is drawn, and shown once.",
    )
    return _form(request, "New user", "/users", (email,), refusal)


def _account_form(request: Request, posted: Posted, refusal: Refusal = NOTHING) -> Response:
    return _form(request, "New service account", "/service-accounts", (_name(posted),), refusal)


def _key_form(request: Request, posted: Posted, refusal: Refusal = NOTHING) -> Response:
    days = Input(
        name="days",
        label="Good for",
        unit="days",
        widget=Widget.NUMBER,
        value=text_of(posted, "days"),
        help="Empty: until you delete it.",
    )
    return _form(request, "New access key", "/access-keys", (_name(posted), days), refusal)


def _name(posted: Posted) -> Input:
    return Input(
        name="name",
        label="Name",
        required=True,
        value=text_of(posted, "name"),
        help="Lower-case letters, digits, '-' and '_'. The secret is shown once.",
    )


def _form(request: Request, title: str, back: str, inputs: tuple[Input, ...], refusal: Refusal) -> Response:
    sections = (Section(title="", inputs=inputs),)
    return editing.form_page(request, sections, refusal, title=title, back=back, save="Create")


def _question(word: str, name: str, back: str) -> Question:
    text = "Its roles, keys and sessions end at once. Workloads that it submitted go on. This cannot be undone."
    return Question(title=f"Delete {word} {name}?", text=text, back=back)
