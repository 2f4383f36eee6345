"""Fragmentation gradient descent (FGD), the best published policy: for comparison.

"Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent" (USENIX ATC 2023); the score and the typical pods are those of
its authors' simulator, github.com/hkust-adsl/kubernetes-scheduler-simulator.
Ties decide much: a score is a whole number from 0 to 100, and the first node
with the highest one wins. Of several devices with the same score the fullest
is taken.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import exp

from runai_core.engine import gpu
from runai_core.engine.arrivals import Arrivals
from runai_core.engine.scoring import NodeIndex
from runai_core.model.resources import MILLI
from runai_core.simulation.openb import MODEL_LABEL, TracePod

POPULAR = 95
"""Typical pods are the most frequent kinds that together make up this per cent of the list."""

NOWHERE = 1
"""Key of nodes without room; scores are negated, so that it sorts after all of them."""

State = tuple[str, int, tuple[int, ...]]
"""A node: its GPU model, free millicores, free thousandths of each device, ascending."""

Typical = tuple[int, int, list[int], list[float]]
"""Devices, thousandths of each, millicores ascending, and the share of pods that ask for no more than each."""


class Gradient:
    """The policy in one replay: for each kind of pod the nodes by score."""

    def __init__(self, arrivals: Arrivals, pods: Sequence[TracePod]) -> None:
        self._arrivals = arrivals
        self._models = [node.labels[MODEL_LABEL] for node in arrivals.session.nodes]
        popular = _popular(pods)
        self._typical = {model: _typical(popular, model) for model in sorted(set(self._models))}
        self._indexes: dict[TracePod, NodeIndex] = {}
        self._wasted: dict[State, float] = {}
        self._scores: dict[tuple[TracePod, State], tuple[int, int]] = {}

    def place(self, number: int, pod: TracePod) -> bool:
        """Place a pod on the first node with the highest score that has room; return whether there is one."""
        session = self._arrivals.session
        index = self._indexes.get(pod)
        if index is None:
            index = self._indexes[pod] = NodeIndex(session, self._measure(number, pod), sorted_by_gpus=False)
        if index.cursor != len(session.touched):
            index.repair(session)
        best = index.keys[0]
        if best == NOWHERE:
            return False
        hits = index.buckets[best]
        node = (hits & -hits).bit_length() - 1
        self._arrivals.put(number, node, self._device(pod, node))
        return True

    def _measure(self, number: int, pod: TracePod) -> Callable[[int], int]:
        def measured(node: int) -> int:
            return -self._score(pod, self._state(node))[0] if self._arrivals.has_room(number, node) else NOWHERE

        return measured

    def _state(self, node: int) -> State:
        session = self._arrivals.session
        free = [MILLI - used for used in _used(session.devices[node]).values()]
        return self._models[node], session.later[node][0], tuple(sorted(free) + [MILLI] * session.later[node][2])

    def _device(self, pod: TracePod, node: int) -> tuple[str, ...]:
        """Return the name of the device that a part of one is taken from; a new one where that is still whole."""
        if not pod.request.gpu_portion:
            return ()
        free = self._score(pod, self._state(node))[1]
        used = _used(self._arrivals.session.devices[node])
        shared = (name for name in sorted(used) if MILLI - used[name] == free)
        fresh = next(f"shared-{number}" for number in range(len(used) + 1) if f"shared-{number}" not in used)
        return (next(shared, fresh),)

    def _score(self, pod: TracePod, state: State) -> tuple[int, int]:
        """Return the score, and what the best device has free."""
        known = self._scores.get((pod, state))
        if known is None:
            before, known = self._waste(state), (-1, 0)
            for after, free in _afters(pod, state):
                score = int(100 / (1 + exp((self._waste(after) - before) / MILLI)))
                if score > known[0]:
                    known = (score, free)
            self._scores[pod, state] = known
        return known

    def _waste(self, state: State) -> float:
        """Return the thousandths of GPUs that typical pods could not use, on average."""
        known = self._wasted.get(state)
        if known is None:
            known = self._wasted[state] = _waste(state, self._typical[state[0]])
        return known


def _used(table: gpu.DeviceTable) -> Mapping[str, int]:
    """Return what is used of each shared device, in thousandths (the trace does not tell the devices' memory)."""
    return {name: held for name, (held, _, _) in table.items()}


def _popular(pods: Sequence[TracePod]) -> dict[TracePod, float]:
    """Return the most frequent kinds of pods with their share; CPU and GPUs make a kind, memory does not."""
    counts = Counter((pod.request.cpu, pod.gpu, pod.request.gpu_devices, pod.models) for pod in pods)
    kinds = {(pod.request.cpu, pod.gpu, pod.request.gpu_devices, pod.models): pod for pod in pods}
    enough, found = POPULAR * len(pods) / 100, {}
    reached = 0
    for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if reached >= enough:
            break
        reached += count
        found[kinds[kind]] = count
    return {pod: count / reached for pod, count in found.items()}


def _typical(popular: Mapping[TracePod, float], model: str) -> list[Typical]:
    """Return the typical pods that want GPUs and may run on a model, by their GPUs."""
    by_gpus: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for pod, share in popular.items():
        if pod.gpu and (not pod.models or model in pod.models):
            wanted = (max(pod.request.gpu_devices, 1), pod.request.gpu_portion or MILLI)
            by_gpus.setdefault(wanted, []).append((pod.request.cpu, share))
    table = []
    for (devices, amount), members in sorted(by_gpus.items()):
        members.sort()
        shares = [0.0, *accumulate(share for _, share in members)]
        table.append((devices, amount, [cpu for cpu, _ in members], shares))
    return table


def _waste(state: State, typical: list[Typical]) -> float:
    _, cpu, free = state
    idle = sum(free)
    wasted = float(idle)  # a pod that does not fit, or wants no GPU, can use none of it
    for devices, amount, cpus, shares in typical:
        roomy = [rest for rest in free if rest >= amount]
        if len(roomy) >= devices:
            wasted -= shares[bisect_right(cpus, cpu)] * sum(roomy)
    return wasted


def _afters(pod: TracePod, state: State) -> Iterator[tuple[State, int]]:
    """Yield the node's states with the pod on each device that may take it, and what that device had free."""
    model, cpu, free = state
    left = cpu - pod.request.cpu
    part = pod.request.gpu_portion
    if not part:
        kept = len(free) - pod.request.gpu_devices
        yield (model, left, tuple(sorted(free[:kept] + (0,) * pod.request.gpu_devices))), 0
        return
    for rest in sorted(set(free)):
        if rest >= part:
            others = list(free)
            others.remove(rest)
            yield (model, left, tuple(sorted([*others, rest - part]))), rest
