"""Packing that counts fragmentation against the mix of requests seen so far.

A node's state is worth what it will still be able to take. That is found by
trying: a few fixed sequences of requests, drawn from the mix, are offered to
the node one after the other, and the thousandths of GPUs that stay idle are
averaged (`Futures.idle_left`). The best node for a pod is the one whose
average grows least. States repeat often, so answers are kept by state.

Sets of positions in a sequence are integers: those whose request fits a
number of free millicores, bytes and devices are looked up, and the next pod
to be placed is the lowest set bit of their intersection. A try costs a few
steps for each pod that is placed, nothing for those that are skipped.

Neighbours: `scoring` asks for the measure of a class of pods, and keeps nodes
in buckets by it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from itertools import accumulate

from runai_core.engine import gpu
from runai_core.engine.entities import CPU, FAILED, GPU, MEMORY, SHARED, SUCCEEDED, WHOLE, PodClass
from runai_core.engine.feasibility import bits, prepare
from runai_core.engine.session import Session
from runai_core.model.resources import MILLI

STRATEGY = "fragmentation"
"""Name of the strategy in `CycleSettings.gpu_placement` and `cpu_placement`."""

SEQUENCES, HORIZON, LONGEST = 10, 20, 192
"""Futures tried for a state; pods offered for each idle GPU; and at most."""

GRAIN = 32
"""Futures see the free CPU and memory of a node in this many steps of its capacity: equal states are more frequent."""

LEARN_AT = 32
LEARN_GROWTH = 8
"""The mix is drawn anew at the 32nd pod seen, the 256th, and so on: what was learnt before is forgotten then."""

PER_IDLE_GPU, PER_IDLE_CORE = 1.0, 0.05 / 12
"""Thousandths of a GPU that an idle device, and an idle core, count where futures are equal: fuller nodes first."""

LARGEST_NODES = 100.0
"""Thousandths of a GPU that taking one of the few largest nodes costs a pod that an ordinary node could hold."""

FEW = 5
"""Largest nodes are spared where they have less than a fifth of the pool's GPUs."""

Key = tuple[int, int, int, int, int]
"""A request in the mix: millicores, bytes, devices, thousandths of each, nodes that its constraints allow."""

State = tuple[int, int, int, int, tuple[int, ...]]
"""A node: its kind, free millicores, bytes, whole devices, and free thousandths of shared devices, ascending."""

Kind = tuple[int, bool, int, int]
"""What nodes are alike in: constraints that allow them, whether spared, size of a grain of CPU and of memory."""

Sequence = tuple[list[Key], list[int], list[int], list[int], list[int]]
"""Requests, and positions that fit: by CPU, memory, whole devices, and the widest shared one where none is whole."""

IMPOSSIBLE = float("inf")


