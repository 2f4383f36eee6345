"""How the ports of workloads are connected to: which pod listens, remembered a moment."""

from collections.abc import Iterable
from dataclasses import dataclass

from runai_core.model.errors import Conflict, FieldError, InvalidRequest, Unsupported
from runai_core.model.organization import Actor
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod
from runai_core.ports import Backend, Connect, ReachesPods
from runai_core.service.workloads import WorkloadService

REMEMBERED = 5.0
"""Seconds for which a look at rights and ways is good: a tool's page is many requests."""

MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """One port of one workload."""

    uid: str
    port: int

    @property
    def purpose(self) -> str:
        """What a ticket for it is called."""
        return f"tool {self.uid} {self.port}"


class Ways:
    """Finds the ways to the ports of workloads."""

    def __init__(self, backend: Backend, workloads: WorkloadService) -> None:
        self._clock = backend.clock
        self._runtime = backend.runtime
        self._workloads = workloads
        self._known: dict[tuple[Place, str], tuple[float, Connect]] = {}

    async def to(self, actor: Actor, place: Place, pod: str = "") -> Connect:
        """Return the way to the port in a pod of the workload: that of this name, or the first that listens there.

        Raises:
            Conflict: no such pod runs, or none listens there. Unsupported: this backend cannot reach pods.
            Unavailable: the cluster of the workload cannot be asked.
        """
        now = self._clock.now()
        if (known := self._known.get((place, pod))) is not None and 0.0 <= now - known[0] < REMEMBERED:
            return known[1]
        if not isinstance(self._runtime, ReachesPods):
            raise Unsupported("pods cannot be reached from here")
        for found in _running(await self._workloads.pods(actor, place.uid)):
            if pod in ("", found.name) and (way := await self._runtime.reach(found, place.port)):
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[place, pod] = (now, way)
                return way
        whose = f"pod {pod[:253]}" if pod else "no running pod"
        verb = "does not run, or does not listen" if pod else "listens"
        raise Conflict(f"{whose} of the workload {verb} on port {place.port} now: its log may say why")


def parse_place(port: str, uid: str) -> Place:
    """Return the place of a port and a workload's id; raise InvalidRequest where it cannot be one."""
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        raise InvalidRequest.of(FieldError("port", "must be from 1 to 65535", port[:20]))
    return Place(uid, int(port))


def _running(pods: Iterable[Pod]) -> list[Pod]:
    found = [pod for pod in pods if pod.status.state is PodState.RUNNING]
    return sorted(found, key=lambda pod: (-pod.attempt, pod.spec.rank, pod.name))
