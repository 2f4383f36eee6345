"""Why a pod group waits: one reason, one sentence, and the numbers behind it.

Groups that are alike (same queue, same pods) wait for the same reason, so a
verdict is worked out once for each shape.
"""

from dataclasses import replace

from runai_core.engine.causes import amount, share_rows
from runai_core.engine.entities import CPU, GATED, GPU, MEMORY, NO_GPU, PENDING, PROMISED, SLOTS, Job, PodClass
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.ordering import Blocked, blocked_by_queue, is_ready, refresh
from runai_core.engine.scoring import index_for
from runai_core.engine.session import Session
from runai_core.engine.spread import kept_off
from runai_core.engine.topology import copies_on, copies_when_empty, exists
from runai_core.model.decision import QueueShare, Reason, Verdict


def verdicts(session: Session) -> tuple[Verdict, ...]:
    """Return a verdict for every group of which some pod waits and was not placed, by name."""
    known: dict[object, Verdict] = {}
    found = []
    promises = any(True for _ in session.promises())
    for name in sorted(name for name, job in session.unplaced.items() if _waits(session, job, promises=promises)):
        job = session.jobs[name]
        key = _likeness(session, job)
        verdict = None if key is None else known.get(key)
        if verdict is None:
            verdict = verdict_for(session, job)
            known[name if key is None else key] = verdict
        else:
            verdict = replace(verdict, pod_group=name)
        found.append(verdict)
    return tuple(found)


def _waits(session: Session, job: Job, *, promises: bool) -> bool:
    if job.name in session.groups_with_gates:
        return True
    only = job.only
    if only is not None and len(only.pods) == 1:
        state = session.pod_state[only.pods[0]]
        return state == PENDING or (state == PROMISED and only.pods[0] not in session.evicted_from)
    if only is not None and only.active == len(only.pods) and not promises:
        return False
    states = [(session.pod_state[pod], pod) for part in job.sets.values() for pod in part.pods]
    return any(state == PENDING or (state == PROMISED and pod not in session.evicted_from) for state, pod in states)


def _likeness(session: Session, job: Job) -> object:
    """Return what makes two waiting groups wait for the same reason; `None` where nothing does."""
    if job.queue is None or job.active or not is_ready(job):
        return None
    if job.tries is None:
        refresh(session, job)
    return None if job.shape is None else (job.shape, job.queue.name, job.preemptible)


def verdict_for(session: Session, job: Job) -> Verdict:
    """Return why one group waits; `explain` adds what would help."""
    if job.queue is None:
        return Verdict(job.name, Reason.QUEUE_DOES_NOT_EXIST, _queue_message(session, job))
    promised = [pod for part in job.sets.values() for pod in part.pods if session.pod_state[pod] == PROMISED]
    if promised and job.active == len(promised):
        nodes = sorted({session.nodes[session.pod_node[pod]].name for pod in promised})
        return Verdict(
            job.name,
            Reason.WAITING_FOR_RELEASE,
            f"Room on {_listing(nodes)} is promised to it and it starts when the pods that hold it now have left.",
            shares=_shares(job),
            placeable=len(promised),
            required=len(promised),
            promised=True,
        )
    if not is_ready(job):
        return _unready(session, job)
    refresh(session, job)
    required = len(job.tries or ())
    blocked = blocked_by_queue(job, job.ask) if session.quota_on else None
    refused, placeable = _refusals(session, job)
    reason, message = _judge(session, job, blocked, placeable, required)
    return Verdict(
        job.name,
        reason,
        message,
        nodes_refused=refused,
        shares=_shares(job),
        placeable=placeable,
        required=required,
        nearest_miss=_nearest(session, job),
    )


def _shares(job: Job) -> tuple[QueueShare, ...]:
    return tuple(
        share for node in job.path for share in share_rows(node, tuple(node.allocated), tuple(node.non_preemptible))
    )


