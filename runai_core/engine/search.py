"""A search for victims: who wants in, who may be asked, and what the searchers share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from runai_core.engine import gpu
from runai_core.engine.entities import GPU, PLACED, PROMISED, RUNNING, Job, QueueNode
from runai_core.engine.session import Session
from runai_core.model.resources import MILLI

TAKEN_FROM = (RUNNING, PLACED, PROMISED)
"""States in which a pod has something to give; places of this very cycle are withdrawn, not evicted."""

Unit = tuple[int, ...]
"""Pods that are evicted together: one surplus pod of an elastic gang, or the whole rest of a gang."""


@dataclass(slots=True)
class Search:
    """One pod group that wants in, and the rules of the action that helps it."""

    session: Session
    job: Job
    pods: list[int]  # that must be placed
    ask: tuple[int, int, int]  # what they cost the queue
    leaves: list[QueueNode]  # queues whose work may be taken
    eligible: Callable[[Job], bool]
    protected: Callable[[Job], bool]  # gangs of which only surplus may be taken
    valid: Callable[["Search", list[int]], bool]  # judges the pods that lose their place
    takeable: Callable[["Search", QueueNode], bool]  # may this queue lose anything at all
    most_victims: int | None = None  # pod groups that one solution may touch
    rivals: list[Job] = field(default_factory=list)  # of the same queue, served before it, and still waiting
    evicted: list[int] = field(default_factory=list)  # the answer: pods evicted, moved ones included
    attempts: int = 0  # simulations so far


def take_away(session: Session, pod: int) -> None:
    """Evict a pod that runs, or withdraw a place of this cycle."""
    if session.pod_state[pod] == RUNNING:
        session.evict(pod)
    else:
        session.withdraw(pod)


def first_differing(one: QueueNode, other: QueueNode) -> tuple[QueueNode, QueueNode]:
    """Return the ancestors, or the leaves themselves, at which two leaves part."""
    mine, theirs = one.path[::-1], other.path[::-1]
    for left, right in zip(mine, theirs, strict=False):
        if left is not right:
            return left, right
    return one, other


class FreeGpus:
    """The GPUs that are free once everybody has left, summed once and repaired from the session's log."""

    __slots__ = ("cursor", "nodes", "total")

    def __init__(self, session: Session) -> None:
        self.nodes = [_free_on(session, node) for node in range(len(session.nodes))]
        self.total = sum(self.nodes)
        self.cursor = len(session.touched)

    def repair(self, session: Session) -> None:
        """Take in the nodes that were touched since the last use."""
        for node in session.touched[self.cursor :]:
            free = _free_on(session, node)
            self.total += free - self.nodes[node]
            self.nodes[node] = free
        self.cursor = len(session.touched)


def free_gpus(session: Session) -> int:
    """Return the thousandths of GPUs, parts of shared ones included, that are free once everybody has left."""
    known = session.cache.get("free gpus")
    if not isinstance(known, FreeGpus):
        known = session.cache["free gpus"] = FreeGpus(session)
    known.repair(session)
    return known.total


def _free_on(session: Session, node: int) -> int:
    free = session.later[node][GPU] * MILLI
    table = session.devices[node]
    if table:
        size = gpu.capacity(session.nodes[node].gpu_memory_mib)
        for used, _, _ in gpu.joinable(table, size, 0):
            free += (size - used) * MILLI // size
    return free
