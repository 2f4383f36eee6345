"""The objects that made a pod: its owner, that one's owner, up to the top.

Objects of kinds that plug-ins know are followed by informers, so that a change
of theirs is seen and a thousand pods of one job cost one request; others are
read one by one and remembered for a while.
"""

import time
from collections.abc import Callable
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.informer import Informer
from runai_core.backends.kubernetes.kinds import Kinds
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import Conflict, Forbidden, NotFound

MAX_DEPTH = 16
"""Owners above a pod; more are taken for a circle."""

READ_SECONDS = 30.0
"""How long an object that is not followed, or may not be read, is remembered."""

Ref = dict[str, Any]


class Owners:
    """Climbs from pods to what made them.

    `changed` is told the uid of an owner whose labels, annotations or specification changed.
    """

    def __init__(self, api: Api, world: World, kinds: Kinds, changed: Callable[[str], None]) -> None:
        self._api = api
        self._world = world
        self._kinds = kinds
        self._told = changed
        self._followed: dict[Resource, Callable[[], None]] = {}  # -> what ends it
        self._read: dict[str, tuple[float, Object | None]] = {}  # uid -> when, and what; None: not for us

    def close(self) -> None:
        """Tell of no more changes."""
        for end in self._followed.values():
            end()
        self._followed.clear()

    async def chain(self, pod: Object) -> tuple[Object, ...]:
        """Return the pod and the objects that made it, the top one last.

        What may not be read ends the climb, as does a kind that the cluster does not know (any more).

        Raises:
            Conflict: an object has several owners and none controls it, or they go in a circle.
            NotFound: an owner is gone; the pod is about to follow it.
        """
        chain = [pod]
        while (ref := controller_of(chain[-1])) is not None:
            if len(chain) > MAX_DEPTH:
                message = f"the owners of {_called(pod)} go in a circle, or are more than {MAX_DEPTH}"
                raise Conflict(f"{message}: mend its ownerReferences")
            owner = await self._owner(ref, pod["metadata"]["namespace"])
            if owner is None:
                break
            chain.append(owner)
        return tuple(chain)

    async def _owner(self, ref: Ref, namespace: str) -> Object | None:
        remembered = self._read.get(ref["uid"])
        if remembered is not None and time.monotonic() - remembered[0] < READ_SECONDS:
            return remembered[1]
        resource = await self._kinds.preferred(ref["apiVersion"], ref["kind"])
        if resource is not None:
            found = self._follow(resource).get(ref["name"], namespace if resource.namespaced else "")
            if found is not None and found["metadata"]["uid"] == ref["uid"]:
                return found
        else:
            resource = await self._kinds.resource(ref["apiVersion"], ref["kind"])
        found = await self._get(resource, ref, namespace) if resource is not None else None
        if found is None or resource not in self._followed:
            self._remember(ref["uid"], found)
        return found

    async def _get(self, resource: Resource, ref: Ref, namespace: str) -> Object | None:
        try:
            found = await self._api.get(resource, ref["name"], namespace if resource.namespaced else "")
        except Forbidden:
            return None
        except NotFound:
            found = {"metadata": {}}
        if found["metadata"].get("uid") != ref["uid"]:
            raise NotFound(f"the owner {ref['kind']} {ref['name']} is gone; its pods are about to follow it")
        found["metadata"].pop("managedFields", None)
        return found

    def _follow(self, resource: Resource) -> Informer:
        informer = self._world.crd(resource)
        if resource not in self._followed:
            self._followed[resource] = informer.on_change(self._changed)
        return informer

    def _changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or not tells_the_same(old, new):
            self._told((new or old or {})["metadata"]["uid"])

    def _remember(self, uid: str, found: Object | None) -> None:
        now = time.monotonic()
        if len(self._read) > 10_000:
            self._read = {key: item for key, item in self._read.items() if now - item[0] < READ_SECONDS}
        self._read[uid] = (now, found)


def controller_of(item: Object) -> Ref | None:
    """Return the reference to the owner that made an object; None where nobody did.

    KAI refuses objects with several owners; here the one that controls counts.

    Raises:
        Conflict: there are several, and none of them, or more than one, controls it.
    """
    refs = item["metadata"].get("ownerReferences") or ()
    if len(refs) <= 1:
        return refs[0] if refs else None
    controllers = [ref for ref in refs if ref.get("controller")]
    if len(controllers) != 1:
        names = ", ".join(f"{ref['kind']} {ref['name']}" for ref in refs)
        raise Conflict(
            f"{_called(item)} has several owners and it is not said which controls it: {names}; mark one as controller"
        )
    return dict(controllers[0])


def tells_the_same(old: Object, new: Object) -> bool:
    """Return whether two states of an object differ in nothing that a pod group is derived from."""
    before, after = old["metadata"], new["metadata"]
    parts = ("uid", "generation", "labels", "annotations", "ownerReferences")
    return all(before.get(part) == after.get(part) for part in parts)


def _called(item: Object) -> str:
    meta = item["metadata"]
    return f"{item.get('kind', 'Pod')} {meta.get('namespace', '')}/{meta['name']}"
