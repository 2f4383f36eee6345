"""Names of what is installed, and of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass

from runai_core.backends.kubernetes.names import MANAGED_BY, MANAGED_BY_LABEL

PART_OF_LABEL = "app.kubernetes.io/part-of"
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"

WEBHOOK_CONFIGURATION = "runai"
"""Name of both webhook configurations."""

WEBHOOK_SERVICE = "runai-webhook"
WEBHOOK_PORT = 9443
HEALTH_PORT = 8081
API_PORT = 8080

CERTIFICATE_SECRET = "runai-webhook-certificate"  # noqa: S105 - a name
IDENTITY_SECRET = "runai-identity"  # noqa: S105 - a name
DATABASE_SECRET = "runai-database"  # noqa: S105 - a name
SECRETS_KEY_SECRET = "runai-secrets-key"  # noqa: S105 - a name
LINK_SECRET = "runai-link"  # noqa: S105 - a name
"""Says which control plane the cluster is linked to: `url`, `token` to join once, `ca.pem` if it is needed."""

RECORDS_CLAIM = "runai-records"
"""The volume of the records, where no database is given."""

PROJECT_ROLES = ("runai-project-administrator", "runai-project-researcher", "runai-project-viewer")
"""Cluster roles that people get in the namespaces of their projects."""

PROJECT_SECRETS_ROLE = "runai-project-secrets"
"""Cluster role that the operator gives itself there: it reads secrets nowhere else, but for our own namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One of our processes on the cluster."""

    name: str
    help: str
    ports: Mapping[str, int]
    cpu: str
    memory: str
    memory_limit: str


COMPONENTS: tuple[Component, ...] = (
    Component(
        name="scheduler",
        help="places pods",
        ports={"health": HEALTH_PORT},
        cpu="200m",
        memory="256Mi",
        memory_limit="2Gi",
    ),
    Component(
        name="operator",
        help="turns workloads into pods, projects into namespaces and queues; answers the webhooks",
        ports={"health": HEALTH_PORT, "webhook": WEBHOOK_PORT},
        cpu="100m",
        memory="256Mi",
        memory_limit="1Gi",
    ),
    Component(
        name="api", help="web pages, REST API", ports={"http": API_PORT}, cpu="100m", memory="256Mi", memory_limit="1Gi"
    ),
)
"""Every process, in the order in which it is installed."""


def account_of(component: Component) -> str:
    """Return the name of the component's service account, Deployment and roles."""
    return f"runai-{component.name}"


def labels_of(component: str) -> dict[str, str]:
    """Return the labels of an object that belongs to a component."""
    return {
        NAME_LABEL: "runai",
        COMPONENT_LABEL: component,
        PART_OF_LABEL: "runai",
        MANAGED_BY_LABEL: MANAGED_BY,
    }
