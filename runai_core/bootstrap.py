"""The only place that joins the rooms: settings in, a running orchestrator out."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from runai_core.backends.local.backend import open_local, open_records
from runai_core.controlplane.backend import NAME as CONTROL_PLANE
from runai_core.controlplane.backend import Door, LinkedJudge, open_tenant
from runai_core.controlplane.joining import facts_of, links_of, stay_linked
from runai_core.controlplane.links import Links
from runai_core.controlplane.projects import tenant_defaults
from runai_core.controlplane.store import store_identity
from runai_core.model.errors import RunaiError, Unavailable
from runai_core.model.nodes import Node
from runai_core.model.revisions import Revision
from runai_core.model.workload import HistoryRecord, Pod, Workload
from runai_core.plugins.manager import load_plugins
from runai_core.plugins.registry import Registry
from runai_core.ports import Backend, TakesSecrets
from runai_core.service.access import AccessService
from runai_core.service.accounts import AccountService
from runai_core.service.assets import AssetService
from runai_core.service.audit import AuditService
from runai_core.service.branding import BrandingService
from runai_core.service.clusters import ClusterService, Own
from runai_core.service.explaining import Judge
from runai_core.service.journal import Journal
from runai_core.service.kinds import KindService
from runai_core.service.limits import LimitsService
from runai_core.service.metrics import MetricsService
from runai_core.service.notifications import NotificationService
from runai_core.service.notifying import Notifier
from runai_core.service.noting import NotingStore
from runai_core.service.organization import OrganizationService
from runai_core.service.own_identity import Identity, load_identity
from runai_core.service.passwords import Passwords
from runai_core.service.policies import PolicyService
from runai_core.service.preferences import PreferenceService
from runai_core.service.private_credentials import PrivateCredentialService
from runai_core.service.prometheus import PrometheusServer, meters_for
from runai_core.service.reconciling import Reconciler
from runai_core.service.reports import ReportService
from runai_core.service.roles import RoleService
from runai_core.service.rules import RuleService
from runai_core.service.sampling import Sampler
from runai_core.service.scheduling import SchedulingService
from runai_core.service.secrets import SecretService, Vault
from runai_core.service.sessions import SessionService
from runai_core.service.sign_in import SignInService
from runai_core.service.sso import SsoService
from runai_core.service.storage import StorageService
from runai_core.service.submissions import Submissions
from runai_core.service.templates import DataVolumeService, TemplateService
from runai_core.service.tenant_settings import TenantSettingsService
from runai_core.service.topologies import TopologyService
from runai_core.service.users import UserService
from runai_core.service.waiting import WaitingService
from runai_core.service.workloads import WorkloadService
from runai_core.settings import ROLES, Settings

log = logging.getLogger(__name__)

PURGE_EVERY = 3600.0
"""Seconds between looks for deleted objects that are old enough to be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    """All services of one running orchestrator."""

    settings: Settings
    backend: Backend
    cluster_id: str
    workloads: WorkloadService
    organization: OrganizationService
    policies: PolicyService
    assets: AssetService
    private_credentials: PrivateCredentialService
    templates: TemplateService
    data_volumes: DataVolumeService
    secrets: SecretService
    access: AccessService
    users: UserService
    accounts: AccountService
    rules: RuleService
    roles: RoleService
    branding: BrandingService
    sso: SsoService
    tenant_settings: TenantSettingsService
    sessions: SessionService
    sign_in: SignInService
    audit: AuditService
    journal: Journal
    scheduling: SchedulingService
    sampler: Sampler
    metrics: MetricsService
    limits: LimitsService
    notifications: NotificationService
    notifier: Notifier
    reports: ReportService
    preferences: PreferenceService
    waiting: WaitingService
    plugins: Registry
    kinds: KindService
    started_at: float
    clusters: ClusterService
    storage: StorageService
    topologies: TopologyService
    links: Links | None = None  # of a control plane: the clusters that are connected to this process

    async def nodes(self) -> tuple[Node, ...]:
        """Return the nodes, for status pages."""
        return tuple(await self.backend.cluster.nodes())


Loop = Callable[["Orchestrator"], Coroutine[Any, Any, None]]
"""Something that runs as long as the orchestrator does, and leads."""


@contextlib.asynccontextmanager
async def open_orchestrator(
    settings: Settings, *, shutdown_pods: bool = False, operator: Loop | None = None
) -> AsyncIterator[Orchestrator]:
    """Start an orchestrator; leaving the context stops it, and its pods only if asked.

    What runs in it is for `settings.role` to say. `operator` runs beside the
    reconciler: what only a Kubernetes cluster needs.

    Raises:
        Unavailable: the data directory or the cluster cannot be used, or another orchestrator uses the directory.
        InvalidRequest: the nodes file is wrong.
    """
    is_cluster = settings.backend != CONTROL_PLANE
    identity = load_identity(settings.data_dir) if is_cluster else None
    door = None if is_cluster else Door()
    async with contextlib.AsyncExitStack() as stack:
        registry = load_plugins(settings.plugins)
        backend = await stack.enter_async_context(_recorded(settings, registry, door, shutdown_pods=shutdown_pods))
        identity = identity or await _stored_identity(backend)
        orchestrator, reconciler = build(settings, backend, identity, registry, door)
        if orchestrator.links is not None:
            stack.push_async_callback(orchestrator.links.close)
        if not is_cluster:
            await tenant_defaults(backend.store)
        if settings.backend == "local":
            await orchestrator.organization.ensure_defaults()
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop) for loop in (_purge(orchestrator), orchestrator.kinds.run())]
            for name in ROLES[settings.role]:
                run = _scheduler if name == "scheduler" else _operator(reconciler, operator)
                loops.append(tasks.create_task(_lead(orchestrator, name, run)))
            if not is_cluster:
                loops.append(tasks.create_task(_lead(orchestrator, CONTROL_PLANE, _tell)))
            try:
                yield orchestrator
            finally:
                for loop in loops:
                    loop.cancel()


