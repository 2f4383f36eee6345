"""Parts of the operator on a real API server, opened for one test: what they write is read back from the server."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes.api import Api, connect
from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.frameworks import KubernetesFrameworks
from runai_core.backends.kubernetes.resources import CRDS, NAMESPACES, POD_GROUPS, PODS, Resource, resource_of
from runai_core.backends.kubernetes.world import World, open_world
from runai_core.model.errors import NotFound
from runai_core.model.workload import Phase, Workload
from runai_core.operator.grouping import PodGrouper
from runai_core.operator.install.crds import crds
from runai_core.plugins.manager import load_plugins
from runai_core.plugins.registry import Registry
from tests.cluster.cluster import Cluster
from tests.cluster.kube import Object
from tests.waiting import until

T = TypeVar("T")

_SCOPES = {True: "Namespaced", False: "Cluster"}


@dataclass(frozen=True)
class Operating:
    """The parts, and a namespace of the test's own."""

    api: Api
    world: World
    rows: ExternalRows
    frameworks: KubernetesFrameworks
    registry: Registry
    namespace: str

    async def create(self, *manifests: str | Mapping[str, Any], into: str = "") -> list[Object]:
        """Create objects, written as YAML, in the namespace."""
        made = []
        for manifest in manifests:
            bodies = yaml.safe_load_all(manifest) if isinstance(manifest, str) else [manifest]
            for body in bodies:
                resource = resource_of(body["apiVersion"], body["kind"])
                placed = {**body, "metadata": {**body["metadata"], "namespace": into or self.namespace}}
                made.append(await self.api.create(resource, placed))
        return made

    async def pods(self, count: int, *, grouped: bool = True) -> list[Object]:
        """Return the namespace's pods when there are so many, each with its group."""

        async def look() -> list[Object]:
            items, _ = await self.api.list(PODS, self.namespace)
            ready = [pod for pod in items if not grouped or group_name(pod)]
            return ready if len(ready) == count == len(items) else []

        return await until(look)

    async def groups(self, count: int) -> dict[str, Object]:
        """Return the namespace's pod groups by name when there are so many."""

        async def look() -> dict[str, Object]:
            items, _ = await self.api.list(POD_GROUPS, self.namespace)
            return {item["metadata"]["name"]: item for item in items} if len(items) == count else {}

        return await until(look)

    async def row(self, uid: str, phase: Phase) -> Workload:
        """Return a workload's row when it is in a phase."""

        async def look() -> Workload | None:
            found = self.rows.get(uid)
            return found if found is not None and found.phase is phase else None

        def wanted() -> str:
            seen = self.rows.get(uid)
            return f"{phase}, but it is {seen and (seen.phase, seen.phase_message)}"

        return await until(look, wanted)

    async def bind(self, pods: Iterable[Object], node: str) -> None:
        """Place pods, as a scheduler would."""
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        for pod in pods:
            meta = pod["metadata"]
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
            await self.api.post(PODS.path(meta["namespace"], meta["name"], "binding"), body)


@asynccontextmanager
async def operating(
    cluster: Cluster, *, kubeconfig: Path | None = None, labels: Mapping[str, str] | None = None
) -> AsyncIterator[Operating]:
    """Run the pod grouper and follow external rows, as a user; the namespace is gone afterwards."""
    async with connect(cluster.kubeconfig()) as admin, connect(kubeconfig or cluster.kubeconfig()) as api:
        await install_crds(admin)
        namespace = f"k5-{secrets.token_hex(4)}"
        meta = {"name": namespace, "labels": dict(labels or {})}
        await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        registry = load_plugins()
        try:
            async with open_world(api, (PODS, POD_GROUPS)) as world:
                rows = ExternalRows(world, registry)
                await rows.start()
                task = asyncio.create_task(PodGrouper(api, world, registry, SystemClock()).run())
                frameworks = KubernetesFrameworks(api, world, registry, rows)
                yield Operating(api, world, rows, frameworks, registry, namespace)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        finally:
            await admin.delete(NAMESPACES, namespace)


async def install_crds(api: Api) -> None:
    """Make sure that the cluster has our kinds."""
    for body in crds():
        try:
            await api.get(CRDS, body["metadata"]["name"])
        except NotFound:
            await api.apply(CRDS, dict(body))

    async def established() -> bool:
        found = [await api.get(CRDS, body["metadata"]["name"]) for body in crds()]
        return all(_established(item) for item in found)

    await until(established)


async def stand_in(api: Api, resource: Resource) -> None:
    """Install a kind of somebody else's without its operator: any object is accepted, and nothing acts on it."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.full_name, "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {"group": resource.group, "scope": _SCOPES[resource.namespaced], "names": names, "versions": [version]},
    }
    try:
        await api.get(CRDS, resource.full_name)
    except NotFound:
        await api.create(CRDS, body)

    async def established() -> bool:
        return _established(await api.get(CRDS, resource.full_name))

    await until(established)


def group_name(pod: Mapping[str, Any]) -> str:
    """Return the group that a pod names."""
    return str((pod["metadata"].get("annotations") or {}).get("pod-group-name", ""))


def _established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
