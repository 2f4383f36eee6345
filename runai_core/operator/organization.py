"""Keeps the cluster as departments, projects and node pools say.

Level-triggered: whatever changed, all is computed anew from what there is and
compared; only differences are written. A project that cannot be carried out
says so in its status and holds up no other. What was made for a project that
is gone goes, except its namespace: there may be people's data in it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.nodes import pool_of
from runai_core.backends.kubernetes.codec.organization import department_of, project_of
from runai_core.backends.kubernetes.names import MANAGED_BY, MANAGED_BY_LABEL, NODE_POOL_LABELS, QUEUE_LABELS
from runai_core.backends.kubernetes.resources import (
    DEPARTMENTS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    PROJECTS,
    QUEUES,
    ROLE_BINDINGS,
    Resource,
)
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import NotFound, RunaiError, Unavailable
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.organization import AccessRule, Project
from runai_core.operator.status import node_pool_status, queue_use, unit_status
from runai_core.operator.wanted import (
    DEPARTMENT_LABEL,
    PROJECT_LABEL,
    Units,
    WantedQueues,
    bindings_of,
    includes,
    namespace_of,
    node_label,
    own_binding,
    place_of,
    queue_label,
    queues_of,
)

log = logging.getLogger(__name__)

Object = dict[str, Any]
T = TypeVar("T")

FOLLOWED = (PROJECTS, DEPARTMENTS, NODE_POOLS, NAMESPACES, NODES, QUEUES, ROLE_BINDINGS)

PAUSE = 0.1
"""Seconds for which changes are gathered."""

STATUS_PAUSE = 3.0
"""Seconds after which a change of use alone, not of what is wanted, is shown."""

AGAIN = 1.0
"""Seconds until what failed as a whole is tried again: the API server starts anew, say, and nothing else changes."""

RESYNC = 60.0
"""Seconds after which all is compared even if nothing was seen to change."""

Rules = Callable[[], Awaitable[Sequence[AccessRule] | None]]
"""Gives the access rules; None while they cannot be read: rights that were given then stay."""


@dataclass(slots=True)
class _Read:
    """What could be read of the units, and what is wrong with the rest."""

    units: Units
    problems: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name)


class Organization:
    """Namespaces, queues, role bindings and node labels of one cluster.

    `rules` gives the access rules, `operator` is the name by which the cluster
    knows us: to us, too, secrets are opened in the namespaces of projects only.
    """

    def __init__(self, api: Api, world: World, rules: Rules, *, operator: str = "", again: float = AGAIN) -> None:
        self._api = api
        self._world = world
        self._rules = rules
        self._operator = operator
        self._again = again
        self._changed = asyncio.Event()
        self._soon = asyncio.Event()

    async def run(self) -> None:
        """Keep everything as it should be until cancelled."""
        await self._world.synced(FOLLOWED)
        with contextlib.ExitStack() as until_the_end:  # who leads later hears of changes by itself
            for resource in FOLLOWED:
                until_the_end.callback(self._world.crd(resource).on_change(self._note))
            while True:
                self._changed.clear()
                self._soon.clear()
                await self._wait(RESYNC if await self._is_done() else self._again)

    def wake(self) -> None:
        """Compare soon: something that is no object of the cluster has changed."""
        self._changed.set()

    def _note(self, _type: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _said(old) != _said(new):
            self._changed.set()
        elif old.get("kind") == QUEUES.kind and old.get("status") != new.get("status"):
            self._soon.set()

    async def _is_done(self) -> bool:
        try:
            await self.reconcile()
        except RunaiError as error:
            log.warning("projects and queues cannot be compared now: %s", error.message)
        except Exception:  # the top of a loop: it must go on
            log.exception("projects and queues could not be compared")
        else:
            return True
        return False

    async def _wait(self, seconds: float) -> None:
        waits = [
            asyncio.create_task(self._changed.wait()),
            asyncio.create_task(_after(self._soon, STATUS_PAUSE)),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.sleep(PAUSE)

    async def reconcile(self) -> None:
        """Compare all that there is with all that should be, once, and write the differences."""
        read = self._read()
        rules = await self._rules()
        queues = queues_of(read.units)
        await self._apply_queues(queues)
        await self._label_nodes(read.units.pools)
        spaces = {}
        for project in read.units.projects:
            spaces[project.name], problem = await self._space(project, rules)
            if problem:
                read.problems[PROJECTS.kind, project.name] = problem
        await self._forget(read, spaces)
        await self._tell(read, queues, spaces)

    def _read(self) -> _Read:
        problems: dict[tuple[str, str], str] = {}

        def all_of(resource: Resource, reader: Callable[[Object], T]) -> list[T]:
            found = []
            for item in sorted(self._world.crd(resource).all(), key=lambda one: str(one["metadata"]["name"])):
                if item["metadata"].get("deletionTimestamp"):
                    continue
                try:
                    found.append(reader(item))
                except (RunaiError, KeyError, TypeError, ValueError) as error:
                    problems[resource.kind, item["metadata"]["name"]] = str(error)
            return found

        pools = all_of(NODE_POOLS, pool_of)
        if not any(pool.name == DEFAULT_NODE_POOL for pool in pools):
            pools.append(pool_of({"metadata": {"name": DEFAULT_NODE_POOL}}))
        units = Units(all_of(DEPARTMENTS, department_of), all_of(PROJECTS, project_of), pools)
        return _Read(units, problems)

    # -- queues

    async def _apply_queues(self, wanted: WantedQueues) -> None:
        informer = self._world.crd(QUEUES)
        # Parents first: a queue without its parent does not exist for the scheduler.
        for name, item in wanted.queues.items():
            present = informer.get(name)
            if present is not None and not _ours(present):
                key = next(iter(_owner_of(item)))
                wanted.problems[key] = f"queue {name} was made by somebody else: delete it, or rename the project"
            elif present is None or not includes(present, item) or _left_over(present, item):
                await self._try(f"queue {name}", self._api.apply(QUEUES, item), note=QUEUES)

    async def _forget(self, read: _Read, spaces: Mapping[str, str]) -> None:
        """Remove the queues and rights of units that are gone, and take their namespaces out of the game.

        Nothing goes while something cannot be read: what looks gone might only be that.
        """
        kinds = (PROJECTS, DEPARTMENTS, NODE_POOLS)
        if read.problems or any(self._world.crd(kind).absent or self._world.crd(kind).trouble for kind in kinds):
            return
        wanted = queues_of(read.units).queues
        for item in list(self._world.queues.all()):
            name = item["metadata"]["name"]
            if _ours(item) and _owner_of(item) and name not in wanted:
                await self._try(f"queue {name}", self._api.delete(QUEUES, name))
        projects = {project.name for project in read.units.projects}
        for space in list(self._world.namespaces.all()):
            meta, label = space["metadata"], queue_label(space)
            if label and label not in projects and _ours(space):
                body = {"metadata": {"labels": dict.fromkeys(QUEUE_LABELS)}}
                await self._try(f"namespace {meta['name']}", self._api.patch(NAMESPACES, meta["name"], body))
        for binding in list(self._world.role_bindings.all()):
            meta = binding["metadata"]
            if _ours(binding) and meta["namespace"] not in spaces.values():
                work = self._api.delete(ROLE_BINDINGS, meta["name"], meta["namespace"])
                await self._try(f"role binding in {meta['namespace']}", work)

    # -- nodes

    async def _label_nodes(self, pools: Iterable[NodePool]) -> None:
        known = tuple(pools)
        for node in list(self._world.nodes.all()):
            label = node_label(node, known)
            if label is not None:
                body = {"metadata": {"labels": {NODE_POOL_LABELS[0]: label or None}}}
                name = node["metadata"]["name"]
                await self._try(f"node {name}", self._api.patch(NODES, name, body))

    # -- projects

    async def _space(self, project: Project, rules: Sequence[AccessRule] | None) -> tuple[str, str]:
        """Make the project's namespace right; return its name, and what went wrong."""
        informer = self._world.namespaces
        placed = place_of(project, informer.all())
        if placed.problem:
            return "", placed.problem
        present = informer.get(placed.namespace)
        wanted = namespace_of(project, placed, present)
        if wanted is not None and (
            problem := await self._try(
                f"namespace {placed.namespace}", self._api.apply(NAMESPACES, wanted), note=NAMESPACES
            )
        ):
            return "", problem
        return placed.namespace, await self._bind(project, placed.namespace, rules)

    async def _bind(self, project: Project, namespace: str, rules: Sequence[AccessRule] | None) -> str:
        """Make the role bindings of a project's namespace right; return what went wrong."""
        bindings = bindings_of(project, namespace, rules or ())
        if self._operator:
            bindings.append(own_binding(namespace, self._operator))
        for binding in bindings:
            name = binding["metadata"]["name"]
            if not includes(self._world.role_bindings.get(name, namespace), binding):
                work = self._api.apply(ROLE_BINDINGS, binding)
                if problem := await self._try(f"role binding {name} in {namespace}", work, note=ROLE_BINDINGS):
                    return problem
        if rules is not None:
            await self._forget_bindings(namespace, {binding["metadata"]["name"] for binding in bindings})
        return ""

    async def _forget_bindings(self, namespace: str, wanted: set[str]) -> None:
        for binding in list(self._world.role_bindings.all()):
            meta = binding["metadata"]
            if meta.get("namespace") == namespace and _ours(binding) and meta["name"] not in wanted:
                await self._try(
                    f"role binding {meta['name']}", self._api.delete(ROLE_BINDINGS, meta["name"], namespace)
                )

    # -- status

    async def _tell(self, read: _Read, queues: WantedQueues, spaces: Mapping[str, str]) -> None:
        use = queue_use(self._world.queues.all())
        for resource, label in ((PROJECTS, PROJECT_LABEL), (DEPARTMENTS, DEPARTMENT_LABEL)):
            for item in list(self._world.crd(resource).all()):
                name = item["metadata"]["name"]
                own = [one for one, body in queues.queues.items() if body["metadata"]["labels"].get(label) == name]
                status = unit_status(
                    item,
                    problem=read.problems.get((resource.kind, name)) or queues.problems.get((label, name), ""),
                    namespace=spaces.get(name, "") if resource is PROJECTS else "",
                    queues=own,
                    use=[use[one] for one in own if one in use],
                )
                await self._write_status(resource, item, status)
        nodes = list(self._world.nodes.all())
        for item in list(self._world.node_pools.all()):
            problem = read.problems.get((NODE_POOLS.kind, item["metadata"]["name"]), "")
            status = node_pool_status(item, read.units.pools, nodes, problem)
            await self._write_status(NODE_POOLS, item, status)

    async def _write_status(self, resource: Resource, item: Object, status: Object) -> None:
        if includes(item.get("status") or {}, status):
            return
        name = item["metadata"]["name"]
        await self._try(
            f"status of {resource.kind} {name}",
            self._api.patch(resource, name, {"status": status}, sub="status"),
            note=resource,
        )

    async def _try(self, what: str, work: Awaitable[Any], note: Resource | None = None) -> str:
        """Do one thing; return what went wrong, for a status."""
        try:
            answer = await work
        except NotFound:
            return ""  # it went meanwhile: the next look sees it
        except Unavailable:
            raise  # nothing can be done now
        except RunaiError as error:
            log.warning("%s: %s", what, error.message)
            return f"{what}: {error.message}"
        if note is not None and isinstance(answer, dict):
            self._world.crd(note).note(answer)
        return ""


async def _after(event: asyncio.Event, seconds: float) -> None:
    await event.wait()
    await asyncio.sleep(seconds)


def _said(item: Object) -> tuple[Any, ...]:
    """Return the part of an object that somebody decides on, not the part that reports."""
    meta = item["metadata"]
    return (
        item.get("spec") if item.get("kind") != "Node" else None,
        meta.get("labels"),
        meta.get("deletionTimestamp"),
        item.get("subjects"),
        item.get("roleRef"),
    )


def _ours(item: Mapping[str, Any]) -> bool:
    labels = item["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY_LABEL) == MANAGED_BY and "app.kubernetes.io/part-of" not in labels


def _owner_of(queue: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels = queue["metadata"].get("labels") or {}
    return [(name, str(labels[name])) for name in (PROJECT_LABEL, DEPARTMENT_LABEL) if labels.get(name)]


def _left_over(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a queue has a parent that it should not have: including what is wanted is not enough then."""
    return bool((present.get("spec") or {}).get("parentQueue")) and "parentQueue" not in wanted["spec"]
