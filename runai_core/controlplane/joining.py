"""How bootstrap joins the two ends of a link with everything else."""

from runai_core import __version__
from runai_core.controlplane.backend import Door
from runai_core.controlplane.links import Links
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import ClusterFacts
from runai_core.ports import Backend
from runai_core.service.clusters import ClusterService
from runai_core.service.noting import Listener
from runai_core.service.reconciling import Reconciler
from runai_core.service.scheduling import SchedulingService
from runai_core.service.workloads import WorkloadService
from runai_core.settings import Settings


def facts_of(backend: Backend) -> ClusterFacts:
    """Return what a cluster says of itself."""
    platform = "vanilla" if backend.name == "kubernetes" else "embedded"
    return ClusterFacts(version=__version__, platform=platform, kubernetes_version=backend.facts.get("Kubernetes", ""))


def links_of(backend: Backend, clusters: ClusterService, epoch: str, door: Door, wrote: Listener) -> Links:
    """Return the links of a control plane, which is open to its clusters from now on."""
    if not isinstance(backend.store, TenantStore):
        raise TypeError("only a control plane has clusters that connect to it")
    links = Links(backend.store, clusters, backend.clock, epoch, wrote=wrote)
    door.install(links)
    return links


async def stay_linked(
    settings: Settings,
    backend: Backend,
    workloads: WorkloadService,
    scheduling: SchedulingService,
    reconciler: Reconciler,
) -> None:
    """Keep a cluster linked to the control plane of its settings, until cancelled."""
    # Imported here: most orchestrators have no control plane, and the client of the link takes long to load.
    from runai_core.controlplane.agent import Agent, Upward
    from runai_core.controlplane.site import Site

    site = Site(
        backend=backend,
        workloads=workloads,
        scheduling=scheduling,
        reconciler=reconciler,
        facts=facts_of(backend),
        data_dir=settings.data_dir,
    )
    upward = Upward(
        url=settings.control_plane_url, token_file=settings.join_token_file, ca_file=settings.control_plane_ca
    )
    await Agent(site, upward).run()
