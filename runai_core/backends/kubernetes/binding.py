"""Carrying decisions out: pods are bound, several at a time, while the next cycle is computed already.

A decision is *assumed* in the snapshots at once and written in the background.
A gang is bound whole: what it needs is prepared for all of its pods first, and
if a binding fails that it cannot do without, those of its pods that were bound
are taken back and the gang waits for another cycle.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.pods import state_of
from runai_core.backends.kubernetes.events import About, Recorder
from runai_core.backends.kubernetes.gangs import lacks
from runai_core.backends.kubernetes.preparing import Preparer, needs_more
from runai_core.backends.kubernetes.resources import PODS
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.under_way import UnderWay
from runai_core.backends.kubernetes.world import World
from runai_core.model.decision import Bind, Outcome
from runai_core.model.errors import Conflict, NotFound, RunaiError, Unavailable
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState

log = logging.getLogger(__name__)

AT_ONCE = 48
"""Bindings that are written at a time: the API server's ceiling is reached with about 32."""

TRIES = 4
"""Attempts of one binding when the server cannot be reached or has trouble; then the pod waits for another cycle."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds that a group waits after a failed binding, doubled each time: another group may have the room meanwhile."""

SETTLE = 0.5
"""Seconds after the last binding of several after which a cycle sees them all."""

FAILED = "BindingError"
RELEASED = "GangReleased"
BOUND = "Scheduled"


@dataclass(slots=True)
class Order:
    """One pod's binding and the pod as it was when it was decided."""

    bind: Bind
    pod: Object

    @property
    def uid(self) -> str:
        """The pod's uid: a pod of the same name that came after it is another."""
        return str(self.pod["metadata"].get("uid", ""))


@dataclass(slots=True)
class Figures:
    """What was done since the start, for metrics."""

    bound: int = 0
    failed: int = 0
    released: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=1000))  # from decision to answer


