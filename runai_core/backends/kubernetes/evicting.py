"""Evictions through the API that keeps disruption budgets, with the reason on the pod."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.conditions import stated
from runai_core.backends.kubernetes.codec.values import key_of
from runai_core.backends.kubernetes.events import About, Recorder
from runai_core.backends.kubernetes.resources import POD_GROUPS, PODS
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.under_way import UnderWay
from runai_core.backends.kubernetes.world import World
from runai_core.model.decision import Evict, Outcome
from runai_core.model.errors import Conflict, NotFound, RunaiError, Unavailable
from runai_core.ports import Clock

log = logging.getLogger(__name__)

AT_ONCE = 16
TRIES = 4

SPARED_SECONDS = 30.0
"""How long a group is no victim after a disruption budget refused: others are looked for meanwhile."""

REASON = "PreemptionByScheduler"
"""Reason of the condition DisruptionTarget (Kubernetes)."""

BLOCKED = "EvictionBlocked"
EVICTED = "Evict"


class Evictor:
    """Evicts pods in the background."""

    def __init__(
        self,
        api: Api,
        world: World,
        snapshots: Snapshots,
        recorder: Recorder,
        clock: Clock,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._api = api
        self._world = world
        self._snapshots = snapshots
        self._recorder = recorder
        self._clock = clock
        self._wake = wake
        self._free = asyncio.Semaphore(AT_ONCE)
        self.under_way = UnderWay()
        self.evicted: dict[str, int] = {}  # by action, for metrics
        self.refused = 0

    def evict(self, evictions: Sequence[Evict]) -> Mapping[str, Outcome]:
        """Begin to carry out evictions; return what is known of each at once."""
        outcomes: dict[str, Outcome] = {}
        for eviction in evictions:
            pod = self._world.pods.named(eviction.pod)
            if pod is None:
                outcomes[eviction.pod] = Outcome.GONE
            elif not pod["spec"].get("nodeName") or eviction.pod in self._snapshots:
                outcomes[eviction.pod] = Outcome.STALE  # not placed (yet), or leaving already
            else:
                outcomes[eviction.pod] = Outcome.APPLIED
                self._snapshots.assume_leaving(eviction.pod, pod["metadata"]["uid"])
                self.under_way.start(self._evict(pod, eviction))
        self._tell_groups(evictions, outcomes)
        return outcomes

    async def take_back(self, pod: Object, why: str) -> None:
        """Delete a pod that was bound in vain, whatever budgets say: its work has not begun."""
        meta = pod["metadata"]
        try:
            await self._mark(pod, why)
            await self._api.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        except RunaiError as error:
            log.warning("pod %s/%s could not be taken back: %s", meta["namespace"], meta["name"], error.message)
            self._snapshots.forget(key_of(pod))

    async def _evict(self, pod: Object, eviction: Evict) -> None:
        error = ""
        for attempt in range(1, TRIES + 1):
            async with self._free:
                error = await self._try(pod, eviction)
            if error != AGAIN:
                break
            await asyncio.sleep(0.05 * 2**attempt)
        if not error:
            self.evicted[eviction.action] = self.evicted.get(eviction.action, 0) + 1
            self._recorder.tell(About.of(pod, "Pod", "v1"), "Evicted", _text(eviction), warning=True)
            return
        self.refused += 1
        text = f"stays on {eviction.node} for now: {error}"
        self._recorder.tell(About.of(pod, "Pod", "v1"), BLOCKED, text, warning=True)
        self._snapshots.spare(eviction.pod_group, self._clock.now() + SPARED_SECONDS)
        self._snapshots.forget(eviction.pod)
        self._wake()
        asyncio.get_running_loop().call_later(SPARED_SECONDS, self._wake)

    async def _try(self, pod: Object, eviction: Evict) -> str:
        """Ask once; return why it was refused, or nothing."""
        meta = pod["metadata"]
        try:
            version = await self._mark(pod, _text(eviction))
            await self._api.post(PODS.path(meta["namespace"], meta["name"], "eviction"), _body(meta, version))
        except NotFound:
            return ""
        except Unavailable as error:
            return error.message if error.details.get("status") else AGAIN
        except Conflict:
            return AGAIN  # it changed in between, or is another pod of the same name
        except RunaiError as error:
            return error.message
        return ""

    async def _mark(self, pod: Object, message: str) -> str:
        """Write on the pod why it has to go; return its version."""
        meta = pod["metadata"]
        now = self._clock.now()
        condition = stated(pod, "DisruptionTarget", "True", reason=REASON, message=message, now=now)
        body = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [condition]}}
        changed = await self._api.patch(PODS, meta["name"], body, meta["namespace"], sub="status", kind="strategic")
        return str(changed["metadata"]["resourceVersion"])

    def _tell_groups(self, evictions: Sequence[Evict], outcomes: Mapping[str, Outcome]) -> None:
        """Tell each pod group once of its evicted pods (KAI: event `Evict`)."""
        counts: dict[str, list[Evict]] = {}
        for eviction in evictions:
            if outcomes[eviction.pod] is Outcome.APPLIED:
                counts.setdefault(eviction.pod_group, []).append(eviction)
        for group, mine in counts.items():
            item = self._world.pod_groups.named(group)
            if item is not None:
                about = About.of(item, POD_GROUPS.kind, POD_GROUPS.api_version)
                count = f"{len(mine)} pod{'s' if len(mine) > 1 else ''}"
                self._recorder.tell(about, EVICTED, f"{_text(mine[0])} ({count})", warning=True)


AGAIN = "it changes all the time"


def _text(eviction: Evict) -> str:
    return eviction.message or f"evicted by {eviction.action} for {eviction.for_group or 'others'}"


def _body(meta: Mapping[str, str], version: str) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        # With the version, the condition that we wrote is kept as it is.
        "deleteOptions": {"preconditions": {"uid": meta["uid"], "resourceVersion": version}},
    }
