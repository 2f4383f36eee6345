"""Small changes that might start a waiting group, and what a snapshot looks like with one applied.

These are candidates, cheapest first, found on a session after its actions ran;
`explain` keeps those that a cycle on the changed snapshot confirms.
"""

from collections.abc import Iterator
from dataclasses import replace

from runai_core.engine.causes import amount, called
from runai_core.engine.entities import GPU, NO_GPU, PLACED, RESOURCES, RUNNING, SHARED, Job, PodClass, QueueNode
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import blocked_by_queue, refresh
from runai_core.engine.session import Session
from runai_core.engine.topology import copies_when_empty
from runai_core.model.decision import Suggestion
from runai_core.model.snapshot import PodState, Preemptibility, Snapshot

MOST_WAITED_FOR = 8
"""So many running groups are tried as the one that must end first."""


def small_changes(session: Session, job: Job) -> Iterator[Suggestion]:
    """Yield changes to the group, or to its queues, with which it might start at once."""
    refresh(session, job)
    pods = list(job.tries or ())
    if not pods or not session.nodes or job.queue is None:
        return
    if session.quota_on and blocked_by_queue(job, job.ask) is not None:
        yield from _for_queue(job)
    else:
        yield from _fewer_gpus(session, job, pods)
    yield from _fewer_pods(session, job, pods)


def large_changes(session: Session, job: Job) -> Iterator[Suggestion]:
    """Yield changes to other work, or to the cluster, with which it might start."""
    yield from _higher_priority(job)
    yield from _wait_for(session, job)
    yield from _more_nodes(session, job)


