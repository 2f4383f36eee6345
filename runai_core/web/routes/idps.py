"""Identity providers: who vouches for people besides our own passwords."""

from fastapi import APIRouter

from runai_core.model.errors import FieldError, InvalidRequest, Unsupported
from runai_core.model.identity import IdentityProvider
from runai_core.model.meta import Meta
from runai_core.web.answers.identity import IdpCreated, IdpItem
from runai_core.web.context import Door, Who
from runai_core.web.identity_bodies import IdpCreate, IdpMappers
from runai_core.web.views.identity import idp_item

router = APIRouter(prefix="/api/v1/idps", tags=["identity providers"])

DEFAULT_ALIAS = "oidc"


@router.get("", summary="List identity providers")
async def list_idps(door: Door, actor: Who) -> tuple[IdpItem, ...]:
    """Without their secrets."""
    return tuple(idp_item(item) for item in await door.sso.list(actor))


@router.post("", status_code=201, summary="Add an identity provider")
async def create_idp(door: Door, actor: Who, body: IdpCreate) -> IdpCreated:
    """OpenID Connect. Its callback address here is `/login/callback`."""
    return IdpCreated(alias=(await door.sso.create(actor, _given(body, body.name or DEFAULT_ALIAS))).name)


@router.get("/{idp}", summary="Get an identity provider")
async def get_idp(idp: str, door: Door, actor: Who) -> IdpItem:
    """By its alias."""
    return idp_item(await door.sso.get(actor, idp))


@router.put("/{idp}", summary="Change an identity provider")
async def update_idp(idp: str, door: Door, actor: Who, body: IdpCreate) -> IdpItem:
    """All settings are replaced."""
    return idp_item(await door.sso.update(actor, _given(body, idp)))


@router.delete("/{idp}", status_code=204, summary="Remove an identity provider")
async def delete_idp(idp: str, door: Door, actor: Who) -> None:
    """Its people can no longer sign in."""
    await door.sso.delete(actor, idp)


@router.get("/{idp}/mappers", summary="Which claims hold what")
async def get_mappers(idp: str, door: Door, actor: Who) -> dict[str, str]:
    """Groups, e-mail, user id and group ids."""
    return dict((await door.sso.get(actor, idp)).mappers)


@router.put("/{idp}/mappers", summary="Say which claims hold what")
async def put_mappers(idp: str, door: Door, actor: Who, body: IdpMappers) -> dict[str, str]:
    """What is left out has its usual name."""
    return dict((await door.sso.set_mappers(actor, idp, _mappers(body))).mappers)


def _given(body: IdpCreate, alias: str) -> IdentityProvider:
    if body.type != "oidc":
        raise Unsupported(f"providers of type {body.type} are not there; use OpenID Connect (type oidc)")
    if body.oidc_data is None:
        raise InvalidRequest.of(FieldError("oidcData", "is required"))
    data, claim = body.oidc_data, body.oidc_data.mandatory_claim
    return IdentityProvider(
        meta=Meta(name=alias),
        display_name=alias,
        client_id=data.client_id,
        client_secret=data.client_secret,
        discovery_url=data.discover_document_url,
        scopes=data.scopes,
        mandatory_claim=claim.claim if claim else "",
        mandatory_value="\n".join(claim.values) if claim else "",
        mappers=_mappers(body.mappers or IdpMappers()),
    )


def _mappers(body: IdpMappers) -> dict[str, str]:
    return {name: value for name, value in body.model_dump().items() if value}
