"""Brings an installation to a cluster, and takes it away again.

Installing is applying (server-side): what is right already is left alone, so
that installing again repairs, and installing a newer version upgrades. What
an earlier version brought and this one does not is removed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes import resources
from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import Resource, resource_of
from runai_core.model.errors import Conflict, Forbidden, InvalidRequest, NotFound, RunaiError, Unavailable
from runai_core.operator.install.names import PART_OF_LABEL

Manifest = dict[str, Any]

MANAGER = "runai-install"
"""Who we are in ``managedFields``: not the operator, which adds certificates to what we apply."""

ESTABLISHED_SECONDS = 60.0
"""How long a kind may take until the API server offers it."""

PRUNED: tuple[Resource, ...] = (
    resources.DEPLOYMENTS,
    resources.SERVICES,
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    resources.POD_TEMPLATES,
    resources.MUTATING_WEBHOOKS,
    resources.VALIDATING_WEBHOOKS,
    resources.ROLE_BINDINGS,
    resources.CLUSTER_ROLE_BINDINGS,
    resources.ROLES,
    resources.CLUSTER_ROLES,
    resources.SERVICE_ACCOUNTS,
)
"""Kinds of which an installation has nothing but what its manifests say; in the order in which they go."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one object."""

    kind: str
    name: str
    namespace: str
    result: str  # created | configured | unchanged | kept | deleted
    note: str = ""

    @property
    def label(self) -> str:
        """``kind/name``, as kubectl writes it."""
        return f"{self.kind.lower()}/{self.name}"


async def install(api: Api, objects: Sequence[Manifest], *, dry_run: bool = False) -> AsyncIterator[Step]:
    """Apply the objects in their order, and yield what became of each; kinds are waited for.

    Raises:
        Forbidden: we lack rights; nothing was changed.
        Conflict: a kind of the same name is there from somebody else.
        Unavailable: a kind is not offered in time.
    """
    await _require_rights(api, objects)
    new: set[str] = set()
    waiting: list[str] = []
    for item in objects:
        resource = resource_of(item["apiVersion"], item["kind"])
        if waiting and resource != resources.CRDS:
            await _established(api, waiting)
            waiting = []
        step = await _apply(api, resource, item, dry_run=dry_run, absent=new)
        if resource == resources.NAMESPACES and step.result == "created":
            new.add(step.name)
        if resource == resources.CRDS and not dry_run:
            waiting.append(step.name)
        yield step
    if waiting:
        await _established(api, waiting)
    async for step in _prune(api, objects, dry_run=dry_run):
        yield step


async def _require_rights(api: Api, objects: Sequence[Manifest]) -> None:
    """Find out before the first change whether all can be made."""
    wanted = dict.fromkeys((resource_of(item["apiVersion"], item["kind"]), _namespace(item)) for item in objects)
    lacking: dict[str, list[str]] = {}
    for resource, namespace in wanted:
        for verb in ("create", "patch"):
            if not await api.can_i(verb, resource, namespace=namespace):
                lacking.setdefault(resource.full_name, []).append(verb)
    if lacking:
        names = ", ".join(f"{name} ({', '.join(dict.fromkeys(verbs))})" for name, verbs in lacking.items())
        raise Forbidden(
            "you may not install on this cluster, and nothing was changed: use a kubeconfig of a cluster administrator "
            f"(ClusterRole cluster-admin). Missing: {names}"
        )


async def _apply(api: Api, resource: Resource, item: Manifest, *, dry_run: bool, absent: Iterable[str]) -> Step:
    name, namespace = item["metadata"]["name"], _namespace(item)
    if dry_run and namespace in absent:
        return Step(resource.kind, name, namespace, "created")  # the server could not try: the namespace is not there
    try:
        before = await api.get(resource, name, namespace)
    except NotFound:
        before = None
    if before is not None and resource == resources.PRIORITY_CLASSES and before.get("value") != item["value"]:
        note = f"it is there with the value {before.get('value')}, and values cannot be changed"
        return Step(resource.kind, name, namespace, "kept", note)
    if before is not None and resource == resources.PVCS:
        if _has(before["spec"], item["spec"]):
            return Step(resource.kind, name, namespace, "unchanged")
        return Step(resource.kind, name, namespace, "kept", "it is there with another class or size: change it by hand")
    if before is not None and not dry_run and _asks_less(before, item):
        # The operator put certificates into entries that must go: an apply would leave them behind, incomplete.
        await api.delete(resource, name, namespace)
        before = {"metadata": {}}
    after = await api.apply(resource, item, manager=MANAGER, dry_run=dry_run)
    if before is None:
        return Step(resource.kind, name, namespace, "created")
    return Step(resource.kind, name, namespace, "unchanged" if _same(before, after) else "configured")


