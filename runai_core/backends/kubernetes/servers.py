"""Inference servers that Knative scales: made, changed, looked at and ended.

A server that asks for autoscaling is a Knative Service where Knative is
installed. Its revisions make the pods, through Deployments of their own; they
carry our labels, and are pods of the workload. How many there are is
Knative's decision, and the workload follows it.
"""

from collections.abc import Sequence

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.deployments import is_of_attempt
from runai_core.backends.kubernetes.codec.knative import asks_to_scale, change_of, knative_object, readiness_of
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.names import WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import DEPLOYMENTS, KNATIVE_SERVICES, SERVICES, Resource
from runai_core.backends.kubernetes.telling import warn
from runai_core.backends.kubernetes.world import World
from runai_core.lifecycle.phases import CLAIMS_QUOTA
from runai_core.lifecycle.seen import EVICTED
from runai_core.lifecycle.vacancies import is_live
from runai_core.model.errors import Conflict, NotFound
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Gang, Pod, Workload

ENDED = frozenset({"Succeeded", "Failed"})

SERVICE_LABEL = "serving.knative.dev/service"
"""Label of Knative's pods: the name of their Service."""

NOT_SCALED = "AutoscalingNotAvailable"
"""Reason of the event on a server that asks for autoscaling where there is none."""

NOT_READY = "ServiceNotReady"


async def is_scaled(api: Api, world: World, workload: Workload, place: Place) -> bool:
    """Return whether Knative runs the server; where it should and cannot, an event on the workload says so."""
    if server_of(world, workload, place) is not None:
        return True
    if not asks_to_scale(workload.spec):
        return False
    if await _is_installed(api):
        return True
    scaling = workload.spec.autoscaling
    replicas = 1 if scaling is None else scaling.initial_replicas or scaling.min_replicas or 1
    message = (
        "Knative Serving is not installed on this cluster, so nothing scales the server: the number of its replicas "
        f"stays {replicas}, as initialReplicas or minReplicas says. Install Knative, or leave autoscaling out."
    )
    await warn(api, workload, place, NOT_SCALED, message)
    return False


async def _is_installed(api: Api) -> bool:
    try:
        found = await api.raw(f"/apis/{KNATIVE_SERVICES.api_version}")
    except NotFound:
        return False
    return any(item.get("name") == KNATIVE_SERVICES.plural for item in found.get("resources") or ())


def server_of(world: World, workload: Workload, place: Place) -> Object | None:
    """Return the workload's Knative Service as far as it is known here."""
    item = world.crd(KNATIVE_SERVICES).get(workload.name, place.namespace)
    return item if item is not None and _is_its(item, workload) else None


async def serve(api: Api, world: World, workload: Workload, gang: Gang, pod: Pod, place: Place) -> None:
    """Make the Knative Service as this attempt wants it; `pod` is one that does not exist yet.

    Raises:
        InvalidRequest: Knative cannot run it so; names the field.
        Conflict: there is a Knative Service of this name that is not the workload's.
    """
    wanted = knative_object(workload, gang, pod, place)
    known = await _known(api, KNATIVE_SERVICES, workload, place)
    if known is not None and not _is_its(known, workload):
        message = f"the Knative Service {workload.name} in {place.namespace} belongs to somebody else"
        raise Conflict(f"{message}: rename the workload")
    if known is None:
        for resource in (DEPLOYMENTS, SERVICES):  # of the same name, from before Knative was there
            await _drop(api, resource, workload, place)
    if known is None or not is_of_attempt(known, workload.attempt):
        known = await api.apply(KNATIVE_SERVICES, wanted)
    world.crd(KNATIVE_SERVICES).note(known)


async def replicas(api: Api, world: World, workload: Workload, place: Place, pods: Sequence[Pod]) -> int | None:
    """Return how many replicas Knative keeps, or kept when it last said; None where it does not scale the server.

    What is left of a server that has no claim any more goes: with no pods at
    all it would be woken by the next request.
    """
    known = server_of(world, workload, place)
    before = None if workload.members is None else len(workload.members.ranks)
    if known is None:
        return None if world.crd(KNATIVE_SERVICES).ready else before
    if workload.phase not in CLAIMS_QUOTA:
        await _drop(api, KNATIVE_SERVICES, workload, place)
        return None
    if not is_of_attempt(known, workload.attempt):
        return before
    if (change := change_of(known, workload)) is not None:
        world.crd(KNATIVE_SERVICES).note(await api.patch(KNATIVE_SERVICES, workload.name, change, place.namespace))
        return before
    ready, reason, message = readiness_of(known)
    if ready == "False":
        await warn(api, workload, place, NOT_READY, f"Knative says {reason or 'that it is not ready'}: {message}")
    if ready != "True":
        return before
    # Those that are ending stand beside one that stays, in the same place; without one, Knative wants none.
    return len({pod.spec.rank for pod in pods if pod.attempt == workload.attempt and _is_wanted(pod)})


def _is_wanted(pod: Pod) -> bool:
    """Return whether a pod stays, as far as Knative is concerned: one that was evicted gets a successor."""
    ends = pod.status.state is PodState.RELEASING and pod.status.reason not in EVICTED
    return is_live(pod) and not ends


def is_knatives(item: Object) -> bool:
    """Return whether Knative made a pod."""
    return SERVICE_LABEL in (item["metadata"].get("labels") or {})


async def end(api: Api, workload: Workload, place: Place, items: Sequence[Object]) -> list[Object]:
    """Let Knative end pods of its own that must end; return those that are still to be deleted one by one.

    While the workload has a claim, pods of older attempts are the rollout's.
    Others would come in the place of those that were deleted by hand.
    """
    if workload.phase in CLAIMS_QUOTA or not items:
        return []
    await _drop(api, KNATIVE_SERVICES, workload, place)
    return [item for item in items if (item.get("status") or {}).get("phase") in ENDED]


async def _drop(api: Api, resource: Resource, workload: Workload, place: Place) -> None:
    known = await _known(api, resource, workload, place)
    if known is not None and _is_its(known, workload):
        await api.delete(resource, workload.name, place.namespace, uid=known["metadata"]["uid"])


async def _known(api: Api, resource: Resource, workload: Workload, place: Place) -> Object | None:
    try:
        return await api.get(resource, workload.name, place.namespace)
    except NotFound:
        return None


def _is_its(item: Object, workload: Workload) -> bool:
    return bool((item["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL) == workload.meta.uid)
