"""The cluster's end of the link: connects outward, tells what happens here, does what is wanted.

The agent listens on nothing. While the control plane cannot be reached the
cluster goes on; what happened is told from where the two stopped.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus, WebSocketException

from runai_core import wire
from runai_core.controlplane.answering import Answers
from runai_core.controlplane.applying import Applier
from runai_core.controlplane.channels import Channel, Handler, Peer
from runai_core.controlplane.downward import KINDS
from runai_core.controlplane.feeding import Feed, from_message
from runai_core.controlplane.measurements import POSITION, tell, to_rows
from runai_core.controlplane.site import Site, outer_id
from runai_core.controlplane.sockets import ClientSocket
from runai_core.controlplane.store import store_identity, the_only
from runai_core.model.clusters import Applied, ClusterCondition, Upstream
from runai_core.model.errors import InvalidRequest, NotFound, RunaiError, Unauthenticated, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.samples import Point
from runai_core.model.workload import HistoryRecord, Pod, Workload
from runai_core.ports import Query, Store, samples_of
from runai_core.service.clusters import lost_nodes
from runai_core.service.own_identity import write_private

log = logging.getLogger(__name__)

ALIVE_EVERY = 5.0
"""Seconds between signs of life."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts to connect: they grow while nobody answers."""

GREETING_SECONDS = 15.0

CREDENTIAL_FILE = "control-plane.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upward:
    """Where the control plane is, and how it is told from others."""

    url: str  # https://...
    token_file: Path | None = None  # holds a join token, which is needed once
    ca_file: Path | None = None  # None: the authorities that this machine trusts


class Agent:
    """Keeps one cluster linked to its control plane."""

    def __init__(self, site: Site, upward: Upward) -> None:
        self._site = site
        self._upward = upward
        self._applier = Applier(site)
        self._answers = Answers(site, self._applier)
        self._file = site.data_dir / CREDENTIAL_FILE

    async def run(self) -> None:
        """Stay connected until cancelled; every cut is logged once, in words."""
        wait, said = FIRST_WAIT, ""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._connect()
            except RunaiError as error:
                if error.message != said:
                    log.warning("control plane %s: %s", self._upward.url, error.message)
                    said = error.message
            except Exception:  # the top of a loop: the cluster goes on, and so does the link
                log.exception("the link to %s failed", self._upward.url)
            if asyncio.get_running_loop().time() - began > LONGEST_WAIT:
                wait, said = FIRST_WAIT, ""
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - not all clusters at once
            wait = min(wait * 2, LONGEST_WAIT)

    async def _connect(self) -> None:
        """Speak until the connection ends; raises then."""
        context = trust(self._upward)
        token = await self._token(context)
        address = self._upward.url.rstrip("/").replace("http", "ws", 1) + "/api/v1/link"
        try:
            async with websockets.asyncio.client.connect(
                address,
                ssl=context,
                additional_headers={"Authorization": f"Bearer {token}"},
                max_size=None,
                open_timeout=10,
                proxy=None,
            ) as connection:
                await Conversation(self._site, self._applier, self._answers, self._keep).run(ClientSocket(connection))
        except InvalidStatus as refused:
            raise refusal(refused.response.status_code, bytes(refused.response.body or b"")) from None
        except (OSError, WebSocketException, TimeoutError) as error:
            raise unreachable(self._upward.url, error) from None

    async def _token(self, context: ssl.SSLContext | None) -> str:
        """Return what proves who this cluster is; joins first where it never did, or is given a new join token."""
        kept = self._kept()
        joins = await asyncio.to_thread(self._join_token)
        if kept.get("token") and (not joins or kept.get("joinedWith") == _mark(joins)):
            return str(kept["token"])
        if not joins:
            raise Unauthenticated("this cluster has not joined yet: give --join-token-file with a token from there")
        credential = kept.get("draft") or secrets.token_urlsafe(32)
        write_json(self._file, {**kept, "draft": credential})  # before it is sent: the answer may be lost
        uid = await join(self._upward.url, joins, str(credential), context)
        token = f"{uid}.{credential}"
        write_json(self._file, {"token": token, "joinedWith": _mark(joins)})
        log.info("joined the control plane %s as cluster %s", self._upward.url, uid)
        return token

    def _join_token(self) -> str:
        """Return the join token; empty where none is given, or its file is gone since it was used."""
        try:
            return self._upward.token_file.read_text().strip() if self._upward.token_file else ""
        except OSError:
            return ""

    def _keep(self, credential: str) -> None:
        """Keep a new credential; the old one goes on until this one was used."""
        kept = self._kept()
        uid = str(kept["token"]).partition(".")[0]
        write_json(self._file, {**kept, "token": f"{uid}.{credential}"})

    def _kept(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._file} cannot be read: {error}; remove it and join again") from None


