"""Replay of the openb trace: how much of the GPUs a policy can give away before nothing fits any more."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from runai_core.engine.arrivals import Arrivals
from runai_core.model.nodes import PlacementStrategy
from runai_core.model.resources import MILLI
from runai_core.simulation.best_fit import BestFit
from runai_core.simulation.gradient import Gradient
from runai_core.simulation.openb import Trace, TracePod, draw, snapshot_of

Place = Callable[[int, TracePod], bool]
"""Places the pod of a number, or says that it does not fit."""

Policy = Callable[[Arrivals, Trace, int], Place]
"""Makes the placing function of one replay from the opened cluster, the trace and the seed."""

GUESSES = 64
"""Nodes that the random policy tries before it looks at all of them."""

STEP = 250
"""Pods between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What one replay came to. Amounts in thousandths of a GPU."""

    seed: int
    capacity: int
    arrived: int  # pods
    requested: int
    allocated: int
    allocated_at_full: int  # when requests reached the cluster's GPUs
    dropped: int  # pods that did not fit

    @property
    def allocated_percent(self) -> float:
        """Share of the cluster's GPUs in use at the end, in per cent."""
        return 100 * self.allocated / self.capacity

    @property
    def allocated_percent_at_full(self) -> float:
        """The same when requests had reached the cluster's GPUs."""
        return 100 * self.allocated_at_full / self.capacity

    @property
    def idle_gpus(self) -> float:
        """GPUs that nobody has at the end."""
        return (self.capacity - self.allocated) / MILLI


def _strategy(arrivals: Arrivals, _trace: Trace, _seed: int) -> Place:
    """Let the engine choose by the strategy that the snapshot names."""
    return lambda number, _pod: arrivals.offer(number)


def _random(arrivals: Arrivals, _trace: Trace, seed: int) -> Place:
    """Choose any node with room, each as likely as the others."""
    random = Random(seed + 1)  # noqa: S311 - a replay that can be repeated, no secret
    count = len(arrivals.session.nodes)

    def place(number: int, _pod: TracePod) -> bool:
        for _ in range(GUESSES):
            node = random.randrange(count)
            if arrivals.has_room(number, node):
                return arrivals.offer(number, within=1 << node)
        roomy = [node for node in range(count) if arrivals.has_room(number, node)]
        return bool(roomy) and arrivals.offer(number, within=1 << random.choice(roomy))

    return place


def _gradient(arrivals: Arrivals, trace: Trace, _seed: int) -> Place:
    return Gradient(arrivals, trace.pods).place


def _best_fit(arrivals: Arrivals, _trace: Trace, _seed: int) -> Place:
    return BestFit(arrivals).place


POLICIES: Mapping[str, tuple[Policy, str]] = {
    "fragmentation": (_strategy, PlacementStrategy.FRAGMENTATION),
    "binpack": (_strategy, PlacementStrategy.BINPACK),
    "spread": (_strategy, PlacementStrategy.SPREAD),
    "fgd": (_gradient, PlacementStrategy.BINPACK),
    "bestfit": (_best_fit, PlacementStrategy.BINPACK),
    "random": (_random, PlacementStrategy.BINPACK),
}
"""Name -> how a node is chosen, and the strategy of the node pool (also over the devices of a node)."""


def replay(trace: Trace, policy: str, arrival: float, seed: int) -> Iterator[float | Packed]:
    """Replay one seed: yield how much is done, from 0 to 1, every now and then, and last the outcome."""
    drawn = draw(trace, arrival, seed)
    make, strategy = POLICIES[policy]
    arrivals = Arrivals(snapshot_of(trace, drawn, strategy))
    place = make(arrivals, trace, seed)
    capacity, wanted = trace.capacity, arrival * trace.capacity
    requested = allocated = at_full = dropped = 0
    for number, pod in enumerate(drawn):
        requested += pod.gpu
        if place(number, pod):
            allocated += pod.gpu
        else:
            dropped += 1
        if requested <= capacity:
            at_full = allocated
        if number % STEP == 0:
            yield min(requested / wanted, 1.0)
    yield Packed(seed, capacity, len(drawn), requested, allocated, at_full, dropped)
