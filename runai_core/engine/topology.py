"""Node subsets for required and preferred topology levels.

A topology is a tree of domains over node labels. A constraint turns the nodes
that a gang, or a part of one, may use into a list of candidate sets, best
first; `gang` tries them one after the other (scheduler semantics, 4.2 and 4.3).
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator

from runai_core.engine import gpu
from runai_core.engine.entities import CPU, GPU, MEMORY, SHARED, SLOTS, PodClass
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.session import Session
from runai_core.model.snapshot import TopologyConstraint

BUCKETS = 10
"""The rank of a domain is scored in this many steps."""

NodeSet = tuple[int, tuple[tuple[int, int], ...]]
"""A candidate set of nodes, and the same nodes in layers of (topology bonus, nodes), best first."""


class Level:
    """The domains of one level of one topology, with what is free in each; repaired from the session's log."""

    __slots__ = ("changed", "counts", "cursor", "domain_of", "free", "masks", "names", "orders", "rows")

    def __init__(self, session: Session, labels: tuple[str, ...], members: int) -> None:
        names: dict[tuple[str, ...], int] = {}
        for node in bits(members):
            values = tuple(session.nodes[node].labels[label] for label in labels)
            names[values] = names.get(values, 0) | 1 << node
        self.names = sorted(names)
        self.masks = [names[name] for name in self.names]
        self.domain_of = [-1] * len(session.nodes)
        for number, mask in enumerate(self.masks):
            for node in bits(mask):
                self.domain_of[node] = number
        self.rows = [tuple(row[:3]) for row in session.later]
        self.free = [
            [sum(self.rows[node][column] for node in bits(mask)) for column in range(3)] for mask in self.masks
        ]
        self.cursor = len(session.touched)
        self.counts: dict[int, CopyCount] = {}
        self.orders: dict[tuple[int, int], DomainOrder] = {}
        self.changed: list[int] = []  # domains with other free amounts, newest last

    def repair(self, session: Session) -> None:
        """Take in the nodes that were touched since the last use."""
        touched = session.touched
        if self.cursor == len(touched):
            return
        for node in set(touched[self.cursor :]):  # a sum: the order does not matter
            domain = self.domain_of[node]
            if domain >= 0:
                old, new = self.rows[node], session.later[node]
                row = self.free[domain]
                for column in range(3):
                    row[column] += new[column] - old[column]
                self.rows[node] = (new[CPU], new[MEMORY], new[GPU])
                self.changed.append(domain)
        self.cursor = len(touched)


class CopyCount:
    """How many pods of one class fit in each domain of a level, counted node by node."""

    __slots__ = ("copies", "cursor", "totals")

    def __init__(self, session: Session, level: Level, kind: PodClass) -> None:
        self.copies = [0] * len(session.nodes)
        self.totals = [0] * len(level.masks)
        for number, mask in enumerate(level.masks):
            for node in bits(mask & kind.static):
                self.copies[node] = copies_on(session, kind, node)
                self.totals[number] += self.copies[node]
        self.cursor = len(session.touched)

    def repair(self, session: Session, level: Level, kind: PodClass) -> None:
        """Count the touched nodes anew."""
        touched = session.touched
        for node in set(touched[self.cursor :]):
            domain = level.domain_of[node]
            if domain >= 0 and kind.static >> node & 1:
                copies = copies_on(session, kind, node)
                self.totals[domain] += copies - self.copies[node]
                self.copies[node] = copies
        self.cursor = len(touched)


