"""The pod grouper: every pod with our scheduler's name gets its pod group.

Level-triggered over the informers: whatever changed, a pod is looked at again,
its group is derived anew (`derivation`) and what differs is written. Pods are
looked at side by side; one that cannot be grouped is told why in an event, is
tried again later, and holds up nobody.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import defaultdict
from weakref import WeakValueDictionary

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.events import About, Event, body_of
from runai_core.backends.kubernetes.kinds import Kinds
from runai_core.backends.kubernetes.names import (
    POD_GROUP_ANNOTATION,
    SCHEDULER,
    SYSTEM_NAMESPACE,
    WORKLOAD_UID_LABEL,
)
from runai_core.backends.kubernetes.resources import (
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    POD_GROUPS,
    PODS,
    PRIORITY_CLASSES,
    PROJECTS,
)
from runai_core.backends.kubernetes.tenancy import project_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import AlreadyExists, Conflict, NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.operator.derivation import Grouped, changes, derive, membership, names_alone
from runai_core.operator.owners import Owners, tells_the_same
from runai_core.operator.properties import Facts, KindDefaults, kind_defaults
from runai_core.plugins.registry import Registry
from runai_core.ports import Clock
from runai_core.service.agenda import Agenda

log = logging.getLogger(__name__)

WORKERS = 24
"""Pods that are looked at side by side."""

FIRST_RETRY, LONGEST_RETRY = 0.25, 60.0
"""Seconds until a pod that could not be grouped is tried again; doubled at each failure."""

DEFAULTS_CONFIG_MAP = "runai-workload-kinds"
"""ConfigMap of namespace runai: key ``types`` has the defaults of kinds (KAI's format)."""

DEFAULTS_SECONDS = 30.0
"""Seconds between looks at that ConfigMap."""

REPORTER = "runai-pod-grouper"
WARNING = "PodGrouperWarning"
"""Reason of the event on a pod that cannot be grouped (KAI)."""

ENDED = frozenset({"Succeeded", "Failed"})

Key = tuple[str, str]
"""Namespace and name of a pod."""


class PodGrouper:
    """Keeps the groups of all pods of our scheduler as their owners say."""

    def __init__(self, api: Api, world: World, registry: Registry, clock: Clock, *, scheduler: str = SCHEDULER) -> None:
        self._api = api
        self._world = world
        self._registry = registry
        self._clock = clock
        self._scheduler = scheduler
        self._owners = Owners(api, world, Kinds(api, registry.kinds), self._owner_changed)
        self._agenda: Agenda[Key] = Agenda(clock, "pod", first=FIRST_RETRY, longest=LONGEST_RETRY)
        self._pods_below: defaultdict[str, set[Key]] = defaultdict(set)  # uid of an owner -> pods
        self._above: dict[Key, tuple[str, ...]] = {}
        self._told: dict[Key, str] = {}
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._defaults: dict[tuple[str, str], KindDefaults] = {}

    async def run(self) -> None:
        """Work until cancelled: first all pods that there are, then whatever changes."""
        world = self._world
        await world.synced((PODS, POD_GROUPS, NAMESPACES, PRIORITY_CLASSES, PROJECTS))
        await self._read_defaults()
        world.pods.index(REPORTER, _group_of)
        with contextlib.ExitStack() as until_the_end:  # who leads later hears of changes by itself
            until_the_end.callback(world.pods.on_change(self._pod_changed))
            until_the_end.callback(world.pod_groups.on_change(self._group_changed))
            until_the_end.callback(self._owners.close)
            for pod in world.pods.all():
                self._pod_changed("ADDED", None, pod)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_defaults())
                tasks.create_task(self._agenda.run(self._look, workers=WORKERS))

    # -- what changed

    def _pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._forget(_key(old or {}))
        elif self._is_ours(new) and (old is None or not tells_the_same(old, new)):
            self._agenda.poke(_key(new))

    def _group_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """A group that was deleted, or changed by somebody, is made right by its pods."""
        if kind == "ADDED" or (old is not None and new is not None and _same_spec(old, new)):
            return
        for pod in self._world.pods.find(REPORTER, "/".join(_key(new or old or {}))):
            if self._is_ours(pod):
                self._agenda.poke(_key(pod))
                if new is not None:
                    break

    def _owner_changed(self, uid: str) -> None:
        for key in self._pods_below.get(uid, ()):
            self._agenda.poke(key)

    def _is_ours(self, pod: Object) -> bool:
        """Return whether the grouper is responsible: one of our scheduler's pods, alive, and not of our own making."""
        meta, spec = pod["metadata"], pod.get("spec") or {}
        if spec.get("schedulerName") != self._scheduler or meta.get("deletionTimestamp"):
            return False
        if (pod.get("status") or {}).get("phase") in ENDED:
            return False
        named = (meta.get("annotations") or {}).get(POD_GROUP_ANNOTATION)
        by_hand = not meta.get("ownerReferences") and named not in names_alone(pod)
        launched = (meta.get("labels") or {}).get(WORKLOAD_UID_LABEL)
        return not (named and (launched or by_hand))

    def _forget(self, key: Key) -> None:
        for uid in self._above.pop(key, ()):
            self._pods_below[uid].discard(key)
            if not self._pods_below[uid]:
                del self._pods_below[uid]
        self._agenda.forget(key)
        self._told.pop(key, None)

    # -- the loop

    async def _look(self, key: Key) -> None:
        try:
            await self._group(key)
            self._told.pop(key, None)
        except RunaiError as error:
            await self._retry(key, error)
        except Exception as error:  # whatever is wrong with it, its owner is told
            log.exception("pod %s/%s could not be grouped", *key)
            await self._retry(key, Conflict(f"{type(error).__name__}: {error}"))

    async def _group(self, key: Key) -> None:
        pod = self._world.pods.get(key[1], key[0])
        if pod is None or not self._is_ours(pod):
            return
        chain = await self._owners.chain(pod)
        self._remember(key, chain)
        grouped = derive(chain, self._facts(key[0]))
        await self._ensure(grouped)
        patch = membership(grouped, pod)
        if patch is not None:
            with contextlib.suppress(NotFound):  # it went while we looked
                self._world.pods.note(await self._api.patch(PODS, key[1], patch, key[0]))

    def _remember(self, key: Key, chain: tuple[Object, ...]) -> None:
        uids = tuple(item["metadata"]["uid"] for item in chain[1:])
        if self._above.get(key) != uids:
            for uid in self._above.get(key, ()):
                self._pods_below[uid].discard(key)
            for uid in uids:
                self._pods_below[uid].add(key)
            self._above[key] = uids

    async def _ensure(self, grouped: Grouped) -> None:
        """Make the group exist and be as it should; pods of one group wait for each other here."""
        place = (grouped.namespace, grouped.name)
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        async with lock:
            groups = self._world.pod_groups
            existing = groups.get(grouped.name, grouped.namespace)
            if existing is None:
                try:
                    groups.note(await self._api.create(POD_GROUPS, grouped.body))
                    return
                except AlreadyExists:
                    existing = await self._api.get(POD_GROUPS, grouped.name, grouped.namespace)
            if existing["metadata"].get("deletionTimestamp"):
                raise Unavailable(f"the pod group {grouped.name} is being deleted")
            patch = changes(grouped, existing)
            if patch is not None:
                groups.note(await self._api.patch(POD_GROUPS, grouped.name, patch, grouped.namespace))

    def _facts(self, namespace: str) -> Facts:
        return Facts(
            kinds=self._registry.kinds,
            priority_classes=_Names(self._world),
            project=project_of(self._world, namespace),
            kind_defaults=self._defaults,
        )

    async def _retry(self, key: Key, error: RunaiError) -> None:
        tries = self._agenda.again(key)
        passing = isinstance(error, StaleVersion | NotFound | Unavailable)
        if (passing and tries < 4) or self._told.get(key) == error.message:
            return
        self._told[key] = error.message
        log.warning("pod %s/%s cannot be grouped: %s", *key, error.message)
        await self._warn(key, error.message)

    async def _warn(self, key: Key, message: str) -> None:
        pod = self._world.pods.get(key[1], key[0])
        if pod is None:
            return
        now = self._clock.now()
        event = Event(About.of(pod, "Pod", "v1"), "Warning", WARNING, message, now, now)
        mark = hashlib.sha256(f"{pod['metadata']['uid']}{message}".encode()).hexdigest()[:16]
        body = body_of(event, f"{key[1][:230]}.{mark}", REPORTER)
        try:
            await self._api.create(EVENTS, body)
        except AlreadyExists:
            seen = {"lastTimestamp": body["lastTimestamp"]}
            with contextlib.suppress(RunaiError):
                await self._api.patch(EVENTS, body["metadata"]["name"], seen, key[0])
        except RunaiError as error:
            log.warning("no event could be written about pod %s/%s: %s", *key, error.message)

    # -- defaults of kinds

    async def _follow_defaults(self) -> None:
        while True:
            await asyncio.sleep(DEFAULTS_SECONDS)
            await self._read_defaults()

    async def _read_defaults(self) -> None:
        try:
            found = await self._api.get(CONFIG_MAPS, DEFAULTS_CONFIG_MAP, SYSTEM_NAMESPACE)
            self._defaults = kind_defaults((found.get("data") or {}).get("types", ""))
        except NotFound:
            self._defaults = {}
        except RunaiError as error:
            log.warning("ConfigMap %s/%s: %s", SYSTEM_NAMESPACE, DEFAULTS_CONFIG_MAP, error.message)


class _Names:
    """The priority classes that the cluster has."""

    def __init__(self, world: World) -> None:
        self._classes = world.priority_classes

    def __contains__(self, name: object) -> bool:
        return self._classes.get(str(name)) is not None


def _group_of(pod: Object) -> tuple[str, ...]:
    meta = pod["metadata"]
    name = (meta.get("annotations") or {}).get(POD_GROUP_ANNOTATION)
    return (f"{meta['namespace']}/{name}",) if name else ()


def _same_spec(old: Object, new: Object) -> bool:
    return tells_the_same(old, new) and old.get("spec") == new.get("spec")


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]
