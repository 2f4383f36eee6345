"""The only place that joins the rooms: settings in, a running orchestrator out."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runai_core import __version__
from runai_core.backends.local.backend import open_local, open_records
from runai_core.controlplane.backend import NAME as CONTROL_PLANE
from runai_core.controlplane.backend import Door, LinkedJudge, open_tenant
from runai_core.controlplane.links import Links
from runai_core.controlplane.projects import tenant_defaults
from runai_core.controlplane.store import TenantStore, store_identity
from runai_core.model.clusters import ClusterFacts
from runai_core.model.errors import RunaiError, Unavailable
from runai_core.model.nodes import Node
from runai_core.model.workload import HistoryRecord, Pod, Workload
from runai_core.plugins.manager import load_plugins
from runai_core.plugins.registry import Registry
from runai_core.ports import Backend, TakesSecrets
from runai_core.service.access import AccessService, Credentials
from runai_core.service.accounts import AccountService
from runai_core.service.assets import AssetService
from runai_core.service.audit import AuditService
from runai_core.service.clusters import ClusterService, Own
from runai_core.service.journal import Journal
from runai_core.service.limits import LimitsService
from runai_core.service.meters import Meter, NvmlMeter, ProcessMeter, SimulatedMeter, nvml_module
from runai_core.service.metrics import MetricsService
from runai_core.service.notifications import NotificationService
from runai_core.service.notifying import Notifier
from runai_core.service.noting import Listener, NotingStore
from runai_core.service.organization import OrganizationService
from runai_core.service.passwords import Passwords
from runai_core.service.policies import PolicyService
from runai_core.service.prometheus import PrometheusMeter, PrometheusServer
from runai_core.service.reconciling import Reconciler
from runai_core.service.reports import ReportService
from runai_core.service.rules import RuleService
from runai_core.service.sampling import Sampler
from runai_core.service.scheduling import SchedulingService
from runai_core.service.secrets import SecretService, Vault
from runai_core.service.sessions import SessionService
from runai_core.service.sign_in import SignInService
from runai_core.service.sso import SsoService
from runai_core.service.submissions import Submissions
from runai_core.service.templates import DataVolumeService, TemplateService
from runai_core.service.users import UserService
from runai_core.service.workloads import Judge, WorkloadService
from runai_core.settings import ROLES, Settings

log = logging.getLogger(__name__)

PURGE_EVERY = 3600.0
"""Seconds between looks for deleted objects that are old enough to be forgotten."""

IDENTITY_FILE = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes this orchestrator itself: drawn at the first start, kept in the data directory, mode 0600."""

    cluster_id: str
    signing_key: str


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
    templates: TemplateService
    data_volumes: DataVolumeService
    secrets: SecretService
    access: AccessService
    users: UserService
    accounts: AccountService
    rules: RuleService
    sso: SsoService
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
    plugins: Registry
    started_at: float
    clusters: ClusterService
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
        backend = await stack.enter_async_context(_open_backend(settings, registry, door, shutdown_pods=shutdown_pods))
        identity = identity or await _stored_identity(backend)
        orchestrator, reconciler = build(settings, backend, identity, registry, door)
        if not is_cluster:
            await tenant_defaults(backend.store)
        if settings.backend == "local":
            await orchestrator.organization.ensure_defaults()
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(_purge(orchestrator))]
            for name in ROLES[settings.role]:
                run = _scheduler if name == "scheduler" else _operator(reconciler, operator)
                loops.append(tasks.create_task(_lead(orchestrator, name, run)))
            try:
                yield orchestrator
            finally:
                for loop in loops:
                    loop.cancel()


