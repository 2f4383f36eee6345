"""The pods of our workloads: seen, made and ended. What `cluster` delegates."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from runai_core.backends.kubernetes import servers
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec import mpi
from runai_core.backends.kubernetes.codec.conditions import holds
from runai_core.backends.kubernetes.codec.deployments import (
    EXHAUSTED,
    ROLLED,
    given_up,
    is_rolled,
    ranked,
    revision_of,
)
from runai_core.backends.kubernetes.codec.places import GROUPED, address
from runai_core.backends.kubernetes.codec.pod_status import is_exhausted, pod_of
from runai_core.backends.kubernetes.launching import AT_ONCE, launch, object_of, place_of
from runai_core.backends.kubernetes.names import ATTEMPT_LABEL, ENDED_ANNOTATION, WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import DEPLOYMENTS, POD_GROUPS, PODS
from runai_core.backends.kubernetes.rollouts import scale_in, wind_down
from runai_core.backends.kubernetes.tenancy import namespace_of
from runai_core.backends.kubernetes.world import World
from runai_core.lifecycle.phases import CLAIMS_QUOTA
from runai_core.lifecycle.rendezvous import DEFAULT_MASTER_PORT
from runai_core.lifecycle.shape import shape_of
from runai_core.model.errors import NotFound, RunaiError
from runai_core.model.workload import Pod, Workload, WorkloadType

log = logging.getLogger(__name__)

INDEX = "workload-uid"
ENDED = frozenset({"Succeeded", "Failed"})

NOW = 1
"""Seconds of `activeDeadlineSeconds` that end a pod at once and keep it, with its logs."""


def pods_of(world: World, workload: Workload) -> list[Pod]:
    """Return the pods of the workload that exist, of every attempt, terminating ones included."""
    now = time.time()

    def ready(name: str) -> bool | None:
        node = world.nodes.get(name)
        return None if node is None else holds(node, "Ready")

    items = items_of(world, workload)
    single = [pod_of(item, ready, now) for item in items if not is_rolled(item)]
    rolled = [item for item in items if is_rolled(item)]
    ending = frozenset(item["metadata"]["uid"] for item in rolled if item["metadata"].get("deletionTimestamp"))
    replicas = [given_up(pod_of(item, ready, now), workload, exhausted=is_exhausted(item, now)) for item in rolled]
    return [*single, *ranked(workload, replicas, ending)]


async def pods(api: Api, world: World, workload: Workload) -> list[Pod]:
    """Return the pods, after ending those that fail in place for ever, and forgetting groups that nobody needs."""
    now = time.time()
    for item in items_of(world, workload):
        if is_exhausted(item, now) and not is_rolled(item):
            await _end_for_good(api, world, item)
    await _forget_groups(api, world, workload)
    return pods_of(world, workload)


def items_of(world: World, workload: Workload) -> list[Object]:
    """Return the pods of a workload as the cluster has them, by name."""
    found = _find(world.pods, workload.meta.uid)
    return sorted(found, key=lambda item: str(item["metadata"]["name"]))


async def remove(
    api: Api,
    world: World,
    workload: Workload,
    *,
    reason: str,
    attempt: int | None = None,
    keep_finished: bool = False,
) -> None:
    """Ask the pods to end (SIGTERM, grace period, SIGKILL) and to leave. Idempotent; does not wait for their end."""
    chosen = [
        item
        for item in items_of(world, workload)
        if attempt is None or item["metadata"].get("labels", {}).get(ATTEMPT_LABEL) == str(attempt)
    ]
    if workload.type in ROLLED:
        with contextlib.suppress(NotFound):  # without its object, everything is the garbage collector's
            place = place_of(world, workload)
            scaled = [item for item in chosen if servers.is_knatives(item)]
            chosen = await wind_down(api, workload, place, [item for item in chosen if item not in scaled])
            chosen += await servers.end(api, workload, place, scaled)
    if keep_finished:
        chosen = [item for item in chosen if (item.get("status") or {}).get("phase") not in ENDED]
    await _delete(api, chosen, reason)


async def remove_pods(api: Api, world: World, workload: Workload, uids: Collection[str], *, reason: str) -> None:
    """Ask these pods of the workload to end and to leave."""
    chosen = [item for item in items_of(world, workload) if item["metadata"]["uid"] in set(uids)]
    if any(map(is_rolled, chosen)):
        await scale_in(api, workload, place_of(world, workload))
    await _delete(api, [item for item in chosen if not is_rolled(item)], reason)


async def replicas(api: Api, world: World, workload: Workload, pods: Sequence[Pod]) -> int | None:
    """Return how many replicas somebody else's autoscaler keeps, as far as is known; None where there is none."""
    if workload.type not in ROLLED:
        return None
    try:
        place = place_of(world, workload)
    except NotFound:
        return None
    return await servers.replicas(api, world, workload, place, pods)


