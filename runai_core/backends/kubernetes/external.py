"""What others make is a workload too: one row for each top owner, derived from pod groups, pods and owners.

Nothing is stored: rows follow the informers. A change marks its row; rows are
worked out anew a moment later, once, however many changes there were, and only
those that were marked. Thousands of rows cost what changes, not what there is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec import external as codec
from runai_core.backends.kubernetes.codec.pod_status import pod_of
from runai_core.backends.kubernetes.codec.rows import named_by, row_of, schedulers_of, top_uid
from runai_core.backends.kubernetes.codec.values import key_of, labels_of
from runai_core.backends.kubernetes.kinds import FRESH_SECONDS, Kinds
from runai_core.backends.kubernetes.names import POD_GROUP_ANNOTATION, SCHEDULER, WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import (
    NAMESPACES,
    POD_GROUPS,
    PODS,
    PRIORITY_CLASSES,
    PROJECTS,
    Resource,
)
from runai_core.backends.kubernetes.tenancy import project_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import RunaiError
from runai_core.model.organization import DEFAULT_DEPARTMENT
from runai_core.model.workload import Phase, Pod, Workload
from runai_core.plugins.registry import Registry
from runai_core.plugins.types import WorkloadKind
from runai_core.ports import ChangeType

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.05
"""How long changes are gathered before rows are worked out anew."""

STOPPED_ANNOTATION = "run.ai/stopped-at"
"""Annotation of an owner that was stopped through us: it stays a workload of ours while it has no pods (ours)."""

INDEX = "external"

FIRST_LIST_SECONDS = 5.0
"""How long the first lists of a kind's objects are waited for."""

RowChange = Callable[[ChangeType, Workload], None]
"""Called with what happened to a row, and the row as it is, or was last."""


