"""What a node state is worth: what it will still be able to take.

That is found by trying: a few fixed sequences of requests, drawn from the mix
of requests seen so far, are offered to the node one after the other, and the
thousandths of GPUs that stay idle are averaged. States repeat often, so
answers are kept by state.

Sets of positions in a sequence are integers: those whose request fits a
number of free millicores, bytes and devices are looked up, and the next pod
to be placed is the lowest set bit of their intersection. A try costs a few
steps for each pod that is placed, nothing for those that are skipped.

Neighbours: `fragmentation` makes prices of it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from itertools import accumulate

from runai_core.model.resources import MILLI

SEQUENCES, HORIZON, LONGEST = 10, 20, 192
"""Futures tried for a state; pods offered for each idle GPU; and at most."""

Key = tuple[int, int, int, int, int]
"""A request in the mix: millicores, bytes, devices, thousandths of each, nodes that its constraints allow."""

State = tuple[int, int, int, int, tuple[int, ...]]
"""A node: its kind, free millicores, bytes, whole devices, and free thousandths of shared devices, ascending."""

Kind = tuple[int, bool, int, int]
"""What nodes are alike in: constraints that allow them, whether spared, size of a grain of CPU and of memory."""

Sequence = tuple[list[Key], list[int], list[int], list[int], list[int]]
"""Requests, and positions that fit: by CPU, memory, whole devices, and the widest shared one where none is whole."""


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
        self._allowing: dict[int, frozenset[int]] = {}
        asked = sum(mix.values())
        self._several = [(key, mix[key] / asked) for key in self._keys if key[2] > 1]
        self._open: dict[State, float] = {}
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

    def open_to_several(self, state: State, kind: Kind) -> float:
        """Return the thousandths of GPUs that requests for several devices could use here, by their share in the mix.

        What the published gradient descent counts ("Beware of Fragmentation", USENIX ATC 2023), for these requests
        alone: trying says what a node will hold, not that those who need a whole node find no other.
        """
        known = self._open.get(state)
        if known is None:
            masks = self._masks_of(kind[0])
            known = self._open[state] = sum(
                share * _usable(key, state) for key, share in self._several if key[4] in masks
            )
        return known

    def _allows(self, requests: list[Key], allowed_by: int) -> int:
        """Return the positions whose constraints let them run on a kind of node."""
        masks = self._masks_of(allowed_by)
        return sum(1 << number for number, key in enumerate(requests) if key[4] in masks)

    def _masks_of(self, allowed_by: int) -> frozenset[int]:
        """Return the constraints, as sets of nodes, that allow a kind of node."""
        known = self._allowing.get(allowed_by)
        if known is None:
            found = (mask for number, mask in enumerate(self._masks) if allowed_by >> number & 1)
            known = self._allowing[allowed_by] = frozenset(found)
        return known


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


def _usable(key: Key, state: State) -> int:
    """Return the thousandths of GPUs on devices that a request could use; 0 where it does not fit."""
    cpu, memory, devices, amount, _ = key
    _, free_cpu, free_memory, whole, parts = state
    roomy = parts[bisect_left(parts, amount) :] if amount < MILLI else ()
    if cpu > free_cpu or memory > free_memory or whole + len(roomy) < devices:
        return 0
    return whole * MILLI + sum(roomy)


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
