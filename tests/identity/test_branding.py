"""The tenant's logo: what is taken, and what pages show of it."""

import base64
import struct
import zlib
from typing import Any

import pytest

from tests.identity.house import House
from tests.identity.test_roles import visitor_of

pytestmark = pytest.mark.asyncio


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int = 1, height: int = 1, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND")


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


async def test_a_logo_is_shown_before_anybody_signs_in_until_it_is_taken_away(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin, house.visitor() as stranger:
        own = await stranger.get("/logo")
        assert (own.headers["content-type"], (await admin.get("/api/v1/logo")).status_code) == ("image/svg+xml", 204)
        assert (await admin.post("/api/v1/logo", json={"logo": text(png(2, 3))})).status_code == 200
        assert (
            await admin.post("/api/v1/logo", json={"logo": "data:image/png;base64," + text(png())})
        ).status_code == 200
        shown = await stranger.get("/logo")
        assert (shown.content, shown.headers["content-type"]) == (png(), "image/png")
        assert "sandbox" in shown.headers["content-security-policy"]
        assert shown.headers["x-content-type-options"] == "nosniff"
        same = await stranger.get("/logo", headers={"If-None-Match": shown.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert (await admin.get("/api/v1/logo")).json() == {"logo": text(png())}
        assert 'src="/logo"' in (await stranger.get("/login")).text
        assert (await admin.delete("/api/v1/logo")).status_code == 204
        assert (await stranger.get("/logo")).content == own.content


BAD: dict[str, Any] = {
    "an SVG": text(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    "no base64": "***",
    "nothing": "",
    "a picture with a page behind it": text(png() + b"<script>alert(1)</script>"),
    "a damaged picture": text(png()[:-20] + b"x" + png()[-19:]),
    "the beginning of a picture": text(png()[:40]),
    "a signature alone": text(png()[:8]),
    "a picture without pixels": text(png(0, 1)),
    "a picture of 16 gigapixels": text(png(2**17, 2**17)),
    "a large file": text(png(1, 1, chunk(b"tEXt", b"x" * 300_000))),
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD.keys())
async def test_what_is_no_small_whole_picture_is_refused_and_the_earlier_one_stays(house: House, given: str) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        assert (await admin.post("/api/v1/logo", json={"logo": text(png())})).status_code == 200
        refused = await admin.post("/api/v1/logo", json={"logo": given})
        assert refused.status_code == 400, refused.text
        assert [item["field"] for item in refused.json()["errors"]] == ["logo"]
        assert (await admin.get("/logo")).content == png()


async def test_on_the_page_of_settings_administrators_send_a_file(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        sent = await admin.post("/settings/logo", files={"logo": ("logo.png", png(), "image/png")})
        assert sent.status_code == 303, sent.text
        assert (await admin.get("/logo")).content == png()
        wrong = await admin.post("/settings/logo", files={"logo": ("logo.png", b"\xff\xd8 a photo", "image/png")})
        assert (wrong.status_code, "must be a PNG" in wrong.text) == (422, True)
        assert (await admin.post("/settings/logo/delete")).status_code == 303
        assert (await admin.get("/api/v1/logo")).status_code == 204
    async with await visitor_of(house, "Viewer") as viewer:
        assert "PNG picture" not in (await viewer.get("/settings")).text
        assert (await viewer.post("/settings/logo", files={"logo": ("a.png", png(), "image/png")})).status_code == 403
        assert (await viewer.post("/api/v1/logo", json={"logo": text(png())})).status_code == 403
