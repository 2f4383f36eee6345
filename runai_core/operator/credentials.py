"""Keeps the secrets in the namespaces of projects as their credentials are.

A launch makes the secrets that its workload names. From then on they follow:
a credential that is changed changes them, one that is deleted, or no longer
meant for the project, takes them along.
"""

import asyncio
import logging

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.secrets import follow
from runai_core.backends.kubernetes.tenancy import namespace_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.assets import CREDENTIALS, Asset
from runai_core.model.errors import Forbidden, NotFound, RunaiError
from runai_core.model.organization import Project
from runai_core.operator.news import told
from runai_core.ports import Clock, Query, Secrets, Store

log = logging.getLogger(__name__)

RESYNC = 300.0
"""Seconds after which all are compared even if no credential changed."""

AGAIN = 10.0
"""Seconds until what went wrong is tried again."""

BINDING = 30.0
"""Seconds that a new namespace has until the binding is there that gives us our right in it."""


class Credentials:
    """The secrets of one cluster that we made."""

    def __init__(self, api: Api, world: World, store: Store, secrets: Secrets, clock: Clock) -> None:
        self._api = api
        self._world = world
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._changed = asyncio.Event()
        self._refused: dict[str, float] = {}  # namespace -> since when we have had no right there

    async def run(self) -> None:
        """Keep them as they should be until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(told(self._store, Asset, self._note, self._clock))
            tasks.create_task(self._keep())

    def _note(self, asset: Asset | None) -> None:
        if asset is None or asset.kind in CREDENTIALS:
            self._changed.set()

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            whole = await self.reconcile()
            try:
                async with asyncio.timeout(RESYNC if whole else AGAIN):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> bool:
        """Compare all of them with their credentials, once; return whether all could be."""
        try:
            projects = (await self._store.list(Project, Query())).items
        except RunaiError as error:
            log.warning("secrets are not compared with their credentials now: %s", error.message)
            return False
        return all([await self._one(project.name) for project in projects])

    async def _one(self, project: str) -> bool:
        namespace = namespace_of(self._world, project)
        try:
            await follow(self._api, self._secrets, project, namespace)
        except NotFound:
            return True  # the namespace is not there, or went meanwhile
        except Forbidden as error:
            now = self._clock.now()
            if now - self._refused.setdefault(namespace, now) > BINDING:
                log.warning("secrets in %s: %s", namespace, error.message)
            return False
        except RunaiError as error:
            log.warning("secrets in %s: %s", namespace, error.message)
            return False
        self._refused.pop(namespace, None)
        return True
