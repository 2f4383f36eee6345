"""The cluster's end of the link: connects outward, tells what happens here, does what is wanted.

The agent listens on nothing. While the control plane cannot be reached the
cluster goes on; what happened is told from where the two stopped.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import websockets.asyncio.client
from websockets.exceptions import InvalidStatus, WebSocketException

from runai_core import wire
from runai_core.controlplane.answering import Answers
from runai_core.controlplane.applying import Applier
from runai_core.controlplane.channels import Channel, Handler, Peer
from runai_core.controlplane.credentials import Credential, FileNotes, Upward, refusal, trust, unreachable
from runai_core.controlplane.downward import KINDS
from runai_core.controlplane.feeding import Feed, from_message
from runai_core.controlplane.measurements import POSITION, tell, to_rows
from runai_core.controlplane.site import Site, outer_id
from runai_core.controlplane.sockets import ClientSocket
from runai_core.controlplane.store import store_identity, the_only
from runai_core.controlplane.together import together
from runai_core.model.clusters import Applied, ClusterCondition, Upstream
from runai_core.model.errors import NotFound, RunaiError
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.samples import Point
from runai_core.model.workload import HistoryRecord, Pod, Workload
from runai_core.ports import Query, Store, samples_of
from runai_core.service.clusters import lost_nodes, missing_prerequisites, stopped_scheduler

log = logging.getLogger(__name__)

ALIVE_EVERY = 5.0
"""Seconds between signs of life."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts to connect: they grow while nobody answers."""

GREETING_SECONDS = 15.0


class Agent:
    """Keeps one cluster linked to its control plane."""

    def __init__(self, site: Site, upward: Upward) -> None:
        self._site = site
        self._upward = upward
        self._applier = Applier(site)
        self._answers = Answers(site, self._applier)
        self._credential = Credential(upward, site.backend.notes or FileNotes(site.data_dir))
        self._run = "" if site.backend.versions_last else secrets.token_hex(8)

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
        token = await self._credential.token(context)
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
                conversation = Conversation(self._site, self._applier, self._answers, self._credential)
                await conversation.run(ClientSocket(connection), self._run)
        except InvalidStatus as refused:
            raise refusal(refused.response.status_code, bytes(refused.response.body or b"")) from None
        except (OSError, WebSocketException, TimeoutError) as error:
            raise unreachable(self._upward.url, error) from None


class Conversation:
    """What is said on one connection."""

    def __init__(self, site: Site, applier: Applier, answers: Answers, credential: Credential) -> None:
        self._site = site
        self._store = site.backend.store
        self._clock = site.backend.clock
        self._applier = applier
        self._answers = answers
        self._credential = credential
        self._hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._upstream = Upstream(meta=Meta(name="control-plane"))
        self._lock = asyncio.Lock()

    async def run(self, socket: ClientSocket, process: str) -> None:
        """Speak until the connection ends; raise Unavailable then.

        `process` names this process where versions mean nothing to the next one; empty where they do.
        """
        handlers: dict[str, Handler] = {
            "hello": self._on_hello,
            "delta": self._on_delta,
            "open": self._on_open,
            "credential": self._on_credential,
        }
        self._peer = Peer(socket, handlers)
        upstream = self._upstream = await self._kept_upstream()
        async with together() as work:
            work.add(self._peer.run())
            epoch = (await store_identity(self._store)).meta.uid
            await self._peer.send({"hello": {**await self._greeting(upstream, epoch), "process": process}})
            silent = "it does not answer as a control plane does: check the address"
            positions = (await work.until(self._hello, GREETING_SECONDS, silent))["positions"]
            log.info("the link to the control plane is up")
            work.add(self._stay_alive(), self._tell_points(float(positions.get(POSITION, 0))))
            for kind, feed in upward_feeds(self._store).items():
                work.add(feed.run(positions.get(kind), self._peer.deliver))
            await work.until_first()

    async def _greeting(self, upstream: Upstream, epoch: str) -> dict[str, Any]:
        found: dict[str, Any] = {"epoch": epoch, "facts": wire.encode(self._site.facts)}
        found |= {"seals": True, "kinds": list(KINDS)}
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
            conditions = (
                *await missing_prerequisites(self._store),
                *lost_nodes(nodes),
                *stopped_scheduler(self._site.scheduling.trouble),
                *self._problems(),
            )
            topologies = (await self._store.list(NetworkTopology, Query(sort_by="meta.name"))).items
            alive: dict[str, Any] = {
                "now": self._clock.now(),
                "conditions": [wire.encode(item) for item in conditions],
                "topologies": [wire.encode(item) for item in topologies],
            }
            if (classes := self._site.backend.storage_classes) is not None:
                alive["storageClasses"] = [wire.encode(item) for item in classes()]
            await self._peer.send({"alive": alive})
            seen = [wire.encode(node) for node in nodes]
            if seen != told:
                await self._peer.send({"nodes": seen})
                told = seen
            await self._clock.sleep(ALIVE_EVERY)

    async def _tell_points(self, since: float) -> None:
        """Tell what is measured here, where it is kept."""
        if (samples := samples_of(self._store)) is None:
            await asyncio.Event().wait()
            return

        async def send(points: Sequence[Point]) -> None:
            await self._peer.send({"points": to_rows(points, self._applier.outer_ids)})

        await tell(samples, self._clock, since, send)

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
        await self._credential.renew(credential)


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
