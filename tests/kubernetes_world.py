"""A cluster that stands still: informers that are told what to hold, and an API that keeps what it is sent."""

import itertools
from collections.abc import Callable
from typing import Any, cast

from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.informer import Informer
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.trimming import bare
from runai_core.backends.kubernetes.world import TRIMS, World
from runai_core.model.errors import NotFound

_VERSIONS = itertools.count(10)


class StillWorld(World):
    """A world that follows nothing: `put` and `drop` are its watches."""

    def __init__(self) -> None:
        super().__init__(cast("Api", None))

    def crd(self, resource: Resource) -> Informer:
        """Return the informer of any kind; nothing runs, and its copy is complete."""
        informer = self._informers.get(resource)
        if informer is None:
            informer = Informer(self.api, resource, trim=TRIMS.get(resource, bare))
            informer._synced.set()
            self._informers[resource] = informer
        return informer

    @property
    def listeners(self) -> int:
        """How many callbacks hear of changes."""
        return sum(len(informer._callbacks) for informer in self._informers.values())

    def put(self, resource: Resource, item: Object) -> Object:
        """Let the watch show an object, or its newest state."""
        meta = item["metadata"]
        meta["resourceVersion"] = str(next(_VERSIONS))
        meta.setdefault("uid", f"uid-{meta['name']}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.crd(resource).note(item)
        return item

    def drop(self, resource: Resource, item: Object) -> None:
        """Let the watch show that an object is gone."""
        self.crd(resource)._take("DELETED", item)


class FakeApi:
    """Keeps every write; `answers` may raise instead, or return something else."""

    def __init__(self, world: StillWorld) -> None:
        self.world = world
        self.writes: list[tuple[str, str, Any]] = []
        self.answers: Callable[[str, str], None] = lambda method, path: None

    def sent(self, part: str) -> list[str]:
        return [path for _, path, _ in self.writes if part in path]

    async def post(self, path: str, body: Object) -> Object:
        self.answers("POST", path)
        self.writes.append(("POST", path, body))
        return {}

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        found = self.world.crd(resource).get(name, namespace)
        if found is None:
            raise NotFound(f"{name} is gone")
        return dict(found)

    async def create(self, resource: Resource, body: Object, namespace: str = "") -> Object:
        self.answers("CREATE", resource.path(namespace))
        self.writes.append(("CREATE", resource.path(namespace), body))
        return body

    async def patch(
        self, resource: Resource, name: str, body: Any, namespace: str = "", *, sub: str = "", kind: str = "merge"
    ) -> Object:
        path = resource.path(namespace, name, sub)
        self.answers("PATCH", path)
        self.writes.append(("PATCH", path, body))
        known = self.world.crd(resource).get(name, namespace) or {"metadata": {"name": name, "namespace": namespace}}
        return {**known, "metadata": {**known["metadata"], "resourceVersion": str(next(_VERSIONS))}}

    async def update(self, resource: Resource, body: Object, *, sub: str = "") -> Object:
        meta = body["metadata"]
        path = resource.path(meta.get("namespace", ""), meta["name"], sub)
        self.answers("PUT", path)
        self.writes.append(("PUT", path, body))
        return {**body, "metadata": {**meta, "resourceVersion": str(next(_VERSIONS))}}

    async def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> None:
        self.answers("DELETE", resource.path(namespace, name))
        self.writes.append(("DELETE", resource.path(namespace, name), uid))


def a_node(name: str = "n1", *, gpus: int = 8, cpu: str = "64", labels: dict[str, str] | None = None) -> Object:
    allocatable = {"cpu": cpu, "memory": "256Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def a_pod(name: str, group: str = "", *, gpus: int = 1, node: str = "", phase: str = "", **spec: Any) -> Object:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "annotations": {"pod-group-name": group} if group else {},
            "labels": {},
        },
        "spec": {
            "schedulerName": "runai-scheduler",
            "containers": [{"name": "main", "resources": {"requests": {"cpu": "1", **limits}, "limits": limits}}],
            **({"nodeName": node} if node else {}),
            **spec,
        },
        "status": {"phase": phase or ("Running" if node else "Pending")},
    }


def a_group(name: str, *, least: int = 1, queue: str = "team", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "team"}, "spec": {"minMember": least, "queue": queue, **spec}}


def a_queue(name: str = "team", *, gpus: float = -1, **spec: Any) -> Object:
    unlimited = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
    resources = {"gpu": {**unlimited, "quota": gpus}, "cpu": unlimited, "memory": unlimited}
    return {"metadata": {"name": name}, "spec": {"resources": resources, **spec}}


def a_world(*, nodes: int = 1, gpus: int = 8) -> StillWorld:
    """A world of equal nodes and one queue."""
    world = StillWorld()
    world.put(kinds.QUEUES, a_queue())
    for number in range(1, nodes + 1):
        world.put(kinds.NODES, a_node(f"n{number}", gpus=gpus))
    return world
