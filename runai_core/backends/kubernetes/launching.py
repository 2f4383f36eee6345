"""Making the objects of a gang exist. What is there is left alone, so that a crash in the middle is repaired.

Order: what pods need to start (services, config, claims), the pod group, the pods.
"""

import asyncio
from collections.abc import Sequence

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec import mpi
from runai_core.backends.kubernetes.codec.deployments import ROLLED
from runai_core.backends.kubernetes.codec.manifests import pod_object
from runai_core.backends.kubernetes.codec.mounts import mounts_of
from runai_core.backends.kubernetes.codec.places import Place, labels_of
from runai_core.backends.kubernetes.codec.pod_groups import group_object, topology_object
from runai_core.backends.kubernetes.codec.services import services_of
from runai_core.backends.kubernetes.codec.workloads import RESOURCES
from runai_core.backends.kubernetes.copies import BY_ID
from runai_core.backends.kubernetes.names import WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import (
    CONFIG_MAPS,
    POD_GROUPS,
    PODS,
    PVCS,
    SECRETS,
    SERVICES,
    TOPOLOGIES,
    Resource,
)
from runai_core.backends.kubernetes.rollouts import roll_out
from runai_core.backends.kubernetes.servers import is_scaled, serve
from runai_core.backends.kubernetes.telling import warn
from runai_core.backends.kubernetes.world import World
from runai_core.lifecycle.overlay import overlay
from runai_core.model.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from runai_core.model.workload import Gang, Pod, Workload

AT_ONCE = 32
"""Pods that are created side by side."""


def object_of(world: World, workload: Workload) -> Object:
    """Return the custom resource of a workload; raise NotFound."""
    resource = RESOURCES.get(workload.type)
    if resource is not None:
        informer = world.crd(resource)
        item = informer.by_uid(workload.meta.uid) or next(iter(informer.find(BY_ID, workload.meta.uid)), None)
        if item is not None:
            return item
    raise NotFound(f"there is no object of workload {workload.key} in the cluster")


def place_of(world: World, workload: Workload) -> Place:
    """Return where the objects of a workload go, and what they belong to; raise NotFound."""
    item = object_of(world, workload)
    meta = item["metadata"]
    owner = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": meta["name"], "uid": meta["uid"]}
    return Place(namespace=meta["namespace"], owner=owner)


async def launch(api: Api, world: World, workload: Workload, gang: Gang) -> None:
    """Make the pods of this attempt exist, unbound, and all that they need.

    Raises:
        InvalidRequest: the specification cannot be a pod; an event on the workload's object says so too.
        Conflict: a pod of the same name is still ending.
    """
    place = place_of(world, workload)
    missing = [pod for pod in gang.pods if not _is_there(world, workload, place, pod)]
    if not missing:
        return
    try:
        pods = [] if workload.type in ROLLED else [pod_object(workload, gang, pod, place) for pod in missing]
        scaled = workload.type in ROLLED and await is_scaled(api, world, workload, place)
        await _supplies(api, world, workload, gang, place, scaled=scaled)
        pool = missing[0].node_pool or workload.node_pool
        await _ensure(api, world, POD_GROUPS, group_object(workload, gang.group, place, pool))
        if scaled:
            await serve(api, world, workload, gang, missing[0], place)
        elif workload.type in ROLLED:
            await roll_out(api, workload, gang, missing[0], place)
        else:
            await _create_pods(api, world, workload, pods)
    except InvalidRequest as error:
        await warn(api, workload, place, "FailedCreate", error.message)
        raise


