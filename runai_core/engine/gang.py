"""Place a pod group whole, or not at all.

Backtracking is over node sets only: within a set pods are placed one after the
other on their best node, and the first that finds no room fails the set
(scheduler semantics, 4.1).
"""

from collections.abc import Iterator

from runai_core.engine.entities import PLACED, PROMISED, RUNNING, SHARED, GroupNode, Job, PodClass, PodSet
from runai_core.engine.feasibility import NOW, choose_devices
from runai_core.engine.scoring import Layers, best_node
from runai_core.engine.session import Session
from runai_core.engine.topology import node_sets
from runai_core.model.snapshot import TopologyConstraint


def place_job(session: Session, job: Job, pods: list[int], *, promise_only: bool = False, within: int = -1) -> bool:
    """Place the given pods of a job, all of them, or leave the session as it was.

    Where some of them only fit once others have left, and their gang would run
    below its minimum until then, all of them become promises. With
    `promise_only` nothing is placed for now at all.
    """
    nodes = session.all_nodes if within < 0 else within
    if len(pods) == 1 and job.tree is None:
        return place_pod(session, pods[0], nodes, promise_only=promise_only)
    mark = session.mark()
    if job.tree is None:
        done = _place_pods(session, pods, ((0, nodes),), promise_only)
    else:
        done = _place_node(session, job.tree, _by_set(session, pods), nodes, ((0, nodes),), promise_only)
    if not done:
        session.rollback(mark)
        return False
    if not promise_only:
        _hold_back(session, pods)
    return True


def place_pod(session: Session, pod: int, nodes: int, *, promise_only: bool) -> bool:
    """Place a single pod by itself, whatever its gang asks for; return whether there was room."""
    node, answer = best_node(session, pod, ((0, nodes),))
    if node < 0:
        return False
    kind = session.pod_class[pod]
    devices = _devices(session, kind, node)
    if answer == NOW and not promise_only:
        session.place(pod, node, devices)
    else:
        session.promise(pod, node, devices)
    return True


def _devices(session: Session, kind: PodClass, node: int) -> tuple[str, ...]:
    if kind.form != SHARED:
        return ()
    chosen = choose_devices(session, kind, node)
    return chosen[0] if chosen is not None else ()


def _by_set(session: Session, pods: list[int]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {}
    for pod in pods:
        part = session.pod_set[pod]
        if part is not None:
            parts.setdefault(part.name, []).append(pod)
    return parts


def _place_node(
    session: Session, node: GroupNode, pods: dict[str, list[int]], nodes: int, layers: Layers, promise_only: bool
) -> bool:
    """Place the parts of an inner node: smaller groups by name first, then its pod sets."""
    sets = _sets_under(node)
    mine = [pod for part in sets for pod in pods.get(part.name, ())]
    if not mine:
        return True
    for chosen, chosen_layers in _candidates(session, node.topology, nodes, layers, mine, sets):
        mark = session.mark()
        if all(
            _place_node(session, part, pods, chosen, chosen_layers, promise_only) for part in node.parts
        ) and _place_sets(session, node, pods, chosen, chosen_layers, promise_only):
            return True
        session.rollback(mark)
    return False


def _place_sets(
    session: Session, node: GroupNode, pods: dict[str, list[int]], nodes: int, layers: Layers, promise_only: bool
) -> bool:
    ordered = sorted(
        node.sets, key=lambda part: (part.active >= part.minimum, part.active / max(part.minimum, 1), part.name)
    )
    return all(
        _place_set(session, part, pods[part.name], nodes, layers, promise_only) for part in ordered if part.name in pods
    )


def _place_set(session: Session, part: PodSet, pods: list[int], nodes: int, layers: Layers, promise_only: bool) -> bool:
    for _, chosen_layers in _candidates(session, part.topology, nodes, layers, pods, [part]):
        mark = session.mark()
        if _place_pods(session, pods, chosen_layers, promise_only):
            return True
        session.rollback(mark)
    return False


def _candidates(
    session: Session,
    constraint: TopologyConstraint | None,
    nodes: int,
    layers: Layers,
    pods: list[int],
    sets: list[PodSet],
) -> Iterator[tuple[int, Layers]]:
    """Yield the node sets to try, each with its layers; without a constraint those of the parent."""
    if constraint is None or not constraint.topology:
        yield nodes, layers
        return
    held = 0
    for part in sets:
        for pod in part.pods:
            if PLACED <= session.pod_state[pod] <= PROMISED and session.pod_node[pod] >= 0:
                held |= 1 << session.pod_node[pod]
    yield from node_sets(session, constraint, nodes, pods, held)


def _sets_under(node: GroupNode) -> list[PodSet]:
    return node.sets + [part for inner in node.parts for part in _sets_under(inner)]


def _place_pods(session: Session, pods: list[int], layers: Layers, promise_only: bool) -> bool:
    """Place pods in order; equal neighbours fill a node together where that gives the same answer."""
    position, count = 0, len(pods)
    kinds = [session.pod_class[pod] for pod in pods]
    uniform = kinds.count(kinds[0]) == count
    while position < count:
        pod = pods[position]
        node, answer = best_node(session, pod, layers)
        if node < 0:
            return False
        state = PLACED if answer == NOW and not promise_only else PROMISED
        kind = session.pod_class[pod]
        run = _run_length(session, pods, position, node, (answer, uniform))
        if run == 1:
            (session.place if state == PLACED else session.promise)(pod, node, _devices(session, kind, node))
        else:
            session.enter_run(pods[position : position + run], node, state)
        position += run
    return True


def _run_length(session: Session, pods: list[int], position: int, node: int, seen: tuple[int, bool]) -> int:
    """Return how many of the next pods are equal and would go to the same node one by one.

    With bin packing a node stays the best one until it is full: it only gets
    fuller, and every fuller node was found too small already.
    """
    answer, uniform = seen
    kind = session.pod_class[pods[position]]
    if position + 1 == len(pods) or session.pod_class[pods[position + 1]] is not kind:
        return 1
    strategy = session.settings.gpu_placement if kind.gpus else session.settings.cpu_placement
    plain = not kind.solitary and kind.extended is None and kind.form != SHARED
    if not plain or session.nominated or strategy != "binpack" or "placement" in session.settings.disabled_rules:
        return 1
    room_for = _copies(session.later[node], kind)
    if answer == NOW:
        room_for = min(room_for, _copies(session.idle[node], kind))
    limit = min(len(pods), position + room_for)
    if uniform:
        return limit - position
    end = position + 1
    while end < limit and session.pod_class[pods[end]] is kind:
        end += 1
    return end - position


def _copies(row: list[int], kind: PodClass) -> int:
    count = row[3]
    if row[0] < count * kind.cpu:
        count = row[0] // kind.cpu
    if row[1] < count * kind.memory:
        count = row[1] // kind.memory
    if row[2] < count * kind.gpus:
        count = row[2] // kind.gpus
    return count


def _hold_back(session: Session, pods: list[int]) -> None:
    """Turn an attempt into promises where a pod set would start below its minimum."""
    promised = [pod for pod in pods if session.pod_state[pod] == PROMISED]
    if not promised:
        return
    for part in {id(session.pod_set[pod]): session.pod_set[pod] for pod in promised}.values():
        assert part is not None
        real = sum(1 for pod in part.pods if session.pod_state[pod] in (PLACED, RUNNING))
        if real < part.minimum:
            for pod in pods:
                if session.pod_state[pod] == PLACED:
                    session.demote(pod)
            return


__all__ = ["place_job", "place_pod"]
