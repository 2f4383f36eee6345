"""Which feasible node is best for a pod: sharing, room now, node kind, bin packing or spreading.

The scores are KAI's (scheduler semantics, 3.2). Their magnitudes make the sum
lexicographic, so the best node of an ordinary class is found without scoring:
nodes are kept in buckets by how full they are, and the first set bit of
(bucket AND nodes with room) is the answer, ties to the smaller name. Classes
that depend on other pods, and plug-in scores, are scored node by node with the
same numbers.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from runai_core.engine import fragmentation
from runai_core.engine.entities import CPU, GPU, NO_GPU, SHARED, WHOLE, PodClass
from runai_core.engine.feasibility import (
    LATER,
    NO,
    NOW,
    bits,
    can_join,
    preferred_affinity,
    prepare,
    room,
)
from runai_core.engine.session import Session
from runai_core.engine.spread import kept_off, preference

NOMINATED, AFFINITY, DOMAIN, SHARING, AVAILABLE, NODE_KIND, FULLNESS = 1_000_000, 100_000, 10_000, 1_000, 100, 10, 9
"""Weights of the built-in scores."""

SHARING_SCORE_FOR_CPU_PODS = "sharing_score_for_cpu_pods"
"""Compatibility: KAI also prefers nodes with a shared device for pods that want no GPU."""

NOT_BY_SHARING = ("spread", fragmentation.STRATEGY)
"""Strategies that joining a shared device first would undo."""

Layers = Sequence[tuple[int, int]]
"""Node sets with their topology bonus, best first; each node is in one of them at most."""

Key = int | float | tuple[int, float]


class NodeIndex:
    """Nodes in buckets by fullness, repaired from the session's log of touched nodes."""

    __slots__ = ("buckets", "cursor", "key_of", "keys", "measure", "sorted_by_gpus")

    def __init__(self, session: Session, measure: Callable[[int], Key], sorted_by_gpus: bool) -> None:
        self.measure = measure
        self.sorted_by_gpus = sorted_by_gpus
        self.buckets: dict[Key, int] = {}
        self.key_of: list[Key] = [measure(node) for node in range(len(session.nodes))]
        for node, key in enumerate(self.key_of):
            self.buckets[key] = self.buckets.get(key, 0) | 1 << node
        self.keys: list[Key] = sorted(self.buckets)
        self.cursor = len(session.touched)

    def repair(self, session: Session) -> None:
        """Move the nodes that were touched since the last use to their new buckets."""
        touched, measure, key_of, buckets = session.touched, self.measure, self.key_of, self.buckets
        for node in dict.fromkeys(touched[self.cursor :]) if self.cursor + 1 < len(touched) else touched[-1:]:
            key, old = measure(node), key_of[node]
            if key == old:
                continue
            bit = 1 << node
            left = buckets[old] ^ bit
            if left:
                buckets[old] = left
            else:
                del buckets[old]
                self.keys.remove(old)
            if key in buckets:
                buckets[key] |= bit
            else:
                buckets[key] = bit
                self.keys.insert(bisect_left(self.keys, key), key)
            key_of[node] = key
        self.cursor = len(touched)


def index_for(session: Session, kind: PodClass) -> NodeIndex:
    """Return the index that orders nodes for a class: by GPUs, or by CPU for pods without GPUs."""
    if strategy_of(session, kind) == fragmentation.STRATEGY:
        return _index_by_fragmentation(session, kind)
    number = 1 if kind.form == NO_GPU else 0
    known = session.indexes[number]
    if known is None:
        known = session.indexes[number] = NodeIndex(session, *_measure(session, "cpu" if number else "gpu"))
    assert isinstance(known, NodeIndex)
    if known.cursor != len(session.touched):
        known.repair(session)
    return known


def strategy_of(session: Session, kind: PodClass) -> str:
    """Return the name of the placement strategy for a class; empty where the rule is off."""
    settings = session.settings
    if "placement" in settings.disabled_rules:
        return ""
    return settings.cpu_placement if kind.form == NO_GPU else settings.gpu_placement


