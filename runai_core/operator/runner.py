"""What a cluster needs besides the scheduler: loops of whoever leads, and doors of every replica."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.backends.kubernetes.lease import KubernetesLease
from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.backends.kubernetes.resources import PROJECTS
from runai_core.backends.kubernetes.store import KubernetesStore
from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.model.errors import NotFound, RunaiError, Unavailable
from runai_core.model.nodes import NodePool
from runai_core.model.organization import AccessRule, Department, Project, Scope
from runai_core.model.roles import CustomRole
from runai_core.model.workload import Pod, Workload
from runai_core.operator.admission import Admission, Judges
from runai_core.operator.adoption import Adoption
from runai_core.operator.credentials import Credentials
from runai_core.operator.grouping import PodGrouper
from runai_core.operator.news import told
from runai_core.operator.organization import Organization
from runai_core.operator.prerequisites import Looking
from runai_core.operator.reservations import Reservations
from runai_core.operator.serving import Certified, probes, serving, webhooks
from runai_core.operator.shared import share
from runai_core.operator.trust import Trust, settled
from runai_core.operator.wanted import queue_of_unit
from runai_core.ports import Query
from runai_core.service.exposition import Family, with_older_names
from runai_core.service.families import Seen, cluster_families, cycle_families, leader_family
from runai_core.service.places import Places
from runai_core.service.submissions import Submissions
from runai_core.service.use_families import use_families
from runai_core.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Where a replica listens. Port 0 is a free one, None is none."""

    health_host: str = "127.0.0.1"
    health_port: int = 8081
    webhook_host: str = "127.0.0.1"
    webhook_port: int | None = 9443
    namespace: str = SYSTEM_NAMESPACE


@dataclass(frozen=True, slots=True)
class Opened:
    """The ports that are listened on."""

    health: int
    webhook: int | None


# -- loops


