"""What a pod needs before it is bound: volumes on its node, devices in its claims, a share of a device."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

from runai_core.backends.kubernetes import devices as shares
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec import claims as dra
from runai_core.backends.kubernetes.codec import volumes
from runai_core.backends.kubernetes.codec.selectors import NODE_NAME_LABEL, Terms
from runai_core.backends.kubernetes.codec.values import labels_of
from runai_core.backends.kubernetes.names import SELECTED_NODE_ANNOTATION
from runai_core.backends.kubernetes.resources import PVCS, PVS, RESOURCE_CLAIMS
from runai_core.backends.kubernetes.world import World
from runai_core.engine.feasibility import matches as label_matches
from runai_core.model.decision import Bind
from runai_core.model.errors import Conflict, NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.snapshot import LabelRequirement

log = logging.getLogger(__name__)

VOLUME_SECONDS = 120.0
"""How long volumes have to be made (KAI)."""

LOOK_SECONDS = 0.1

CLAIM_TRIES = 5
"""Attempts to write a claim that others write as well."""

FINALIZER = "resource.kubernetes.io/delete-protection"
"""Keeps an allocated claim until its devices are given back (Kubernetes)."""


def needs_more(pod: Object, bind: Bind) -> bool:
    """Return whether anything has to be done before the pod can be bound."""
    spec = pod["spec"]
    return bool(bind.gpu_groups or spec.get("volumes") or spec.get("resourceClaims"))


class Preparer:
    """Does what pods need before they are bound, and takes it back where they are not."""

    def __init__(self, api: Api, world: World, storage: volumes.Storage) -> None:
        self._api = api
        self._world = world
        self._storage = storage
        self._promised: dict[str, set[tuple[str, str, str]]] = {}  # claim -> devices that are being written
        self._given: dict[str, str] = {}  # free volumes -> the claims that get them

    async def prepare(self, pod: Object, bind: Bind) -> None:
        """Do all that is needed.

        Raises:
            RunaiError: it cannot be done; the message says what is missing.
        """
        await self._volumes(pod, bind.node)
        await self._claims(pod, bind.node)
        await shares.prepare(self._api, self._world, pod, bind)

    async def undo(self, pod: Object, bind: Bind) -> None:
        """Give back what a pod was given that was not bound after all; volumes stay, the next try uses them."""
        with contextlib.suppress(RunaiError):
            if bind.gpu_groups:
                await shares.release(self._api, pod)
        for name in dra.claim_names(pod):
            with contextlib.suppress(RunaiError):
                await self._release_claim(pod, name)

    # -- volumes

    async def _volumes(self, pod: Object, node: str) -> None:
        if not volumes.claim_names(pod):
            return
        plan = volumes.plan(pod, node, self._unpromised(pod), lambda terms: self._meets(node, terms))
        if plan.missing:
            raise Conflict(plan.missing)
        namespace = pod["metadata"]["namespace"]
        for name in plan.make:
            body = {"metadata": {"annotations": {SELECTED_NODE_ANNOTATION: node}}}
            await self._api.patch(PVCS, name, body, namespace)
        for volume, name in plan.give:
            self._given[volume] = f"{namespace}/{name}"
            await self._give(volume, name, namespace)
        if plan.waits:
            await self._until_bound(pod, node)

    def _unpromised(self, pod: Object) -> volumes.Storage:
        """Return the storage without volumes that another pod's claim is being given."""
        own = {f"{pod['metadata']['namespace']}/{name}" for name in volumes.claim_names(pod)}
        free = [
            item for item in self._world.volumes if self._given.get(item["metadata"]["name"], next(iter(own))) in own
        ]
        known = self._storage
        return volumes.Storage(known.claim, known.volume, known.storage_class, lambda: free)

    async def _give(self, volume: str, claim: str, namespace: str) -> None:
        wanted = self._storage.claim(claim, namespace)
        if wanted is None:
            raise NotFound(f"the claim {namespace}/{claim} is gone")
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": claim,
            "namespace": namespace,
            "uid": wanted["metadata"]["uid"],
        }
        await self._api.patch(PVS, volume, {"spec": {"claimRef": reference}})

    async def _until_bound(self, pod: Object, node: str) -> None:
        namespace, deadline = pod["metadata"]["namespace"], time.monotonic() + VOLUME_SECONDS
        for name in volumes.claim_names(pod):
            while True:
                claim = self._storage.claim(name, namespace)
                if claim is None:
                    raise NotFound(f"the claim {namespace}/{name} is gone")
                if (claim.get("status") or {}).get("phase") == "Bound":
                    self._given = {volume: of for volume, of in self._given.items() if of != f"{namespace}/{name}"}
                    break
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the claim {namespace}/{name} got no volume on node {node} within {VOLUME_SECONDS:.0f} s; "
                        f"`kubectl describe pvc -n {namespace} {name}` tells why"
                    )
                await asyncio.sleep(LOOK_SECONDS)

    def _meets(self, node: str, terms: Terms) -> bool:
        labels = {**labels_of(self._world.nodes.get(node) or _NO_NODE), NODE_NAME_LABEL: node}
        return any(term and all(_meets(labels, requirement) for requirement in term) for term in terms)

    # -- resource claims

    async def _claims(self, pod: Object, node: str) -> None:
        for name in dra.claim_names(pod):
            for attempt in range(1, CLAIM_TRIES + 1):
                try:
                    await self._claim(pod, name, node)
                    break
                except StaleVersion:
                    if attempt == CLAIM_TRIES:
                        raise
                    await asyncio.sleep(0.05 * attempt)

    async def _claim(self, pod: Object, name: str, node: str) -> None:
        """Give a claim its devices, if it has none, and reserve it for the pod."""
        namespace, _, bare = name.partition("/")
        claim = await self._api.get(RESOURCE_CLAIMS, bare, namespace)
        status: dict[str, Any] = dict(claim.get("status") or {})
        if not status.get("allocation"):
            status["allocation"] = self._allocate(claim, name, node)
            if FINALIZER not in (claim["metadata"].get("finalizers") or ()):
                kept = [*(claim["metadata"].get("finalizers") or ()), FINALIZER]
                meta = {"finalizers": kept, "resourceVersion": claim["metadata"]["resourceVersion"]}
                claim = await self._api.patch(RESOURCE_CLAIMS, bare, {"metadata": meta}, namespace)
        user = _user(pod)
        users = list(status.get("reservedFor") or ())
        if user not in users:
            status["reservedFor"] = [*users, user]
        try:
            written = await self._api.update(RESOURCE_CLAIMS, {**claim, "status": status}, sub="status")
        finally:
            self._promised.pop(name, None)
        self._world.resource_claims.note(written)

    def _allocate(self, claim: Object, name: str, node: str) -> dict[str, Any]:
        taken = dra.taken_devices(self._world.resource_claims)
        for other, devices in self._promised.items():
            if other != name:
                taken |= devices
        before = set(taken)
        offered = dra.devices_of(self._world.resource_slices.all()).get(node, [])
        given = dra.allocate(claim, node, offered, taken, dra.class_matcher(self._world.device_classes.get))
        if given is None:
            raise Conflict(f"node {node} has not enough free devices for the claim {name}")
        self._promised[name] = taken - before
        return given

    async def _release_claim(self, pod: Object, name: str) -> None:
        namespace, _, bare = name.partition("/")
        claim = await self._api.get(RESOURCE_CLAIMS, bare, namespace)
        status = dict(claim.get("status") or {})
        users = [user for user in status.get("reservedFor") or () if user.get("uid") != pod["metadata"]["uid"]]
        if users == (status.get("reservedFor") or []):
            return
        status["reservedFor"] = users
        if not users:
            status.pop("allocation", None)
        self._world.resource_claims.note(
            await self._api.update(RESOURCE_CLAIMS, {**claim, "status": status}, sub="status")
        )


def _user(pod: Object) -> dict[str, str]:
    return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def _meets(labels: Mapping[str, str], requirement: LabelRequirement) -> bool:
    if requirement.key not in labels:
        return requirement.operator in ("NotIn", "DoesNotExist")
    return requirement.operator != "DoesNotExist" and label_matches(requirement, labels[requirement.key])


_NO_NODE: Object = {"metadata": {}}
