"""What queues used in the past, for time-based fair share.

A queue's usage is what it held over the window divided by what the node pool
could have given, both weighted by age where the pool has a half-life
(scheduler semantics, 2.18). The service measures it between cycles and puts it
on the queues of each snapshot, so no backend needs to know. It is kept in
slots, in the store, and survives a restart; time in which nobody scheduled
counts for nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runai_core.engine.entities import RESOURCES, gpu_charge
from runai_core.engine.session import offer
from runai_core.model.decision import CycleResult
from runai_core.model.errors import AlreadyExists, NotFound, StaleVersion
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool, WindowType
from runai_core.model.organization import Queue
from runai_core.model.snapshot import Snapshot
from runai_core.model.usage import NOTHING, Amounts, UsageSlot
from runai_core.ports import Backend, Filter, Op, Query

SLOTS = 168
"""A window is kept in so many slots: hours of a week."""

SHORTEST = 60.0
"""Seconds of the shortest slot."""

REFRESH = 60.0
"""Seconds between two looks at the past, and between two savings of the newest slot; a crash loses no more."""

GAP = 300.0
"""A longer time without a cycle was no scheduling at all (sleep, crash, another leader): it is not counted."""

PER_UNIT = (1000.0, 1.0, 1000.0)
"""Millicores, bytes and thousandths of a GPU in a unit of `Amounts`."""


def slot_seconds(window: float) -> float:
    """Return how long the slots of a window are."""
    return max(window / SLOTS, SHORTEST)


def window_begin(pool: NodePool, now: float) -> float:
    """Return since when use counts."""
    if pool.fair_share_window_type == WindowType.TUMBLING:
        return now - (now - pool.fair_share_window_start) % pool.fair_share_window
    return now - pool.fair_share_window


def past_use(slots: Iterable[UsageSlot], pool: NodePool, now: float) -> dict[str, Amounts]:
    """Return each queue's part, 0 to 1, of what the node pool could have given over its window.

    Within a slot use counts as even; a slot that began before the window counts by the part inside.
    """
    begin = window_begin(pool, now)
    sums: dict[str, list[float]] = {}
    could = [0.0, 0.0, 0.0]
    for slot in slots:
        first, last = max(slot.start, begin), min(slot.end, now)
        if last <= first:
            continue
        weight = (last - first) / (min(slot.end, now) - slot.start)
        if pool.fair_share_half_life > 0:
            weight *= 0.5 ** ((now - (first + last) / 2) / pool.fair_share_half_life)
        for column in range(3):
            could[column] += weight * slot.capacity[column]
        for name, used in slot.used.items():
            row = sums.setdefault(name, [0.0, 0.0, 0.0])
            for column in range(3):
                row[column] += weight * used[column]
    return {name: _ratios(row, could) for name, row in sums.items()}


def _ratios(row: Sequence[float], could: Sequence[float]) -> Amounts:
    cpu, memory, gpu = (used / most if most > 0 else 0.0 for used, most in zip(row, could, strict=True))
    return cpu, memory, gpu


@dataclass(slots=True)
class _Pool:
    """What is known of one node pool."""

    slots: dict[str, UsageSlot]  # by name
    loaded_at: float
    seen_at: float | None = None  # the newest cycle
    capacity: Amounts = NOTHING  # what it could give then
    held: Mapping[str, Amounts] = field(default_factory=dict)  # what queues held then
    unsaved: set[str] = field(default_factory=set)
    outdated: bool = False  # somebody else writes it: to be loaded again
    saved_at: float = float("-inf")
    usage: dict[str, Amounts] = field(default_factory=dict)
    looked_at: float = float("-inf")
    settings: tuple[object, ...] = ()
    overlaid: tuple[tuple[Queue, ...], tuple[Queue, ...]] = ((), ())  # queues as given, and with their usage


class UsageService:
    """Measures what queues hold from cycle to cycle, where a node pool has time-based fair share."""

    def __init__(self, backend: Backend) -> None:
        self._store = backend.store
        self._pools: dict[str, _Pool] = {}

    async def overlay(self, pool: NodePool, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with what its queues used in the past; looked up anew once a minute."""
        if not pool.time_based_fair_share:
            self._pools.pop(pool.name, None)
            return snapshot
        now, settings = snapshot.taken_at, _settings(pool)
        known = await self._known(pool.name, now)
        if now - known.looked_at >= REFRESH or now < known.looked_at or settings != known.settings:
            known.usage = past_use(known.slots.values(), pool, now)
            known.looked_at, known.settings, known.overlaid = now, settings, ((), ())
        if known.overlaid[0] != snapshot.queues:
            found = tuple(replace(queue, usage=known.usage.get(queue.name, NOTHING)) for queue in snapshot.queues)
            known.overlaid = (snapshot.queues, found)
        return replace(snapshot, queues=known.overlaid[1])

    async def observe(self, pool: NodePool, snapshot: Snapshot, result: CycleResult) -> None:
        """Count what was held since the cycle before; the result says what is held from now on."""
        if not pool.time_based_fair_share:
            return
        now = snapshot.taken_at
        known = await self._known(pool.name, now)
        if known.seen_at is not None and 0 < now - known.seen_at <= GAP:
            _count(known, pool, known.seen_at, now)
        known.seen_at, known.capacity, known.held = now, _capacity(snapshot), _held(snapshot, result)
        if known.unsaved and (now - known.saved_at >= REFRESH or now < known.saved_at):
            await self._save(known)
            await self._forget(known, now - pool.fair_share_window)
            known.saved_at = now

    async def save(self) -> None:
        """Store all that was measured, before the end."""
        for known in self._pools.values():
            await self._save(known)

    async def _known(self, name: str, now: float) -> _Pool:
        """Return what is known of a pool; where somebody else measures, it is loaded again once a minute."""
        known = self._pools.get(name)
        alone = known is not None and known.seen_at is not None and now - known.seen_at <= GAP
        if known is None or known.outdated or (not alone and now - known.loaded_at >= REFRESH):
            if known is not None and not known.outdated:
                await self._save(known)
            query = Query(filters=(Filter("node_pool", Op.EQ, name),))
            slots = (await self._store.list(UsageSlot, query)).items
            known = self._pools[name] = _Pool({slot.meta.name: slot for slot in slots}, loaded_at=now)
        return known

    async def _save(self, known: _Pool) -> None:
        for name in sorted(known.unsaved):
            slot = known.slots[name]
            try:
                stored = await (self._store.update(slot) if slot.meta.uid else self._store.create(slot))
            except (StaleVersion, NotFound, AlreadyExists):  # another leader writes: this minute is its own
                known.outdated = True
                continue
            known.slots[name] = stored
        known.unsaved.clear()

    async def _forget(self, known: _Pool, before: float) -> None:
        """Remove slots that no window reaches."""
        gone = [slot for slot in known.slots.values() if slot.end < before]
        for slot in gone:
            del known.slots[slot.meta.name]
            try:
                await self._store.delete(UsageSlot, slot.meta.uid)
            except NotFound:
                continue
        if gone:
            await self._store.purge(UsageSlot, float("inf"))