class Futures:
    """Fixed sequences of requests, drawn from a mix, and what node states they leave idle."""

    def __init__(self, mix: Mapping[Key, int], masks: tuple[int, ...]) -> None:
        """Draw the sequences; `masks` are the node sets that a bit of a node kind's first field stands for."""
        self._keys = sorted(key for key in mix if key[2])
        self._cpu = sorted({key[0] for key in self._keys})
        self._memory = sorted({key[1] for key in self._keys})
        self._parts = sorted({key[3] for key in self._keys if key[3] < MILLI})
        self._most = max((key[2] for key in self._keys), default=0)
        self._kept: dict[State, float] = {}
        self._allowed: dict[int, list[int]] = {}
        self._masks = masks
        drawn = _draws(self._keys, [mix[key] for key in self._keys]) if self._keys else []
        self._sequences = [self._tables(requests) for requests in drawn]

    def _tables(self, requests: list[Key]) -> Sequence:
        def positions(test: Callable[[Key], bool]) -> int:
            return sum(1 << number for number, key in enumerate(requests) if test(key))

        by_cpu = [0, *(positions(lambda key, most=most: key[0] <= most) for most in self._cpu)]  # type: ignore[misc]
        by_memory = [0, *(positions(lambda key, most=most: key[1] <= most) for most in self._memory)]  # type: ignore[misc]
        parts = [0, *(positions(lambda key, most=most: key[2] == 1 and key[3] <= most) for most in self._parts)]  # type: ignore[misc]
        by_devices = [positions(lambda key, most=most: key[2] <= most) for most in range(self._most + 1)]  # type: ignore[misc]
        return requests, by_cpu, by_memory, by_devices, parts

    def idle_left(self, state: State, kind: Kind) -> float:
        """Return the mean thousandths of GPUs that stay idle once the sequences were offered to a node."""
        known = self._kept.get(state)
        if known is None:
            known = self._kept[state] = self._try(state, kind[0])
        return known

    def _try(self, state: State, allowed_by: int) -> float:
        _, free_cpu, free_memory, free_whole, free_parts = state
        idle = free_whole * MILLI + sum(free_parts)
        if not self._sequences or not idle:
            return float(idle)
        allowed = self._allowed.get(allowed_by)
        if allowed is None:
            allowed = self._allowed[allowed_by] = [self._allows(row[0], allowed_by) for row in self._sequences]
        offered = (1 << min(LONGEST, HORIZON * idle // MILLI + 2)) - 1
        cpus, memories, sizes, most = self._cpu, self._memory, self._parts, self._most
        total = 0
        for (requests, by_cpu, by_memory, by_devices, by_part), mask in zip(self._sequences, allowed, strict=True):
            left = offered & mask
            cpu, memory, whole, parts = free_cpu, free_memory, free_whole, [*free_parts]
            while whole or parts:
                left &= by_devices[min(whole, most)] if whole else by_part[bisect_right(sizes, parts[-1])]
                left &= by_cpu[bisect_right(cpus, cpu)] & by_memory[bisect_right(memories, memory)]
                if not left:
                    break
                bit = left & -left
                left ^= bit
                key_cpu, key_memory, devices, amount, _ = requests[bit.bit_length() - 1]
                cpu -= key_cpu
                memory -= key_memory
                if amount >= MILLI:
                    whole -= devices
                else:
                    whole = take(whole, parts, devices, amount)
            total += whole * MILLI + sum(parts)
        return total / len(self._sequences)

    def _allows(self, requests: list[Key], allowed_by: int) -> int:
        """Return the positions whose constraints let them run on a kind of node."""
        masks = {mask for number, mask in enumerate(self._masks) if allowed_by >> number & 1}
        return sum(1 << number for number, key in enumerate(requests) if key[4] in masks)


def take(whole: int, parts: list[int], devices: int, amount: int) -> int:
    """Take `amount` thousandths of each of some devices, fullest first; return the whole ones left.

    `parts` are the free thousandths of shared devices, ascending; they are
    changed. The request must fit, except that several parts may need more
    devices than are shared and whole: then the last ones are not taken.
    """
    if amount >= MILLI:
        return whole - devices
    rests = []
    for _ in range(devices):
        if parts and parts[-1] >= amount:
            rests.append(parts.pop(bisect_left(parts, amount)) - amount)
        elif whole:
            whole -= 1
            rests.append(MILLI - amount)
    for rest in rests:
        if rest:
            insort(parts, rest)
    return whole


def _draws(keys: list[Key], weights: list[int]) -> list[list[Key]]:
    """Return sequences drawn by weight; the same for the same mix, everywhere."""
    bounds = list(accumulate(weights))
    return [
        [keys[bisect_right(bounds, _scatter(number * LONGEST + place) % bounds[-1])] for place in range(LONGEST)]
        for number in range(SEQUENCES)
    ]


_WORD = (1 << 64) - 1


def _scatter(number: int) -> int:
    """Return 64 bits that look random (the finalizer of SplitMix64, Steele and others 2014)."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & _WORD
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _WORD
    return mixed ^ mixed >> 31


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
        could_go_elsewhere = self._fits_ordinary(kind)

        def measured(node: int) -> float:
            state = states[node]
            known = prices.get(state)
            if known is None:
                known = prices[state] = price(kind, state, could_go_elsewhere)
            return known

        return measured

    def _price(self, kind: PodClass, state: State, could_go_elsewhere: bool) -> float:
        after = _after(kind, state)
        if after is None:
            return IMPOSSIBLE
        alike = self._kinds[state[0]]
        left = self._futures.idle_left(_coarse(after, alike), alike)
        lost = left - self._futures.idle_left(_coarse(state, alike), alike)
        lost += PER_IDLE_GPU * (after[3] + sum(after[4]) / MILLI) + PER_IDLE_CORE * after[1] / MILLI
        return lost + LARGEST_NODES if alike[1] and could_go_elsewhere else lost

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
