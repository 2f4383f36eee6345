"""The door of the Kubernetes backend."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.backends.kubernetes.codec.volumes import storage_class_of
from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.frameworks import KubernetesFrameworks
from runai_core.backends.kubernetes.lease import KubernetesLease
from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.backends.kubernetes.notes import SecretNotes
from runai_core.backends.kubernetes.runtime import KubernetesRuntime
from runai_core.backends.kubernetes.store import KubernetesStore
from runai_core.backends.kubernetes.transport import is_inside
from runai_core.backends.kubernetes.world import open_world
from runai_core.plugins.registry import Registry
from runai_core.ports import Backend, Store

FOLLOWED = frozenset({"secret", "configMap", "userCredential", "podFieldRef"})
"""References in variables that the kubelet follows."""


@asynccontextmanager
async def open_kubernetes(
    *,
    kubeconfig: Path | None,
    context: str = "",
    records: Store,
    plugins: Registry,
    namespace: str = SYSTEM_NAMESPACE,
) -> AsyncIterator[Backend]:
    """Open a cluster; `records` keeps what is no object of the cluster: history, accounts, rules.

    `kubeconfig` None means the cluster that this process runs in, or else the
    default file; `namespace` is the one that we are installed in.

    Raises:
        InvalidRequest: the kubeconfig is wrong. Unavailable: the API server cannot be reached.
    """
    clock = SystemClock()
    async with connect(kubeconfig, context) as api, open_world(api) as world:
        cluster = KubernetesCluster(api, world, clock)
        cluster.follow_workloads()
        rows = ExternalRows(world, plugins)
        frameworks = KubernetesFrameworks(api, world, plugins, rows)
        await rows.start()
        cluster.follow_rows(rows)
        store = KubernetesStore(api, world, records, clock, frameworks=frameworks)
        await store.start()
        await cluster.start()
        following = asyncio.create_task(rows.run(), name="external rows")
        try:
            yield Backend(
                store=store,
                cluster=cluster,
                runtime=KubernetesRuntime(api, world, inside=is_inside(kubeconfig, context)),
                frameworks=frameworks,
                lease=KubernetesLease(api, clock),
                clock=clock,
                name="kubernetes",
                requires=("image",),
                resolves=FOLLOWED,
                notes=SecretNotes(api, namespace),
                versions_last=False,
                storage_classes=lambda: sorted(map(storage_class_of, world.storage_classes), key=lambda it: it.name),
                facts={"API server": api.server, "Kubernetes": await api.server_version()},
            )
        finally:
            following.cancel()
            await asyncio.gather(following, cluster.close(), return_exceptions=True)
            store.close()
