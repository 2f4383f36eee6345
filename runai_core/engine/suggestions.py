"""The smallest changes that would start a waiting group now, each tried before it is named."""

from collections.abc import Iterator

from runai_core.engine.causes import amount
from runai_core.engine.entities import GPU, NO_GPU, PLACED, RUNNING, SHARED, Job, PodClass, QueueNode
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import Blocked, blocked_by_queue
from runai_core.engine.session import Session
from runai_core.model.decision import Suggestion
from runai_core.model.resources import MILLI


def suggestions_for(session: Session, job: Job, blocked: Blocked | None) -> tuple[Suggestion, ...]:
    """Return changes of which each alone would let the group start with what is free now."""
    pods = list(job.tries or ())
    if not pods or not session.nodes:
        return ()
    if blocked is not None:
        return tuple(_for_queue(session, job, pods))
    found = [*_fewer_gpus(session, job, pods), *_fewer_pods(session, job, pods)]
    return tuple(found)


def _starts(session: Session, job: Job, pods: list[int]) -> bool:
    """Return whether the pods would all be placed now; the session is left as it was."""
    mark = session.mark()
    try:
        return place_job(session, job, pods) and all(session.pod_state[pod] in (PLACED, RUNNING) for pod in pods)
    finally:
        session.rollback(mark)


def _for_queue(session: Session, job: Job, pods: list[int]) -> Iterator[Suggestion]:
    """Name the limits or quotas to raise, or preemptibility, where only a queue stands in the way."""
    if not _starts(session, job, pods):
        return
    limits = _short(job, "limit")
    quotas = [] if job.preemptible else _short(job, "quota")
    if limits and not quotas:
        yield _raise("raise_limit", "limit", limits)
    if quotas and not limits:
        yield _raise("raise_quota", "deserved quota", quotas)
        yield Suggestion("preemptible", "As a preemptible workload it would start now, over quota.", {})


def _short(job: Job, rule: str) -> list[tuple[QueueNode, int, int]]:
    """Return (queue, column, amount needed) for each bound that the group would break."""
    found = []
    for node in job.path:
        bounds, held = (
            (node.limit, node.allocated) if rule == "limit" else (node.deserved, node.non_preemptible)
        )
        for column in range(3):
            needed = held[column] + job.ask[column]
            if job.ask[column] > 0 and needed > bounds[column]:
                found.append((node, column, needed))
    return found


def _raise(kind: str, word: str, short: list[tuple[QueueNode, int, int]]) -> Suggestion:
    texts = [f"of queue {node.name} to {amount(needed, column)}" for node, column, needed in short]
    values = {f"{node.name}.{('cpu', 'memory', 'gpu')[column]}": needed for node, column, needed in short}
    return Suggestion(kind, f"With the {word} {' and '.join(texts)} it would start now.", values)


def _fewer_pods(session: Session, job: Job, pods: list[int]) -> Iterator[Suggestion]:
    """Find the largest part of a flat gang that would start now."""
    if job.only is None or len(pods) < 2 or job.active:
        return
    low, high = 0, len(pods) - 1
    while low < high:  # room for k pods is room for fewer
        middle = (low + high + 1) // 2
        if _starts_with(session, job, pods[:middle]):
            low = middle
        else:
            high = middle - 1
    if low and _starts_with(session, job, pods[:low]):
        text = "1 pod" if low == 1 else f"{low} pods"
        yield Suggestion("fewer_pods", f"With {text} instead of {len(pods)} it would start now.", {"pods": low})


def _starts_with(session: Session, job: Job, pods: list[int]) -> bool:
    minimum, part = len(pods), job.only
    if part is None:
        return False
    before, part.minimum = part.minimum, minimum
    try:
        return _starts(session, job, pods)
    finally:
        part.minimum = before


def _fewer_gpus(session: Session, job: Job, pods: list[int]) -> Iterator[Suggestion]:
    """Find the largest number of GPUs for each pod with which an even gang would start now."""
    kind = session.pod_class[pods[0]]
    even = all(session.pod_class[pod] is kind for pod in pods)
    if job.only is None or not even or kind.solitary or kind.form in (SHARED, NO_GPU) or kind.gpus < 2:
        return
    prepare(session, kind)
    for gpus in range(kind.gpus - 1, 0, -1):
        room = 0
        for node in bits(kind.static):
            room += _copies_now(session, kind, node, gpus)
            if room >= len(pods):
                break
        if room >= len(pods):
            text = f"{gpus} GPU{'' if gpus == 1 else 's'}"
            each = " for each pod" if len(pods) > 1 else ""
            yield Suggestion(
                "fewer_gpus", f"With {text}{each} instead of {kind.gpus} it would start now.", {"gpus": gpus}
            )
            return


def _copies_now(session: Session, kind: PodClass, node: int, gpus: int) -> int:
    """Return how many pods of the class would start on a node if each asked for `gpus` devices."""
    copies = 10**9
    for row in (session.idle[node], session.later[node]):
        copies = min(copies, row[GPU] // gpus, row[3])
        if kind.cpu:
            copies = min(copies, row[0] // kind.cpu)
        if kind.memory:
            copies = min(copies, row[1] // kind.memory)
    if kind.extended is not None:
        return 0
    return max(copies, 0)


__all__ = ["MILLI", "blocked_by_queue", "suggestions_for"]
