"""Which places of a gang lack a pod, and which pods nobody wants any more.

Everything is derived from the stored workload and the pods that exist, so that
a crash between any two steps is repaired by asking again.

The pods must contain those of the present attempt that have ended, until they
are removed on purpose: successes and failures are counted from them.
"""

from collections.abc import Iterable, Mapping, Sequence

from runai_core.lifecycle.phases import CLAIMS_QUOTA
from runai_core.lifecycle.shape import Place, Shape, shape_of
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase, Pod, Workload, WorkloadType

ENDED = frozenset({PodState.SUCCEEDED, PodState.FAILED})

NOT_ITS_FAULT = frozenset({"Evicted", "NodeLost", "Preempted", "Shutdown", "Stopped", "Deleted"})
"""Reasons of a failed pod that are not the program's failure: nothing is counted."""

FIRST_RETRY_DELAY = 0.5
"""Seconds before the first retry; each further one waits twice as long."""

MAX_RETRY_DELAY = 60.0


def is_live(pod: Pod) -> bool:
    """Return whether the pod may still run, or run again."""
    return pod.status.state not in ENDED


def has_failed(pod: Pod) -> bool:
    """Return whether the pod's program failed."""
    return pod.status.state == PodState.FAILED and pod.status.reason not in NOT_ITS_FAULT


def present(workload: Workload, pods: Iterable[Pod]) -> list[Pod]:
    """Return the pods of the present attempt, in the order of rank and replacement."""
    mine = (pod for pod in pods if pod.attempt == workload.attempt)
    return sorted(mine, key=lambda pod: (pod.spec.rank, pod.replacement, pod.name))


def newest(workload: Workload, pods: Iterable[Pod]) -> Mapping[int, Pod]:
    """Return the last pod of each place, by rank."""
    return {pod.spec.rank: pod for pod in present(workload, pods)}


def vacancies(workload: Workload, shape: Shape, pods: Iterable[Pod]) -> tuple[Place, ...]:
    """Return the places of the present attempt that need a new pod.

    A place is vacant when it never had a pod, when its pod was taken away by
    the system, and, where pods are replaced alone, when its pod failed and the
    failure is counted, or when it succeeded and more runs are wanted; but not
    yet where it waits for its leader.
    """
    mine = present(workload, pods)
    last = {pod.spec.rank: pod for pod in mine}
    uncounted = sum(map(has_failed, mine)) > workload.failures - workload.failures_before
    open_runs = _open_runs(workload, shape, mine, last)
    vacant, late = [], not_yet(shape, mine)
    for place in shape.places:
        if place.rank in late or not _needs_pod(last.get(place.rank), shape, may_retry=not uncounted):
            continue
        if open_runs is not None and open_runs <= 0:
            break
        open_runs = None if open_runs is None else open_runs - 1
        vacant.append(place)
    return tuple(vacant)


def not_yet(shape: Shape, mine: Sequence[Pod]) -> frozenset[int]:
    """Return the places that have had no pod of the attempt, and get one when their leader is ready."""
    if not shape.leader_first:
        return frozenset()
    had = {pod.spec.rank for pod in mine}
    led = {pod.spec.sub_group for pod in mine if pod.spec.leader and pod.status.ready and is_live(pod)}
    return frozenset(
        place.rank
        for place in shape.places
        if not place.leader and place.rank not in had and place.sub_group not in led
    )


def _open_runs(workload: Workload, shape: Shape, mine: Sequence[Pod], last: Mapping[int, Pod]) -> int | None:
    """Return how many pods may be added before all runs are done or under way; None: any number."""
    if shape.runs is None:
        return None
    succeeded = sum(pod.status.state == PodState.SUCCEEDED for pod in mine)
    under_way = sum(is_live(pod) for pod in last.values())
    return shape.runs - workload.successes_before - succeeded - under_way


def _needs_pod(pod: Pod | None, shape: Shape, *, may_retry: bool) -> bool:
    if pod is None:
        return True
    if is_live(pod):
        return False
    if pod.status.state == PodState.SUCCEEDED:
        return shape.serves or shape.runs is not None
    if has_failed(pod):
        return shape.replaces and may_retry
    return True


def wants_pods(workload: Workload, pods: Sequence[Pod], now: float) -> bool:
    """Return whether pods of the present attempt must be created now: `gang_of` says which.

    Not before the pods of older attempts are gone, so that nothing runs twice
    at once, and not before the delay after a failure has passed.
    """
    if workload.phase not in CLAIMS_QUOTA - {Phase.UPDATING, Phase.UNKNOWN} or workload.type == WorkloadType.EXTERNAL:
        return False
    if any(is_live(pod) and not pod.stands_in for pod in pods if pod.attempt != workload.attempt):
        return False
    if not any(pod.attempt == workload.attempt for pod in pods) and now < retry_at(workload):
        return False
    last = newest(workload, pods)
    ranks = [place.rank for place in vacancies(workload, shape_of(workload), pods)]
    return any(rank not in last or now >= replaced_from(last[rank]) for rank in ranks)


def retry_at(workload: Workload) -> float:
    """Return the time before which a workload that failed is not tried again."""
    if workload.phase != Phase.PENDING or workload.phase_reason != "Retry":
        return 0.0
    return workload.phase_updated_at + _delay(workload.failures)


def replaced_from(pod: Pod) -> float:
    """Return the time before which a pod that failed is not replaced by itself."""
    if not has_failed(pod):
        return 0.0
    return (pod.status.finished_at or 0.0) + _delay(pod.replacement + 1)


def _delay(failures: int) -> float:
    return min(FIRST_RETRY_DELAY * 2.0 ** min(failures - 1, 16), MAX_RETRY_DELAY)


def surplus(workload: Workload, pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """Return the live pods that must end: of older attempts, or of a workload that has no claim any more."""
    keeps = workload.phase in CLAIMS_QUOTA
    return tuple(
        pod for pod in pods if is_live(pod) and not (keeps and (pod.attempt == workload.attempt or pod.stands_in))
    )


def left_over(workload: Workload, pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """Return the pods that are wanted no more: of workers on demand, or of a server that was scaled in."""
    scales = workload.type is WorkloadType.INFERENCE and workload.phase in CLAIMS_QUOTA
    if workload.members is None and not scales:
        return ()
    wanted = {place.rank for place in shape_of(workload).places}
    return tuple(pod for pod in present(workload, pods) if pod.spec.rank not in wanted)
