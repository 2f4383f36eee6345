"""What can be done with workloads that others' controllers make: everything acts on the object itself.

A stopped object is one whose adapter suspended it; its pods go by its own
controller. Deleting the object deletes what it made, in the background.
"""

import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.external import CONDITIONS, Seen, condition_of
from runai_core.backends.kubernetes.codec.rows import row_of
from runai_core.backends.kubernetes.external import STOPPED_ANNOTATION, ExternalRows
from runai_core.backends.kubernetes.kinds import Kinds
from runai_core.backends.kubernetes.names import (
    NODE_POOL_LABELS,
    PREEMPTIBILITY_LABEL,
    PRIORITY_LABEL,
    QUEUE_LABELS,
    USER_LABEL,
)
from runai_core.backends.kubernetes.resources import POD_GROUPS, PODS, Resource
from runai_core.backends.kubernetes.tenancy import namespace_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, Unsupported
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.workload import Workload
from runai_core.plugins.registry import Registry
from runai_core.plugins.stamping import scheduled_spec
from runai_core.plugins.types import Suspends, WorkloadKind

FINISHED = frozenset(CONDITIONS)


class KubernetesFrameworks:
    """Stops, runs, deletes and submits the objects of frameworks."""

    def __init__(self, api: Api, world: World, registry: Registry, rows: ExternalRows) -> None:
        self._api = api
        self._world = world
        self._rows = rows
        self._kinds = {(kind.api_version.rpartition("/")[0], kind.kind): kind for kind in registry.kinds.values()}
        self._served = Kinds(api, registry.kinds.values())

    async def stop(self, workload: Workload) -> None:
        """Suspend the object, and what it made that runs on by itself; how it was is kept with it. Idempotent.

        Raises:
            Unsupported: objects of this kind cannot be stopped. NotFound: the object is gone.
        """
        adapter = self._suspends(workload, "stopped: delete it instead")
        resource, owner = await self._object(workload)
        await self._write(resource, owner, adapter.suspend(owner), {STOPPED_ANNOTATION: _now()})
        for below, item, its in self._children(workload, owner):
            await self._write(below, item, its.suspend(item), {})

    async def run(self, workload: Workload) -> None:
        """Resume the object as it was. Idempotent; raises as `stop`."""
        adapter = self._suspends(workload, "stopped and run again")
        resource, owner = await self._object(workload)
        for below, item, its in self._children(workload, owner):
            await self._write(below, item, its.resume(item), {})
        await self._write(resource, owner, adapter.resume(owner), {STOPPED_ANNOTATION: None})

    async def delete(self, workload: Workload) -> None:
        """Delete the object; what it made goes in the background. Idempotent."""
        if workload.kind == POD_GROUPS.kind:
            for pod in self._rows.pods_of(workload.meta.uid):
                meta = pod["metadata"]
                await self._api.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        resource = await self._resource(workload)
        namespace = self._namespace(workload)
        await self._api.delete(resource, workload.meta.name, namespace, uid=workload.meta.uid)

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
        found = self._rows.get(created["metadata"]["uid"])
        if found is not None:
            return found
        return row_of(created, Seen(owner=created, kind=kind), project=workload.meta.project, classes={}, before=None)

    # -- finding

    def _kind(self, workload: Workload) -> WorkloadKind | None:
        return self._kinds.get((workload.api_version.rpartition("/")[0], workload.kind))

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
        owner = self._rows.owner(workload.meta.uid)
        if owner is not None:
            return str(owner["metadata"].get("namespace", ""))
        for pod in self._rows.pods_of(workload.meta.uid):
            return str(pod["metadata"]["namespace"])
        return namespace_of(self._world, workload.meta.project)

    async def _object(self, workload: Workload) -> tuple[Resource, Object]:
        """Return the object as the server has it now: what is suspended must not be an old state."""
        resource = await self._resource(workload)
        found = await self._api.get(resource, workload.meta.name, self._namespace(workload))
        if found["metadata"]["uid"] != workload.meta.uid:
            raise NotFound(f"{workload.key} was deleted; another {workload.kind} has its name now")
        return resource, found

    def _children(self, workload: Workload, owner: Object) -> Iterable[tuple[Resource, Object, Suspends]]:
        """Yield the objects below that go on when the one above stops: a cron job's jobs."""
        kind = self._kind(workload)
        names = {plan.each_child for plan in kind.adapter.pod_groups(owner)} if kind is not None else set()
        for (_, name), below in self._kinds.items():
            adapter: object = below.adapter
            if name not in names or not isinstance(adapter, Suspends):
                continue
            for resource, item in self._rows.made_by(workload.meta.uid, below):
                if not any(condition_of(item, end) for end in FINISHED):
                    yield resource, item, adapter

    async def _write(
        self, resource: Resource, was: Object, wanted: Mapping[str, Any], notes: Mapping[str, str | None]
    ) -> None:
        """Patch the object, if it is still that one and as we read it."""
        patch = difference(was, wanted)
        if not patch and all(text is None for text in notes.values()):
            known = was["metadata"].get("annotations") or {}
            if not any(name in known for name in notes):
                return
        meta = was["metadata"]
        given = patch.setdefault("metadata", {})
        given |= {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        if notes:
            given["annotations"] = {**given.get("annotations", {}), **notes}
        answer = await self._api.patch(resource, meta["name"], patch, meta.get("namespace", ""))
        self._world.crd(resource).note(answer)


def difference(was: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """Return the merge patch (RFC 7386) that makes one manifest the other."""
    patch: Object = {name: None for name in was if name not in wanted}
    for name, value in wanted.items():
        before = was.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            if inner := difference(before, value):
                patch[name] = inner
        elif before != value or name not in was:
            patch[name] = deepcopy(value)
    return patch


def submitted(workload: Workload, namespace: str) -> Object:
    """Return the object to create: in the project's namespace, with what was chosen, under our scheduler."""
    manifest: Object = deepcopy(dict(workload.manifest or {}))
    if not manifest:
        raise InvalidRequest.of(FieldError("manifest", "must be an object of a framework"))
    meta = manifest.get("metadata") or {}
    labels = {
        QUEUE_LABELS[0]: workload.meta.project,
        PRIORITY_LABEL: workload.priority_class,
        PREEMPTIBILITY_LABEL: str(workload.preemptibility),
        USER_LABEL: _label(workload.meta.created_by),
    }
    if workload.node_pools and workload.node_pools[0] != DEFAULT_NODE_POOL:
        labels[NODE_POOL_LABELS[0]] = workload.node_pools[0]
    chosen = {name: value for name, value in labels.items() if value}
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