async def operate(orchestrator: Orchestrator) -> None:
    """Take up workloads; keep projects, queues, pod groups and shared GPUs right, while this process leads."""
    cluster = cluster_of(orchestrator)
    api, world = cluster.api, cluster.world

    async def rules() -> Sequence[AccessRule] | None:
        return await _access_rules(orchestrator)

    store, clock = orchestrator.backend.store, orchestrator.backend.clock
    organization = Organization(api, world, rules, operator=await api.who_am_i())
    credentials = Credentials(api, world, store, orchestrator.secrets, clock)
    adoption = Adoption(
        world,
        cast("KubernetesStore", orchestrator.backend.store),
        submissions=Submissions(orchestrator.backend, orchestrator.policies),
        workloads=orchestrator.workloads,
        journal=orchestrator.journal,
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(organization.run(), name="organization")
        tasks.create_task(told(store, AccessRule, lambda _: organization.wake(), clock), name="access rules")
        tasks.create_task(told(store, CustomRole, lambda _: organization.wake(), clock), name="roles")
        tasks.create_task(credentials.run(), name="credentials")
        tasks.create_task(PodGrouper(api, world, orchestrator.plugins, clock).run(), name="pod grouper")
        tasks.create_task(Reservations(api, world, clock).run(), name="reservations")
        tasks.create_task(adoption.run(), name="adoption")
        tasks.create_task(Looking(api, lambda: world.nodes, store).run(), name="prerequisites")


def cluster_of(orchestrator: Orchestrator) -> KubernetesCluster:
    """Return the cluster of an orchestrator whose backend is Kubernetes."""
    return cast("KubernetesCluster", orchestrator.backend.cluster)


async def _access_rules(orchestrator: Orchestrator) -> Sequence[AccessRule] | None:
    """Return the rules as the cluster knows units and roles, by name; None while they cannot be read."""
    try:
        found = (await orchestrator.backend.store.list(AccessRule, Query())).items
        return [await _in_cluster(orchestrator.access.places, rule) for rule in found]
    except RunaiError as error:
        log.warning("access rules cannot be read now, rights stay as they are: %s", error.message)
        return None


async def _in_cluster(places: Places, rule: AccessRule) -> AccessRule:
    """Return a rule with its unit by name instead of id, and with the role of the program that it is in a cluster."""
    unit, role = await places.normal(Scope(rule.scope_type, rule.scope)), await places.role(rule.role)
    if role is not None:
        rule = replace(rule, role=role.cluster_role if role.enabled else "")
    return replace(rule, scope=unit.name)


# -- the process


@contextlib.asynccontextmanager
async def open_operator(settings: Settings, doors: Doors) -> AsyncIterator[Opened]:
    """Run the operator while the context is open; every replica answers webhooks and probes, one leads.

    Raises:
        Unavailable: we are not installed on the cluster, a port is taken, or the cluster cannot be reached.
    """
    async with contextlib.AsyncExitStack() as stack:
        await _prepare(settings, doors.namespace)
        orchestrator = await stack.enter_async_context(open_orchestrator(settings, operator=operate))
        certified = Certified()
        opened = await _open_webhooks(stack, orchestrator, doors, certified)

        async def trouble() -> str:
            if doors.webhook_port is not None and not certified.loaded:
                return "there is no certificate for the webhooks yet"
            return await _trouble(orchestrator)

        async def measure() -> Iterable[Family]:
            return await families(orchestrator)

        health = await stack.enter_async_context(
            serving(probes(trouble, measure), doors.health_host, doors.health_port)
        )
        yield Opened(health, opened)


async def _open_webhooks(
    stack: contextlib.AsyncExitStack, orchestrator: Orchestrator, doors: Doors, certified: Certified
) -> int | None:
    if doors.webhook_port is None:
        return None
    cluster, backend = cluster_of(orchestrator), orchestrator.backend
    judges = Judges(
        submissions=Submissions(backend, orchestrator.policies),
        policies=orchestrator.policies,
        organization=orchestrator.organization,
    )
    trust = Trust(cluster.api, backend.clock, doors.namespace, certified.load)
    await settled(trust)
    task = asyncio.create_task(trust.run(), name="certificates")
    stack.push_async_callback(_ended, task)
    app = webhooks(Admission(cluster.world, judges))
    return await stack.enter_async_context(serving(app, doors.webhook_host, doors.webhook_port, secure=certified))


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _trouble(orchestrator: Orchestrator) -> str:
    """Return why the process cannot work now; a replica that waits for the lease is fine."""
    try:
        await orchestrator.backend.store.version()
    except RunaiError as error:
        return error.message
    return cluster_of(orchestrator).world.trouble


async def families(orchestrator: Orchestrator) -> list[Family]:
    """Return the metrics of a replica; those of the cluster only while it leads, so that none is counted twice."""
    backend = orchestrator.backend
    leads = backend.lease.leads if isinstance(backend.lease, KubernetesLease) else set()
    seen = Seen(cluster_id=orchestrator.cluster_id, now=backend.clock.now(), reports=orchestrator.scheduling.reports)
    found = [leader_family(leads), *cycle_families(seen)]
    if "runai-operator" not in leads:
        return found
    seen = await _seen(orchestrator)
    whole = [*cluster_families(seen), *use_families(seen)]
    return [*found, *(with_older_names(whole) if orchestrator.settings.older_metric_names else whole)]


async def _seen(orchestrator: Orchestrator) -> Seen:
    backend = orchestrator.backend
    store = backend.store
    return Seen(
        cluster_id=orchestrator.cluster_id,
        now=backend.clock.now(),
        nodes=await backend.cluster.nodes(),
        pools=(await store.list(NodePool, Query())).items,
        departments=(await store.list(Department, Query())).items,
        projects=(await store.list(Project, Query())).items,
        workloads=(await store.list(Workload, Query())).items,
        pods=(await store.list(Pod, Query())).items,
        reports=orchestrator.scheduling.reports,
        newest=orchestrator.sampler.newest,
        queue_of=queue_of_unit,
    )


# -- the first start


async def _prepare(settings: Settings, namespace: str) -> None:
    """Make sure that we are installed, and share identity and keys with the API server's replicas."""
    async with connect(settings.kubeconfig, settings.kube_context) as api:
        try:
            await api.list(PROJECTS)
        except NotFound:
            raise Unavailable(
                f"runai is not installed on the cluster at {api.server}: run `runai admin install` first"
            ) from None
        await share(api, settings, namespace)