async def revision_name(api: Api, world: World, workload: Workload) -> str:
    """Return what Knative, or the Deployment, calls the specification that a server has now; empty: nothing yet."""
    if workload.type not in ROLLED:
        return ""
    try:
        place = place_of(world, workload)
        known = servers.server_of(world, workload, place) or await api.get(DEPLOYMENTS, workload.name, place.namespace)
    except NotFound:
        return ""
    return revision_of(known, workload)


def rolls_out(type_: WorkloadType) -> bool:
    """Return whether pods of this type are replaced one after the other when the workload changes."""
    return type_ in ROLLED


def rendezvous(world: World, workload: Workload) -> tuple[str, int]:
    """Return the name and port under which the first pod of a gang is found, now and in every attempt."""
    if workload.type not in GROUPED:
        return "127.0.0.1", DEFAULT_MASTER_PORT
    return addresses(world, workload)[0], DEFAULT_MASTER_PORT


def addresses(world: World, workload: Workload) -> tuple[str, ...]:
    """Return the name under which each rank of a gang is found; empty where pods do not look for each other."""
    if workload.type not in GROUPED:
        return ()
    try:
        namespace = place_of(world, workload).namespace
    except NotFound:  # it is only tried out
        namespace = namespace_of(world, workload.meta.project)
    return tuple(address(workload, namespace, place.role, place.rank) for place in shape_of(workload).places)


def hostfile(workload: Workload) -> str:
    """Return the path of the host file in the launcher's container; empty where there is none."""
    return f"{mpi.HOSTFILE_FOLDER}/{mpi.HOSTFILE}" if mpi.mpi_name(workload) else ""


async def _delete(api: Api, items: Iterable[Object], reason: str) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def delete(meta: Object) -> None:
        async with limit:
            log.debug("pod %s is deleted: %s", meta["name"], reason)
            await api.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"])

    wanted = [item["metadata"] for item in items if not item["metadata"].get("deletionTimestamp")]
    for done in await asyncio.gather(*(delete(meta) for meta in wanted), return_exceptions=True):
        if isinstance(done, BaseException):
            raise done


async def _end_for_good(api: Api, world: World, item: Object) -> None:
    """End a pod whose container is started again for ever; it stays, as failed, for its logs."""
    meta = item["metadata"]
    change = {"metadata": {"annotations": {ENDED_ANNOTATION: EXHAUSTED}}, "spec": {"activeDeadlineSeconds": NOW}}
    try:
        world.pods.note(await api.patch(PODS, meta["name"], change, meta["namespace"]))
    except RunaiError as error:
        log.warning("pod %s has failed too often, and cannot be ended: %s", meta["name"], error.message)


async def _forget_groups(api: Api, world: World, workload: Workload) -> None:
    """Delete the pod groups of attempts that are over, once their last pod is gone."""
    groups = list(_find(world.pod_groups, workload.meta.uid))
    if not groups:
        return
    claims = workload.phase in CLAIMS_QUOTA
    current = {str(workload.attempt)} if claims else set()
    used = {item["metadata"].get("labels", {}).get(ATTEMPT_LABEL, "") for item in items_of(world, workload)}
    for group in groups:
        meta = group["metadata"]
        if meta["name"].rpartition(".")[2] not in current | used:
            await api.delete(POD_GROUPS, meta["name"], meta["namespace"], uid=meta["uid"])


def _find(informer: Any, uid: str) -> Iterable[Object]:
    try:
        return list(informer.find(INDEX, uid))
    except KeyError:
        informer.index(INDEX, _uid_of)
        return list(informer.find(INDEX, uid))


def _uid_of(item: Object) -> tuple[str, ...]:
    uid = (item["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL)
    return (uid,) if uid else ()


__all__ = [
    "addresses",
    "hostfile",
    "items_of",
    "launch",
    "object_of",
    "pods",
    "pods_of",
    "remove",
    "remove_pods",
    "rendezvous",
    "replicas",
    "revision_name",
    "rolls_out",
]
