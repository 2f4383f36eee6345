"""What can be done with workloads that others' controllers make: everything acts on the object itself.

A stopped object is one whose adapter suspended it; its pods go by its own
controller. Deleting the object deletes what it made, in the background.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.conditions import holds
from runai_core.backends.kubernetes.codec.external import CONDITIONS, Seen
from runai_core.backends.kubernetes.codec.patches import difference
from runai_core.backends.kubernetes.codec.rows import row_of
from runai_core.backends.kubernetes.external import STOPPED_ANNOTATION, ExternalRows
from runai_core.backends.kubernetes.kinds import Kinds
from runai_core.backends.kubernetes.names import (
    CATEGORY_LABEL,
    NODE_POOL_LABELS,
    PREEMPTIBILITY_LABEL,
    PRIORITY_LABEL,
    QUEUE_LABELS,
    USER_LABEL,
)
from runai_core.backends.kubernetes.replacing import replaced
from runai_core.backends.kubernetes.resources import POD_GROUPS, PODS, Resource
from runai_core.backends.kubernetes.tenancy import namespace_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, StaleVersion, Unsupported
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.workload import Workload
from runai_core.plugins.registry import Registry
from runai_core.plugins.stamping import scheduled_spec
from runai_core.plugins.types import Suspends, WorkloadKind

TRIES = 8
"""Attempts to change an object that its controller writes to at the same time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is, and which one it must be."""

    resource: Resource
    name: str
    namespace: str
    uid: str


class KubernetesFrameworks:
    """Stops, runs, deletes and submits the objects of frameworks."""

    def __init__(self, api: Api, world: World, registry: Registry, rows: ExternalRows) -> None:
        self._api = api
        self._world = world
        self.rows = rows
        self._known = registry.kinds
        self._served = Kinds(api, registry.kinds)

    async def stop(self, workload: Workload) -> None:
        """Suspend the object, and what it made that runs on by itself; how it was is kept with it. Idempotent.

        Raises:
            Unsupported: objects of this kind cannot be stopped. NotFound: the object is gone.
        """
        adapter = self._suspends(workload, "stopped: delete it instead")
        place = await self._place(workload)
        owner = await self._change(place, adapter.suspend, {STOPPED_ANNOTATION: _now()})
        for below, its in self._children(workload, owner):
            await self._change(below, its.suspend, {})

    async def run(self, workload: Workload) -> None:
        """Resume the object as it was. Idempotent; raises as `stop`."""
        adapter = self._suspends(workload, "stopped and run again")
        place = await self._place(workload)
        owner = await self._api.get(place.resource, place.name, place.namespace)
        for below, its in self._children(workload, owner):
            await self._change(below, its.resume, {})
        await self._change(place, adapter.resume, {STOPPED_ANNOTATION: None})

    async def delete(self, workload: Workload) -> None:
        """Delete the object; what it made goes in the background. Idempotent."""
        if workload.kind == POD_GROUPS.kind:
            for pod in self.rows.pods_of(workload.meta.uid):
                meta = pod["metadata"]
                await self._api.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        resource = await self._resource(workload)
        namespace = self._namespace(workload)
        await self._api.delete(resource, workload.meta.name, namespace, uid=workload.meta.uid)

    async def change(self, workload: Workload) -> None:
        """Make the object what `workload.manifest` says, by server-side apply; one that is stopped stays so.

        Without a manifest, only its labels follow. Raises:
            Conflict: somebody else decides a field, and differs. InvalidRequest: a field cannot be changed.
        """
        place = await self._place(workload)
        if not workload.manifest:
            labels = chosen_labels(workload)
            await self._change(place, lambda item: with_labels(item, labels), {})
            return
        body = submitted(workload, place.namespace)
        if (kind := self._kind(workload)) is not None:
            kind.adapter.pod_groups(body)
        answer = await replaced(self._api, place.resource, body, place.uid, lambda item: self._kept(workload, item))
        self._world.crd(place.resource).note(answer)

    def _kept(self, workload: Workload, was: Object) -> Callable[[Object], Object]:
        """Return what keeps an object stopped that was; it is as it shall be when it runs again."""
        stopped = (was["metadata"].get("annotations") or {}).get(STOPPED_ANNOTATION)
        if stopped is None:
            return lambda body: body
        adapter = self._suspends(workload, "stopped")
        return lambda body: with_note(dict(adapter.suspend(body)), STOPPED_ANNOTATION, stopped)

    async def submit(self, workload: Workload) -> Workload:
        """Create the object of `workload.manifest` in the project's namespace, its pods under our scheduler.

        Raises:
            InvalidRequest: the API server refuses the object. AlreadyExists: there is one of this name.
            Unsupported: the cluster does not have the kind.
        """
        resource = await self._resource(workload)
        kind = self._kind(workload)
        body = submitted(workload, namespace_of(self._world, workload.meta.project))
        if kind is not None:
            kind.adapter.pod_groups(body)  # what it would never be grouped by is refused now
        created = await self._api.create(resource, body)
        self._world.crd(resource).note(created)
        found = self.rows.get(created["metadata"]["uid"])
        if found is not None:
            return found
        return row_of(created, Seen(owner=created, kind=kind), project=workload.meta.project, classes={}, before=None)

    async def trouble(self, api_version: str, kind: str) -> str:
        """Return why objects of a kind are no workloads here; empty where they are."""
        resource = await self._served.resource(api_version, kind)
        if resource is None:
            return f"the cluster does not have the kind {kind} of {api_version}: install what brings it"
        if await self._api.can_i("list", resource):
            return ""
        given = f"{api_version}/{kind}/{resource.plural}"
        return f"no right to list {resource.full_name}: install again with `runai admin install --kind {given}`"

    # -- finding

    def _kind(self, workload: Workload) -> WorkloadKind | None:
        return self._known.by_group.get((workload.api_version.rpartition("/")[0], workload.kind))

    def _suspends(self, workload: Workload, what: str) -> Suspends:
        kind = self._kind(workload)
        adapter: object = kind.adapter if kind is not None else None
        if not isinstance(adapter, Suspends):
            raise Unsupported(f"{workload.key}: a {workload.kind} ({workload.api_version}) cannot be {what}")
        return adapter

    async def _resource(self, workload: Workload) -> Resource:
        resource = await self._served.preferred(workload.api_version, workload.kind)
        resource = resource or await self._served.resource(workload.api_version, workload.kind)
        if resource is None:
            raise Unsupported(f"the cluster does not have the kind {workload.kind} of {workload.api_version}")
        return resource

    def _namespace(self, workload: Workload) -> str:
        owner = self.rows.owner(workload.meta.uid)
        if owner is not None:
            return str(owner["metadata"].get("namespace", ""))
        for pod in self.rows.pods_of(workload.meta.uid):
            return str(pod["metadata"]["namespace"])
        return namespace_of(self._world, workload.meta.project)

    async def _place(self, workload: Workload) -> Place:
        return Place(await self._resource(workload), workload.meta.name, self._namespace(workload), workload.meta.uid)

    def _children(self, workload: Workload, owner: Object) -> Iterable[tuple[Place, Suspends]]:
        """Yield the objects below that go on when the one above stops: a cron job's jobs."""
        kind = self._kind(workload)
        names = {plan.each_child for plan in kind.adapter.pod_groups(owner)} if kind is not None else set()
        for (_, name), below in self._known.by_group.items():
            adapter: object = below.adapter
            if name not in names or not isinstance(adapter, Suspends):
                continue
            for resource, item in self.rows.made_by(workload.meta.uid, below):
                if not any(holds(item, end) for end in CONDITIONS):
                    meta = item["metadata"]
                    yield Place(resource, meta["name"], meta["namespace"], meta["uid"]), adapter

    async def _change(
        self, place: Place, change: Callable[[Object], Mapping[str, Any]], notes: Mapping[str, str | None]
    ) -> Object:
        """Change the object as it is on the server now; its controller may write to it at the same time."""
        tries = TRIES
        while True:
            was = await self._api.get(place.resource, place.name, place.namespace)
            if was["metadata"]["uid"] != place.uid:
                raise NotFound(f"{place.resource.kind} {place.name} was deleted; another has its name now")
            patch = difference(was, change(was))
            known = was["metadata"].get("annotations") or {}
            fresh = {name: text for name, text in notes.items() if (text is None) == (name in known)}
            if not patch and not fresh:
                return was
            given = patch.setdefault("metadata", {})
            given["resourceVersion"] = was["metadata"]["resourceVersion"]
            given["annotations"] = {**given.get("annotations", {}), **fresh}
            try:
                answer = await self._api.patch(place.resource, place.name, patch, place.namespace)
            except StaleVersion:
                tries -= 1
                if not tries:
                    raise
                continue
            self._world.crd(place.resource).note(answer)
            return answer


