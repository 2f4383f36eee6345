"""Packing that counts fragmentation against the mix of requests seen so far.

The best node for a pod is the one where least is lost: what will stay idle of
the node's GPUs (`futures`), what requests for several devices can use no more,
and places that others need more, since they can run nowhere else.

Neighbours: `scoring` asks for the measure of a class of pods, and keeps nodes
in buckets by it.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping

from runai_core.engine import gpu
from runai_core.engine.entities import CPU, FAILED, GPU, MEMORY, SHARED, SUCCEEDED, WHOLE, PodClass
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.futures import Futures, Key, Kind, State, take
from runai_core.engine.session import Session
from runai_core.model.resources import MILLI

STRATEGY = "fragmentation"
"""Name of the strategy in `CycleSettings.gpu_placement` and `cpu_placement`."""

GRAIN = 32
"""Futures see the free CPU and memory of a node in this many steps of its capacity: equal states are more frequent."""

LEARN_AT = 32
LEARN_GROWTH = 8
"""The mix is drawn anew at the 32nd pod seen, the 256th, and so on: what was learnt before is forgotten then."""

PER_IDLE_GPU, PER_IDLE_CORE = 1.0, 0.05 / 12
"""Thousandths of a GPU that an idle device, and an idle core, count where futures are equal: fuller nodes first."""

FOR_SEVERAL = 0.5
"""What a thousandth of a GPU counts that requests for several devices could use before, and not after."""

LARGEST_NODES = 100.0
"""Thousandths of a GPU that taking one of the few largest nodes costs a pod that an ordinary node could hold."""

FEW = 5
"""Largest nodes are spared where they have less than a fifth of the pool's GPUs."""

WANTED_NODES = 200.0
"""Thousandths of a GPU that a node costs a pod that could run elsewhere, where others that cannot ask for as much
of these nodes as all ask for of the pool; in proportion where they ask for less."""

CONSTRAINTS = 64
"""Of so many sets of nodes, those with most demand, it is known how much they are asked for."""

IMPOSSIBLE = float("inf")


class Packer:
    """The strategy in one session: the mix, the states of the nodes, and the price of a pod on each.

    `version` changes when the mix was learnt anew: measures taken before are
    out of date.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mix: dict[Key, int] = {}
        self._seen = 0
        self._learn_at = LEARN_AT
        self._spared = _largest_nodes(session)
        self._prices: dict[int, dict[State, float]] = {}
        self._kinds: list[Kind] = []
        self._kind_of: list[int] = []
        self._states: list[State] = []
        self._cursor = 0
        self.version = 0
        self._learn()

    def note(self, kind: PodClass, count: int = 1) -> None:
        """Count pods into the mix; learn anew when there are many more than last time."""
        self._count(kind, count)
        if self._seen >= self._learn_at:
            while self._learn_at <= self._seen:
                self._learn_at *= LEARN_GROWTH
            self._learn()

    def _count(self, kind: PodClass, count: int) -> None:
        prepare(self._session, kind)
        key = (kind.cpu, kind.memory, *_devices(kind), kind.static)
        self._mix[key] = self._mix.get(key, 0) + count
        self._seen += count

    def learn_all(self, counts: Mapping[PodClass, int]) -> None:
        """Take the mix of a whole session at once."""
        for kind, count in counts.items():
            self._count(kind, count)
        self._learn()

    def _learn(self) -> None:
        masks = tuple(sorted({key[4] for key in self._mix}))
        self._masks = masks
        self._wanted = _wanted(self._session, self._mix)
        self._futures = Futures(self._mix, masks)
        self._prices = {}
        kinds: dict[Kind, int] = {}
        self._kind_of = []
        for number, node in enumerate(self._session.nodes):
            allowed = sum(1 << index for index, mask in enumerate(masks) if mask >> number & 1)
            spared = bool(self._spared >> number & 1)
            kind = (allowed, spared, max(1, node.cpu // GRAIN), max(1, node.memory // GRAIN))
            self._kind_of.append(kinds.setdefault(kind, len(kinds)))
        self._kinds = list(kinds)
        self._states = [self._state(number) for number in range(len(self._session.nodes))]
        self._cursor = len(self._session.touched)
        self.version += 1

    def refresh(self) -> None:
        """Look again at the nodes that were touched since the last time."""
        touched = self._session.touched
        if self._cursor < len(touched):
            for node in dict.fromkeys(touched[self._cursor :]):
                self._states[node] = self._state(node)
            self._cursor = len(touched)

    def _state(self, node: int) -> State:
        row, table = self._session.later[node], self._session.devices[node]
        parts: tuple[int, ...] = ()
        if table:
            size = gpu.capacity(self._session.nodes[node].gpu_memory_mib)
            free = [(size - used) * MILLI // size for used, _, _ in gpu.joinable(table, size, 0)]
            parts = tuple(sorted(rest for rest in free if rest > 0))
        return self._kind_of[node], row[CPU], row[MEMORY], row[GPU], parts

    def measure(self, kind: PodClass) -> Callable[[int], float]:
        """Return the price of a pod of a class on a node; the smallest is best. Call `refresh` before its use."""
        prices = self._prices.setdefault(kind.index, {})
        states, price = self._states, self._price
        cost_of = self._costs(kind)

        def measured(node: int) -> float:
            state = states[node]
            known = prices.get(state)
            if known is None:
                known = prices[state] = price(kind, state) + cost_of(state[0])
            return known

        return measured

    def _price(self, kind: PodClass, state: State) -> float:
        after = _after(kind, state)
        if after is None:
            return IMPOSSIBLE
        alike, futures = self._kinds[state[0]], self._futures
        then, now = _coarse(after, alike), _coarse(state, alike)
        lost = futures.idle_left(then, alike) - futures.idle_left(now, alike)
        lost += FOR_SEVERAL * (futures.open_to_several(now, alike) - futures.open_to_several(then, alike))
        return lost + PER_IDLE_GPU * (after[3] + sum(after[4]) / MILLI) + PER_IDLE_CORE * after[1] / MILLI

    def _costs(self, kind: PodClass) -> Callable[[int], float]:
        """Return what it costs a pod of the class, that could go elsewhere, to take a node of a kind from others."""
        spares = self._fits_ordinary(kind)
        known: dict[int, float] = {}

        def cost(number: int) -> float:
            if number not in known:
                allowed, spared, _, _ = self._kinds[number]
                wanted = (
                    self._wanted.get(mask, 0.0)
                    for index, mask in enumerate(self._masks)
                    if allowed >> index & 1 and kind.static & ~mask
                )
                known[number] = WANTED_NODES * max(wanted, default=0.0) + LARGEST_NODES * (spared and spares)
            return known[number]

        return cost

    def _fits_ordinary(self, kind: PodClass) -> bool:
        """Return whether a node that is not spared could hold a pod of the class, were it empty."""
        if not self._spared:
            return False
        devices, nodes = _devices(kind)[0], self._session.nodes
        return any(
            nodes[number].cpu >= kind.cpu and nodes[number].memory >= kind.memory and nodes[number].gpus >= devices
            for number in bits(kind.static & ~self._spared)
        )


def packer_of(session: Session) -> Packer:
    """Return the session's packer; one that was not made before takes the mix of all pods in the snapshot."""
    known = session.cache.get(STRATEGY)
    if isinstance(known, Packer):
        return known
    made = session.cache[STRATEGY] = Packer(session)
    counts: dict[PodClass, int] = {}
    for kind, state in zip(session.pod_class, session.pod_state, strict=True):
        if state not in (SUCCEEDED, FAILED):
            counts[kind] = counts.get(kind, 0) + 1
    made.learn_all(counts)
    return made