def _is_there(world: World, workload: Workload, place: Place, pod: Pod) -> bool:
    item = world.pods.get(pod.name, place.namespace)
    if item is None:
        return False
    owner = (item["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL)
    if owner != workload.meta.uid:
        raise Conflict(f"pod {pod.name} belongs to somebody else: it must be deleted first")
    return True


async def _create_pods(api: Api, world: World, workload: Workload, pods: Sequence[Object]) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def create(item: Object) -> None:
        async with limit:
            try:
                made = await api.create(PODS, item)
            except AlreadyExists:
                made = await api.get(PODS, item["metadata"]["name"], item["metadata"]["namespace"])
                if (made["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL) != workload.meta.uid:
                    message = f"pod {item['metadata']['name']} of an earlier workload has not ended yet"
                    raise Conflict(message) from None
        world.pods.note(made)

    done = await asyncio.gather(*(create(item) for item in pods), return_exceptions=True)
    for failure in done:
        if isinstance(failure, BaseException):
            raise failure


async def _supplies(
    api: Api, world: World, workload: Workload, gang: Gang, place: Place, *, scaled: bool = False
) -> None:
    for service in services_of(workload, place):
        if not scaled or service["metadata"]["name"] != workload.name:  # Knative makes the one of that name
            await _ensure_service(api, world, service)
    for claim in _claims(workload, place):
        await _ensure(api, world, PVCS, claim)
    if gang.group.topology is not None:
        await _ensure(api, world, TOPOLOGIES, topology_object(gang.group.topology.topology))
    if mpi.mpi_name(workload):
        await _ensure(api, None, SECRETS, _keys(workload, place))
        await api.apply(CONFIG_MAPS, mpi.hostfile_object(workload, gang, place))


def _claims(workload: Workload, place: Place) -> list[Object]:
    """Return the claims to create; those that are ephemeral go with the workload."""
    found: dict[str, Object] = {}
    for part in (workload.spec, overlay(workload.spec, workload.master_spec)):
        for claim in mounts_of(part, workload.name, place.namespace).claims:
            if claim["metadata"]["labels"]["runai/ephemeral"] == "True":
                claim["metadata"]["ownerReferences"] = [place.reference]
            found[claim["metadata"]["name"]] = claim
    return list(found.values())


async def _ensure(api: Api, world: World | None, resource: Resource, item: Object) -> None:
    """Create an object unless it is there."""
    meta = item["metadata"]
    informer = None if world is None else world.crd(resource)
    if informer is not None and informer.ready and informer.get(meta["name"], meta.get("namespace", "")) is not None:
        return
    try:
        made = await api.create(resource, item)
    except AlreadyExists:
        return
    if informer is not None:
        informer.note(made)


async def _ensure_service(api: Api, world: World, item: Object) -> None:
    """Create a service, or let it choose the pods of the present attempt."""
    meta = item["metadata"]
    known = world.crd(SERVICES).get(meta["name"], meta["namespace"])
    if known is None:
        await _ensure(api, world, SERVICES, item)
        known = world.crd(SERVICES).get(meta["name"], meta["namespace"])
        if known is None:  # it was there, and our copy does not show it yet
            known = await api.get(SERVICES, meta["name"], meta["namespace"])
    if (known["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL) != meta["labels"][WORKLOAD_UID_LABEL]:
        raise Conflict(f"service {meta['name']} in {meta['namespace']} belongs to somebody else: rename the workload")
    if (known["spec"].get("selector") or {}) != item["spec"]["selector"]:
        change = {
            "spec": {"selector": {**dict.fromkeys(known["spec"].get("selector") or {}), **item["spec"]["selector"]}}
        }
        world.crd(SERVICES).note(await api.patch(SERVICES, meta["name"], change, meta["namespace"]))


def _keys(workload: Workload, place: Place) -> Object:
    """Return a secret with a new pair of keys, by which the pods of an MPI workload reach each other."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/ssh-auth",
        "metadata": {
            "name": mpi.mpi_name(workload),
            "namespace": place.namespace,
            "labels": labels_of(workload, ""),
            "ownerReferences": [place.reference],
        },
        "stringData": {"ssh-privatekey": private.decode(), "ssh-publickey": public.decode() + "\n"},
    }
