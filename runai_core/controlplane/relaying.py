"""Questions for a cluster that is connected to another replica: passed on to it, and answered through it.

A replica writes its address and its certificate into the database, with the
links that it holds. Whoever can read them there knows the tenant's key too,
and shows it by a token that is good for one cluster and a minute; no header
of a client counts.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt

from runai_core.controlplane.channels import Channel, Handler, Peer, Wire
from runai_core.controlplane.together import together
from runai_core.model.clusters import ClusterLink
from runai_core.model.errors import RunaiError, Unauthenticated, Unavailable
from runai_core.ports import Clock

log = logging.getLogger(__name__)

TOKEN_SECONDS = 60.0
"""How long a token is good for, and by how much the clocks of replicas may differ."""

AUDIENCE = "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """How the other replicas reach this one."""

    url: str = ""  # empty: they do not
    certificate: str = ""  # PEM; empty: without TLS, which only loopback may do
    host: str = ""  # name that the tenant answers to; empty: that of the address


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where a replica listens, and which tenant is asked for there."""

    url: str
    host: str
    trust: ssl.SSLContext | None


class Line(Wire, Protocol):
    """A connection that we have opened."""

    async def close(self) -> None:
        """End it."""


class Dial(Protocol):
    """Opens the connection to another replica."""

    async def __call__(self, way: "Way", path: str, token: str) -> Line:
        """Return the open connection; raise Unavailable."""
        ...


class Relays:
    """The connections of this process to the replicas that hold links of clusters."""

    def __init__(self, key: str, clock: Clock, here: Replica, dial: Dial | None = None) -> None:
        self.here = here
        self._key = key
        self._clock = clock
        self._dial = dial or _dial
        self._open: dict[str, tuple[str, Peer, asyncio.Task[None]]] = {}  # cluster -> session, the way to it
        self._lock = asyncio.Lock()

    async def peer(self, link: ClusterLink) -> Peer | None:
        """Return the way to a cluster by the replica that holds its link; None where that has no address.

        Raises:
            Unavailable: the replica cannot be reached.
        """
        if not link.replica or link.replica == self.here.url:
            return None
        cluster = link.meta.name
        async with self._lock:
            known = self._open.get(cluster)
            if known is not None and known[0] == link.session and not known[2].done():
                return known[1]
            if known is not None:
                known[2].cancel()
            line = await self._connected(link)
            peer = Peer(line, {})
            task = asyncio.create_task(self._follow(link, peer, line), name=f"relay to {link.replica}")
            self._open[cluster] = (link.session, peer, task)
        return peer

    async def close(self) -> None:
        """End all connections."""
        tasks = [task for _, _, task in self._open.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def token(self, cluster: str) -> str:
        """Return what another replica lets us in with."""
        now = self._clock.now()
        claims = {"aud": AUDIENCE, "sub": cluster, "iat": int(now), "exp": int(now + TOKEN_SECONDS)}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def check(self, token: str, cluster: str) -> None:
        """Raise Unauthenticated unless a replica of this tenant has made the token for the cluster, just now."""
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"], audience=AUDIENCE, leeway=TOKEN_SECONDS)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"only replicas of this control plane may ask here: {error}") from None
        if claims.get("sub") != cluster or "exp" not in claims:
            raise Unauthenticated("the token is for another cluster")

    async def _connected(self, link: ClusterLink) -> Line:
        cluster = link.meta.name
        # All replicas serve the same tenants under the same names.
        way = Way(url=link.replica, host=self.here.host, trust=trust(link.replica_certificate))
        return await self._dial(way, f"/api/v1/link/relay?cluster={cluster}", self.token(cluster))

    async def _follow(self, link: ClusterLink, peer: Peer, line: Line) -> None:
        try:
            await peer.run()
        except RunaiError as error:
            log.info("the connection to replica %s ended: %s", link.replica, error.message)
        finally:
            await line.close()


def trust(certificate: str) -> ssl.SSLContext | None:
    """Return a context that trusts this one certificate, whatever name it is for; None where there is none."""
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is known, and its name is the tenants'
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


async def _dial(way: Way, path: str, token: str) -> Line:
    # Imported here: most control planes have one replica, and the client takes long to load.
    import websockets.asyncio.client
    from websockets.exceptions import WebSocketException

    from runai_core.controlplane.sockets import ClientSocket

    url = urlsplit(way.url)
    scheme, port = ("wss", url.port or 443) if url.scheme == "https" else ("ws", url.port or 80)
    try:
        connection = await websockets.asyncio.client.connect(
            f"{scheme}://{way.host or url.netloc}{path}",
            host=url.hostname,
            port=port,
            ssl=way.trust,
            additional_headers={"Authorization": f"Bearer {token}"},
            max_size=None,
            open_timeout=10,
            proxy=None,
        )
    except (OSError, WebSocketException, TimeoutError) as error:
        raise Unavailable(
            "the cluster is connected to another replica of the control plane, which cannot be asked "
            f"({way.url}: {str(error) or type(error).__name__}): try again"
        ) from None
    return ClientSocket(connection)


async def pass_on(wire: Wire, cluster: Peer) -> None:
    """Ask a cluster what another replica asks, until either connection ends; raise Unavailable then."""

    async def on_open(message: dict[str, Any]) -> None:
        asked: Channel = message["channel"]
        try:
            await _converse(asked, await cluster.open(str(message["operation"]), message["arguments"]))
        finally:
            asked.leave()

    handlers: dict[str, Handler] = {"open": on_open}
    await Peer(wire, handlers).run()


async def _converse(asked: Channel, inner: Channel) -> None:
    """Carry a conversation between who asked and the cluster."""
    try:
        async with together() as work:
            work.add(_until_unwanted(asked), _answer(asked, inner), _input(asked, inner))
            await work.until_first()
    finally:
        await inner.close()


async def _until_unwanted(asked: Channel) -> None:
    await asked.closed.wait()


async def _answer(asked: Channel, inner: Channel) -> None:
    try:
        while (piece := await inner.read()) is not None:
            await asked.write(piece[1], piece[0])
        await asked.end(await inner.answer())
    except RunaiError as error:
        await asked.fail(error)


async def _input(asked: Channel, inner: Channel) -> None:
    while (piece := await asked.read()) is not None:
        await inner.write(piece[1], piece[0])
    await asyncio.Event().wait()  # the answer may still come
