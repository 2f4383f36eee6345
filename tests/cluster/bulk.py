"""Thousands of requests to an API server, over a few connections, as fast as it answers."""

import asyncio
import base64
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Request = tuple[str, str, dict[str, Any] | None]
"""Method, path and body; that of a PATCH is a merge patch."""

MERGE = {"Content-Type": "application/merge-patch+json"}


def send_all(kubeconfig: Path, requests: Iterable[Request], *, connections: int = 32) -> None:
    """Send all requests and read all answers; the order is kept only for each connection.

    Raises:
        AssertionError: The API server refused one (a 404 of a DELETE is no refusal).
    """
    asyncio.run(_send_all(kubeconfig, iter(requests), connections))


async def _send_all(kubeconfig: Path, requests: Iterator[Request], connections: int) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    connector = aiohttp.TCPConnector(limit=connections, ssl=ssl.create_default_context(cadata=authority))
    headers = {"Authorization": f"Bearer {user['token']}"}
    async with (
        aiohttp.ClientSession(cluster["server"], connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(connections):
            group.create_task(_send_in_turn(session, requests))


async def _send_in_turn(session: aiohttp.ClientSession, requests: Iterator[Request]) -> None:
    for method, path, body in requests:
        headers = MERGE if method == "PATCH" else None
        async with session.request(method, path, json=body, headers=headers) as response:
            text = await response.text()
            if response.status >= 400 and not (method == "DELETE" and response.status == 404):
                raise AssertionError(f"{method} {path}: {response.status} {text[:1000]}")
