"""A TCP proxy in front of the API server: it carries, and on request cuts, refuses or holds back what passes.

As a program, ``python -m tests.cluster.proxy PORT ADDRESS...``, it only carries: so that pods reach an API server that
listens on loopback. In tests, `Proxy` lets connections fail.
"""

import argparse
import asyncio
import contextlib
import threading
from collections.abc import Iterator

CHUNK = 1 << 16


class Proxy:
    """Carries connections to a port of this machine. The methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        """Where it listens on 127.0.0.1, once it runs."""
        self._refusing = False
        self._delay = 0.0
        self._open = threading.Event()
        self._open.set()
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut all connections; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._cut)

    def refuse(self) -> None:
        """Cut all connections, and every new one at once, until `allow`."""
        self._refusing = True
        self.cut()

    def hold(self) -> None:
        """Let nothing pass, with all connections open, until `allow`: a network that swallows packets."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """From now on, whatever the API server sends arrives so much later."""
        self._delay = seconds

    def allow(self) -> None:
        """Carry on as if nothing had been."""
        self._refusing, self._delay = False, 0.0
        self._open.set()

    @contextlib.contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Listen on a free port, in a thread of its own, as long as the block runs."""
        started = threading.Event()
        thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        thread.start()
        started.wait(60)
        try:
            yield self
        finally:
            self.allow()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(60)
            self._loop.close()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Listen at an address."""
        return await asyncio.start_server(self._carry, host, port)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self.listen("127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        self._cut()
        if tasks := asyncio.all_tasks(self._loop):  # they end by themselves: their connections are cut
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=5))

    def _cut(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._connections |= ends
        try:
            await asyncio.gather(self._copy(reader, far_writer, late=False), self._copy(far_reader, writer, late=True))
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                while not self._open.is_set():
                    await asyncio.sleep(0.02)
                if late and self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


async def _serve(target: int, addresses: list[str]) -> None:
    proxy = Proxy(target)
    servers = [await proxy.listen(host, int(port)) for host, _, port in (each.rpartition(":") for each in addresses)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=int, help="port on 127.0.0.1")
    parser.add_argument("addresses", nargs="+", help="host:port to listen at")
    given = parser.parse_args()
    asyncio.run(_serve(given.target, given.addresses))
