"""How a cluster proves who it is: a join token that it exchanges once, and a credential that it keeps."""

import asyncio
import hashlib
import json
import logging
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from runai_core.model.errors import InvalidRequest, RunaiError, Unauthenticated, Unavailable
from runai_core.ports import KeepsNotes
from runai_core.service.own_identity import write_private

log = logging.getLogger(__name__)

NOTE = "control-plane.json"
"""Name of the note that holds the credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upward:
    """Where the control plane is, and how it is told from others."""

    url: str  # https://...
    token_file: Path | None = None  # holds a join token, which is needed once
    ca_file: Path | None = None  # None: the authorities that this machine trusts


class FileNotes:
    """Notes as files of a folder, for their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def note(self, name: str) -> str | None:
        """Return what is kept under the name; None: nothing. Raise Unavailable where it cannot be read."""
        path = self._folder / name
        try:
            return await asyncio.to_thread(path.read_text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} cannot be read: {error}; remove it and join again") from None

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a text under the name, whole or not at all."""
        await asyncio.to_thread(write_private, self._folder / name, text)


class Credential:
    """What a cluster shows its control plane; kept where the next process of the cluster finds it."""

    def __init__(self, upward: Upward, notes: KeepsNotes) -> None:
        self._upward = upward
        self._notes = notes

    async def token(self, context: ssl.SSLContext | None) -> str:
        """Return what proves who this cluster is; joins first where it never did, or is given a new join token.

        Raises:
            Unauthenticated: there is no join token, or it is not good (any more).
            Unavailable: nobody answers, or not who should; or what was kept cannot be read.
        """
        kept = await self._kept()
        joins = await asyncio.to_thread(self._join_token)
        if kept.get("token") and (not joins or kept.get("joinedWith") == _mark(joins)):
            return str(kept["token"])
        if not joins:
            raise Unauthenticated("this cluster has not joined yet: give --join-token-file with a token from there")
        credential = kept.get("draft") or secrets.token_urlsafe(32)
        await self._keep({**kept, "draft": credential})  # before it is sent: the answer may be lost
        uid = await join(self._upward.url, joins, str(credential), context)
        token = f"{uid}.{credential}"
        await self._keep({"token": token, "joinedWith": _mark(joins)})
        log.info("joined the control plane %s as cluster %s", self._upward.url, uid)
        return token

    async def renew(self, credential: str) -> None:
        """Keep a new credential; the old one goes on until this one was used."""
        kept = await self._kept()
        uid = str(kept["token"]).partition(".")[0]
        await self._keep({**kept, "token": f"{uid}.{credential}"})

    def _join_token(self) -> str:
        """Return the join token; empty where none is given, or its file is gone since it was used."""
        try:
            return self._upward.token_file.read_text().strip() if self._upward.token_file else ""
        except OSError:
            return ""

    async def _kept(self) -> dict[str, Any]:
        text = await self._notes.note(NOTE)
        try:
            return dict(json.loads(text)) if text else {}
        except ValueError as error:
            raise Unavailable(f"the note {NOTE} is damaged: {error}; remove it and join again") from None

    async def _keep(self, content: dict[str, Any]) -> None:
        await self._notes.keep_note(NOTE, json.dumps(content))


def trust(upward: Upward) -> ssl.SSLContext | None:
    """Return how the control plane's certificate is checked; None for plain HTTP, which only loopback may use.

    Raises:
        InvalidRequest: the address is not one. Unavailable: the file of authorities cannot be read.
    """
    url = httpx.URL(upward.url)
    if url.scheme == "http" and url.host in ("127.0.0.1", "localhost", "::1"):
        return None
    if url.scheme != "https" or not url.host:
        raise InvalidRequest(f"the control plane must be https://<name>, not {upward.url[:80]}")
    ca_file = upward.ca_file
    if ca_file is not None and not ca_file.exists():  # in a pod, it is there only where it is needed
        log.debug("%s is not there: the authorities of this machine are trusted", ca_file)
        ca_file = None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"the authorities in {upward.ca_file} cannot be read: {error}") from None


async def join(url: str, token: str, credential: str, context: ssl.SSLContext | None) -> str:
    """Exchange a join token for the right to connect with a credential; return the cluster's id.

    Raises:
        Unauthenticated: the token is not good (any more). Unavailable: nobody answers, or not who should.
    """
    try:
        async with httpx.AsyncClient(verify=context or False, timeout=15.0, trust_env=False) as client:
            answer = await client.post(
                f"{url.rstrip('/')}/api/v1/link/join", json={"token": token, "credential": credential}
            )
    except httpx.HTTPError as error:
        raise unreachable(url, error) from None
    if answer.status_code != httpx.codes.OK:
        raise refusal(answer.status_code, answer.content)
    return str(answer.json()["clusterId"])


def refusal(status: int, body: bytes) -> RunaiError:
    """Return the error for an answer that is not what was hoped for."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = "no reason given"
    if status in (401, 403):
        return Unauthenticated(said)
    return Unavailable(f"it answered {status}: {said}")


def unreachable(url: str, error: BaseException) -> Unavailable:
    """Return the error, in words, for a connection that did not come to be."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unavailable(_bad_certificate(cause))
        cause = cause.__cause__ or cause.__context__
    return Unavailable(f"no connection to {url}: {str(error) or type(error).__name__}; the cluster goes on by itself")


def _bad_certificate(error: ssl.SSLCertVerificationError) -> str:
    if "expired" in error.verify_message:
        return "its certificate has expired: renew it on the control plane (or check this machine's clock)"
    if "not yet valid" in error.verify_message:
        return "its certificate is not valid yet: check this machine's clock"
    if "hostname" in error.verify_message.lower() or "ip address" in error.verify_message.lower():
        return f"its certificate is for another name: {error.verify_message}"
    return f"its certificate is not signed by an authority that is trusted here ({error.verify_message}): give --ca"


def _mark(token: str) -> str:
    """Return what tells one join token from the next without keeping it."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
