"""Certificates: good for the names they are asked for, renewed in time, served without a restart."""

import asyncio
import ssl
import time

import pytest
from starlette.responses import PlainTextResponse

from runai_core.operator.certificates import (
    CERTIFICATE_DAYS,
    is_for,
    is_signed_by,
    make_authority,
    make_certificate,
    needs_renewal,
)
from runai_core.operator.serving import Certified, serving
from runai_core.operator.trust import names_of

NOW = 1_800_000_000.0
DAY = 86400.0


def test_a_certificate_holds_for_its_names_and_its_authority() -> None:
    authority, other = make_authority(NOW), make_authority(NOW)
    pair = make_certificate(authority, names_of("runai"), NOW)

    assert is_for(pair.certificate, ["runai-webhook.runai.svc", "127.0.0.1"])
    assert not is_for(pair.certificate, ["runai-webhook.other.svc"])
    assert is_signed_by(pair.certificate, authority.certificate)
    assert not is_signed_by(pair.certificate, other.certificate)


@pytest.mark.parametrize(
    ("days", "due"), [(0, False), (59, False), (61, True), (CERTIFICATE_DAYS + 1, True), (-400, False)]
)
def test_a_certificate_is_made_anew_when_two_thirds_of_its_life_are_over(days: int, *, due: bool) -> None:
    pair = make_certificate(make_authority(NOW), ["a.example"], NOW)

    assert needs_renewal(pair.certificate, NOW + days * DAY) is due


def test_what_is_no_certificate_is_made_anew() -> None:
    assert needs_renewal(b"", NOW)
    assert needs_renewal(b"-----BEGIN CERTIFICATE-----", NOW)
    assert not is_for(b"nonsense", ["a"])


@pytest.mark.asyncio
async def test_a_new_certificate_is_served_without_a_restart() -> None:
    authority = make_authority(time.time())
    certified = Certified()
    certified.load(make_certificate(authority, ["localhost"], time.time()))

    async def serial(port: int) -> int:
        trust = ssl.create_default_context(cadata=authority.certificate.decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        found = int(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"], 16)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        return found

    async with serving(PlainTextResponse("ok"), "127.0.0.1", 0, secure=certified) as port:
        first = await serial(port)
        certified.load(make_certificate(authority, ["localhost"], time.time()))
        assert await serial(port) != first
