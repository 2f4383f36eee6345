"""A session to which pods come one at a time.

`run_cycle` knows all that waits. A replay of a trace does not: a pod is placed,
or turned away for good, before the next one is drawn. This door opens a
snapshot once and then places pod by pod with the engine's own filters and
strategies, at the cost of one placement each.
"""

from runai_core.engine.cycle import open_cycle
from runai_core.engine.feasibility import NOW, prepare, room
from runai_core.engine.fragmentation import STRATEGY, Packer
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import blocked_by_queue
from runai_core.engine.rules import DEFAULT_RULES, RuleSet
from runai_core.model.snapshot import Snapshot
from runai_core.model.snapshot_check import check_snapshot


class Arrivals:
    """One snapshot whose waiting pods arrive when the caller says so, named by their number in it.

    Not safe for two threads at once.
    """

    def __init__(self, snapshot: Snapshot, rules: RuleSet = DEFAULT_RULES) -> None:
        """Open the snapshot.

        Raises:
            InvalidSnapshot: it contradicts itself.
        """
        check_snapshot(snapshot)
        self.session = open_cycle(snapshot, rules)
        settings = snapshot.settings
        self._packer: Packer | None = None
        if STRATEGY in (settings.gpu_placement, settings.cpu_placement):
            # Without this the strategy would know the mix of those that have not arrived yet.
            self._packer = Packer(self.session)
            self.session.cache[STRATEGY] = self._packer

    def offer(self, pod: int, *, within: int = -1) -> bool:
        """Place a pod on its best node now, of those in the set `within`; return whether it found room and quota."""
        session = self.session
        job = session.pod_job[pod]
        if self._packer is not None:
            self._packer.note(session.pod_class[pod])
        if job is None or (session.quota_on and blocked_by_queue(job, session.pod_class[pod].charge) is not None):
            return False
        return place_job(session, job, [pod], within=within)

    def has_room(self, pod: int, node: int) -> bool:
        """Return whether a node passes all filters for a pod, and has room for it now."""
        kind = self.session.pod_class[pod]
        prepare(self.session, kind)
        return bool(kind.static >> node & 1) and room(self.session, kind, node) == NOW

    def put(self, pod: int, node: int, devices: tuple[str, ...] = ()) -> None:
        """Place a pod where the caller has chosen; the node must have room (see `has_room`)."""
        self.session.place(pod, node, devices)