def _largest_nodes(session: Session) -> int:
    """Return the nodes with the most GPUs, and of these the most CPU, where they are few; else none."""
    sizes = [(node.gpus, node.cpu) for node in session.nodes]
    largest = max(sizes, default=(0, 0))
    theirs = sum(size[0] for size in sizes if size == largest)
    if theirs * FEW >= sum(size[0] for size in sizes):
        return 0
    return sum(1 << number for number, size in enumerate(sizes) if size == largest)


def _wanted(session: Session, mix: Mapping[Key, int]) -> dict[int, float]:
    """Return for each set of nodes how much those that can run nowhere else ask for of it: 1 is as much as all of all.

    By GPUs, and at most 1. Sets are those that constraints of requests name.
    """
    demand: dict[int, int] = {}
    for (_, _, devices, amount, mask), count in mix.items():
        if devices and mask:
            demand[mask] = demand.get(mask, 0) + devices * amount * count
    everything = sum(demand.values())
    gpus = [node.gpus for node in session.nodes]
    found = {}
    for mask in sorted(demand, key=lambda mask: (-demand[mask], mask))[:CONSTRAINTS]:
        theirs = sum(amount for inside, amount in demand.items() if not inside & ~mask)
        there = sum(gpus[number] for number in bits(mask))
        if there:
            found[mask] = min(1.0, theirs * sum(gpus) / (everything * there))
    return found


def _devices(kind: PodClass) -> tuple[int, int]:
    """Return how many devices a class wants, and thousandths of each."""
    if kind.form == WHOLE:
        return kind.gpus, MILLI
    if kind.form == SHARED:
        return kind.devices, min(max(kind.charge[2] // kind.devices, 1), MILLI)
    return 0, 0


def _coarse(state: State, kind: Kind) -> State:
    """Return a state with its CPU and memory rounded down to grains."""
    _, _, cpu, memory = kind
    return state[0], state[1] // cpu * cpu, state[2] // memory * memory, state[3], state[4]


def _after(kind: PodClass, state: State) -> State | None:
    """Return a node's state once it holds a pod of the class, or `None` where it has no room."""
    number, cpu, memory, whole, shared = state
    devices, amount = _devices(kind)
    if cpu < kind.cpu or memory < kind.memory:
        return None
    joinable = 0 if amount >= MILLI else len(shared) - bisect_left(shared, amount)
    if devices > whole + joinable:
        return None
    parts = [*shared]
    whole = take(whole, parts, devices, amount) if devices else whole
    return number, cpu - kind.cpu, memory - kind.memory, whole, tuple(parts)
