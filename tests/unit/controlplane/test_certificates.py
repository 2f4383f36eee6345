"""Whom a cluster takes for its control plane: real TLS, and why not, in words."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from runai_core.controlplane.credentials import Upward, join, trust
from runai_core.model.errors import Unavailable
from tests.controlplanes import Trust
from tests.waiting import soon

DAY = 24 * 3600.0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another authority", "not signed by an authority that is trusted here"),
        ("another name", "for another name"),
        ("expired", "its certificate has expired: renew it on the control plane"),
        ("not yet valid", "not valid yet: check this machine's clock"),
    ],
)
async def test_a_wrong_certificate_is_refused_in_words(case: str, words: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    theirs, other = (Trust(folder) for folder in folders)
    names = ("other.example",) if case == "another name" else ("127.0.0.1",)
    at = {"expired": time.time() - 400 * DAY, "not yet valid": time.time() + 30 * DAY}.get(case)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*theirs.certificate(names, at=at))
    said: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ca = (other if case == "another authority" else theirs).file
        with pytest.raises(Unavailable) as refused:
            await soon(join(url, "a.token", "c" * 40, trust(Upward(url=url, ca_file=ca))))

    assert words in refused.value.message
    assert said == [], "nobody was told the token"