def _open_backend(
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
            kubeconfig=settings.kubeconfig, context=settings.kube_context, records=records, plugins=registry
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
                tasks.create_task(_agent(orchestrator, reconciler))

    return run


async def _agent(orchestrator: Orchestrator, reconciler: Reconciler) -> None:
    """Keep this cluster linked to its control plane."""
    from runai_core.controlplane.agent import Agent, Upward
    from runai_core.controlplane.site import Site

    settings = orchestrator.settings
    site = Site(
        backend=orchestrator.backend,
        workloads=orchestrator.workloads,
        scheduling=orchestrator.scheduling,
        reconciler=reconciler,
        facts=_facts(orchestrator.backend),
        data_dir=settings.data_dir,
    )
    upward = Upward(
        url=settings.control_plane_url, token_file=settings.join_token_file, ca_file=settings.control_plane_ca
    )
    await Agent(site, upward).run()


def _facts(backend: Backend) -> ClusterFacts:
    platform = "vanilla" if backend.name == "kubernetes" else "embedded"
    return ClusterFacts(version=__version__, platform=platform, kubernetes_version=backend.facts.get("Kubernetes", ""))


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
    open_backend, backend = backend, replace(backend, store=store)  # services write where it is noted
    access = AccessService(backend, identity.signing_key, identity.cluster_id)
    store.listen(access.places.forget)
    judge: Judge = reconciler
    links: Links | None = None
    own = Own(uid=identity.cluster_id, since=backend.clock.now(), facts=_facts(backend))
    clusters = ClusterService(backend, access, own if door is None else None)
    if door is not None:
        links = _links(open_backend, clusters, identity, door, access.places.forget)
        judge = LinkedJudge(links)
    policies = PolicyService(backend, access, registry.policy_rules)
    vault = Vault(settings.secrets_key)
    opened = SecretService(backend.store, vault)
    if isinstance(backend.cluster, TakesSecrets):
        backend.cluster.take_secrets(opened)
    assets = AssetService(backend, access, vault)
    workloads = WorkloadService(backend, access, journal, Submissions(backend, policies, opened), judge)
    prometheus = PrometheusServer(settings.prometheus_url) if settings.prometheus_url else None
    sampler = Sampler(backend, sources=registry.metric_sources, meters=_meters(settings, backend, prometheus))
    notifications = NotificationService(backend, access, vault)
    orchestrator = Orchestrator(
        settings=settings,
        backend=open_backend,
        cluster_id=identity.cluster_id,
        workloads=workloads,
        organization=OrganizationService(backend, access, scheduling),
        policies=policies,
        assets=assets,
        templates=TemplateService(backend, access, assets),
        data_volumes=DataVolumeService(backend, access),
        secrets=opened,
        access=access,
        **_identities(backend, open_backend, access, vault, identity.signing_key),
        journal=journal,
        scheduling=scheduling,
        sampler=sampler,
        metrics=MetricsService(backend, access, workloads, sampler, prometheus),
        limits=LimitsService(backend, journal, sampler, reconciler.poke),
        notifications=notifications,
        notifier=Notifier(backend, notifications),
        reports=ReportService(backend, access),
        plugins=registry,
        started_at=backend.clock.now(),
        clusters=clusters,
        links=links,
    )
    return orchestrator, reconciler


def _identities(
    backend: Backend, recording: Backend, access: AccessService, vault: Vault, signing_key: str
) -> dict[str, Any]:
    """Return the services that know who asks, by their names in `Orchestrator`."""
    passwords = Passwords()
    return {
        "users": UserService(backend, access, passwords),
        "accounts": AccountService(backend, access),
        "rules": RuleService(backend, access),
        "sso": SsoService(backend, access, vault),
        "sessions": SessionService(backend, access, signing_key),
        "sign_in": SignInService(backend, access, passwords),
        "audit": AuditService(recording, access),
    }


def _meters(settings: Settings, backend: Backend, prometheus: PrometheusServer | None) -> tuple[Meter, ...]:
    """Return who measures: on this machine its processes and GPUs, elsewhere Prometheus where one is configured."""
    found: list[Meter] = []
    if backend.name == "local":
        found += [ProcessMeter(is_node=settings.nodes_file is None), SimulatedMeter()]
        nvml = nvml_module()
        found += [] if nvml is None or settings.nodes_file is not None else [NvmlMeter(nvml)]
    return (*found, *([] if prometheus is None else [PrometheusMeter(prometheus)]))


def _links(backend: Backend, clusters: ClusterService, identity: Identity, door: Door, wrote: Listener) -> Links:
    """Return the links of a control plane, which is open to its clusters from now on."""
    if not isinstance(backend.store, TenantStore):
        raise TypeError("only a control plane has clusters that connect to it")
    links = Links(backend.store, clusters, backend.clock, identity.cluster_id, wrote=wrote)
    door.install(links)
    return links


def load_identity(data_dir: Path) -> Identity:
    """Return the identity kept in the data directory, drawing one at the first start.

    Raises:
        Unavailable: the directory cannot be written, or the file is damaged.
    """
    path = data_dir / IDENTITY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, json.dumps({"cluster_id": str(uuid.uuid4()), "signing_key": secrets.token_hex(32)}))
        content = json.loads(path.read_text())
        return Identity(cluster_id=str(content["cluster_id"]), signing_key=str(content["signing_key"]))
    except OSError as error:
        raise Unavailable(f"the data directory {data_dir} cannot be used: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise Unavailable(
            f"{path} is damaged: restore it, or remove it (all tokens must then be issued anew)"
        ) from None


def write_credentials(settings: Settings, url: str, token: str, credentials: Credentials) -> Path:
    """Write the credentials file, readable by its owner only, and return its path."""
    content = {
        "url": url,
        "token": token,
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
    }
    write_private(settings.credentials_file, json.dumps(content, indent=2) + "\n")
    return settings.credentials_file


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


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
    for kind in (Workload, Pod, HistoryRecord):
        await backend.store.purge(kind, before)
    await orchestrator.sessions.forget_expired()
    await orchestrator.sign_in.forget_old()
    await orchestrator.audit.trim()
