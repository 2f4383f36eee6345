"""The newest objects, in memory, for a store that nobody else writes to.

Only what this process has committed is kept, so that what is found is the
newest there is; what is not found is read from the database.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from runai_core.backends.local.writes import kind_name
from runai_core.ports import Change

KEPT = 2_000
"""Objects that are kept; the one that was not asked for longest goes first."""

Key = tuple[str, str, str]


class Recent:
    """Objects by uid, and those that are not deleted by name."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._objects: OrderedDict[str, Any] = OrderedDict()
        self._uids: dict[Key, str] = {}

    def take(self, changes: Iterable[tuple[type[Any], Change[Any], Any]]) -> None:
        """Keep what a transaction has committed."""
        for kind, change, _ in changes:
            meta = change.object.meta
            key = (kind_name(kind), meta.project, meta.name)
            self._objects[meta.uid] = change.object
            self._objects.move_to_end(meta.uid)
            if meta.deleted_at is None:
                self._uids[key] = meta.uid
            elif self._uids.get(key) == meta.uid:
                del self._uids[key]
        while len(self._objects) > self._kept:
            self._drop(*self._objects.popitem(last=False))

    def get(self, kind: type[Any], name: str, project: str) -> Any:
        """Return the object of a name, if it is here."""
        uid = self._uids.get((kind_name(kind), project, name))
        return None if uid is None else self.get_by_uid(kind, uid)

    def get_by_uid(self, kind: type[Any], uid: str) -> Any:
        """Return the object, also a deleted one, if it is here."""
        found = self._objects.get(uid)
        if type(found) is not kind:
            return None
        self._objects.move_to_end(uid)
        return found

    def clear(self) -> None:
        """Forget everything: it will be read again."""
        self._objects.clear()
        self._uids.clear()

    def _drop(self, uid: str, item: Any) -> None:
        key = (kind_name(type(item)), item.meta.project, item.meta.name)
        if self._uids.get(key) == uid:
            del self._uids[key]