def submitted(workload: Workload, namespace: str) -> Object:
    """Return the object to create: in the project's namespace, with what was chosen, under our scheduler."""
    manifest: Object = deepcopy(dict(workload.manifest or {}))
    if not manifest:
        raise InvalidRequest.of(FieldError("manifest", "must be an object of a framework"))
    meta = manifest.get("metadata") or {}
    chosen = chosen_labels(workload)
    for unwanted in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "generateName"):
        meta.pop(unwanted, None)
    meta |= {
        "name": workload.meta.name,
        "namespace": namespace,
        "labels": {**(meta.get("labels") or {}), **chosen},
    }
    body = {**manifest, "metadata": meta}
    body.pop("status", None)
    if "spec" in body:
        body["spec"] = _scheduled(body["spec"])
    return body


def chosen_labels(workload: Workload) -> dict[str, str]:
    """Return the labels that say of an object what was chosen besides it."""
    labels = {
        QUEUE_LABELS[0]: workload.meta.project,
        PRIORITY_LABEL: workload.priority_class,
        PREEMPTIBILITY_LABEL: str(workload.preemptibility),
        USER_LABEL: _label(workload.meta.created_by),
        CATEGORY_LABEL: workload.spec.category or "",
    }
    if workload.node_pools and workload.node_pools[0] != DEFAULT_NODE_POOL:
        labels[NODE_POOL_LABELS[0]] = workload.node_pools[0]
    return {name: value for name, value in labels.items() if value}


def with_labels(item: Object, labels: Mapping[str, str]) -> Object:
    """Return an object with these labels besides its own."""
    meta = item["metadata"]
    return {**item, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), **labels}}}


def with_note(item: Object, name: str, text: str) -> Object:
    """Return an object with this annotation besides its own."""
    meta = item["metadata"]
    return {**item, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), name: text}}}


def _scheduled(part: Any) -> Any:
    """Return a part of a manifest in which every pod specification names our scheduler, unless it names another."""
    if isinstance(part, list):
        return [_scheduled(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    if isinstance(part.get("containers"), list):
        return scheduled_spec(part)
    return {name: _scheduled(value) for name, value in part.items()}


def _label(text: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)[:63]
    return kept.strip("-_.")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
