"""The door of the embedded backend."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.cluster import LocalCluster
from runai_core.backends.local.database import file_of
from runai_core.backends.local.driver import FIRST_DELAY
from runai_core.backends.local.executor import Executor, ProcessExecutor
from runai_core.backends.local.lease import AlwaysHeld, lock_directory
from runai_core.backends.local.nodes import host_node, read_nodes
from runai_core.backends.local.runtime import LocalRuntime
from runai_core.backends.local.store import open_store
from runai_core.ports import Backend, Clock, Store

SHUTDOWN_GRACE = 10.0
"""Seconds that pods have to end when everything is shut down."""


NOT_USED = (
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "createHomeDir",
    "stdin",
    "tty",
    "compute.largeShmRequest",
    "security",
    "storage.pvc",
    "storage.nfs",
    "storage.s3",
    "storage.configMapVolume",
    "exposedUrls",
    "sshAuthMountPath",
)
"""Fields of a specification that mean nothing to a process of this machine."""

RESOLVED = frozenset({"secret", "userCredential"})
"""References in variables that are looked up when a process starts, so that their values are never stored."""


@asynccontextmanager
async def open_local(  # noqa: PLR0913 - named, and most are left out
    *,
    data_dir: Path,
    database: str | None = None,
    nodes_file: Path | None = None,
    simulated_gpus: int | None = None,
    shutdown_pods: bool = False,
    clock: Clock | None = None,
    executor: Executor | None = None,
    restart_delay: float = FIRST_DELAY,
) -> AsyncIterator[Backend]:
    """Open everything below a data directory; leaving lets pods go on, or ends them with `shutdown_pods`.

    None means: for `database` SQLite in the data directory, for `nodes_file`
    this host, for `simulated_gpus` only real ones, for `clock` the system's,
    for `executor` processes under a supervisor. `restart_delay` is the seconds
    before a failed process is first restarted in place.

    Raises:
        InvalidRequest: the nodes file or the database's URL is wrong.
        Unavailable: the directory or the database cannot be used, or another orchestrator uses it.
    """
    data_dir = await asyncio.to_thread(data_dir.absolute)
    nodes = read_nodes(nodes_file) if nodes_file is not None else (await asyncio.to_thread(host_node, simulated_gpus),)
    clock = clock or SystemClock()
    url = database or f"sqlite:///{data_dir / 'runai.db'}"
    async with lock_directory(data_dir), open_store(url, clock, exclusive=True) as store:
        executor = executor or ProcessExecutor(data_dir, shutdown_grace=SHUTDOWN_GRACE)
        cluster = LocalCluster(
            store=store,
            executor=executor,
            clock=clock,
            nodes=nodes,
            folders=data_dir / "pods",
            first_delay=restart_delay,
        )
        try:
            await cluster.start()
            runtime = LocalRuntime(data_dir, cluster, executor, clock)
            facts = _facts(url, data_dir, nodes_file)
            # the directory is locked already: there is no other who could lead
            yield Backend(
                store=store, cluster=cluster, runtime=runtime, lease=AlwaysHeld(), clock=clock,
                facts=facts, ignores=NOT_USED, resolves=RESOLVED, knows_secrets=True,
            )  # fmt: skip
        finally:
            await cluster.close(shutdown=shutdown_pods)


@asynccontextmanager
async def open_records(data_dir: Path, database: str, clock: Clock | None = None) -> AsyncIterator[Store]:
    """Open only the database: where another backend keeps what is no object of its own.

    A server's database may be shared by several processes, and so may an
    SQLite file outside of the data directory; one inside is for one process.

    Raises:
        InvalidRequest, Unavailable: as `open_local`.
    """
    data_dir = await asyncio.to_thread(data_dir.absolute)
    async with AsyncExitStack() as stack:
        own = database.startswith("sqlite:") and file_of(database) in (None, data_dir / "runai.db")
        if own:
            await stack.enter_async_context(lock_directory(data_dir))
        yield await stack.enter_async_context(open_store(database, clock or SystemClock(), exclusive=own))


def _facts(url: str, data_dir: Path, nodes_file: Path | None) -> dict[str, str]:
    return {
        "database": url.rpartition("@")[2],
        "data directory": str(data_dir),
        "nodes": str(nodes_file) if nodes_file else "this host",
        "memory limit": "RLIMIT_DATA of each process",
    }