def _recorded(
    settings: Settings, registry: Registry, door: Door | None, *, shutdown_pods: bool
) -> AbstractAsyncContextManager[Backend]:
    if door is not None:
        return open_tenant(settings.data_dir, settings.database, door)
    if settings.backend == "kubernetes":
        return _open_kubernetes(settings, registry)
    return open_local(
        data_dir=settings.data_dir,
        database=settings.database,
        nodes_file=settings.nodes_file,
        simulated_gpus=settings.simulated_gpus,
        shutdown_pods=shutdown_pods,
    )


@contextlib.asynccontextmanager
async def _open_kubernetes(settings: Settings, registry: Registry) -> AsyncIterator[Backend]:
    """Open a cluster; what is no object of the cluster (history, accounts, rules) is kept in a database."""
    from runai_core.backends.kubernetes.backend import open_kubernetes

    async with (
        open_records(settings.data_dir, settings.database) as records,
        open_kubernetes(
            kubeconfig=settings.kubeconfig,
            context=settings.kube_context,
            records=records,
            plugins=registry,
            namespace=settings.namespace,
        ) as backend,
    ):
        yield backend


async def _lead(orchestrator: Orchestrator, name: str, run: Loop) -> None:
    """Run a loop whenever this process leads in its name."""
    while True:
        try:
            async with orchestrator.backend.lease.hold(f"runai-{name}"):
                log.info("this process leads as %s", name)
                await run(orchestrator)
        except Unavailable as error:
            log.warning("%s: %s", name, error.message)


async def _scheduler(orchestrator: Orchestrator) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(orchestrator.scheduling.run())
        if "operator" not in ROLES[orchestrator.settings.role]:
            tasks.create_task(_wake(orchestrator))  # elsewhere the reconciler tells the scheduler what changed


async def _wake(orchestrator: Orchestrator) -> None:
    async for change in orchestrator.backend.cluster.changes():
        if change.schedules:
            orchestrator.scheduling.wake()


async def _ensure_defaults(orchestrator: Orchestrator) -> None:
    """Create what a first start needs; a cluster that was installed this moment may not know our kinds yet."""
    while True:
        try:
            await orchestrator.organization.ensure_defaults()
        except RunaiError as error:
            log.warning("the defaults cannot be made yet: %s", error.message)
            await orchestrator.backend.clock.sleep(1.0)
        else:
            return


def _operator(reconciler: Reconciler, also: Loop | None) -> Loop:
    async def run(orchestrator: Orchestrator) -> None:
        if orchestrator.settings.backend == "kubernetes":
            await _ensure_defaults(orchestrator)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reconciler.run())
            tasks.create_task(orchestrator.sampler.run())
            tasks.create_task(orchestrator.limits.run())
            tasks.create_task(orchestrator.notifier.run())
            tasks.create_task(orchestrator.reports.run())
            if also is not None:
                tasks.create_task(also(orchestrator))
            if orchestrator.settings.control_plane_url:
                door = orchestrator
                tasks.create_task(stay_linked(door.settings, door.backend, door.workloads, door.scheduling, reconciler))

    return run


