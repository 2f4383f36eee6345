"""How bootstrap joins the two ends of a link with everything else."""

import hashlib
import hmac

from runai_core import __version__
from runai_core.controlplane.backend import Door
from runai_core.controlplane.links import Home, Links
from runai_core.controlplane.relaying import Relays, Replica
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import ClusterFacts
from runai_core.model.errors import InvalidRequest
from runai_core.ports import Backend
from runai_core.service.clusters import ClusterService
from runai_core.service.noting import Listener
from runai_core.service.own_identity import Identity
from runai_core.service.reconciling import Reconciler
from runai_core.service.scheduling import SchedulingService
from runai_core.service.secrets import Vault
from runai_core.service.workloads import WorkloadService
from runai_core.settings import Settings


def facts_of(backend: Backend) -> ClusterFacts:
    """Return what a cluster says of itself."""
    platform = "vanilla" if backend.name == "kubernetes" else "embedded"
    return ClusterFacts(version=__version__, platform=platform, kubernetes_version=backend.facts.get("Kubernetes", ""))


def links_of(
    settings: Settings, backend: Backend, identity: Identity, clusters: ClusterService, door: Door, wrote: Listener
) -> Links:
    """Return the links of a control plane, which is open to its clusters from now on."""
    if not isinstance(backend.store, TenantStore):
        raise TypeError("only a control plane has clusters that connect to it")
    home = Home(
        store=backend.store,
        clock=backend.clock,
        epoch=identity.cluster_id,
        vault=Vault(settings.secrets_key),
        relays=Relays(relay_key(identity.signing_key), backend.clock, _replica(settings)),
    )
    links = Links(home, clusters, wrote)
    door.install(links)
    return links


def relay_key(signing_key: str) -> str:
    """Return the key of tokens between replicas: no token of a user is one of a replica, and none of those a user's."""
    return hmac.new(signing_key.encode(), b"between replicas", hashlib.sha256).hexdigest()


def _replica(settings: Settings) -> Replica:
    """Return how the other replicas reach this one.

    Raises:
        InvalidRequest: its certificate cannot be read.
    """
    host = settings.allowed_hosts[0] if settings.allowed_hosts else ""
    if settings.replica_certificate is None:
        return Replica(url=settings.replica_url, host=host)
    try:
        chain = settings.replica_certificate.read_text()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the certificate {settings.replica_certificate} cannot be read: {error}") from None
    own, end, _ = chain.partition("-----END CERTIFICATE-----")
    return Replica(url=settings.replica_url, host=host, certificate=f"{own}{end}\n")


async def stay_linked(
    settings: Settings,
    backend: Backend,
    workloads: WorkloadService,
    scheduling: SchedulingService,
    reconciler: Reconciler,
) -> None:
    """Keep a cluster linked to the control plane of its settings, until cancelled."""
    # Imported here: most orchestrators have no control plane, and the client of the link takes long to load.
    from runai_core.controlplane.agent import Agent
    from runai_core.controlplane.credentials import Upward
    from runai_core.controlplane.site import Site

    site = Site(
        backend=backend,
        workloads=workloads,
        scheduling=scheduling,
        reconciler=reconciler,
        facts=facts_of(backend),
        data_dir=settings.data_dir,
        vault=Vault(settings.secrets_key),
    )
    upward = Upward(
        url=settings.control_plane_url, token_file=settings.join_token_file, ca_file=settings.control_plane_ca
    )
    await Agent(site, upward).run()
