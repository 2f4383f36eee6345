"""Tokens: the only paths of the API that take no token themselves, besides the documentation."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, Unauthenticated
from runai_core.service.tokens import Token
from runai_core.web.answers.base import OAuthToken, TokenAnswer
from runai_core.web.answers.identity import AppToken
from runai_core.web.auditing import note_sign_in
from runai_core.web.context import Door
from runai_core.web.errors import field_errors
from runai_core.web.gate import address_of
from runai_core.web.identity_bodies import GRANTS, AppTokenRequest, TokenGrant

router = APIRouter(tags=["tokens"])

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": list(GRANTS)},
                        "client_id": {"type": "string"},
                        "client_secret": {"type": "string"},
                        "username": {"type": "string"},
                        "password": {"type": "string"},
                        "refresh_token": {"type": "string"},
                        "code": {"type": "string"},
                        "code_verifier": {"type": "string"},
                        "redirect_uri": {"type": "string"},
                    },
                }
            }
        },
    }
}


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form; each may come once."""
    try:
        found = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise InvalidRequest.of(FieldError("body", "must be a form (application/x-www-form-urlencoded)")) from None
    repeated = [name for name, values in found.items() if len(values) > 1]
    if repeated:
        raise InvalidRequest.of(FieldError(repeated[0][:80], "comes twice"))
    return {name: values[0] for name, values in found.items()}


@router.post("/api/v1/token", summary="Exchange what proves an identity for a token")
async def create_token(request: Request, door: Door, body: TokenGrant) -> TokenAnswer:
    """A service account, an access key, a password, a refresh token, a code of `/authorize`, a provider's ID token."""
    token = await granted(request, door, body)
    return TokenAnswer(
        access_token=token.access_token, expires_in=token.expires_in, refresh_token=token.refresh_token or None
    )


@router.post("/api/v2/token", summary="The same in OAuth 2's form", openapi_extra=FORM)
async def create_oauth_token(
    request: Request, door: Door, fields: Annotated[dict[str, str], Depends(form)]
) -> OAuthToken:
    """RFC 6749, sections 4.1, 4.3, 4.4 and 6."""
    if fields.get("grant_type") not in GRANTS:
        given = fields.get("grant_type", "")[:80]
        raise InvalidRequest.of(FieldError("grant_type", f"must be one of {', '.join(GRANTS)}", given))
    known = {name: value for name, value in fields.items() if name in TokenGrant.model_fields}
    try:
        body = TokenGrant.model_validate(known)
    except ValidationError as error:
        raise InvalidRequest.of(*field_errors(error.errors(), TokenGrant)) from None
    token = await granted(request, door, body)
    return OAuthToken(
        access_token=token.access_token, expires_in=token.expires_in, refresh_token=token.refresh_token or None
    )


@router.post("/v1/k8s/auth/oauth/apptoken", summary="The oldest form of the same", deprecated=True)
async def create_app_token(request: Request, door: Door, body: AppTokenRequest) -> AppToken:
    """An application's name or id, and its secret."""
    token = await issued(request, door, body.name or body.id, body.secret)
    return AppToken(access_token=token.access_token, id_token=token.access_token)


async def issued(request: Request, door: Orchestrator, client_id: str, client_secret: str) -> Token:
    """Return a program's token. Programs ask all the time: only refusals are sign-ins that the audit log tells."""
    try:
        return await door.access.issue(client_id, client_secret)
    except Unauthenticated:
        note_sign_in(request, client_id, "service-account")
        raise


async def granted(request: Request, door: Orchestrator, body: TokenGrant) -> Token:
    """Return the token for what was shown; raise Unauthenticated."""
    address = address_of(request)
    match body.grant_type:
        case "password":
            note_sign_in(request, body.username)
            actor = await door.sign_in.with_password(
                body.username, body.password, new=body.new_password, address=address
            )
            return await door.access.tokens.open(actor)
        case "refresh_token":
            token, _claims = await door.access.tokens.refresh(body.refresh_token)
            return token
        case "authorization_code":
            actor = await door.sessions.redeem_code(body.code, body.code_verifier, body.redirect_uri)
            note_sign_in(request, actor.name, actor.kind)
            return await door.access.tokens.open(actor)
        case "exchange_token" | "external_token_exchange":
            actor = await door.sso.with_id_token(body.external_token)
            note_sign_in(request, actor.name)
            return await door.access.tokens.open(actor)
        case _:
            return await issued(request, door, body.client_id, body.client_secret)
