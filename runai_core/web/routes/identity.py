"""Users, and what everybody may do about themselves."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from runai_core.web import listing
from runai_core.web.answers import identity as answers
from runai_core.web.answers.base import Count
from runai_core.web.context import Door, Who
from runai_core.web.gate import address_of, bearer_of
from runai_core.web.identity_bodies import EnabledPatch, PasswordChange, UserCreate
from runai_core.web.views.identity import user_item, who_answer

users = APIRouter(prefix="/api/v1/users", tags=["users"])
me = APIRouter(prefix="/api/v1/me", tags=["users"])

COLUMNS = {
    **listing.COMMON,
    "username": listing.Column("meta.name"),
    "lastLogin": listing.Column("last_login", listing.time),
    "creationTime": listing.COMMON["createdAt"],
    "lastUpdated": listing.COMMON["updatedAt"],
    "type": listing.Column("provider"),
}


@users.get("", summary="List users")
async def list_users(
    door: Door, actor: Who, given: Annotated[listing.ListQuery, Query()]
) -> tuple[answers.UserItem, ...]:
    """All that match; local ones and those of identity providers."""
    return tuple(user_item(user) for user in (await door.users.list(actor, listing.query_of(given, COLUMNS))).items)


@users.get("/count", summary="Count users")
async def count_users(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    return Count(count=(await door.users.list(actor, listing.query_of(given, COLUMNS))).total)


@users.post("", status_code=201, summary="Create a local user")
async def create_user(door: Door, actor: Who, body: UserCreate) -> answers.UserCreated:
    """Without a password one is drawn, and shown this once. The user may do nothing until an access rule says so."""
    user, password = await door.users.create(actor, body.email, body.password, must_change=body.reset_password)
    return answers.UserCreated(id=user.meta.uid, username=user.name, temp_password=None if body.password else password)


@users.get("/{user_id}", summary="Get a user")
async def get_user(user_id: str, door: Door, actor: Who) -> answers.UserItem:
    """By id or by e-mail address."""
    return user_item(await door.users.get(actor, user_id))


@users.patch("/{user_id}", summary="Let a user in, or no longer (ours)")
async def patch_user(user_id: str, door: Door, actor: Who, body: EnabledPatch) -> answers.UserItem:
    """All sessions end at once."""
    return user_item(await door.users.enable(actor, user_id, enabled=body.enabled))


@users.delete("/{user_id}", status_code=204, summary="Delete a user")
async def delete_user(user_id: str, door: Door, actor: Who) -> None:
    """With access rules, keys and sessions; what the user submitted stays."""
    await door.users.delete(actor, user_id)


@users.post("/{user_id}/password", summary="Give a user a new password")
async def reset_password(user_id: str, door: Door, actor: Who) -> answers.PasswordReset:
    """Drawn, shown this once, and to be changed at the first sign-in."""
    _, password = await door.users.reset_password(actor, user_id)
    return answers.PasswordReset(temp_password=password)


@users.post("/{user_id}/logout", status_code=204, summary="End all sessions of a user")
async def logout_user(user_id: str, door: Door, actor: Who) -> None:
    """Tokens of these sessions are worthless at once."""
    await door.users.sign_out(actor, user_id)


@me.get("", summary="Who am I? (ours)")
async def get_me(actor: Who) -> answers.WhoAnswer:
    """With all that was granted."""
    return who_answer(actor)


@me.post("/password", status_code=204, summary="Change one's own password")
async def change_password(request: Request, door: Door, actor: Who, body: PasswordChange) -> None:
    """All of one's sessions end."""
    address = address_of(request)
    await door.sign_in.change_password(actor, body.current_password, body.new_password, address=address)


@me.post("/logout", status_code=204, summary="End the session of this token (ours)")
async def logout(request: Request, door: Door, _actor: Who) -> None:
    """Tokens of a user's session are worthless at once; a service account's end with a new secret."""
    token = bearer_of(request.scope)
    if token:
        await door.access.tokens.end(await door.access.tokens.read(token))
