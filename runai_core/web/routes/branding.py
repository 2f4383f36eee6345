"""The tenant's logo, for programs and for pages."""

import hashlib
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from runai_core.web.answers.base import Answer
from runai_core.web.context import Door, Who
from runai_core.web.pages import files
from runai_core.web.schemas import Body

router = APIRouter(prefix="/api/v1/logo", tags=["settings"])
picture = APIRouter(include_in_schema=False)

OWN = "favicon.svg"
"""What is shown where a tenant has no logo."""


class LogoBody(Body):
    """A picture."""

    logo: Annotated[str, Field(max_length=2**20, description="A PNG in base64.")]


class LogoAnswer(Answer):
    """A picture in base64."""

    logo: str


@router.get("", summary="Get the tenant's logo", response_model=LogoAnswer)
async def get_logo(door: Door, actor: Who) -> LogoAnswer | Response:
    """Nothing (204) where there is none."""
    found = await door.branding.get(actor)
    return Response(status_code=204) if found is None else LogoAnswer(logo=found)


@router.post("", summary="Set the tenant's logo")
async def put_logo(door: Door, actor: Who, body: LogoBody) -> LogoAnswer:
    """It is at the top of every page from now on."""
    return LogoAnswer(logo=(await door.branding.put(actor, body.logo)).png)


@router.delete("", status_code=204, summary="Take the tenant's logo away (ours)")
async def delete_logo(door: Door, actor: Who) -> None:
    """Pages have the program's own sign again."""
    await door.branding.delete(actor)


@picture.get("/logo")
async def show_logo(request: Request, door: Door) -> Response:
    """Return the picture at the top of pages, also of the sign-in page."""
    found = await door.branding.shown()
    own = files.files()[OWN]
    content, kind = (own.content, own.media_type) if found is None else (found, "image/png")
    headers = {
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
