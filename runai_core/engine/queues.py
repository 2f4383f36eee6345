"""The tree of queues and its numbers: what each holds, asks for, and is fairly entitled to."""

from collections.abc import Iterable

from runai_core.engine.entities import UNBOUNDED, QueueNode
from runai_core.engine.fairshare import Claim, divide
from runai_core.model.organization import Queue, ResourceQuota
from runai_core.model.resources import MILLI

UNITS = (1, 1, MILLI)
"""Fair shares are given in whole millicores, bytes and GPUs."""


def plant(queues: Iterable[Queue]) -> tuple[dict[str, QueueNode], list[QueueNode]]:
    """Return the queues by name, parents first, and the top-level ones.

    Queues whose ancestors are missing, or go in a circle, are left out.
    """
    by_name = {queue.name: queue for queue in queues}
    children: dict[str | None, list[str]] = {}
    for name in sorted(by_name):
        children.setdefault(by_name[name].parent, []).append(name)
    found: dict[str, QueueNode] = {}
    roots: list[QueueNode] = []
    waiting: list[tuple[str, QueueNode | None]] = [(name, None) for name in reversed(children.get(None, []))]
    while waiting:
        name, parent = waiting.pop()
        node = _queue_node(by_name[name], parent)
        found[name] = node
        (roots if parent is None else parent.children).append(node)
        waiting.extend((child, node) for child in reversed(children.get(name, [])))
    return found, roots


def replant(nodes: dict[str, QueueNode], queues: Iterable[Queue]) -> None:
    """Take what changed of the queues; names and parents must be the same."""
    by_name = {queue.name: queue for queue in queues}
    for name, node in nodes.items():  # parents first
        queue = by_name[name]
        if queue is not node.queue and queue != node.queue:
            _set_numbers(node, queue)
        node.limited = _has_limit(queue) or (node.parent is not None and node.parent.limited)


def share_out(nodes: dict[str, QueueNode], roots: list[QueueNode], total: list[int], history_weight: float) -> None:
    """Divide the cluster, rank siblings, and remember what every queue held as the cycle began."""
    _divide(roots, total, total, history_weight)
    for node in nodes.values():
        node.opening = (_triple(node.allocated), _triple(node.non_preemptible))


def sum_up(nodes: dict[str, QueueNode]) -> None:
    """Add what every queue holds and asks for to its ancestors; the nodes come parents first."""
    for node in reversed(list(nodes.values())):
        if node.parent is not None:
            for mine, theirs in (
                (node.requested, node.parent.requested),
                (node.allocated, node.parent.allocated),
                (node.non_preemptible, node.parent.non_preemptible),
            ):
                for column in range(3):
                    theirs[column] += mine[column]


def _divide(siblings: list[QueueNode], total: list[int], cluster: list[int], history_weight: float) -> None:
    """Divide one level, then the levels below it."""
    for column in range(3):
        claims = [_claim(node, column) for node in siblings]
        shares = divide(total[column], claims, unit=UNITS[column], history_weight=history_weight)
        for node in siblings:
            node.fair[column] = shares[node.name]
    for node in siblings:
        for column in range(3):
            node.allocatable[column] = min(node.limit[column], max(node.deserved[column], node.fair[column]))
            # The least that bounds the queue: its allocatable share, then the cluster.
            bound = node.allocatable[column]
            node.divisor[column] = cluster[column] if bound >= UNBOUNDED else bound
    rank_siblings(siblings)
    for node in siblings:
        if node.children:
            _divide(node.children, node.fair, cluster, history_weight)


def rank_siblings(siblings: list[QueueNode]) -> None:
    """Number siblings: a queue comes after those with a Pareto-smaller allocatable share, else the older is first.

    The pairwise rule is not transitive, so it is turned into one order once a
    cycle: the oldest queue that no waiting queue must precede is next.
    """
    waiting = sorted(siblings, key=lambda node: (node.queue.created_at, node.name))
    if len({tuple(node.allocatable) for node in waiting}) == 1:
        for rank, node in enumerate(waiting):
            node.rank = rank
        return
    rank = 0
    while waiting:
        shares = {tuple(node.allocatable) for node in waiting}
        least = {mine for mine in shares if not any(_pareto_smaller(other, mine) for other in shares)}
        chosen = next(node for node in waiting if tuple(node.allocatable) in least)
        chosen.rank = rank
        rank += 1
        waiting.remove(chosen)


def _pareto_smaller(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return left != right and all(mine <= theirs for mine, theirs in zip(left, right, strict=True))


def _queue_node(queue: Queue, parent: QueueNode | None) -> QueueNode:
    node = QueueNode(queue.name, queue, parent)
    node.path = (node,) if parent is None else (node, *parent.path)
    _set_numbers(node, queue)
    node.limited = _has_limit(queue) or (parent is not None and parent.limited)
    return node


def _set_numbers(node: QueueNode, queue: Queue) -> None:
    quotas = (queue.resources.cpu, queue.resources.memory, queue.resources.gpu)
    node.queue = queue
    node.priority = queue.resources.priority
    node.deserved = [_bound(quota.deserved) for quota in quotas]
    node.limit = [_bound(quota.limit) for quota in quotas]
    node.weight = [quota.over_quota_weight for quota in quotas]


def _has_limit(queue: Queue) -> bool:
    resources = queue.resources
    return any(quota.limit is not None for quota in (resources.cpu, resources.memory, resources.gpu))


def _bound(amount: int | None) -> int:
    return UNBOUNDED if amount is None else amount


def _claim(node: QueueNode, column: int) -> Claim:
    quotas = (node.queue.resources.cpu, node.queue.resources.memory, node.queue.resources.gpu)
    quota: ResourceQuota = quotas[column]
    return Claim(
        name=node.name,
        deserved=quota.deserved,
        limit=quota.limit,
        weight=quota.over_quota_weight,
        priority=node.priority,
        requested=node.requested[column],
        created_at=node.queue.created_at,
        usage=node.queue.usage[column],
    )


def _triple(row: list[int]) -> tuple[int, int, int]:
    return row[0], row[1], row[2]