def _index_by_fragmentation(session: Session, kind: PodClass) -> NodeIndex:
    """Return the index of nodes by what a pod of this class would cost there; each class has its own."""
    packer = fragmentation.packer_of(session)
    packer.refresh()
    place = (fragmentation.STRATEGY, kind.index)
    known = session.cache.get(place)
    if isinstance(known, tuple) and known[0] == packer.version:
        index: NodeIndex = known[1]
        if index.cursor != len(session.touched):
            index.repair(session)
        return index
    price = packer.measure(kind)
    if kind.form == NO_GPU and "node_kind" not in session.settings.disabled_rules:
        kinds = [int(_has_gpus(session, node)) for node in range(len(session.nodes))]
        index = NodeIndex(session, lambda node: (kinds[node], price(node)), sorted_by_gpus=False)
    else:
        index = NodeIndex(session, price, sorted_by_gpus=False)
    session.cache[place] = (packer.version, index)
    return index


def _measure(session: Session, name: str) -> tuple[Callable[[int], Key], bool]:
    """Return the fullness of a node as a sort key (smaller = better), and whether it is its number of free GPUs."""
    later, nodes, off = session.later, session.nodes, session.settings.disabled_rules
    if name == "gpu":
        if "placement" in off:
            return (lambda node: 0), False
        if session.settings.gpu_placement != "spread":
            return (lambda node: later[node][GPU]), True
        return (lambda node: -later[node][GPU] / max(nodes[node].gpus, 1)), False
    kinds = [0 if "node_kind" in off else int(_has_gpus(session, node)) for node in range(len(nodes))]
    if "placement" in off:
        return (lambda node: kinds[node]), False
    if session.settings.cpu_placement != "spread":
        return (lambda node: (kinds[node], later[node][CPU])), False
    return (lambda node: (kinds[node], -later[node][CPU] / max(nodes[node].cpu, 1))), False


def _has_gpus(session: Session, node: int) -> bool:
    entry = session.nodes[node]
    return bool(entry.gpus or entry.dra_gpus or any("mig-" in name for name, _ in entry.extended))


def best_node(session: Session, pod: int, layers: Layers) -> tuple[int, int]:
    """Return the best node for a pod in the first layer that has one, and whether it has room now or later.

    The node is -1 where no node can take the pod.
    """
    kind = session.pod_class[pod]
    if kind.static < 0 or kind.seen != len(session.grown) or kind.form == SHARED:
        prepare(session, kind)
    nominated = session.nominated.get(pod, -1) if session.nominated else -1
    if kind.solitary:
        return _best_by_score(session, kind, layers, nominated)
    if nominated >= 0 and kind.static >> nominated & 1 and any(mask >> nominated & 1 for _, mask in layers):
        answer = room(session, kind, nominated)
        if answer and "nominated" not in session.settings.disabled_rules:
            return nominated, answer
    index = index_for(session, kind)
    search = _best_with_room if kind.form == WHOLE else _best_in
    for _, within in layers:
        found = search(session, kind, index, within)
        if found[0] >= 0:
            return found
    return -1, NO


def _best_in(session: Session, kind: PodClass, index: NodeIndex, within: int) -> tuple[int, int]:
    if kind.form == SHARED and _sharing_first(session):
        node, answer = _best_joining(session, kind, index, within)
        if node >= 0:
            return node, answer
    elif kind.form == NO_GPU and SHARING_SCORE_FOR_CPU_PODS in session.settings.compatibility:
        sharing = sum(1 << node for node in bits(within) if session.devices[node])
        node, answer = _best_with_room(session, kind, index, within & sharing) if sharing else (-1, NO)
        if node >= 0:
            return node, answer
    return _best_with_room(session, kind, index, within)