class ExternalRows:
    """The workloads that others make, as they are now."""

    def __init__(self, world: World, registry: Registry, *, scheduler: str = SCHEDULER) -> None:
        self._world = world
        self._known = registry.kinds
        self._served = Kinds(world.api, registry.kinds)
        self._scheduler = scheduler
        self._owners: dict[Resource, WorkloadKind] = {}
        self._rows: dict[str, Workload] = {}
        self._by_name: dict[tuple[str, str], dict[str, None]] = {}
        self._phases: dict[str, Phase] = {}
        self._top_of_group: dict[str, str] = {}  # also of groups that went before their pods
        self._marked: dict[str, None] = {}
        self._callbacks: list[RowChange] = []
        self._on_pods: list[Callable[[str], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    # -- asking

    def rows(self) -> Iterable[Workload]:
        """Return all rows."""
        self._settle()
        return self._rows.values()

    def pods(self) -> Iterable[Pod]:
        """Return the pods of all rows, in the form of the model."""
        self._settle()
        for uid in self._rows:
            yield from self.members(uid)

    def members(self, uid: str) -> list[Pod]:
        """Return the pods of a row, in the form of the model; the ranks are their order."""
        row = self.get(uid)
        if row is None:
            return []
        pods = sorted(self.pods_of(uid), key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), key_of(pod)))
        return [_member(pod, row, rank) for rank, pod in enumerate(pods)]

    def get(self, uid: str) -> Workload | None:
        """Return the row of an owner."""
        self._settle()
        return self._rows.get(uid)

    def find(self, name: str, project: str) -> Workload | None:
        """Return the row of this name; of several, whose kinds differ, the oldest."""
        self._settle()
        rows = [self._rows[uid] for uid in self._by_name.get((project, name), ())]
        return min(rows, key=lambda row: (row.meta.created_at, row.meta.uid), default=None)

    def pods_of(self, uid: str) -> list[Object]:
        """Return the pods of a row."""
        found: dict[str, Object] = {}
        for group in self._world.pod_groups.find(INDEX, uid):
            for pod in self._world.pods.find(INDEX, key_of(group)):
                found[pod["metadata"]["uid"]] = pod
        alone = self._world.pods.by_uid(uid)
        if alone is not None:
            found[uid] = alone
        return list(found.values())

    def uid_of(self, pod: Mapping[str, Any]) -> str:
        """Return the row that a pod belongs to; empty where it belongs to none."""
        name = (pod["metadata"].get("annotations") or {}).get(POD_GROUP_ANNOTATION)
        if not name:
            return pod["metadata"]["uid"] if self._stands_alone(pod) else ""
        namespace = pod["metadata"].get("namespace", "")
        group = self._world.pod_groups.get(name, namespace)
        return top_uid(group) if group is not None else self._top_of_group.get(f"{namespace}/{name}", "")

    def owner(self, uid: str) -> Object | None:
        """Return the object itself, as it was last seen; None where it may not be followed, or is gone."""
        for resource in self._owners:
            found = self._world.crd(resource).by_uid(uid)
            if found is not None:
                return found
        return None

    def made_by(self, uid: str, kind: WorkloadKind) -> list[tuple[Resource, Object]]:
        """Return the objects of a kind that an owner controls."""
        return [
            (resource, item)
            for resource, followed in self._owners.items()
            if followed is kind
            for item in self._world.crd(resource).all()
            if any(ref["uid"] == uid and ref.get("controller") for ref in item["metadata"].get("ownerReferences") or ())
        ]

    def on_change(self, callback: RowChange) -> None:
        """Have somebody told of every change of a row, soon after it."""
        self._callbacks.append(callback)

    def on_pods(self, callback: Callable[[str], None]) -> None:
        """Have somebody told of every row whose pods may have changed, soon after it."""
        self._on_pods.append(callback)

    # -- following

    async def run(self) -> None:
        """Follow the kinds that are known and the cluster serves, also those that are installed or taught later."""
        await self.start()
        taught = asyncio.Event()
        self._known.on_change(taught.set)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FRESH_SECONDS):
                    await taught.wait()
            taught.clear()
            try:
                await self._follow_served()
            except RunaiError as error:
                log.warning("kinds of workloads: %s", error.message)

    async def start(self) -> None:
        """Follow what there is now; when this returns, rows are complete."""
        world = self._world
        if self._owners:
            return
        await world.synced((PODS, POD_GROUPS, NAMESPACES, PROJECTS, PRIORITY_CLASSES))
        world.pods.index(INDEX, _group_key_of)
        world.pod_groups.index(INDEX, _top_uids)
        world.pods.on_change(self._pod_changed)
        world.pod_groups.on_change(self._group_changed)
        world.namespaces.on_change(self._namespace_changed)
        for group in world.pod_groups.all():
            self._group_changed("ADDED", None, group)
        for pod in world.pods.all():
            self._pod_changed("ADDED", None, pod)
        await self._follow_served()

    async def _follow_served(self) -> None:
        waits = []
        for resource in await self._served.served():
            kind, is_known = self._known.by_group.get((resource.group, resource.kind)), resource in self._owners
            if kind is not None:
                self._owners[resource] = kind
            if kind is None or is_known:
                continue
            informer = self._world.crd(resource)
            informer.on_change(self._owner_changed)
            for item in informer.all():
                self._owner_changed("ADDED", None, item)
            waits.append(informer.synced())
        if waits:  # a kind that we may not list is done without
            _, late = await asyncio.wait([asyncio.ensure_future(wait) for wait in waits], timeout=FIRST_LIST_SECONDS)
            for waiting in late:
                waiting.cancel()

    def _pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            if pod is not None and (uid := self.uid_of(pod)):
                self._mark(uid)
        if new is None:
            self._forget_groups(_group_key_of(old or {"metadata": {}}))

    def _group_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        for group in (old, new):
            if group is not None and (uid := top_uid(group)):
                meta = group["metadata"]
                self._top_of_group[f"{meta['namespace']}/{meta['name']}"] = uid
                self._mark(uid)
        if new is None and old is not None:
            self._forget_groups((key_of(old),))

    def _forget_groups(self, keys: Iterable[str]) -> None:
        """Forget the groups that are gone, once their last pod is."""
        for key in keys:
            if self._world.pod_groups.named(key) is None and not any(self._world.pods.find(INDEX, key)):
                self._top_of_group.pop(key, None)

    def _owner_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        uid = (new or old or {})["metadata"]["uid"]
        if uid in self._rows or (new is not None and self._is_ours(new)):
            self._mark(uid)

    def _namespace_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """A namespace was given to a project, or taken from it."""
        if kind == "MODIFIED" and old is not None and new is not None and labels_of(old) != labels_of(new):
            name = new["metadata"]["name"]
            for group in self._world.pod_groups.all():
                if group["metadata"].get("namespace") == name and (uid := top_uid(group)):
                    self._mark(uid)

    def _mark(self, uid: str) -> None:
        self._marked[uid] = None
        if self._timer is None and self._callbacks:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        """Work out the rows that were marked, and tell of those that changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        marked, self._marked = self._marked, {}
        for uid in marked:
            try:
                self._renew(uid)
            except Exception:  # the top of a loop: one object that cannot be read must not hide the others
                log.exception("the workload with uid %s could not be read", uid)
        for uid in marked:
            for callback in self._on_pods:
                callback(uid)

    def _renew(self, uid: str) -> None:
        old, new = self._rows.get(uid), self._row(uid)
        if new is None:
            if old is not None:
                del self._rows[uid]
                self._by_name[old.meta.project, old.meta.name].pop(uid, None)
                self._phases.pop(uid, None)
                self._tell(ChangeType.DELETED, old)
            return
        if old is not None:
            if _without_version(old) == _without_version(new):
                return
            self._by_name[old.meta.project, old.meta.name].pop(uid, None)
        self._rows[uid] = new
        self._phases[uid] = new.phase
        self._by_name.setdefault((new.meta.project, new.meta.name), {})[uid] = None
        self._tell(ChangeType.ADDED if old is None else ChangeType.MODIFIED, new)

    def _tell(self, change: ChangeType, row: Workload) -> None:
        for callback in self._callbacks:
            callback(change, row)

    # -- rows

    def _row(self, uid: str) -> Workload | None:
        groups = tuple(sorted(self._world.pod_groups.find(INDEX, uid), key=key_of))
        owner = self.owner(uid)
        if not groups and (owner is None or not self._is_ours(owner)):
            return None
        about = owner or named_by(groups[0])
        kind = self._known.by_group.get((_api_group(about["apiVersion"]), about["kind"]))
        seen = codec.Seen(
            owner=owner,
            kind=kind,
            groups=groups,
            members=codec.members_of(codec.counted(self.pods_of(uid), kind)),
            before=self._phases.get(uid),
        )
        namespace = about["metadata"].get("namespace", "")
        project = project_of(self._world, namespace) or namespace
        row = row_of(about, seen, project=project, classes=self._classes(), before=self._rows.get(uid))
        known = self._world.projects.get(project)
        if known is None:
            return row
        return replace(row, department=str((known.get("spec") or {}).get("department") or DEFAULT_DEPARTMENT))

    def _classes(self) -> dict[str, int]:
        return {item["metadata"]["name"]: int(item.get("value", 0)) for item in self._world.priority_classes.all()}

    def _is_ours(self, owner: Object) -> bool:
        """Return whether an object without pods is a workload: nobody made it, and its pods would be ours."""
        meta = owner["metadata"]
        if meta.get("ownerReferences"):
            return False
        if owner.get("kind") == "Pod" and owner.get("apiVersion") == "v1":
            return self._stands_alone(owner)
        if STOPPED_ANNOTATION in (meta.get("annotations") or {}):
            return True
        return self._scheduler in schedulers_of(owner.get("spec"))

    def _stands_alone(self, pod: Mapping[str, Any]) -> bool:
        meta = pod["metadata"]
        if meta.get("ownerReferences") or WORKLOAD_UID_LABEL in (meta.get("labels") or {}):
            return False
        if pod["spec"].get("schedulerName") != self._scheduler:
            return False
        name = (meta.get("annotations") or {}).get(POD_GROUP_ANNOTATION)
        group = self._world.pod_groups.get(name, meta.get("namespace", "")) if name else None
        return group is None or top_uid(group) == meta["uid"]


def _member(pod: Object, row: Workload, rank: int) -> Pod:
    """Return a pod of a row: what the labels of our own pods say is said by the row."""
    read = pod_of(pod)
    return replace(
        read,
        meta=replace(read.meta, project=row.meta.project, owner=row.meta.uid),
        workload=row.name,
        node_pool=row.node_pool,
        attempt=row.attempt or 1,
        spec=replace(read.spec, rank=rank),
    )


def _top_uids(group: Mapping[str, Any]) -> tuple[str, ...]:
    uid = top_uid(group)
    return (uid,) if uid else ()


def _group_key_of(pod: Mapping[str, Any]) -> tuple[str, ...]:
    meta = pod["metadata"]
    name = (meta.get("annotations") or {}).get(POD_GROUP_ANNOTATION)
    return (f"{meta.get('namespace', '')}/{name}",) if name else ()


def _without_version(row: Workload) -> Workload:
    return replace(row, meta=replace(row.meta, version=0, updated_at=0.0), manifest=None)


def _api_group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
