"""Service accounts, applications, and access keys: identities of programs."""

from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.model.identity import SubjectType
from runai_core.ports import Query as StoreQuery
from runai_core.web import listing
from runai_core.web.answers import identity as answers
from runai_core.web.context import Door, Who
from runai_core.web.identity_bodies import AccessKeyCreate, EnabledPatch, NamedAccount
from runai_core.web.views.identity import account_item, key_item
from runai_core.web.views.units import iso

ACCOUNT, APP = SubjectType.SERVICE_ACCOUNT.value, SubjectType.APP.value

accounts = APIRouter(prefix="/api/v1/service-accounts", tags=["service accounts"])
apps = APIRouter(prefix="/api/v1/apps", tags=["service accounts"])
keys = APIRouter(prefix="/api/v1", tags=["access keys"])

Given = Annotated[listing.ListQuery, Query()]


@accounts.get("", summary="List service accounts")
async def list_accounts(door: Door, actor: Who, given: Given) -> tuple[answers.AccountItem, ...]:
    """Without their secrets, which nobody has."""
    page = await door.accounts.list(actor, ACCOUNT, listing.query_of(given, listing.COMMON))
    return tuple(account_item(item) for item in page.items)


@accounts.post("", status_code=201, summary="Create a service account")
async def create_account(door: Door, actor: Who, body: NamedAccount) -> answers.AccountCreated:
    """The secret is shown this once. It may do nothing until an access rule says so."""
    made, secret = await door.accounts.create(actor, ACCOUNT, body.name)
    return answers.AccountCreated(id=made.meta.uid, name=made.meta.name, client_id=made.client_id, client_secret=secret)


@accounts.get("/{account_id}", summary="Get a service account")
async def get_account(account_id: str, door: Door, actor: Who) -> answers.AccountItem:
    """By id or client id."""
    return account_item(await door.accounts.get(actor, ACCOUNT, account_id))


@accounts.patch("/{account_id}", summary="Enable or disable a service account")
async def patch_account(account_id: str, door: Door, actor: Who, body: EnabledPatch) -> answers.AccountItem:
    """Its tokens are worthless at once."""
    return account_item(await door.accounts.enable(actor, ACCOUNT, account_id, enabled=body.enabled))


@accounts.delete("/{account_id}", status_code=204, summary="Delete a service account")
async def delete_account(account_id: str, door: Door, actor: Who) -> None:
    """With its access rules and keys."""
    await door.accounts.delete(actor, ACCOUNT, account_id)


@accounts.post("/{account_id}/secret", summary="Give a service account a new secret")
async def new_account_secret(account_id: str, door: Door, actor: Who) -> answers.ClientSecret:
    """The old one and its tokens are worthless at once."""
    _, secret = await door.accounts.new_secret(actor, ACCOUNT, account_id)
    return answers.ClientSecret(client_secret=secret)


@apps.get("", summary="List applications")
async def list_apps(door: Door, actor: Who, given: Given) -> tuple[answers.AccountItem, ...]:
    """What service accounts were called first."""
    page = await door.accounts.list(actor, APP, listing.query_of(given, listing.COMMON))
    return tuple(account_item(item) for item in page.items)


@apps.post("", status_code=201, summary="Create an application")
async def create_app(door: Door, actor: Who, body: NamedAccount) -> answers.AppCreated:
    """The secret is shown this once."""
    made, secret = await door.accounts.create(actor, APP, body.name)
    return answers.AppCreated(id=made.meta.uid, name=made.meta.name, client_id=made.client_id, secret=secret)


@apps.get("/{app_id}", summary="Get an application")
async def get_app(app_id: str, door: Door, actor: Who) -> answers.AccountItem:
    """By id or client id."""
    return account_item(await door.accounts.get(actor, APP, app_id))


@apps.patch("/{app_id}", summary="Enable or disable an application")
async def patch_app(app_id: str, door: Door, actor: Who, body: EnabledPatch) -> answers.AccountItem:
    """Its tokens are worthless at once."""
    return account_item(await door.accounts.enable(actor, APP, app_id, enabled=body.enabled))


@apps.delete("/{app_id}", status_code=204, summary="Delete an application")
async def delete_app(app_id: str, door: Door, actor: Who) -> None:
    """With its access rules."""
    await door.accounts.delete(actor, APP, app_id)


@apps.post("/{app_id}/secret", summary="Give an application a new secret")
async def new_app_secret(app_id: str, door: Door, actor: Who) -> answers.AppCreated:
    """The old one and its tokens are worthless at once."""
    made, secret = await door.accounts.new_secret(actor, APP, app_id)
    return answers.AppCreated(id=made.meta.uid, name=made.meta.name, client_id=made.client_id, secret=secret)


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
