"""Inference servers through Deployments: made, changed by a rollout, and brought to nothing."""

from collections.abc import Sequence

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.deployments import deployment_object, is_of_attempt, is_rolled
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.names import WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.resources import DEPLOYMENTS
from runai_core.lifecycle.phases import CLAIMS_QUOTA
from runai_core.lifecycle.shape import shape_of
from runai_core.model.errors import Conflict, NotFound
from runai_core.model.workload import Gang, Phase, Pod, Workload

ENDED = frozenset({"Succeeded", "Failed"})


async def roll_out(api: Api, workload: Workload, gang: Gang, pod: Pod, place: Place) -> None:
    """Make the Deployment as this attempt wants it; `pod` is one that does not exist yet.

    Where it makes pods of this attempt already, only their number is changed.

    Raises:
        Conflict: there is a Deployment of this name that is not the workload's.
    """
    known = await _known(api, workload, place)
    if known is not None and is_of_attempt(known, workload.attempt):
        await _resize(api, workload, place, known, len(gang.pods))
    else:
        await api.apply(DEPLOYMENTS, deployment_object(workload, gang, pod, place))


async def scale_in(api: Api, workload: Workload, place: Place) -> None:
    """Let the Deployment end the replicas that are not wanted any more: it chooses which."""
    known = await _known(api, workload, place)
    if known is not None and workload.phase in CLAIMS_QUOTA:
        await _resize(api, workload, place, known, len(shape_of(workload).places))


async def wind_down(api: Api, workload: Workload, place: Place, items: Sequence[Object]) -> list[Object]:
    """Let the Deployment end pods that must end; return those that are still to be deleted one by one.

    While the workload has a claim, pods of older attempts are the rollout's.
    Afterwards the Deployment gets no replicas: it stays, as its pods that have
    ended do, for their logs, until the workload is deleted.
    """
    rolled = [item for item in items if is_rolled(item)]
    rest = [item for item in items if not is_rolled(item)]
    if workload.phase in CLAIMS_QUOTA or not rolled:
        return rest
    known = await _known(api, workload, place)
    if known is None:
        return list(items)
    if workload.phase is Phase.DELETING:
        await api.delete(DEPLOYMENTS, workload.name, place.namespace, uid=known["metadata"]["uid"])
    else:
        await _resize(api, workload, place, known, 0)
    return [*rest, *(item for item in rolled if (item.get("status") or {}).get("phase") in ENDED)]


async def _resize(api: Api, workload: Workload, place: Place, known: Object, replicas: int) -> None:
    if known["spec"].get("replicas") != replicas:
        await api.patch(DEPLOYMENTS, workload.name, {"spec": {"replicas": replicas}}, place.namespace)


async def _known(api: Api, workload: Workload, place: Place) -> Object | None:
    try:
        known = await api.get(DEPLOYMENTS, workload.name, place.namespace)
    except NotFound:
        return None
    if (known["metadata"].get("labels") or {}).get(WORKLOAD_UID_LABEL) != workload.meta.uid:
        raise Conflict(f"deployment {workload.name} in {place.namespace} belongs to somebody else: rename the workload")
    return known
