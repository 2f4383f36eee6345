"""A current copy of all objects of one kind, fed by a watch.

List once, then watch with bookmarks; when the server no longer knows our
version (410, compaction), list again; when the connection breaks, go on from
where it was. Everything happens in the event loop: what `get` and `all` answer
does not change between two awaits.

Nothing like it exists for raw objects and asyncio: it is written here, and kept small.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.resources import Resource
from runai_core.model.errors import Forbidden, NotFound, RunaiError, Unavailable, WatchExpired

log = logging.getLogger(__name__)

Change = Callable[[str, Object | None, Object | None], None]
"""Called with ADDED, MODIFIED or DELETED, the object as it was and as it is."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0
"""Seconds between attempts to reach the server; doubled at each failure."""

ABSENT_DELAY = 5.0
"""Seconds between looks for a kind that the cluster does not have (yet)."""

RESYNC = 1800.0
"""Seconds after which everything is listed again, should a watch ever have lost something."""

Key = tuple[str, str]


class Informer:
    """All objects of a resource (that the selectors choose), as they are now.

    `trim` may drop what nobody needs of an object before it is kept.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        labels: str = "",
        fields: str = "",
        trim: Callable[[Object], Object] | None = None,
        resync: float = RESYNC,
    ) -> None:
        self.resource = resource
        self.version = ""  # as of which our copy is
        self.absent = False  # the cluster does not know this kind
        self.trouble = ""  # why the copy may be old, while it may
        self.lists = 0
        self._api = api
        self._selectors = {"labels": labels, "fields": fields}
        self._trim = trim
        self._resync = resync
        self._objects: dict[Key, Object] = {}
        self._by_uid: dict[str, Object] = {}
        self._indexes: dict[str, tuple[Callable[[Object], Iterable[str]], dict[str, dict[Key, Object]]]] = {}
        self._callbacks: list[Change] = []
        self._synced = asyncio.Event()
        self._delay = FIRST_DELAY

    # -- asking

    def get(self, name: str, namespace: str = "") -> Object | None:
        """Return an object, or None. It must not be changed, here as in all answers."""
        return self._objects.get((namespace, name))

    def named(self, key: str) -> Object | None:
        """Return the object that snapshots call ``namespace/name``, or None."""
        namespace, _, name = key.partition("/")
        return self._objects.get((namespace, name))

    def by_uid(self, uid: str) -> Object | None:
        """Return the object with this uid, or None."""
        return self._by_uid.get(uid)

    def all(self) -> Iterable[Object]:
        """Return all objects."""
        return self._objects.values()

    def __len__(self) -> int:
        """Return how many objects there are."""
        return len(self._objects)

    def index(self, name: str, keys: Callable[[Object], Iterable[str]]) -> None:
        """Keep the objects by some keys of theirs as well, for `find`."""
        self._indexes[name] = (keys, {})
        for key, item in self._objects.items():
            self._enter(name, key, item)

    def find(self, name: str, key: str) -> Iterable[Object]:
        """Return the objects that have this key in the named index."""
        return self._indexes[name][1].get(key, _NOTHING).values()

    def keys(self, name: str) -> Iterable[str]:
        """Return the keys of an index."""
        return self._indexes[name][1]

    def on_change(self, callback: Change) -> Callable[[], None]:
        """Have somebody told of every change, after it, until the answer is called; a callback must not wait."""
        self._callbacks.append(callback)
        return partial(self._callbacks.remove, callback)

    @property
    def ready(self) -> bool:
        """Whether the copy was complete once."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Wait until the copy is complete for the first time; an unknown kind counts as empty."""
        await self._synced.wait()

    # -- following

    async def run(self) -> None:
        """Keep the copy current until cancelled."""
        while True:
            try:
                await self._list()
                await self._watch()
            except WatchExpired:
                log.info("%s: the watch is too old, listing again", self.resource.full_name)
                await asyncio.sleep(
                    FIRST_DELAY
                )  # a server for which every version is too old is not asked all the time
            except (NotFound, Forbidden) as error:
                await self._not_there(error)
            except RunaiError as error:
                await self._back_off(error)
            except Exception as error:  # the top of a loop
                log.exception("%s: watching failed", self.resource.full_name)
                await self._back_off(Unavailable(str(error)))

    def note(self, item: Object) -> None:
        """Take an object that the server answered to a write of ours, before the watch shows it."""
        self._put(item)

    async def _list(self) -> None:
        seen: set[Key] = set()
        async for items, version in self._api.pages(self.resource, **self._selectors):
            for item in items:
                seen.add(self._put(item))
            self.version = version
            await asyncio.sleep(0)
        for key in [key for key in self._objects if key not in seen]:
            self._drop(key, self._objects[key])
        self.lists += 1
        self._healthy()
        self._synced.set()

    async def _watch(self) -> None:
        """Follow changes until the copy should be listed again."""
        list_again = time.monotonic() + self._resync * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        while time.monotonic() < list_again:
            began = time.monotonic()
            try:
                async for kind, item in self._api.watch(self.resource, self.version, **self._selectors):
                    self._take(kind, item)
            except Unavailable as error:
                if error.details.get("status"):  # the server itself refused, for example a version that it has not
                    raise
                await self._back_off(error)
            if time.monotonic() - began < FIRST_DELAY:  # a server that ends every watch at once
                await asyncio.sleep(FIRST_DELAY)

    def _take(self, kind: str, item: Object) -> None:
        meta = item["metadata"]
        if kind == "DELETED":
            self._drop((meta.get("namespace", ""), meta.get("name", "")), item)
        elif kind != "BOOKMARK":
            self._put(item)
        self.version = meta["resourceVersion"]
        self._healthy()

    def _healthy(self) -> None:
        self.absent, self.trouble, self._delay = False, "", FIRST_DELAY

    async def _not_there(self, error: RunaiError) -> None:
        """The kind is not installed, or we may not see it: nothing is there until it is."""
        forbidden = isinstance(error, Forbidden)
        if not self.absent and not self.trouble:
            level = logging.ERROR if forbidden else logging.INFO
            log.log(level, "%s: %s", self.resource.full_name, error.message)
        self.absent, self.trouble = not forbidden, error.message if forbidden else ""
        for key, item in list(self._objects.items()):
            self._drop(key, item)
        if not forbidden:
            self._synced.set()
        await asyncio.sleep(ABSENT_DELAY)

    async def _back_off(self, error: RunaiError) -> None:
        if not self.trouble:
            log.warning("%s: %s", self.resource.full_name, error.message)
        self.trouble = error.message
        await asyncio.sleep(self._delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    # -- the copy

    def _put(self, item: Object) -> Key:
        meta = item["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        old = self._objects.get(key)
        if old is not None and not _newer(meta, old["metadata"]):
            return key
        if self._trim is not None:
            item = self._trim(item)
        else:
            meta.pop("managedFields", None)
        if old is not None:
            self._leave_all(key, old)
        self._objects[key] = item
        self._by_uid[meta.get("uid", "")] = item
        for name in self._indexes:
            self._enter(name, key, item)
        self._tell("ADDED" if old is None else "MODIFIED", old, item)
        return key

    def _drop(self, key: Key, last: Object) -> None:
        old = self._objects.get(key)
        if old is None or old["metadata"].get("uid") != last["metadata"].get("uid"):
            return  # a late word about an object that was replaced since
        del self._objects[key]
        self._leave_all(key, old)
        self._tell("DELETED", old, None)

    def _leave_all(self, key: Key, old: Object) -> None:
        self._by_uid.pop(old["metadata"].get("uid", ""), None)
        for keys, found in self._indexes.values():
            for value in keys(old):
                members = found.get(value)
                if members is not None:
                    members.pop(key, None)
                    if not members:
                        del found[value]

    def _enter(self, name: str, key: Key, item: Object) -> None:
        keys, found = self._indexes[name]
        for value in keys(item):
            found.setdefault(value, {})[key] = item

    def _tell(self, kind: str, old: Object | None, new: Object | None) -> None:
        for callback in self._callbacks:
            try:
                callback(kind, old, new)
            except Exception:  # one object that somebody cannot read must not stop the others
                meta = (new or old or {}).get("metadata", {})
                log.exception(
                    "%s %s/%s could not be taken in", self.resource.kind, meta.get("namespace", ""), meta.get("name")
                )

    def __iter__(self) -> Iterator[Object]:
        """Iterate over all objects."""
        return iter(self._objects.values())


_NOTHING: Mapping[Key, Object] = {}


def _newer(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Return whether the first metadata is of a later state than the second: late and repeated events are not."""
    if new.get("uid") != old.get("uid"):
        return _number(new) > _number(old)
    if new.get("resourceVersion") == old.get("resourceVersion"):
        return False
    return _number(new) >= _number(old)


def _number(meta: Mapping[str, Any]) -> int:
    version = str(meta.get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0