class Conversation:
    """What is said on one connection."""

    def __init__(self, site: Site, applier: Applier, answers: Answers, keep: Any) -> None:
        self._site = site
        self._store = site.backend.store
        self._applier = applier
        self._answers = answers
        self._keep = keep
        self._hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._upstream = Upstream(meta=Meta(name="control-plane"))
        self._lock = asyncio.Lock()

    async def run(self, socket: ClientSocket) -> None:
        """Speak until the connection ends; raise Unavailable then."""
        handlers: dict[str, Handler] = {
            "hello": self._on_hello,
            "delta": self._on_delta,
            "open": self._on_open,
            "credential": self._on_credential,
        }
        self._peer = Peer(socket, handlers)
        upstream = self._upstream = await self._kept_upstream()
        reading = asyncio.create_task(self._peer.run())
        tasks = [reading]
        try:
            epoch = (await store_identity(self._store)).meta.uid
            await self._peer.send({"hello": await self._greeting(upstream, epoch)})
            hello = await self._greeted(reading)
            log.info("the link to the control plane is up")
            tasks.append(asyncio.create_task(self._stay_alive()))
            tasks.append(asyncio.create_task(self._tell_points(float(hello["positions"].get(POSITION, 0)))))
            tasks += [
                asyncio.create_task(feed.run(hello["positions"].get(kind), self._peer.deliver))
                for kind, feed in upward_feeds(self._store).items()
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _greeted(self, reading: "asyncio.Task[None]") -> dict[str, Any]:
        await asyncio.wait((self._hello, reading), timeout=GREETING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
        if not self._hello.done():
            raise Unavailable("it does not answer as a control plane does: check the address")
        return self._hello.result()

    async def _greeting(self, upstream: Upstream, epoch: str) -> dict[str, Any]:
        found: dict[str, Any] = {"epoch": epoch, "facts": wire.encode(self._site.facts)}
        found |= {"positions": dict(upstream.positions), "positionsEpoch": upstream.epoch}
        for name, kind in (("departments", Department), ("nodePools", NodePool), ("projects", Project)):
            items = (await self._store.list(kind, Query())).items if not upstream.epoch else ()
            found[name] = [wire.encode(item) for item in items]
        return found

    async def _kept_upstream(self) -> Upstream:
        return await the_only(self._store, Upstream(meta=Meta(name="control-plane")))

    async def _stay_alive(self) -> None:
        told: list[dict[str, Any]] | None = None
        while True:
            nodes = await self._site.backend.cluster.nodes()
            conditions = [*lost_nodes(nodes), *self._problems()]
            await self._peer.send({"alive": {"conditions": [wire.encode(item) for item in conditions]}})
            seen = [wire.encode(node) for node in nodes]
            if seen != told:
                await self._peer.send({"nodes": seen})
                told = seen
            await asyncio.sleep(ALIVE_EVERY)

    async def _tell_points(self, since: float) -> None:
        """Tell what is measured here, where it is kept."""
        if (samples := samples_of(self._store)) is None:
            await asyncio.Event().wait()
            return

        async def send(points: Sequence[Point]) -> None:
            await self._peer.send({"points": to_rows(points, self._applier.outer_ids)})

        await tell(samples, self._site.backend.clock, since, send)

    def _problems(self) -> list[ClusterCondition]:
        found = self._applier.problems.items()
        return [ClusterCondition(type="service", name=what, message=why) for what, why in sorted(found)]

    async def _on_hello(self, hello: dict[str, Any]) -> None:
        if not self._hello.done():
            if hello["epoch"] != self._upstream.epoch:
                self._upstream = replace(self._upstream, epoch=hello["epoch"], positions={})
            self._hello.set_result(hello)

    async def _on_delta(self, message: dict[str, Any]) -> None:
        delta = from_message(message, KINDS)
        await asyncio.shield(self._hello)
        await self._applier.take(delta)
        if delta.last:
            async with self._lock:
                positions = {**self._upstream.positions, delta.kind: delta.version}
                self._upstream = await self._store.update(replace(self._upstream, positions=positions))
        await self._peer.send({"ack": delta.kind})

    async def _on_open(self, message: dict[str, Any]) -> None:
        channel: Channel = message["channel"]
        try:
            await self._answers.answer(channel, str(message["operation"]), message["arguments"])
        finally:
            channel.leave()

    async def _on_credential(self, credential: str) -> None:
        self._keep(credential)


def upward_feeds(store: Store) -> dict[str, Feed]:
    """Return what is told to the control plane, by kind."""

    async def told(item: Any) -> Any:
        return item

    async def owned(item: Any) -> Any:
        """Return a pod or a record with the id under which the control plane knows its workload."""
        try:
            workload = await store.get_by_uid(Workload, item.meta.owner)
        except NotFound:
            return item
        return replace(item, meta=replace(item.meta, owner=outer_id(workload)))

    return {
        Workload.__name__: Feed(store, Workload, told),
        Pod.__name__: Feed(store, Pod, owned),
        HistoryRecord.__name__: Feed(store, HistoryRecord, owned, keeps_gone=True),
        Applied.__name__: Feed(store, Applied, told, keeps_gone=True),
    }


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
    try:
        return ssl.create_default_context(cafile=upward.ca_file)
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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file of mode 0600 whole or not at all."""
    write_private(path, json.dumps(content))


def _mark(token: str) -> str:
    """Return what tells one join token from the next without keeping it."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[None]:
    """Keep the link while the context is open."""
    task = asyncio.create_task(agent.run(), name="agent")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