class Binder:
    """Binds pods in the background."""

    def __init__(
        self,
        api: Api,
        world: World,
        snapshots: Snapshots,
        recorder: Recorder,
        *,
        wake: Callable[[], None],
        take_back: Callable[[Object, str], Coroutine[None, None, None]],
    ) -> None:
        self.figures = Figures()
        self._api = api
        self._world = world
        self._snapshots = snapshots
        self._recorder = recorder
        self._preparer = Preparer(api, world, snapshots.storage)
        self._wake = wake
        self._take_back = take_back
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waits: dict[str, float] = {}  # group -> seconds that it waited after its newest failure
        self.under_way = UnderWay()  # pods

    @property
    def pending(self) -> int:
        """How many pods are being bound."""
        return self.under_way.count

    # -- what is asked

    def bind(self, binds: Sequence[Bind]) -> Mapping[str, Outcome]:
        """Begin to carry out bindings; return what is known of each at once."""
        outcomes: dict[str, Outcome] = {}
        gangs: dict[str, list[Order]] = {}
        for bind in binds:
            pod = self._world.pods.named(bind.pod)
            outcomes[bind.pod] = _outcome(pod)
            if pod is not None and outcomes[bind.pod] is Outcome.APPLIED and bind.pod not in self._snapshots:
                gangs.setdefault(bind.pod_group, []).append(Order(bind, pod))
            elif outcomes[bind.pod] is Outcome.APPLIED:
                outcomes[bind.pod] = Outcome.STALE  # under way since an earlier cycle
        for group, orders in gangs.items():
            self._begin(group, orders)
        return outcomes

    # -- one gang

    def _begin(self, group: str, orders: list[Order]) -> None:
        for order in orders:
            self._snapshots.assume(order.bind.pod, order.uid, order.bind.node, order.bind.gpu_groups)
        self.under_way.start(self._carry_out(group, orders), len(orders))

    async def _carry_out(self, group: str, orders: list[Order]) -> None:
        started = asyncio.get_running_loop().time()
        try:
            await self._bind_gang(group, orders)
        except Exception:  # whatever it was, the pods must not stay assumed
            log.exception("binding %s failed", group)
            self._forget(orders)
            self._wake()
        finally:
            self.figures.seconds.append(asyncio.get_running_loop().time() - started)
            if self.pending == len(orders):  # the others are done, and these are now
                asyncio.get_running_loop().call_later(SETTLE, self._settled)

    def _settled(self) -> None:
        """Let one more cycle say what queues hold now: our own bindings wake nobody."""
        if self.pending == 0:
            self._wake()

    async def _bind_gang(self, group: str, orders: list[Order]) -> None:
        wanting = [order for order in orders if needs_more(order.pod, order.bind)]
        if wanting:
            errors = await asyncio.gather(*(self._prepare(order) for order in wanting))
            if any(errors) and self._needs_all(group, [o for o, e in zip(wanting, errors, strict=True) if e]):
                await self._undo(wanting)
                self._fail(group, orders, next(error for error in errors if error))
                return
            failed = {id(order) for order, error in zip(wanting, errors, strict=True) if error}
            self._forget([order for order in wanting if id(order) in failed])
            orders = [order for order in orders if id(order) not in failed]
        if len(orders) == 1:  # the usual case of many single pods
            error = await self._bind_one(orders[0])
            if error:
                await self._undo(orders)
                self._fail(group, orders, error)
            else:
                self._waits.pop(group, None)
            return
        await self._bind_together(group, orders)

    async def _bind_together(self, group: str, orders: list[Order]) -> None:
        stop = asyncio.Event()

        async def bind(order: Order) -> str:
            error = await self._bind_one(order, stop)
            if error and self._needs_all(group, [order]):
                stop.set()
            return error

        errors = dict(zip(map(id, orders), await asyncio.gather(*map(bind, orders)), strict=True))
        lost = [order for order in orders if errors[id(order)]]
        if not lost:
            self._waits.pop(group, None)
            return
        first = next(error for error in errors.values() if error and error is not SKIPPED)
        await self._undo(lost)
        self._forget([order for order in lost if errors[id(order)] is SKIPPED])
        self._fail(group, [order for order in lost if errors[id(order)] is not SKIPPED], first)
        if self._needs_all(group, lost):
            await self._release([order for order in orders if not errors[id(order)]], first)

    def _needs_all(self, group: str, lost: Sequence[Order]) -> bool:
        """Return whether a group has too few pods with a place when it loses these."""
        known, gang = self._snapshots.group(group), self._snapshots.gangs.find(group)
        if known is None or gang is None:
            return False
        names = {order.bind.pod for order in lost}
        placed = [
            entry.sub_group
            for name, entry in gang.entries.items()
            if name not in names and (entry.state in HOLDS_RESOURCES or name in self._snapshots)
        ]
        return bool(lost) and lacks(known, placed)

    async def _release(self, orders: Sequence[Order], why: str) -> None:
        """Take bound pods of a gang back that cannot start without the others."""
        if not orders:
            return
        self.figures.released += len(orders)
        text = f"its gang could not be bound as a whole: {why}"
        for order in orders:
            self._recorder.tell(_about(order.pod), RELEASED, f"taken back, {text}", warning=True)
            self._snapshots.assume_leaving(order.bind.pod, order.uid)
        await asyncio.gather(*(self._take_back(order.pod, text) for order in orders))

    def _fail(self, group: str, orders: Sequence[Order], why: str) -> None:
        """Let pods wait for another cycle, for a while."""
        self.figures.failed += len(orders)
        self._forget(orders)
        for order in orders[:1]:
            self._recorder.tell(
                _about(order.pod), FAILED, f"could not be bound to {order.bind.node}: {why}", warning=True
            )
        if why in (GONE, STALE):
            self._wake()
            return
        log.warning("%s could not be bound: %s", group, why)
        seconds = min(self._waits.get(group, FIRST_WAIT / 2) * 2, LONGEST_WAIT)
        self._waits[group] = seconds
        names = [order.bind.pod for order in orders]
        for name in names:
            self._snapshots.hold(name)
        asyncio.get_running_loop().call_later(seconds, self._again, names)

    def _again(self, pods: Sequence[str]) -> None:
        for name in pods:
            self._snapshots.forget(name)
        self._wake()

    def _forget(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self._snapshots.forget(order.bind.pod)

    # -- one pod

    async def _prepare(self, order: Order) -> str:
        try:
            await self._preparer.prepare(order.pod, order.bind)
        except RunaiError as error:
            self._recorder.tell(_about(order.pod), FAILED, error.message, warning=True)
            return error.message
        return ""

    async def _undo(self, orders: Sequence[Order]) -> None:
        wanting = [order for order in orders if needs_more(order.pod, order.bind)]
        await asyncio.gather(*(self._preparer.undo(order.pod, order.bind) for order in wanting))

    async def _bind_one(self, order: Order, stop: asyncio.Event | None = None) -> str:
        """Bind a pod; return why it failed, or nothing."""
        for attempt in range(1, TRIES + 1):
            async with self._free:
                if stop is not None and stop.is_set():
                    return SKIPPED
                error = await self._post(order)
            if error != AGAIN:
                break
            await asyncio.sleep(0.1 * 2**attempt)
        if not error:
            self.figures.bound += 1
            text = f"Successfully assigned {order.bind.pod} to {order.bind.node}"
            self._recorder.tell(_about(order.pod), BOUND, text)
        return error if error != AGAIN else "the API server cannot be reached"

    async def _post(self, order: Order) -> str:
        namespace, _, name = order.bind.pod.partition("/")
        body: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": order.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": order.bind.node},
        }
        try:
            await self._api.post(PODS.path(namespace, name, "binding"), body)
        except NotFound:
            return GONE
        except (Conflict, Unavailable) as error:
            return await self._look(order, error)
        except RunaiError as error:
            return error.message
        return ""

    async def _look(self, order: Order, error: RunaiError) -> str:
        """Find out what became of a binding whose answer was lost, or that somebody else did first."""
        namespace, _, name = order.bind.pod.partition("/")
        try:
            pod = await self._api.get(PODS, name, namespace)
        except NotFound:
            return GONE
        except Unavailable:
            return AGAIN
        if pod["metadata"].get("uid") != order.uid:
            return GONE
        if pod["spec"].get("nodeName") == order.bind.node:
            return ""
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return STALE
        return AGAIN if isinstance(error, Unavailable) else error.message


GONE = "the pod is gone"
STALE = "the pod was bound or deleted by somebody else"
AGAIN = "again"
SKIPPED = "another pod of its gang failed"


def _outcome(pod: Object | None) -> Outcome:
    if pod is None:
        return Outcome.GONE
    return Outcome.APPLIED if state_of(pod) is PodState.PENDING else Outcome.STALE


def _about(pod: Object) -> About:
    return About.of(pod, "Pod", "v1")
