"""A tenant's logo: a PNG, looked through before it is kept, because browsers of all who sign in will read it."""

import base64
import binascii
import struct
import zlib

from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.identity import Logo
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor
from runai_core.ports import Backend
from runai_core.service.access import AccessService

RESOURCE = "branding-settings"
NAME = "tenant"

LARGEST = 256 * 1024
"""Bytes of a picture."""

WIDEST = 2048
"""Pixels of a picture in each direction: what it takes a browser to show does not follow from its bytes."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DATA_URL = "data:image/png;base64,"

RULE = "must be a PNG picture in base64: a picture of another kind has to be converted, an SVG because it is a program"


class BrandingService:
    """Keeps the logo."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._access = access

    async def shown(self) -> bytes | None:
        """Return the picture for pages, which show it before anybody has signed in; None where there is none."""
        found = await self._found()
        return base64.b64decode(found.png) if found is not None else None

    async def get(self, actor: Actor) -> str | None:
        """Return the picture in base64, to somebody who may read it; None where there is none."""
        await self._access.require(actor, Action.READ, RESOURCE)
        found = await self._found()
        return found.png if found is not None else None

    async def put(self, actor: Actor, given: str) -> Logo:
        """Keep a picture in place of the earlier one.

        Raises:
            InvalidRequest: it is no PNG, or too large.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        picture = base64.b64encode(_checked(given)).decode()
        await self._drop()
        return await self._store.create(Logo(meta=Meta(name=NAME, created_by=actor.name), png=picture))

    async def delete(self, actor: Actor) -> None:
        """Have the program's own sign again."""
        await self._access.require(actor, Action.DELETE, RESOURCE)
        await self._drop()

    async def _drop(self) -> None:
        found = await self._found()
        if found is not None:
            await self._store.delete(Logo, found.meta.uid)

    async def _found(self) -> Logo | None:
        try:
            return await self._store.get(Logo, NAME)
        except NotFound:
            return None


def _checked(given: str) -> bytes:
    """Return the bytes of a picture that is a whole PNG and nothing else; raise InvalidRequest."""
    text = given.strip().removeprefix(DATA_URL)
    if len(text) > LARGEST * 4 // 3 + 4:
        raise _wrong(f"must have at most {LARGEST // 1024} KiB")
    try:
        picture = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(RULE) from None
    if not picture.startswith(SIGNATURE):
        raise _wrong(RULE)
    names = _chunks(picture)
    if names[0] != b"IHDR" or names[-1] != b"IEND" or b"IDAT" not in names:
        raise _wrong("is no whole PNG picture")
    width, height = struct.unpack_from(">II", picture, len(SIGNATURE) + 8)
    if not (0 < width <= WIDEST and 0 < height <= WIDEST):
        raise _wrong(f"must have at most {WIDEST} pixels in each direction; it has {width} x {height}")
    return picture


def _chunks(picture: bytes) -> list[bytes]:
    """Return the names of a PNG's chunks up to the end of the file; raise InvalidRequest where one is damaged."""
    names: list[bytes] = []
    at = len(SIGNATURE)
    while at < len(picture) and names[-1:] != [b"IEND"]:
        try:
            length, name = struct.unpack_from(">I4s", picture, at)
            (told,) = struct.unpack_from(">I", picture, at + 8 + length)
        except struct.error:
            raise _wrong("is no whole PNG picture") from None
        if zlib.crc32(picture[at + 4 : at + 8 + length]) != told:
            raise _wrong("is a damaged PNG picture")
        names.append(name)
        at += 12 + length
    if at != len(picture) or not names:
        raise _wrong("has more than a PNG picture in it")
    return names


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest.of(FieldError("logo", message))