def _best_with_room(session: Session, kind: PodClass, index: NodeIndex, within: int) -> tuple[int, int]:
    """Return the best node by fullness: those with room now first."""
    start = bisect_left(index.keys, kind.gpus) if index.sorted_by_gpus else 0
    keys, buckets = index.keys, index.buckets
    wants = (NOW, LATER) if "idle_first" not in session.settings.disabled_rules else (LATER,)
    for want in wants:
        mask = kind.fits_idle if want == NOW else kind.fits_later
        for key in keys[start:] if start else keys:
            hit = buckets[key] & mask & within
            while hit:
                low = hit & -hit
                node = low.bit_length() - 1
                answer = room(session, kind, node)
                if answer >= want:
                    _keep(kind, want, mask)
                    return node, answer
                mask ^= low
                hit ^= low
        _keep(kind, want, mask)
    return -1, NO


def _sharing_first(session: Session) -> bool:
    """Return whether joining shared devices comes first; the other strategies would be undone by it."""
    settings = session.settings
    return "sharing_first" not in settings.disabled_rules and settings.gpu_placement not in NOT_BY_SHARING


def _keep(kind: PodClass, want: int, mask: int) -> None:
    if want == NOW:
        kind.fits_idle = mask
    else:
        kind.fits_later = mask


def _best_joining(session: Session, kind: PodClass, index: NodeIndex, within: int) -> tuple[int, int]:
    """Return the best node where a device that is shared already takes the pod: room now first."""
    later_hit = (-1, NO)
    for key in index.keys:
        hit = index.buckets[key] & kind.fits_shared & within
        while hit:
            low = hit & -hit
            hit ^= low
            node = low.bit_length() - 1
            answer = room(session, kind, node) if can_join(session, kind, node) else NO
            if answer == NOW:
                return node, NOW
            if answer == NO:
                kind.fits_shared ^= low
            elif later_hit[0] < 0:
                later_hit = (node, LATER)
    return later_hit


# -- node by node ------------------------------------------------------------------------------------------------------


def _best_by_score(session: Session, kind: PodClass, layers: Layers, nominated: int) -> tuple[int, int]:
    """Score every feasible node with the full sum; the reference for the fast way."""
    column, strategy = (
        (CPU, session.settings.cpu_placement) if kind.form == NO_GPU else (GPU, session.settings.gpu_placement)
    )
    free = [session.later[node][column] for _, mask in layers for node in bits(mask)]
    low, high = min(free, default=0), max(free, default=0)
    best, best_score, best_answer = -1, float("-inf"), NO
    for bonus, mask in layers:
        for node in bits(mask & kind.static):
            answer = room(session, kind, node)
            if not answer or kept_off(session, kind, node):
                continue
            score = _total_score(session, kind, node, answer) + DOMAIN * bonus + NOMINATED * (node == nominated)
            score += _fullness(session, node, column, strategy, (low, high))
            if score > best_score or (score == best_score and node < best):
                best, best_score, best_answer = node, score, answer
    return best, best_answer


def _total_score(session: Session, kind: PodClass, node: int, answer: int) -> float:
    off = session.settings.disabled_rules
    score: float = AFFINITY * (preferred_affinity(session, kind, node) + preference(session, kind, node))
    if kind.form == SHARED and _sharing_first(session) and can_join(session, kind, node):
        score += SHARING
    if answer == NOW and "idle_first" not in off:
        score += AVAILABLE
    if kind.form == NO_GPU and "node_kind" not in off and not _has_gpus(session, node):
        score += NODE_KIND
    for rule in session.rules.scores:
        score += rule.weight * rule.function(kind.example, session.nodes[node])
    return score


def _fullness(session: Session, node: int, column: int, strategy: str, free_range: tuple[int, int]) -> float:
    """Return 0..9 for bin packing (fuller is better) or 0..1 for spreading (emptier is better)."""
    if "placement" in session.settings.disabled_rules:
        return 0.0
    free = session.later[node][column]
    if strategy == "spread":
        entry = session.nodes[node]
        return free / max(entry.cpu if column == CPU else entry.gpus, 1)
    low, high = free_range
    return FULLNESS * (1 - (free - low) / (high - low)) if high > low else float(FULLNESS)