def _listing(names: list[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} nodes"
    return ("node " if len(names) == 1 else "nodes ") + " and ".join(names)


def _queue_message(session: Session, job: Job) -> str:
    name = job.group.queue
    queue = next((item for item in session.snapshot.queues if item.name == name), None)
    if queue is None:
        return f"Queue {name} does not exist in node pool {session.snapshot.node_pool}; create it or choose another."
    if name in session.queues:
        return f"Queue {name} has queues below it, so it holds no workloads itself; choose one of those."
    return f"Queue {name} hangs from {queue.parent}, which does not exist or goes in a circle; repair its parents."


def _unready(session: Session, job: Job) -> Verdict:
    lacking = [part for part in job.sets.values() if part.existing < part.minimum]
    existing = sum(part.existing for part in lacking)
    minimum = sum(part.minimum for part in lacking)
    where = "".join(f" in sub-group {part.name}" for part in lacking[:1] if part.name)
    if job.name in session.groups_with_gates:
        message = f"Pods{where} are held back by scheduling gates: {existing} of {minimum} may be scheduled."
        return Verdict(job.name, Reason.GATED, message, required=minimum)
    message = f"Only {existing} of the {minimum} pods that must start together{where} have been created."
    return Verdict(job.name, Reason.NOT_READY, message, required=minimum)


def _kinds(session: Session, job: Job) -> dict[PodClass, int]:
    counts: dict[PodClass, int] = {}
    for pod in job.tries or ():
        kind = session.pod_class[pod]
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _judge(session: Session, job: Job, blocked: Blocked | None, placeable: int, required: int) -> tuple[Reason, str]:
    """Return the reason and the sentence; what can never change comes first."""
    wants = _wants(job)
    pool = session.snapshot.node_pool
    for kind in _kinds(session, job):
        if not kind.static and session.nodes:
            why = ", ".join(f"{count} by {words}" for words, count in kind.refused)
            return Reason.POD_SCHEDULING_ERRORS, f"No node of node pool {pool} takes its pods: {why}."
    never = _never_fits(session, job, wants)
    if never:
        return Reason.NEVER_FITS, never
    if blocked is not None:
        return _blocked_message(job, blocked)
    missing = [item.topology for item in _constraints(job) if not exists(session, item)]
    if missing:
        return (
            Reason.TOPOLOGY_PLACEMENT_FAILED,
            f"Topology {missing[0]}, or a level that its constraint names, does not exist in node pool {pool}.",
        )
    if _constraints(job) and placeable >= required:
        return Reason.TOPOLOGY_PLACEMENT_FAILED, f"It {wants}; there is room for that, but not in one topology domain."
    return _busy_message(session, job, wants, placeable, required)


def _constraints(job: Job) -> list:  # type: ignore[type-arg]
    group = job.group
    found = [group.topology, *(part.topology for part in group.sub_groups)]
    return [item for item in found if item is not None and item.topology]


def _wants(job: Job) -> str:
    """Say what the group asks for at once."""
    count = len(job.tries or ())
    column = GPU if job.ask[2] else CPU
    text = f"needs {amount(job.ask[column], column)}"
    if job.ask[2] == 0 and job.ask[1]:
        text += f" and {amount(job.ask[1], 1)}"
    return text if count == 1 else f"{text} at once for {count} pods"


def _never_fits(session: Session, job: Job, wants: str) -> str:
    """Return the sentence for a group that an empty node pool could not hold, or an empty string."""
    pool = session.snapshot.node_pool
    if not session.nodes:
        return f"It {wants}; node pool {pool} has no nodes, so it can not start."
    total = 0
    for kind, count in _kinds(session, job).items():
        room = _empty_copies(session, kind)
        total += kind.gpus * count
        if room == 0:
            biggest = max((session.nodes[node] for node in bits(kind.static)), key=lambda node: (node.gpus, node.cpu))
            return (
                f"One of its pods alone asks for {_request(kind)}; the largest node that it may use, {biggest.name}, "
                f"has {biggest.gpus} GPUs, {amount(biggest.cpu, CPU)} and {amount(biggest.memory, MEMORY)}, "
                "so it can never fit."
            )
        if room < count:
            offered = sum(session.nodes[node].gpus for node in bits(kind.static))
            each = f" ({count} pods of {_request(kind)})" if count > 1 else ""
            return (
                f"It {wants}{each}; node pool {pool} has {offered} GPUs in all on the nodes that it may use "
                f"({kind.static.bit_count()}), room for {room} such pods when empty, so it can never fit."
            )
    offered = sum(node.gpus for node in session.nodes)
    if total > offered:
        return f"It {wants}; node pool {pool} has {offered} GPUs in all, so it can never fit."
    return ""


def _request(kind: PodClass) -> str:
    if kind.gpus:
        return f"{kind.gpus} GPU{'' if kind.gpus == 1 else 's'}"
    if kind.form != NO_GPU:
        return amount(kind.charge[2], GPU)
    return f"{amount(kind.cpu, CPU)} and {amount(kind.memory, MEMORY)}"


def _empty_copies(session: Session, kind: PodClass) -> int:
    """Return how many pods of a class an empty node pool holds; stops counting where it is plenty."""
    known = session.cache.get(("empty", kind.index))
    if isinstance(known, int):
        return known
    prepare(session, kind)
    shapes: dict[tuple[object, ...], int] = {}
    copies = 0
    for node in bits(kind.static):
        entry = session.nodes[node]
        shape = (
            entry.cpu,
            entry.memory,
            entry.gpus,
            entry.max_pods,
            entry.gpu_memory_mib,
            entry.extended,
            entry.dra_gpus,
        )
        if shape not in shapes:
            shapes[shape] = copies_when_empty(session, kind, node)
        copies += shapes[shape]
    session.cache["empty", kind.index] = copies
    return copies


def _blocked_message(job: Job, blocked: Blocked) -> tuple[Reason, str]:
    rule, node, column = blocked
    ask = amount(job.ask[column], column)
    if rule == "limit":
        limit, held = amount(node.limit[column], column), amount(node.allocated[column], column)
        ever = ", so it can never start" if job.ask[column] > node.limit[column] else ""
        return (
            Reason.OVER_LIMIT,
            f"Queue {node.name} has a limit of {limit} and uses {held}; this needs {ask} more{ever}.",
        )
    quota, held = amount(node.deserved[column], column), amount(node.non_preemptible[column], column)
    return (
        Reason.NON_PREEMPTIBLE_OVER_QUOTA,
        (
            f"Non-preemptible work may not exceed the deserved quota: queue {node.name} deserves {quota}, "
            f"non-preemptible work holds {held} of it, this needs {ask} more; a preemptible workload may go over quota."
        ),
    )


def _busy_message(session: Session, job: Job, wants: str, placeable: int, required: int) -> tuple[Reason, str]:
    """Return the reason where only room is lacking, and whether others could be asked for it."""
    leaf = job.path[0]
    over = [
        column
        for column in range(3)
        if job.ask[column] > 0 and leaf.allocated[column] + job.ask[column] > leaf.fair[column]
    ]
    lack = f"only {placeable} of its {required} pods find room now" if required > 1 else "no node has that free now"
    if over and session.quota_on:
        column = 2 if 2 in over else over[0]
        held, share = amount(leaf.allocated[column], column), amount(leaf.fair[column], column)
        return (
            Reason.WAITING_FOR_QUOTA,
            (
                f"It {wants} and {lack}; its queue {leaf.name} holds {held} of a fair share of {share}, "
                "so nobody is asked to give way and it waits for others to end."
            ),
        )
    return (
        Reason.INSUFFICIENT_CAPACITY,
        (
            f"It {wants} and {lack}; its queue is within its fair share, but what runs may not be evicted for it "
            "or would not free enough."
        ),
    )


def _refusals(session: Session, job: Job) -> tuple[dict[str, int], int]:
    """Count nodes by the first filter that refuses them, and the pods that would find room one by one."""
    refused: dict[str, int] = {}
    placeable = 0
    for kind, count in _kinds(session, job).items():
        prepare(session, kind)
        for words, nodes in kind.refused:
            refused[words] = refused.get(words, 0) + nodes
        fitting = 0
        short_of_gpus = _short_of_gpus(session, kind)
        if short_of_gpus:
            refused["not enough GPUs"] = refused.get("not enough GPUs", 0) + short_of_gpus.bit_count()
        for node in bits(kind.static & ~short_of_gpus):
            copies = copies_on(session, kind, node)
            words = "" if copies else _shortage(session, kind, node)
            if copies and kind.solitary:
                words = kept_off(session, kind, node)
            if words:
                refused[words] = refused.get(words, 0) + 1
            else:
                fitting += copies
        placeable += min(fitting, count)
    return dict(sorted(refused.items())), placeable


def _short_of_gpus(session: Session, kind: PodClass) -> int:
    """Return the usable nodes with fewer free devices than one pod wants."""
    if not kind.gpus:
        return 0
    index = index_for(session, kind)
    if not index.sorted_by_gpus:
        return sum(1 << node for node in bits(kind.static) if session.later[node][GPU] < kind.gpus)
    short = 0
    for key in index.keys:
        if isinstance(key, int) and key < kind.gpus:
            short |= index.buckets[key]
    return short & kind.static


def _shortage(session: Session, kind: PodClass, node: int) -> str:
    row = session.later[node]
    if row[SLOTS] < 1:
        return "no pod slot left"
    if row[CPU] < kind.cpu:
        return "not enough CPU"
    if row[MEMORY] < kind.memory:
        return "not enough memory"
    return "not enough GPUs" if kind.form != NO_GPU else "not enough of another resource"


def _nearest(session: Session, job: Job) -> str:
    """Name the usable node that lacks least for the group's first pod."""
    if not job.tries:
        return ""
    kind = session.pod_class[job.tries[0]]
    column = GPU if kind.form != NO_GPU else CPU
    best, most = -1, -1
    if column == GPU and kind.gpus and index_for(session, kind).sorted_by_gpus:
        index = index_for(session, kind)
        for key in reversed(index.keys):
            hit = index.buckets[key] & kind.static
            if hit:
                best = (hit & -hit).bit_length() - 1
                break
    else:
        for node in bits(kind.static):
            if session.later[node][column] > most:
                best, most = node, session.later[node][column]
    if best < 0:
        return ""
    row = session.later[best]
    if column == GPU:
        return f"node {session.nodes[best].name} has {max(row[GPU], 0)} of {session.nodes[best].gpus} GPUs free"
    return f"node {session.nodes[best].name} has {amount(row[CPU], CPU)} and {amount(row[MEMORY], MEMORY)} free"


def all_shares(session: Session) -> tuple[QueueShare, ...]:
    """Return every queue's numbers as the cycle began, by name."""
    return tuple(
        share
        for name in sorted(session.queues)
        for share in share_rows(session.queues[name], *session.queues[name].opening)
    )


__all__ = ["GATED", "all_shares", "verdict_for", "verdicts"]
