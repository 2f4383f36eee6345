"""What a cluster needs for our work and lacks now: kinds, rights, drivers of its GPUs.

Each is looked for by itself: what cannot be found out is not reported.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.resources import Resource
from runai_core.controlplane.store import the_only
from runai_core.model.clusters import ClusterCondition, Prerequisites
from runai_core.model.errors import NotFound, RunaiError
from runai_core.operator.install.crds import DEFINITIONS
from runai_core.operator.install.rbac import OPERATOR, Right
from runai_core.ports import Store

log = logging.getLogger(__name__)

LOOK_EVERY = 15.0
"""Seconds between looks."""

RIGHTS_EVERY = 40
"""Looks after which we ask for our rights again: that takes hundreds of questions."""

NVIDIA_NODE = ("nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present")
"""Labels of nodes with devices of NVIDIA: of its own feature discovery, and of the general one."""

NVIDIA_GPU = "nvidia.com/gpu"

NAMED = 5
"""Things that a message names before it counts."""


class Asked(Protocol):
    """What is asked of the API server; `Api` is one."""

    async def raw(self, path: str) -> Object:
        """Return the JSON at a path."""

    async def can_i(self, verb: str, resource: Resource, *, name: str = "", sub: str = "") -> bool:
        """Return whether we have a right."""


class Looking:
    """Keeps what is known of a cluster's prerequisites current."""

    def __init__(self, api: Asked, nodes: Callable[[], Iterable[Object]], store: Store) -> None:
        self._api = api
        self._nodes = nodes
        self._store = store
        self._looks: dict[str, tuple[Callable[[], Awaitable[str]], int]] = {
            "custom resource definitions": (self.kinds, 1),
            "rights": (self.rights, RIGHTS_EVERY),
            "GPU drivers": (self.drivers, 1),
        }
        self._looked = 0
        self._found: dict[str, str] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except RunaiError as error:
                log.warning("what is missing in the cluster cannot be noted: %s", error.message)
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Find out what is missing now, and note it where it has changed. Raise Unavailable, StaleVersion."""
        for name, (look, every) in self._looks.items():
            if self._looked % every and name in self._found:
                continue
            try:
                self._found[name] = await look()
            except RunaiError as error:  # the cluster does not answer, or not to us: that is told elsewhere
                log.debug("%s cannot be looked for: %s", name, error.message)
        self._looked += 1
        missing = tuple(
            ClusterCondition(type="prerequisite", name=name, message=message)
            for name, message in self._found.items()
            if message
        )
        kept = await the_only(self._store, Prerequisites())
        if kept.missing != missing:
            await self._store.update(replace(kept, missing=missing))

    async def kinds(self) -> str:
        """Return which of our kinds the cluster does not serve; empty: none."""
        wanted = [definition.resource for definition in DEFINITIONS]
        lacking = []
        for group, version in dict.fromkeys((item.group, item.version) for item in wanted):
            served = await self._served(group, version)
            here = (item for item in wanted if (item.group, item.version) == (group, version))
            lacking += [item.full_name for item in here if item.plural not in served]
        return f"{_listed(lacking)} not there: run `runai admin install`" if lacking else ""

    async def rights(self) -> str:
        """Return which rights we lack; empty: none."""
        lacking: list[str] = []
        for right in OPERATOR:
            lacking += [f"{verb} {name}" for verb, name in _wanted(right) if not await self._may(verb, right, name)]
        return f"we may not {_listed(lacking)}: run `runai admin install`" if lacking else ""

    async def drivers(self) -> str:
        """Return on which nodes GPUs of NVIDIA cannot be used; empty: none."""
        lacking = [node["metadata"]["name"] for node in self._nodes() if _is_without_driver(node)]
        if not lacking:
            return ""
        return f"{_listed(lacking)} have GPUs that Kubernetes does not offer: install NVIDIA's GPU operator there"

    async def _served(self, group: str, version: str) -> set[str]:
        try:
            answer = await self._api.raw(f"/apis/{group}/{version}")
        except NotFound:
            return set()
        return {str(item["name"]) for item in answer.get("resources") or ()}

    async def _may(self, verb: str, right: Right, name: str) -> bool:
        plural, _, sub = name.partition("/")
        resource = Resource(right.group, "", plural, "")
        named = right.names or ("",)
        return all([await self._api.can_i(verb, resource, name=item, sub=sub) for item in named])


def _wanted(right: Right) -> Iterable[tuple[str, str]]:
    return ((verb, name) for name in right.resources for verb in right.verbs)


def _is_without_driver(node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    offered = str(((node.get("status") or {}).get("allocatable") or {}).get(NVIDIA_GPU, "0"))
    return any(labels.get(name) == "true" for name in NVIDIA_NODE) and not offered.strip("0")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