async def _tell(orchestrator: Orchestrator) -> None:
    """Send what a control plane's people subscribed to, and compute their reports."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(orchestrator.notifier.run())
        tasks.create_task(orchestrator.reports.run())


async def _stored_identity(backend: Backend) -> Identity:
    """Return the identity that is kept in the database: all replicas of a control plane have the same one."""
    found = await store_identity(backend.store)
    return Identity(cluster_id=found.meta.uid, signing_key=found.signing_key)


def build(
    settings: Settings, backend: Backend, identity: Identity, registry: Registry, door: Door | None = None
) -> tuple[Orchestrator, Reconciler]:
    """Join the services over an open backend; nothing runs yet."""
    journal = Journal(backend, registry.observers)
    scheduling = SchedulingService(backend, journal, registry.rules)
    reconciler = Reconciler(backend, journal, scheduling, registry)
    store = NotingStore(backend.store)
    recorded, backend = backend, replace(backend, store=store)  # services write where it is noted
    access = AccessService(backend, identity.signing_key, identity.cluster_id)
    store.listen(access.forget)
    clusters = ClusterService(backend, access, None if door else _own(backend, identity, scheduling))
    links = None if door is None else links_of(settings, recorded, identity, clusters, door, access.places.forget)
    judge: Judge = reconciler if links is None else LinkedJudge(links)
    policies = PolicyService(backend, access, registry.policy_rules)
    vault = Vault(settings.secrets_key)
    opened = _secrets(backend, vault)
    workloads = WorkloadService(backend, access, journal, Submissions(backend, policies, opened), judge)
    sampler, prometheus = _sampling(settings, backend, registry)
    return Orchestrator(
        settings=settings,
        backend=recorded,
        cluster_id=identity.cluster_id,
        workloads=workloads,
        organization=OrganizationService(backend, access, scheduling),
        policies=policies,
        **_assets(backend, access, vault),
        secrets=opened,
        access=access,
        **_identities(backend, recorded, access, vault, identity.signing_key),
        journal=journal,
        scheduling=scheduling,
        limits=LimitsService(backend, journal, sampler, reconciler.poke),
        sampler=sampler,
        metrics=MetricsService(backend, access, workloads, sampler, prometheus),
        **_tellers(backend, access, vault),
        plugins=registry,
        kinds=KindService(backend, access, registry.kinds),
        started_at=backend.clock.now(),
        **_linked(backend, access, clusters, links),
    ), reconciler


def _secrets(backend: Backend, vault: Vault) -> SecretService:
    """Return who opens secrets; a cluster that makes pods with them asks it."""
    opened = SecretService(backend.store, vault)
    if isinstance(backend.cluster, TakesSecrets):
        backend.cluster.take_secrets(opened)
    return opened


def _assets(backend: Backend, access: AccessService, vault: Vault) -> dict[str, Any]:
    """Return the services of assets, by their names in `Orchestrator`."""
    assets = AssetService(backend, access, vault)
    return {
        "assets": assets,
        "private_credentials": PrivateCredentialService(backend, assets),
        "templates": TemplateService(backend, access, assets),
        "data_volumes": DataVolumeService(backend, access),
    }


def _identities(
    backend: Backend, recording: Backend, access: AccessService, vault: Vault, signing_key: str
) -> dict[str, Any]:
    """Return the services that know who asks, by their names in `Orchestrator`."""
    passwords = Passwords()
    return {
        "users": UserService(backend, access, passwords),
        "accounts": AccountService(backend, access),
        "rules": RuleService(backend, access),
        "roles": RoleService(backend, access),
        "branding": BrandingService(backend, access),
        "sso": SsoService(backend, access, vault),
        "tenant_settings": TenantSettingsService(backend, access),
        "sessions": SessionService(backend, access, signing_key),
        "sign_in": SignInService(backend, access, passwords),
        "audit": AuditService(recording, access),
        "preferences": PreferenceService(recording.store),  # no change of the organization: not for the audit log
    }


def _own(backend: Backend, identity: Identity, scheduling: SchedulingService) -> Own:
    """Return the one cluster that an orchestrator is, unless it is the control plane of others."""
    since, facts = backend.clock.now(), facts_of(backend)
    return Own(uid=identity.cluster_id, since=since, facts=facts, trouble=lambda: scheduling.trouble)


def _linked(backend: Backend, access: AccessService, clusters: ClusterService, links: Links | None) -> dict[str, Any]:
    """Return the services of clusters and what they have, by their names in `Orchestrator`."""
    return {
        "clusters": clusters,
        "links": links,
        "storage": StorageService(backend, access, clusters),
        "topologies": TopologyService(backend, access, clusters),
    }


def _sampling(settings: Settings, backend: Backend, registry: Registry) -> tuple[Sampler, PrometheusServer | None]:
    """Return who takes samples, and the server that is asked besides."""
    prometheus = PrometheusServer(settings.prometheus_url) if settings.prometheus_url else None
    meters = meters_for(backend.name, prometheus, pretends=settings.nodes_file is not None)
    return Sampler(backend, sources=registry.metric_sources, meters=meters), prometheus


def _tellers(backend: Backend, access: AccessService, vault: Vault) -> dict[str, Any]:
    """Return the services that tell what happened, by their names in `Orchestrator`."""
    notifications = NotificationService(backend, access, vault)
    return {
        "notifications": notifications,
        "notifier": Notifier(backend, notifications),
        "reports": ReportService(backend, access),
        "waiting": WaitingService(backend.store, access),
    }


async def _purge(orchestrator: Orchestrator) -> None:
    while True:
        try:
            await _forget(orchestrator)
        except RunaiError as error:  # a database that is gone comes back: the next look tries again
            log.warning("what is old is not forgotten now: %s", error.message)
        await orchestrator.backend.clock.sleep(PURGE_EVERY)


async def _forget(orchestrator: Orchestrator) -> None:
    backend = orchestrator.backend
    before = backend.clock.now() - orchestrator.settings.deleted_kept_seconds
    for kind in (Workload, Pod, HistoryRecord, Revision):
        await backend.store.purge(kind, before)
    await orchestrator.sessions.forget_expired()
    await orchestrator.sign_in.forget_old()
    await orchestrator.audit.trim()