def follow(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    """Return the snapshot as it would be with a suggestion for a group applied."""
    return _CHANGES[suggestion.kind](snapshot, group, suggestion)


def _starts(session: Session, job: Job, pods: list[int]) -> bool:
    """Return whether the pods would all be placed now; the session is left as it was."""
    mark = session.mark()
    try:
        return place_job(session, job, pods) and all(session.pod_state[pod] in (PLACED, RUNNING) for pod in pods)
    finally:
        session.rollback(mark)


# -- the queue stands in the way -----------------------------------------------------------------------------------


def _for_queue(job: Job) -> Iterator[Suggestion]:
    limits = _short(job, "limit")
    quotas = [] if job.preemptible else _short(job, "quota")
    if limits and not quotas:
        yield _raise("raise_limit", "limit", limits)
    if quotas and not limits:
        yield Suggestion("preemptible", "As a preemptible workload, which may go over quota, it would start now.", {})
        yield _raise("raise_quota", "deserved quota", quotas)


def _short(job: Job, rule: str) -> list[tuple[QueueNode, int, int]]:
    """Return (queue, column, amount needed) for each bound that the group would break."""
    found = []
    for node in job.path:
        limit = rule == "limit"
        bounds, held = (node.limit, node.allocated) if limit else (node.deserved, node.non_preemptible)
        for column in range(3):
            needed = held[column] + job.ask[column]
            if job.ask[column] > 0 and needed > bounds[column]:
                found.append((node, column, needed))
    return found


def _raise(kind: str, word: str, short: list[tuple[QueueNode, int, int]]) -> Suggestion:
    texts = [f"{amount(needed, column)} for queue {node.name}" for node, column, needed in short]
    values = {f"{node.name}.{RESOURCES[column]}": needed for node, column, needed in short}
    return Suggestion(kind, f"With a {word} of {' and '.join(texts)} it would start now.", values)


def _raised(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    del group
    part = "limit" if suggestion.kind == "raise_limit" else "deserved"
    queues = {queue.name: queue for queue in snapshot.queues}
    for key, value in suggestion.values.items():
        name, _, resource = key.rpartition(".")
        queue = queues[name]
        quota = replace(getattr(queue.resources, resource), **{part: value})
        queues[name] = replace(queue, resources=replace(queue.resources, **{resource: quota}))
    return replace(snapshot, queues=tuple(queues.values()))


def _made_preemptible(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    del suggestion
    return replace(
        snapshot,
        pod_groups=tuple(
            replace(item, preemptibility=Preemptibility.PREEMPTIBLE) if item.name == group else item
            for item in snapshot.pod_groups
        ),
    )


# -- the group asks for less -----------------------------------------------------------------------------------------


def _fewer_pods(session: Session, job: Job, pods: list[int]) -> Iterator[Suggestion]:
    """Find the largest part of a flat gang that fits now; room for some pods is room for fewer."""
    if job.only is None or len(pods) < 2 or job.active:
        return
    low, high = 0, len(pods) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _part_starts(session, job, pods[:middle]):
            low = middle
        else:
            high = middle - 1
    if low and _part_starts(session, job, pods[:low]):
        text = "1 pod" if low == 1 else f"{low} pods"
        yield Suggestion("fewer_pods", f"With {text} instead of {len(pods)} it would start now.", {"pods": low})


def _part_starts(session: Session, job: Job, pods: list[int]) -> bool:
    part = job.only
    if part is None:
        return False
    charges = [session.pod_class[pod].charge for pod in pods]
    ask = (sum(row[0] for row in charges), sum(row[1] for row in charges), sum(row[2] for row in charges))
    if session.quota_on and blocked_by_queue(job, ask) is not None:
        return False
    before, part.minimum = part.minimum, len(pods)
    try:
        return _starts(session, job, pods)
    finally:
        part.minimum = before


def _shrunk(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    keep = int(suggestion.values["pods"])
    waiting = sorted(
        (pod for pod in snapshot.pods if pod.pod_group == group and pod.state is PodState.PENDING),
        key=lambda pod: (not pod.leader, pod.order is None, -(pod.order or 0), pod.created_at, pod.name),
    )
    dropped = {pod.name for pod in waiting[keep:]}
    return replace(
        snapshot,
        pods=tuple(pod for pod in snapshot.pods if pod.name not in dropped),
        pod_groups=tuple(
            replace(item, min_members=keep) if item.name == group else item for item in snapshot.pod_groups
        ),
    )


def _fewer_gpus(session: Session, job: Job, pods: list[int]) -> Iterator[Suggestion]:
    """Find the largest number of GPUs for each pod with which an even gang fits now."""
    kind = session.pod_class[pods[0]]
    even = all(session.pod_class[pod] is kind for pod in pods)
    if job.only is None or not even or kind.solitary or kind.form in (SHARED, NO_GPU) or kind.extended is not None:
        return
    prepare(session, kind)
    for gpus in range(kind.gpus - 1, 0, -1):
        room = 0
        for node in bits(kind.static):
            room += _copies_now(session, kind, node, gpus)
            if room >= len(pods):
                text = f"{gpus} GPU{'' if gpus == 1 else 's'}{' for each pod' if len(pods) > 1 else ''}"
                message = f"With {text} instead of {kind.gpus} it would start now."
                yield Suggestion("fewer_gpus", message, {"gpus": gpus})
                return


def _copies_now(session: Session, kind: PodClass, node: int, gpus: int) -> int:
    """Return how many pods of the class would start on a node if each asked for `gpus` devices."""
    copies = session.idle[node][3]
    for row in (session.idle[node], session.later[node]):
        copies = min(copies, row[GPU] // gpus, row[3])
        if kind.cpu:
            copies = min(copies, row[0] // kind.cpu)
        if kind.memory:
            copies = min(copies, row[1] // kind.memory)
    return max(copies, 0)


def _asking_less(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    gpus = int(suggestion.values["gpus"])
    return replace(
        snapshot,
        pods=tuple(
            replace(pod, request=replace(pod.request, gpu_devices=gpus)) if pod.pod_group == group else pod
            for pod in snapshot.pods
        ),
    )


# -- others give way, or the cluster grows ----------------------------------------------------------------------------


def _higher_priority(job: Job) -> Iterator[Suggestion]:
    """Name the lowest priorities that would be above running work of the same queue."""
    if job.queue is None:
        return
    running = {other.priority for other in job.queue.jobs if other.preemptible and other.active and other is not job}
    for priority in sorted(running):
        if priority >= job.priority:
            message = f"With a priority above {priority} it would preempt work of its own queue."
            yield Suggestion("higher_priority", message, {"priority": priority + 1})


def _prioritized(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    priority = int(suggestion.values["priority"])
    return replace(
        snapshot,
        pod_groups=tuple(
            replace(item, priority=priority) if item.name == group else item for item in snapshot.pod_groups
        ),
    )


def _wait_for(session: Session, job: Job) -> Iterator[Suggestion]:
    """Name running groups that hold as much as it asks for, those that hold least first."""
    found = []
    for other in session.jobs.values():
        held = [
            session.pod_class[pod].charge[2]
            for part in other.sets.values()
            for pod in part.pods
            if session.pod_state[pod] == RUNNING
        ]
        if held and other is not job and (job.ask[2] == 0 or sum(held) > 0):
            found.append((abs(sum(held) - job.ask[2]), sum(held), other.name))
    for _, _, name in sorted(found)[:MOST_WAITED_FOR]:
        message = f"It would start when {called(session.jobs[name])} has ended."
        yield Suggestion("wait_for", message, {"pod_group": name})


def _ended(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    del group
    name = suggestion.values["pod_group"]
    return replace(
        snapshot,
        pods=tuple(pod for pod in snapshot.pods if pod.pod_group != name),
        pod_groups=tuple(item for item in snapshot.pod_groups if item.name != name),
    )


def _more_nodes(session: Session, job: Job) -> Iterator[Suggestion]:
    """Name how many more nodes like the largest usable one would hold a flat gang of equal pods."""
    pods = list(job.tries or ())
    kinds = {session.pod_class[pod] for pod in pods}
    if len(kinds) != 1 or job.only is None:
        return
    kind = kinds.pop()
    prepare(session, kind)
    usable = [session.nodes[node] for node in bits(kind.static)]
    if not usable:
        return
    like = max(usable, key=lambda node: (node.gpus, node.cpu, node.memory, node.name))
    each = copies_when_empty(session, kind, session.node_index[like.name])
    if each:
        count = -(-len(pods) // each)
        text = f"1 more node like {like.name}" if count == 1 else f"{count} more nodes like {like.name}"
        yield Suggestion("add_nodes", f"With {text} it would start.", {"nodes": count, "like": like.name})


def _grown(snapshot: Snapshot, group: str, suggestion: Suggestion) -> Snapshot:
    del group
    like = next(node for node in snapshot.nodes if node.name == suggestion.values["like"])
    names = {node.name for node in snapshot.nodes}
    added = [
        replace(like, name=name)
        for name in (f"{like.name}-added-{number}" for number in range(int(suggestion.values["nodes"])))
        if name not in names
    ]
    return replace(snapshot, nodes=(*snapshot.nodes, *added))


_CHANGES = {
    "raise_limit": _raised,
    "raise_quota": _raised,
    "preemptible": _made_preemptible,
    "fewer_pods": _shrunk,
    "fewer_gpus": _asking_less,
    "higher_priority": _prioritized,
    "wait_for": _ended,
    "add_nodes": _grown,
}


__all__ = ["follow", "large_changes", "small_changes"]