class DomainOrder:
    """The domains of a level that may hold `count` pods of one class, the one that they fill most first."""

    __slots__ = ("ask", "count", "cursor", "entries", "key_of")

    def __init__(self, level: Level, totals: list[int], ask: list[int], count: int) -> None:
        self.ask = ask
        self.count = count
        self.key_of: list[tuple[float, int] | None] = [None] * len(level.masks)
        self.entries: list[tuple[float, int]] = []
        for number in range(len(level.masks)):
            self._set(level, totals, number)
        self.cursor = len(level.changed)

    def repair(self, level: Level, totals: list[int]) -> None:
        """Move the domains that changed since the last use."""
        if self.cursor < len(level.changed):
            for number in sorted(set(level.changed[self.cursor :])):
                self._set(level, totals, number)
            self.cursor = len(level.changed)

    def _set(self, level: Level, totals: list[int], number: int) -> None:
        old = self.key_of[number]
        fits = totals[number] >= self.count
        new = (-fill_ratio(self.ask, level.free[number]), number) if fits else None
        if new == old:
            return
        if old is not None:
            del self.entries[bisect_left(self.entries, old)]
        if new is not None:
            insort(self.entries, new)
        self.key_of[number] = new


def copies_on(session: Session, kind: PodClass, node: int) -> int:
    """Return how many pods of a class would fit on a node once everybody who leaves has left (never too few)."""
    row = session.later[node]
    count = row[SLOTS]
    if kind.cpu:
        count = min(count, row[CPU] // kind.cpu)
    if kind.memory:
        count = min(count, row[MEMORY] // kind.memory)
    if kind.gpus:
        count = min(count, row[GPU] // kind.gpus)
    if kind.form == SHARED:
        count = min(count, _shared_copies(session, kind, node))
    extended = session.later_extended[node] or {}
    for name, amount in kind.extended or ():
        if amount:
            count = min(count, extended.get(name, 0) // amount)
    return max(count, 0)


def copies_when_empty(session: Session, kind: PodClass, node: int) -> int:
    """Return how many pods of a class a node holds when nobody is on it."""
    entry = session.nodes[node]
    saved = session.later[node], session.later_extended[node], session.devices[node]
    session.later[node] = [entry.cpu, entry.memory, entry.gpus, entry.max_pods]
    session.later_extended[node], session.devices[node] = session.empty_extended(node), {}
    copies = copies_on(session, kind, node)
    session.later[node], session.later_extended[node], session.devices[node] = saved
    return copies


def _shared_copies(session: Session, kind: PodClass, node: int) -> int:
    mib = session.nodes[node].gpu_memory_mib
    size, amount = gpu.capacity(mib), gpu.need(kind.portion, kind.mib, mib)
    if not amount or amount > size:
        return 0
    parts = max(session.later[node][GPU], 0) * (size // amount)
    for used, _, _ in gpu.joinable(session.devices[node], size, amount):
        parts += (size - used) // amount
    return parts // kind.devices


def node_sets(
    session: Session, constraint: TopologyConstraint, within: int, pods: list[int], held: int
) -> Iterator[NodeSet]:
    """Yield the candidate node sets for pods under a constraint, best first.

    Finer levels come before wider ones; in a level the domain that is filled
    most by the request comes first. `held` are the nodes where pods of the same
    part run already: with a required level only their domains will do.
    """
    levels = _levels(session, constraint.topology)
    if levels is None:
        return
    names, members, built = levels
    inside = within & members
    wanted = _level_span(names, constraint)
    if wanted is None or not inside:
        return
    kinds = Counter(session.pod_class[pod] for pod in pods)
    ask = [sum(column) for column in zip(*(session.pod_class[pod].charge for pod in pods), strict=True)]
    ask[2] = sum(kind.gpus * count for kind, count in kinds.items())
    for depth in wanted:
        for mask in _domains(session, built, depth, inside, kinds, ask):
            if constraint.required_level and held and not mask & held:
                continue
            yield mask, _layers(session, built, names, constraint, mask, ask)


def required_domains(session: Session, constraint: TopologyConstraint) -> list[int]:
    """Return the node sets of the required level, by name; none where the topology is not known."""
    levels = _levels(session, constraint.topology)
    if levels is None or constraint.required_level not in levels[0]:
        return []
    return list(levels[2][levels[0].index(constraint.required_level)].masks)


def exists(session: Session, constraint: TopologyConstraint) -> bool:
    """Return whether the topology and its levels are known."""
    levels = _levels(session, constraint.topology)
    return levels is not None and _level_span(levels[0], constraint) is not None


def _levels(session: Session, name: str) -> tuple[tuple[str, ...], int, list[Level]] | None:
    """Return a topology's level labels, the nodes that carry all of them, and its levels from the widest."""
    known = session.cache.get(("topology", name))
    if isinstance(known, tuple):
        return known
    topology = next((item for item in session.snapshot.topologies if item.name == name), None)
    if topology is None:
        return None
    labels = topology.levels
    members = sum(
        1 << index for index, node in enumerate(session.nodes) if all(label in node.labels for label in labels)
    )
    made = (labels, members, [Level(session, labels[: depth + 1], members) for depth in range(len(labels))])
    session.cache["topology", name] = made
    return made


def _level_span(names: tuple[str, ...], constraint: TopologyConstraint) -> list[int] | None:
    """Return the depths to try, finest first; -1 is the whole topology."""
    required, preferred = constraint.required_level, constraint.preferred_level
    if any(level is not None and level not in names for level in (required, preferred)):
        return None
    if required is None and preferred is None:
        return [-1]
    if preferred is None:
        return [names.index(str(required))]
    top = -1 if required is None else names.index(required)
    return list(range(max(names.index(preferred), top), top - 1, -1))


def _domains(
    session: Session, built: list[Level], depth: int, inside: int, kinds: Counter[PodClass], ask: list[int]
) -> Iterator[int]:
    """Yield the node sets of one level that may hold the pods, fullest first."""
    if depth < 0:
        yield inside
        return
    level = built[depth]
    level.repair(session)
    only = next(iter(kinds)) if len(kinds) == 1 else None
    if only is None:
        found = [(-fill_ratio(ask, free), number) for number, free in enumerate(level.free)]
        entries = sorted(entry for entry in found if entry[0] >= -1)
    else:
        entries = _ordered_domains(session, level, only, kinds[only], ask)
    for _, number in tuple(entries):  # a copy: an attempt may change the order
        part = level.masks[number] & inside
        if part:
            yield part


def _ordered_domains(
    session: Session, level: Level, kind: PodClass, count: int, ask: list[int]
) -> list[tuple[float, int]]:
    """Return the domains with room for equal pods; kept from one gang to the next."""
    totals = _copy_totals(session, level, kind)
    order = level.orders.get((kind.index, count))
    if order is None:
        order = level.orders[kind.index, count] = DomainOrder(level, totals, ask, count)
    else:
        order.repair(level, totals)
    return order.entries


def _copy_totals(session: Session, level: Level, kind: PodClass) -> list[int]:
    prepare(session, kind)
    count = level.counts.get(kind.index)
    if count is None:
        count = level.counts[kind.index] = CopyCount(session, level, kind)
    else:
        count.repair(session, level, kind)
    return count.totals


def fill_ratio(ask: list[int], free: list[int]) -> float:
    """Return the largest part of a resource that the ask takes of what is free."""
    return max(
        (amount / room if room > 0 else float("inf")) if amount else 0.0 for amount, room in zip(ask, free, strict=True)
    )


def _layers(
    session: Session,
    built: list[Level],
    names: tuple[str, ...],
    constraint: TopologyConstraint,
    mask: int,
    ask: list[int],
) -> tuple[tuple[int, int], ...]:
    """Split a node set by its domains of the preferred level: those with more room first."""
    if constraint.preferred_level is None:
        return ((0, mask),)
    level = built[names.index(constraint.preferred_level)]
    level.repair(session)
    parts = [number for number, nodes in enumerate(level.masks) if nodes & mask]
    if len(parts) == 1:
        return ((0, mask),)
    parts.sort(key=lambda number: (-fill_ratio(ask, level.free[number]), level.names[number]))
    layers: dict[int, int] = {}
    for rank, number in enumerate(parts):
        bonus = BUCKETS * rank // len(parts)
        layers[bonus] = layers.get(bonus, 0) | (level.masks[number] & mask)
    return tuple(sorted(layers.items(), reverse=True))
