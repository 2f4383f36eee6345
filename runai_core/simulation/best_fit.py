"""Best fit as the paper behind the openb trace compares with it: the node on which least is left over.

What is left of CPU and GPUs, each as a part of the largest machine, counts
half. As in the authors' simulator, github.com/hkust-adsl/kubernetes-scheduler-simulator,
a score is a whole number from 0 to 100, the first node with the highest one
wins, and of a node's devices the fullest that fits is taken.
"""

from collections.abc import Callable

from runai_core.engine.arrivals import Arrivals
from runai_core.engine.scoring import NodeIndex
from runai_core.model.resources import MILLI
from runai_core.simulation.openb import TracePod

LARGEST_CPU, LARGEST_GPU = 128_000, 8 * MILLI
"""The largest machine, in thousandths; the authors' constants."""

NOWHERE = 1
"""Key of nodes without room; scores are negated, so that it sorts after all of them."""


class BestFit:
    """The policy in one replay: for each kind of pod the nodes by score."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._indexes: dict[TracePod, NodeIndex] = {}

    def place(self, number: int, pod: TracePod) -> bool:
        """Place a pod on the first node with the highest score that has room; return whether there is one."""
        session = self._arrivals.session
        index = self._indexes.get(pod)
        if index is None:
            index = self._indexes[pod] = NodeIndex(session, self._measure(number, pod), sorted_by_gpus=False)
        if index.cursor != len(session.touched):
            index.repair(session)
        best = index.keys[0]
        hits = index.buckets[best]
        return best != NOWHERE and self._arrivals.offer(number, within=hits & -hits)

    def _measure(self, number: int, pod: TracePod) -> Callable[[int], int]:
        session = self._arrivals.session

        def measured(node: int) -> int:
            if not self._arrivals.has_room(number, node):
                return NOWHERE
            row = session.later[node]
            gpu = row[2] * MILLI + sum(MILLI - held for held, _, _ in session.devices[node].values())
            return -score(row[0] - pod.request.cpu, gpu - pod.gpu)

        return measured


def score(cpu_left: int, gpu_left: int) -> int:
    """Return 0 to 100: the more, the less of a node is left over."""
    return int((1.0 - 0.5 * cpu_left / LARGEST_CPU - 0.5 * gpu_left / LARGEST_GPU) * 100)
