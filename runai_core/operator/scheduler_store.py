"""What a scheduler without a database keeps: node pools as the cluster says, the rest in memory."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.nodes import pool_of
from runai_core.backends.kubernetes.codec.organization import node_pool_of
from runai_core.backends.kubernetes.reading import Reader
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import NotFound, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.workload import Pod
from runai_core.ports import Change, ExecSession, LogOptions, Page, Query, Stored

T = TypeVar("T", bound=Stored)

ALL = Query()


class PoolStore:
    """A `ports.Store` of node pools; other kinds are kept while the process lives."""

    def __init__(self, world: World, only: Sequence[str] = ()) -> None:
        self._world = world
        self._only = tuple(only)
        self._reader = Reader()
        self._kept: dict[type[Any], dict[str, Any]] = {}  # kind -> uid -> object
        self._numbers = itertools.count(1)

    def pools(self) -> list[NodePool]:
        """Return the node pools that are scheduled here, the default one among them unless others are named."""
        found = {pool.name: pool for pool in self._reader.read_all("NodePool", self._world.node_pools, _pool)}
        found.setdefault(DEFAULT_NODE_POOL, NodePool(meta=Meta(name=DEFAULT_NODE_POOL)))
        for name in self._only:
            label = names.NODE_POOL_LABELS[0]
            found.setdefault(name, NodePool(meta=Meta(name=name), label_key=label, label_value=name))
        return [found[name] for name in sorted(found) if not self._only or name in self._only]

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""
        for item in self._all(kind):
            if (item.meta.name, item.meta.project) == (name, project):
                return item
        raise NotFound(f"there is no {kind.__name__} {name}")

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object; raise NotFound where there is none."""
        for item in self._all(kind):
            if item.meta.uid == uid:
                return item
        raise NotFound(f"there is no {kind.__name__} {uid}")

    async def list(self, kind: type[T], query: Query = ALL) -> Page[T]:
        """Return the objects whose fields are equal to what the filters say."""
        items = [item for item in self._all(kind) if all(_equal(item, one.field, one.value) for one in query.filters)]
        return Page(tuple(items), len(items), 0)

    async def create(self, item: T) -> T:
        """Keep a new object."""
        made = self._numbered(item, item.meta.uid or f"memory-{next(self._numbers)}")
        self._kept.setdefault(type(item), {})[made.meta.uid] = made
        return made

    async def update(self, item: T) -> T:
        """Replace an object."""
        if item.meta.uid not in self._kept.get(type(item), {}):
            raise NotFound(f"there is no {type(item).__name__} {item.meta.name}")
        made = self._numbered(item, item.meta.uid)
        self._kept[type(item)][made.meta.uid] = made
        return made

    async def delete(self, kind: type[T], uid: str) -> T:
        """Forget an object."""
        found: T | None = self._kept.get(kind, {}).pop(uid, None)
        if found is None:
            raise NotFound(f"there is no {kind.__name__} {uid}")
        return found

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Do nothing: what was deleted is not kept."""
        del kind, deleted_before
        return 0

    async def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield nothing: nobody else changes what is kept here."""
        del kind, from_version
        nothing: tuple[Change[T], ...] = ()
        for change in nothing:
            yield change

    async def version(self) -> int:
        """Return the newest resource version."""
        return 0

    def _all(self, kind: type[T]) -> Sequence[T]:
        if kind is NodePool:
            return self.pools()  # type: ignore[return-value]
        return tuple(self._kept.get(kind, {}).values())

    def _numbered(self, item: T, uid: str) -> T:
        meta = replace(item.meta, uid=uid, version=next(self._numbers))
        return replace(item, meta=meta)  # type: ignore[type-var]


class NoRuntime:
    """A `ports.Runtime` of a process that only schedules: it reads no logs and runs no commands."""

    def logs(self, _pod: Pod, _options: LogOptions) -> AsyncIterator[bytes]:
        """Refuse."""
        raise Unsupported("a scheduler reads no logs: ask the API")

    def exec(self, *_given: Any, **_options: Any) -> AbstractAsyncContextManager[ExecSession]:
        """Refuse."""
        raise Unsupported("a scheduler runs no commands: ask the API")


def _pool(item: Any) -> NodePool:
    """Return a NodePool object with its label, which it need not name."""
    found, partition = node_pool_of(item), pool_of(item)
    return replace(found, label_key=partition.label_key, label_value=partition.label_value)


def _equal(item: Any, field: str, value: Any) -> bool:
    for part in field.split("."):
        item = getattr(item, part, None)
    return bool(item == value)
