"""Tokens: the only paths of the API that take no token themselves, besides the documentation."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.web.answers.base import OAuthToken, TokenAnswer
from runai_core.web.context import Door
from runai_core.web.schemas import TokenRequest

router = APIRouter(tags=["tokens"])

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_id", "client_secret"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["client_credentials"]},
                        "client_id": {"type": "string"},
                        "client_secret": {"type": "string"},
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


@router.post("/api/v1/token", summary="Exchange a service account for a token")
async def create_token(door: Door, body: TokenRequest) -> TokenAnswer:
    """The secret is in the credentials file that `runai up` wrote."""
    token = await door.access.issue(body.client_id, body.client_secret)
    return TokenAnswer(access_token=token.access_token, expires_in=token.expires_in)


@router.post("/api/v2/token", summary="The same in OAuth 2's form", openapi_extra=FORM)
async def create_oauth_token(door: Door, fields: Annotated[dict[str, str], Depends(form)]) -> OAuthToken:
    """Client credentials (RFC 6749, section 4.4)."""
    if fields.get("grant_type") != "client_credentials":
        raise InvalidRequest.of(
            FieldError("grant_type", "must be client_credentials", fields.get("grant_type", "")[:80])
        )
    token = await door.access.issue(fields.get("client_id", ""), fields.get("client_secret", ""))
    return OAuthToken(access_token=token.access_token, expires_in=token.expires_in)
