"""What the informers hold, in the form of the model: found by name and id, listed, and told as it changes."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.pod_status import pod_of
from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.keepers import Keeper, WorkloadKeeper, keepers
from runai_core.backends.kubernetes.names import ID_ANNOTATION, WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.story import KEPT, Story, Versions
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import NotFound
from runai_core.model.workload import Pod, Workload
from runai_core.ports import ChangeType

BY_NAME, BY_ID = "our-name", "our-id"


class Copies:
    """All objects of the kinds that the cluster keeps, as they are now; `rows` are the workloads that others make."""

    def __init__(self, world: World, rows: ExternalRows | None, log_kept: int = KEPT) -> None:
        self.world = world
        self.rows = rows
        self.keepers: dict[type[Any], Keeper] = {keeper.kind: keeper for keeper in keepers(world)}
        self.versions = Versions()
        self._log_kept = log_kept
        self.stories: dict[type[Any], Story] = {kind: Story(self.versions, log_kept) for kind in self.keepers}
        self._hidden: set[str] = set()  # uids that we deleted and whose end the watch has not shown yet
        self._read: dict[str, tuple[str, Any]] = {}  # uid -> version, what it says
        self._pods_told: dict[str, dict[str, Pod]] = {}  # uid of a row of somebody else's -> its pods by uid

    async def start(self) -> None:
        """Follow all kinds; return when the copy of each is complete."""
        await self.world.synced(resource for keeper in self.keepers.values() for resource in keeper.resources)
        for keeper in self.keepers.values():
            for resource in keeper.resources:
                informer = self.world.crd(resource)
                informer.index(BY_NAME, partial(_names, keeper))
                informer.index(BY_ID, _ids)
                informer.on_change(partial(self._changed, keeper))
                self.versions.reach(_number(informer.version))
        for story in self.stories.values():
            story.begin()
        if self.rows is not None:
            self.rows.on_change(self._row_changed)

    def close(self) -> None:
        """End all watches."""
        for story in self.stories.values():
            story.close()

    # -- asking

    def knows(self, kind: type[Any]) -> bool:
        """Return whether objects of the kind are the cluster's."""
        return kind in self.keepers or kind is Pod

    def all(self, kind: type[Any]) -> Iterable[Any]:
        """Return all objects of a kind."""
        if kind is Pod:
            yield from self._pods()
            return
        keeper = self.keepers[kind]
        for resource in keeper.resources:
            for item in self.world.crd(resource).all():
                found = self.read(keeper, item)
                if found is not None:
                    yield found
        if kind is Workload and self.rows is not None:
            yield from self.rows.rows()

    def named(self, kind: type[Any], name: str, project: str) -> Any | None:
        """Return the object of this name, or None."""
        if kind is Pod:
            return next((pod for pod in self._pods() if (pod.name, pod.meta.project) == (name, project)), None)
        keeper = self.keepers[kind]
        for resource in keeper.resources:
            for item in tuple(self.world.crd(resource).find(BY_NAME, name)):
                found = self.read(keeper, item)
                if found is not None and found.meta.project == project:
                    return found
        return self.rows.find(name, project) if kind is Workload and self.rows is not None else None

    def by_uid(self, kind: type[Any], uid: str) -> Any | None:
        """Return the object of this uid or id, or None."""
        if kind is Pod:
            return next((pod for pod in self._pods() if pod.meta.uid == uid), None)
        keeper = self.keepers[kind]
        try:
            _, item = self.raw(keeper, uid)
        except NotFound:
            return self.rows.get(uid) if kind is Workload and self.rows is not None else None
        return self.read(keeper, item)

    def raw(self, keeper: Keeper, uid: str) -> tuple[Resource, Object]:
        """Return the object with this uid or id as the cluster has it, and where; raise NotFound."""
        for resource in keeper.resources:
            informer = self.world.crd(resource)
            item = informer.by_uid(uid) or next(iter(informer.find(BY_ID, uid)), None)
            if item is not None and item["metadata"].get("uid") not in self._hidden:
                return resource, item
        raise NotFound(f"there is no {keeper.kind.__name__} {uid[:80]}")

    def read(self, keeper: Keeper, item: Object) -> Any | None:
        """Return what an object says, read once for each of its versions; None where it is none of the kind."""
        meta = item["metadata"]
        uid, version = meta.get("uid", ""), meta.get("resourceVersion", "")
        if uid in self._hidden:
            return None
        known = self._read.get(uid)
        if known is None or known[0] != version:
            known = self._read[uid] = (version, keeper.read(item))
        return known[1]

    def unread(self, kind: type[Any]) -> Iterable[Object]:
        """Return all objects of a kind's resources, those too that are none of the kind yet."""
        for resource in self.keepers[kind].resources:
            for item in self.world.crd(resource).all():
                if item["metadata"].get("uid") not in self._hidden:
                    yield item

    def _pods(self) -> Iterable[Pod]:
        for item in self.world.pods.all():
            if _is_ours(item):
                yield pod_of(item)
        if self.rows is not None:
            yield from self.rows.pods()

    # -- changes

    def story(self, kind: type[Any]) -> Story | None:
        """Return the changes of a kind; None where they are not the cluster's to tell."""
        if kind is Pod and Pod not in self.stories:
            self._follow_pods()
        return self.stories.get(kind)

    def _follow_pods(self) -> None:
        """Tell of pods from now on: few ask for it, and there are many."""
        story = self.stories[Pod] = Story(self.versions, self._log_kept)
        self.versions.next(0)  # what was listed before is too old: something may have happened since
        story.begin()
        self.world.pods.on_change(self._pod_changed)
        if self.rows is not None:
            for row in self.rows.rows():
                self._pods_told[row.meta.uid] = {pod.meta.uid: pod for pod in self.rows.members(row.meta.uid)}
            self.rows.on_pods(partial(self._row_pods_changed, self.rows))

    def _pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        ours = [item if item is not None and _is_ours(item) else None for item in (old, new)]
        before, after = (None if item is None else pod_of(item) for item in ours)
        self._tell(Pod, before, after, _number(((new or old or {}).get("metadata") or {}).get("resourceVersion", "")))

    def _row_pods_changed(self, rows: ExternalRows, uid: str) -> None:
        before = self._pods_told.pop(uid, {})
        after = {pod.meta.uid: pod for pod in rows.members(uid)}
        if after:
            self._pods_told[uid] = after
        for pod in (before | after).values():
            was, now = before.get(pod.meta.uid), after.get(pod.meta.uid)
            if was != now:
                self._tell(Pod, was, now, pod.meta.version)

    def hide(self, keeper: Keeper, found: Any, uid: str) -> None:
        """Let an object be gone from now on: it was deleted, and the watch will show it."""
        self._hidden.add(uid)
        self._tell(keeper.kind, found, None, found.meta.version)

    def _changed(self, keeper: Keeper, _kind: str, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {}).get("metadata") or {}
        uid = meta.get("uid", "")
        before = None if old is None else self.read(keeper, old)
        after = None if new is None else self.read(keeper, new)
        if new is None:
            self._hidden.discard(uid)
            self._read.pop(uid, None)
            if isinstance(keeper, WorkloadKeeper):
                keeper.forget(uid)
        self._tell(keeper.kind, before, after, _number(meta.get("resourceVersion", "")))

    def _tell(self, kind: type[Any], before: Any, after: Any, version: int) -> None:
        if after is not None:
            change = ChangeType.ADDED if before is None else ChangeType.MODIFIED
            self.stories[kind].tell(change, after, version)
        elif before is not None:
            self.stories[kind].tell(ChangeType.DELETED, before, version + 1)

    def _row_changed(self, change: ChangeType, workload: Workload) -> None:
        self.stories[Workload].tell(change, workload, workload.meta.version)


def _is_ours(pod: Object) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL))


def _names(keeper: Keeper, item: Object) -> tuple[str, ...]:
    return (keeper.name_of(item),)


def _ids(item: Object) -> tuple[str, ...]:
    known = (item["metadata"].get("annotations") or {}).get(ID_ANNOTATION)
    return (known,) if known else ()


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