def _has(present: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(_has(present.get(name), part) for name, part in wanted.items())
    return bool(present == wanted)


def _asks_less(before: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Return whether a webhook configuration loses entries."""
    have, wanted = ({entry["name"] for entry in one.get("webhooks") or ()} for one in (before, item))
    return not have <= wanted


_VOLATILE = frozenset({"managedFields", "resourceVersion", "generation"})


def _same(before: Manifest, after: Manifest) -> bool:
    return _content(before) == _content(after)


def _content(item: Mapping[str, Any]) -> Manifest:
    metadata = {name: value for name, value in item["metadata"].items() if name not in _VOLATILE}
    return {name: value for name, value in item.items() if name != "status"} | {"metadata": metadata}


def _namespace(item: Mapping[str, Any]) -> str:
    return str(item["metadata"].get("namespace", ""))


async def _established(api: Api, names: Sequence[str]) -> None:
    """Wait until the API server offers the kinds."""
    deadline = asyncio.get_running_loop().time() + ESTABLISHED_SECONDS
    for name in names:
        while not await _is_established(api, name):
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"the API server does not offer {name} after {ESTABLISHED_SECONDS:.0f} s: try again")
            await asyncio.sleep(0.1)


async def _is_established(api: Api, name: str) -> bool:
    item = await api.get(resources.CRDS, name)
    found = {entry["type"]: entry for entry in (item.get("status") or {}).get("conditions") or ()}
    refused = found.get("NamesAccepted", {})
    if refused.get("status") == "False":
        raise Conflict(f"{name}: {refused.get('message')}; another product has a kind of this name installed")
    return bool(found.get("Established", {}).get("status") == "True")


async def _prune(api: Api, objects: Sequence[Manifest], *, dry_run: bool) -> AsyncIterator[Step]:
    """Remove what is marked as ours and no longer belongs to the installation."""
    wanted = {(item["kind"], _namespace(item), item["metadata"]["name"]) for item in objects}
    async for resource, item in _installed(api, PRUNED):
        key = (resource.kind, _namespace(item), item["metadata"]["name"])
        if key not in wanted:
            if not dry_run:
                await api.delete(resource, key[2], key[1])
            yield Step(resource.kind, key[2], key[1], "deleted", "it belongs to another version or choice")


async def _installed(api: Api, kinds: Iterable[Resource]) -> AsyncIterator[tuple[Resource, Manifest]]:
    for resource in kinds:
        try:
            items, _ = await api.list(resource, labels=f"{PART_OF_LABEL}=runai")
        except NotFound:
            continue
        for item in items:
            if not _of_helm(item):
                yield resource, item


def _of_helm(item: Mapping[str, Any]) -> bool:
    return "meta.helm.sh/release-name" in ((item.get("metadata") or {}).get("annotations") or {})


# -- taking it away

Ask = Callable[[str], None]

CUSTOM_SECONDS = 30.0
"""How long the operator may take to end workloads before their objects are let go without it."""


async def uninstall(api: Api, *, with_user_objects: bool = False) -> AsyncIterator[Step]:
    """Remove the installation. Kinds, namespaces and all that users made stay, unless told.

    Raises:
        Forbidden: we lack a right.
    """
    if with_user_objects:
        # First the webhooks, which would refuse to let the default node pool go; the operator still ends workloads.
        async for resource, item in _installed(api, (resources.MUTATING_WEBHOOKS, resources.VALIDATING_WEBHOOKS)):
            yield await _delete(api, resource, item)
        async for step in _remove_custom_objects(api):
            yield step
    for kind in (*PRUNED, resources.PRIORITY_CLASSES):
        async for resource, item in _installed(api, (kind,)):
            yield await _delete(api, resource, item)
    if not with_user_objects:
        return
    for kind in (resources.CRDS, resources.NAMESPACES):
        async for resource, item in _ours(api, kind):
            yield await _delete(api, resource, item)


async def _delete(api: Api, resource: Resource, item: Mapping[str, Any]) -> Step:
    meta = item["metadata"]
    await api.delete(resource, meta["name"], meta.get("namespace", ""))
    return Step(resource.kind, meta["name"], meta.get("namespace", ""), "deleted")


async def _ours(api: Api, kind: Resource) -> AsyncIterator[tuple[Resource, Manifest]]:
    if kind == resources.NAMESPACES:
        async for pair in _installed(api, (kind,)):
            yield pair
        return
    from runai_core.operator.install.crds import DEFINITIONS

    for definition in DEFINITIONS:
        try:
            yield kind, await api.get(kind, definition.resource.full_name)
        except NotFound:
            continue


async def _remove_custom_objects(api: Api) -> AsyncIterator[Step]:
    """Delete every custom resource; finalizers that nobody answers any more are taken off."""
    from runai_core.operator.install.crds import DEFINITIONS

    loop = asyncio.get_running_loop()
    for definition in DEFINITIONS:
        resource = definition.resource
        items = await _list(api, resource)
        for item in items:
            yield await _delete(api, resource, item)
        deadline = loop.time() + (CUSTOM_SECONDS if items else 0)
        while items and loop.time() < deadline:
            await asyncio.sleep(0.2)
            items = await _list(api, resource)
        for item in items:
            await _let_go(api, resource, item)


async def _list(api: Api, resource: Resource) -> list[Manifest]:
    try:
        return (await api.list(resource))[0]
    except NotFound:
        return []


async def _let_go(api: Api, resource: Resource, item: Mapping[str, Any]) -> None:
    meta = item["metadata"]
    try:
        await api.patch(resource, meta["name"], {"metadata": {"finalizers": None}}, meta.get("namespace", ""))
    except NotFound:
        return


__all__ = ["InvalidRequest", "RunaiError", "Step", "install", "uninstall"]
