"""Room that victims would free, gathered node by node until it is enough."""

from collections.abc import Iterable, Sequence

from runai_core.engine.entities import SHARED
from runai_core.engine.gang import place_pod
from runai_core.engine.search import Search, Unit, take_away
from runai_core.engine.session import Session


def gather(search: Search, units: Iterable[Unit], within: int) -> list[Unit] | None:
    """Find victims for a gang of ordinary pods in one pass, without judging; `None` where all do not suffice.

    Every pod of the gang takes the first node on which the gathered victims
    free enough, so each victim is looked at once however large the gang is.
    """
    session = search.session
    mark = session.mark()
    chosen: list[Unit] = []
    waiting = _fill(search, list(search.pods), within)
    gathered: dict[int, list[Unit]] = {}
    sums: dict[int, list[int]] = {}
    asked = needs(session, waiting)
    later, fewest = session.later, min((need[2] for need in asked), default=0)
    for unit in units if waiting else ():
        for node in note(session, unit, gathered, sums):
            if later[node][2] + sums[node][2] < fewest:
                continue  # by far the most frequent
            if may_fit(session, asked, node, sums[node]) and unit in gathered[node]:
                freed, helping = _free(session, node, gathered, sums)
                chosen += helping
                waiting = _fill(search, waiting, freed & within)
                asked = needs(session, waiting)
        if not waiting:
            break
    session.rollback(mark)
    return None if waiting else chosen


def _free(
    session: Session, node: int, gathered: dict[int, list[Unit]], sums: dict[int, list[int]]
) -> tuple[int, list[Unit]]:
    """Take the pods of a node's units away; return the nodes that they leave, and the units."""
    freed = 0
    helping = forget(session, node, gathered, sums)
    for unit in helping:
        for pod in unit:
            freed |= 1 << session.pod_node[pod]
        for pod in unit:
            take_away(session, pod)
    return freed, helping


def note(session: Session, unit: Unit, gathered: dict[int, list[Unit]], sums: dict[int, list[int]]) -> Sequence[int]:
    """Add a unit to the nodes that it lives on; return these."""
    homes, kinds = session.pod_node, session.pod_class
    for pod in unit:
        node, kind = homes[pod], kinds[pod]
        row = sums.get(node)
        if row is None:
            row = sums[node] = [0, 0, 0, 0]
            gathered[node] = []
        row[0] += kind.cpu
        row[1] += kind.memory
        row[2] += kind.devices if kind.form == SHARED else kind.gpus
        row[3] += 1
    if len(unit) == 1:
        gathered[node].append(unit)
        return (node,)
    nodes = sorted({homes[pod] for pod in unit})
    for node in nodes:
        gathered[node].append(unit)
    return nodes


def forget(session: Session, node: int, gathered: dict[int, list[Unit]], sums: dict[int, list[int]]) -> list[Unit]:
    """Take a node's units out of all books; return them."""
    units = list(gathered[node])
    for unit in units:
        for pod in unit:
            home, kind = session.pod_node[pod], session.pod_class[pod]
            row = sums[home]
            row[0] -= kind.cpu
            row[1] -= kind.memory
            row[2] -= kind.devices if kind.form == SHARED else kind.gpus
            row[3] -= 1
            if unit in gathered[home]:
                gathered[home].remove(unit)
    return units


def needs(session: Session, pods: list[int]) -> list[tuple[int, int, int, int]]:
    """Return what each class of the pods needs at least: cpu, memory, whole GPUs, and its nodes."""
    kinds = {session.pod_class[pod] for pod in pods}
    return [
        (kind.cpu, kind.memory, kind.gpus, kind.static if kind.static >= 0 else session.all_nodes) for kind in kinds
    ]


def may_fit(session: Session, needs: list[tuple[int, int, int, int]], node: int, extra: list[int]) -> bool:
    """Return whether some pod might fit on a node with the gathered victims gone (never wrongly no)."""
    row = session.later[node]
    gpus = row[2] + extra[2]
    for need in needs:
        if gpus >= need[2] and row[0] + extra[0] >= need[0] and row[1] + extra[1] >= need[1] and need[3] >> node & 1:
            return row[3] + extra[3] > 0
    return False


def _fill(search: Search, waiting: list[int], nodes: int) -> list[int]:
    """Promise the nodes to as many of the waiting pods as fit; return the others."""
    session = search.session
    left: list[int] = []
    hopeful = {session.pod_class[pod] for pod in waiting}
    for position, pod in enumerate(waiting):
        if not hopeful:
            return left + waiting[position:]
        kind = session.pod_class[pod]
        if kind not in hopeful or not place_pod(session, pod, nodes, promise_only=True):
            hopeful.discard(kind)
            left.append(pod)
    return left
