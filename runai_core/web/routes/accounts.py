"""Service accounts, applications, and access keys: identities of programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, get_type_hints

from fastapi import APIRouter, Query

from runai_core.model.identity import SubjectType
from runai_core.model.organization import ServiceAccount
from runai_core.ports import Query as StoreQuery
from runai_core.web import listing
from runai_core.web.answers import identity as answers
from runai_core.web.answers.base import Answer
from runai_core.web.context import Door, Who
from runai_core.web.identity_bodies import AccessKeyCreate, EnabledPatch, NamedAccount
from runai_core.web.views.identity import account_item, key_item
from runai_core.web.views.units import iso

keys = APIRouter(prefix="/api/v1", tags=["access keys"])

Given = Annotated[listing.ListQuery, Query()]


@dataclass(frozen=True, slots=True)
class Machines:
    """One kind of identity of programs: its paths, and how its secret is shown."""

    kind: str
    path: str
    plural: str
    word: str
    made: Callable[[ServiceAccount, str], Answer]
    renewed: Callable[[ServiceAccount, str], Answer]


def account_made(made: ServiceAccount, secret: str) -> answers.AccountCreated:
    """Return a new service account with its secret."""
    return answers.AccountCreated(id=made.meta.uid, name=made.meta.name, client_id=made.client_id, client_secret=secret)


def account_renewed(_made: ServiceAccount, secret: str) -> answers.ClientSecret:
    """Return the new secret of a service account."""
    return answers.ClientSecret(client_secret=secret)


def app_made(made: ServiceAccount, secret: str) -> answers.AppCreated:
    """Return an application with its secret."""
    return answers.AppCreated(id=made.meta.uid, name=made.meta.name, client_id=made.client_id, secret=secret)


MACHINES = (
    Machines(
        SubjectType.SERVICE_ACCOUNT.value,
        "service-accounts",
        "service accounts",
        "a service account",
        account_made,
        account_renewed,
    ),
    Machines(
        SubjectType.APP.value, "apps", "applications", "an application", app_made, app_made
    ),  # what they were called first
)


def routers() -> list[APIRouter]:
    """Return the routes of every kind of identity, and of access keys."""
    return [*(_router(row) for row in MACHINES), keys]


def _router(row: Machines) -> APIRouter:
    router = APIRouter(prefix=f"/api/v1/{row.path}", tags=["service accounts"])
    _add_reading(router, row)
    _add_changes(router, row)
    return router


def _add_reading(router: APIRouter, row: Machines) -> None:
    key = row.kind.replace("-", "_")

    @router.get("", summary=f"List {row.plural}", operation_id=f"list_{key}s")
    async def listed(door: Door, actor: Who, given: Given) -> tuple[answers.AccountItem, ...]:
        """Without their secrets, which nobody has."""
        page = await door.accounts.list(actor, row.kind, listing.query_of(given, listing.COMMON))
        return tuple(account_item(item) for item in page.items)

    @router.get("/{account_id}", summary=f"Get {row.word}", operation_id=f"get_{key}")
    async def get(account_id: str, door: Door, actor: Who) -> answers.AccountItem:
        """By id or client id."""
        return account_item(await door.accounts.get(actor, row.kind, account_id))


def _add_changes(router: APIRouter, row: Machines) -> None:
    key, shown, renewed = row.kind.replace("-", "_"), _answer_of(row.made), _answer_of(row.renewed)

    @router.post("", status_code=201, summary=f"Create {row.word}", operation_id=f"create_{key}", response_model=shown)
    async def create(door: Door, actor: Who, body: NamedAccount) -> Answer:
        """The secret is shown this once. It may do nothing until an access rule says so."""
        return row.made(*await door.accounts.create(actor, row.kind, body.name))

    @router.patch("/{account_id}", summary=f"Enable or disable {row.word}", operation_id=f"update_{key}")
    async def patch(account_id: str, door: Door, actor: Who, body: EnabledPatch) -> answers.AccountItem:
        """Its tokens are worthless at once."""
        return account_item(await door.accounts.enable(actor, row.kind, account_id, enabled=body.enabled))

    @router.delete("/{account_id}", status_code=204, summary=f"Delete {row.word}", operation_id=f"delete_{key}")
    async def delete(account_id: str, door: Door, actor: Who) -> None:
        """With its access rules, keys and private credentials."""
        await door.accounts.delete(actor, row.kind, account_id)

    @router.post(
        "/{account_id}/secret",
        summary=f"Give {row.word} a new secret",
        operation_id=f"renew_{key}",
        response_model=renewed,
    )
    async def renew(account_id: str, door: Door, actor: Who) -> Answer:
        """The old one and its tokens are worthless at once."""
        return row.renewed(*await door.accounts.new_secret(actor, row.kind, account_id))


def _answer_of(made: Callable[[ServiceAccount, str], Answer]) -> type[Answer]:
    """Return the model of what a function answers."""
    found: type[Answer] = get_type_hints(made)["return"]
    return found


@keys.get("/access-keys", summary="List one's own access keys")
async def list_keys(door: Door, actor: Who) -> answers.KeyList:
    """Keys with which programs act as who asks."""
    return answers.KeyList(access_keys=tuple(key_item(key) for key in await door.accounts.list_keys(actor)))


@keys.post("/access-keys", status_code=201, summary="Create an access key")
async def create_key(door: Door, actor: Who, body: AccessKeyCreate) -> answers.KeyCreated:
    """The secret is shown this once."""
    key, secret = await door.accounts.create_key(actor, body.name, seconds=body.expires_in)
    return answers.KeyCreated(
        id=key.meta.uid,
        name=key.name,
        client_id=key.client_id,
        client_secret=secret,
        created_at=iso(key.meta.created_at),
    )


@keys.get("/access-keys/{key_id}", summary="Get one of one's own access keys")
async def get_key(key_id: str, door: Door, actor: Who) -> answers.KeyItem:
    """By id, client id or name."""
    return key_item(await door.accounts.get_key(actor, key_id))


@keys.delete("/access-keys/{key_id}", status_code=204, summary="Delete one of one's own access keys")
async def delete_key(key_id: str, door: Door, actor: Who) -> None:
    """Its tokens are worthless at once."""
    await door.accounts.delete_key(actor, key_id)


@keys.post("/access-keys/{key_id}/secret", summary="Give an access key a new secret")
async def new_key_secret(key_id: str, door: Door, actor: Who) -> answers.ClientSecret:
    """The old one and its tokens are worthless at once."""
    _, secret = await door.accounts.new_key_secret(actor, key_id)
    return answers.ClientSecret(client_secret=secret)


@keys.get("/administration/access-keys", summary="List everybody's access keys")
async def list_all_keys(door: Door, actor: Who) -> answers.KeyList:
    """By the time of creation."""
    page = await door.accounts.list_all_keys(actor, StoreQuery())
    return answers.KeyList(access_keys=tuple(key_item(key) for key in page.items))


@keys.delete("/administration/access-keys/{key_id}", status_code=204, summary="Delete somebody's access key")
async def delete_any_key(key_id: str, door: Door, actor: Who) -> None:
    """Its tokens are worthless at once."""
    await door.accounts.delete_any_key(actor, key_id)


@keys.get("/user-applications", summary="List one's own access keys, under their older name")
async def list_user_apps(door: Door, actor: Who) -> tuple[answers.KeyItem, ...]:
    """The same keys."""
    return tuple(key_item(key) for key in await door.accounts.list_keys(actor))


@keys.post("/user-applications", status_code=201, summary="Create an access key, under its older name")
async def create_user_app(door: Door, actor: Who, body: NamedAccount) -> answers.UserAppCreated:
    """The secret is shown this once."""
    key, secret = await door.accounts.create_key(actor, body.name)
    return answers.UserAppCreated(
        id=key.meta.uid, name=key.name, client_id=key.client_id, secret=secret, created_at=iso(key.meta.created_at)
    )


@keys.get("/user-applications/{app_id}", summary="Get one of one's own access keys, under its older name")
async def get_user_app(app_id: str, door: Door, actor: Who) -> answers.KeyItem:
    """By id, client id or name."""
    return key_item(await door.accounts.get_key(actor, app_id))


@keys.delete("/user-applications/{app_id}", status_code=204, summary="Delete an access key, under its older name")
async def delete_user_app(app_id: str, door: Door, actor: Who) -> None:
    """Its tokens are worthless at once."""
    await door.accounts.delete_key(actor, app_id)


@keys.post("/user-applications/{app_id}/secret", summary="Give an access key a new secret, under its older name")
async def new_user_app_secret(app_id: str, door: Door, actor: Who) -> answers.UserAppCreated:
    """The old one and its tokens are worthless at once."""
    key, secret = await door.accounts.new_key_secret(actor, app_id)
    return answers.UserAppCreated(
        id=key.meta.uid, name=key.name, client_id=key.client_id, secret=secret, created_at=iso(key.meta.created_at)
    )


@keys.get("/administration/user-applications", summary="List everybody's access keys, under their older name")
async def list_all_user_apps(door: Door, actor: Who) -> tuple[answers.KeyItem, ...]:
    """By the time of creation."""
    return tuple(key_item(key) for key in (await door.accounts.list_all_keys(actor, StoreQuery())).items)


@keys.delete(
    "/administration/user-applications/{app_id}",
    status_code=204,
    summary="Delete somebody's access key, under its older name",
)
async def delete_any_user_app(app_id: str, door: Door, actor: Who) -> None:
    """Its tokens are worthless at once."""
    await door.accounts.delete_any_key(actor, app_id)
