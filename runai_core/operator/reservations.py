"""The books of shared devices: each is held exactly as long as a pod uses it.

Level-triggered: a device is looked at whenever a pod of it, or its reservation
pod, changed, and all of them now and then. What a crash between the steps of
`devices.prepare` leaves behind is given back here; a reservation pod that was
lost under its users is made again, and users whose device went to somebody
else meanwhile are evicted rather than left on a device that is not theirs.
"""

import asyncio
import contextlib
import logging

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.devices import (
    ENDED,
    GPU_DEVICES_NOTE,
    JOINED_ANNOTATION,
    NODE_ANNOTATION,
    is_reservation,
    place_of,
    reservation_name,
    reserve,
)
from runai_core.backends.kubernetes.names import GPU_GROUP_LABEL, GPU_GROUP_LABEL_PREFIX, RESERVATION_NAMESPACE
from runai_core.backends.kubernetes.resources import NODES, PODS
from runai_core.backends.kubernetes.sharing import groups_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import Conflict, NotFound
from runai_core.ports import Clock
from runai_core.service.agenda import Agenda

log = logging.getLogger(__name__)

JOIN_SECONDS = 60.0
"""How long a pod that was promised a device may take until it is bound; then the promise is void."""

ROUND_SECONDS = 15.0
"""Seconds between looks at all devices, whatever changed."""

WORKERS = 16
"""Devices that are looked at side by side."""

FIRST_RETRY, LONGEST_RETRY = 2.0, 10.0
"""Seconds until a device that could not be looked at is looked at again; doubled at each failure."""

INDEX = "shared-device"

Device = tuple[str, str]
"""A node, and the scheduler's name of a shared device of it."""


class Reservations:
    """Gives devices back when their last user is gone, and holds those whose reservation was lost."""

    def __init__(self, api: Api, world: World, clock: Clock, *, join_seconds: float = JOIN_SECONDS) -> None:
        self._api = api
        self._world = world
        self._clock = clock
        self._join_seconds = join_seconds
        self._agenda: Agenda[Device] = Agenda(clock, "shared device", first=FIRST_RETRY, longest=LONGEST_RETRY)

    async def run(self) -> None:
        """Work until cancelled."""
        pods = self._world.pods
        await self._world.synced((PODS, NODES))
        pods.index(INDEX, _users_of)
        with contextlib.ExitStack() as until_the_end:  # who leads later hears of changes by itself
            until_the_end.callback(pods.on_change(self._pod_changed))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._go_round())
                tasks.create_task(self._agenda.run(self._keep, workers=WORKERS))

    async def _go_round(self) -> None:
        while True:
            for pod in self._world.pods.all():
                self._pod_changed("", None, pod)
            await self._clock.sleep(ROUND_SECONDS)

    def _pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            for device in _devices_of(pod) if pod is not None else ():
                self._agenda.poke(device)

    async def _keep(self, device: Device) -> None:
        held = self._world.pods.get(reservation_name(*device), RESERVATION_NAMESPACE)
        users = [pod for pod in self._world.pods.find(INDEX, "/".join(device)) if _uses(pod, device)]
        lost = held is None or (held.get("status") or {}).get("phase") in ENDED
        if users and lost and self._world.nodes.get(device[0]) is not None:
            await self._hold_again(device, users)
        elif held is not None and not users and not held["metadata"].get("deletionTimestamp"):
            await self._give_back(device)

    async def _give_back(self, device: Device) -> None:
        """Delete the reservation unless somebody is joining the device at this moment.

        Who joins labels its pod first and marks the reservation then: either we see the pod, or the reservation is
        not as we read it and stays.
        """
        name = reservation_name(*device)
        try:
            held = await self._api.get(PODS, name, RESERVATION_NAMESPACE)
        except NotFound:
            return
        wait = _joined_at(held) + self._join_seconds - self._clock.now()
        for pod in await self._labelled(device[1]):
            if _uses(pod, device):
                return
            if wait > 0 and _waits_for(pod, device):
                self._agenda.after(device, wait)
                return
        meta = held["metadata"]
        try:
            await self._api.delete(
                PODS, name, RESERVATION_NAMESPACE, grace=0, uid=meta["uid"], version=meta["resourceVersion"]
            )
        except Conflict:
            self._agenda.after(device, 0.1)
            return
        log.info("shared device %s of node %s is given back", device[1], device[0])

    async def _labelled(self, group: str) -> list[Object]:
        """Return the pods that name a device, as the server has them now."""
        one, _ = await self._api.list(PODS, labels=f"{GPU_GROUP_LABEL}={group}")
        several, _ = await self._api.list(PODS, labels=f"{GPU_GROUP_LABEL_PREFIX}{group}={group}")
        return [pod for pod in (*one, *several) if not is_reservation(pod)]

    async def _hold_again(self, device: Device, users: list[Object]) -> None:
        """Hold a device whose reservation was lost while pods use it."""
        log.warning("the reservation of device %s of node %s was lost; it is made again", device[1], device[0])
        found = await reserve(self._api, self._world, *device)
        for pod in users:
            expected = _noted(pod).get(device[1])
            if expected is not None and expected != found:
                await self._evict(pod, expected)

    async def _evict(self, pod: Object, expected: str) -> None:
        meta = pod["metadata"]
        log.warning("%s/%s uses %s, which is no longer held: it is evicted", meta["namespace"], meta["name"], expected)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta["name"]}}
        await self._api.post(PODS.path(meta["namespace"], meta["name"], "eviction"), body)


def _devices_of(pod: Object) -> list[Device]:
    """Return the devices that a change of a pod may concern."""
    if is_reservation(pod):
        return [place_of(pod)] if pod["spec"].get("nodeName") else []
    node = _node_of(pod)
    return [(node, group) for group in groups_of(pod)] if node else []


def _users_of(pod: Object) -> list[str]:
    return [] if is_reservation(pod) else ["/".join(device) for device in _devices_of(pod)]


def _node_of(pod: Object) -> str:
    bound = pod["spec"].get("nodeName")
    noted = (pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION)
    return str(bound or noted or "")


def _uses(pod: Object, device: Device) -> bool:
    """Return whether a pod sits on the device: it is bound there and has not ended."""
    ended = (pod.get("status") or {}).get("phase") in ENDED
    return pod["spec"].get("nodeName") == device[0] and device[1] in groups_of(pod) and not ended


def _waits_for(pod: Object, device: Device) -> bool:
    """Return whether a pod was promised the device and is not bound yet."""
    if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return False
    return _node_of(pod) == device[0] and device[1] in groups_of(pod)


def _noted(pod: Object) -> dict[str, str]:
    text = (pod["metadata"].get("annotations") or {}).get(GPU_DEVICES_NOTE, "")
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _joined_at(held: Object) -> float:
    text = (held["metadata"].get("annotations") or {}).get(JOINED_ANNOTATION, "0")
    try:
        return float(text)
    except ValueError:
        return 0.0