def _settings(pool: NodePool) -> tuple[object, ...]:
    return (
        pool.fair_share_window,
        pool.fair_share_window_type,
        pool.fair_share_window_start,
        pool.fair_share_half_life,
    )


def _count(known: _Pool, pool: NodePool, since: float, until: float) -> None:
    """Add what was held between two moments to the slots that they touch."""
    length = slot_seconds(pool.fair_share_window)
    while since < until:
        start = since // length * length
        end = min(until, start + length)
        if end <= since:  # so late a clock that a slot is below its resolution
            return
        name = f"{pool.name}-{start:.0f}-{length:.0f}"
        slot = known.slots.get(name) or UsageSlot(
            meta=Meta(name=name), node_pool=pool.name, start=start, seconds=length
        )
        used = dict(slot.used)
        for queue, held in known.held.items():
            used[queue] = _more(used.get(queue, NOTHING), held, end - since)
        known.slots[name] = replace(slot, capacity=_more(slot.capacity, known.capacity, end - since), used=used)
        known.unsaved.add(name)
        since = end


def _more(old: Amounts, held: Amounts, seconds: float) -> Amounts:
    return old[0] + held[0] * seconds, old[1] + held[1] * seconds, old[2] + held[2] * seconds


def _held(snapshot: Snapshot, result: CycleResult) -> dict[str, Amounts]:
    """Return what queues hold after a cycle; those that hold nothing are left out."""
    rows: dict[str, list[int]] = {}
    for share in result.shares:
        rows.setdefault(share.queue, [0, 0, 0])[RESOURCES.index(share.resource)] = share.allocated
    changes = {bind.pod: 1 for bind in result.binds} | {eviction.pod: -1 for eviction in result.evictions}
    if changes:
        queues = {group.name: group.queue for group in snapshot.pod_groups}
        parents = {queue.name: queue.parent for queue in snapshot.queues}
        sizes = {node.name: node.gpu_memory_mib for node in snapshot.nodes}
        nodes = {bind.pod: bind.node for bind in result.binds}
        for pod in snapshot.pods:
            if pod.name in changes:
                size = sizes.get(nodes.get(pod.name, pod.node or ""), 0)
                charge = (pod.request.cpu, pod.request.memory, gpu_charge(pod.request, size))
                name: str | None = queues.get(pod.pod_group)
                while name is not None:
                    row = rows.setdefault(name, [0, 0, 0])
                    for column in range(3):
                        row[column] += changes[pod.name] * charge[column]
                    name = parents.get(name)
    cpu, memory, gpu = PER_UNIT
    return {name: (row[0] / cpu, row[1] / memory, row[2] / gpu) for name, row in rows.items() if any(row)}


def _capacity(snapshot: Snapshot) -> Amounts:
    usable = [offer(node) for node in snapshot.nodes if node.ready and not node.unschedulable]
    cpu, memory, gpu = (sum(row[column] for row in usable) / PER_UNIT[column] for column in range(3))
    return cpu, memory, gpu
