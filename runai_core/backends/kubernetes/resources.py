"""The kinds of the Kubernetes API that we read and write, and where each is found."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of the API: its group, version, plural and kind, and whether it lives in namespaces."""

    group: str  # empty for core/v1
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What manifests say: ``v1`` or ``group/version``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """What rights and CRDs say: ``plural.group``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Return the URL's path of one object, or of all (in a namespace); `sub` is a subresource."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if sub:
            parts.append(sub)
        return "/".join(parts)


def resource_of(api_version: str, kind: str, *, plural: str = "", namespaced: bool = True) -> Resource:
    """Return the resource that a manifest's ``apiVersion`` and ``kind`` name; unknown ones get the usual plural."""
    known = _BY_KIND.get((api_version, kind))
    if known is not None:
        return known
    group, _, version = api_version.rpartition("/")
    return Resource(group, version, plural or _plural(kind), kind, namespaced)


def _plural(kind: str) -> str:
    word = kind.lower()
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


PODS = Resource("", "v1", "pods", "Pod")
POD_TEMPLATES = Resource("", "v1", "podtemplates", "PodTemplate")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PVS = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
PDBS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
KNATIVE_SERVICES = Resource("serving.knative.dev", "v1", "services", "Service")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
RESOURCE_CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
DEVICE_CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
MUTATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
VALIDATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)

# custom resources; groups and versions as in Run:ai and KAI
QUEUES = Resource("scheduling.run.ai", "v2", "queues", "Queue", namespaced=False)
POD_GROUPS = Resource("scheduling.run.ai", "v2alpha2", "podgroups", "PodGroup")
DEPARTMENTS = Resource("scheduling.run.ai", "v1", "departments", "Department", namespaced=False)
TOPOLOGIES = Resource("kai.scheduler", "v1alpha1", "topologies", "Topology", namespaced=False)
PROJECTS = Resource("run.ai", "v1", "projects", "Project", namespaced=False)
NODE_POOLS = Resource("run.ai", "v1alpha1", "nodepools", "NodePool", namespaced=False)
TRAINING_WORKLOADS = Resource("run.ai", "v2alpha1", "trainingworkloads", "TrainingWorkload")
INTERACTIVE_WORKLOADS = Resource("run.ai", "v2alpha1", "interactiveworkloads", "InteractiveWorkload")
DISTRIBUTED_WORKLOADS = Resource("run.ai", "v2alpha1", "distributedworkloads", "DistributedWorkload")
INFERENCE_WORKLOADS = Resource("run.ai", "v2alpha1", "inferenceworkloads", "InferenceWorkload")
DISTRIBUTED_INFERENCE_WORKLOADS = Resource(
    "run.ai", "v2alpha1", "distributedinferenceworkloads", "DistributedInferenceWorkload"
)
TRAINING_POLICIES = Resource("run.ai", "v2alpha1", "trainingpolicies", "TrainingPolicy")
INTERACTIVE_POLICIES = Resource("run.ai", "v2alpha1", "interactivepolicies", "InteractivePolicy")
DISTRIBUTED_POLICIES = Resource("run.ai", "v2alpha1", "distributedpolicies", "DistributedPolicy")
INFERENCE_POLICIES = Resource("run.ai", "v2alpha1", "inferencepolicies", "InferencePolicy")

WORKLOADS = (
    TRAINING_WORKLOADS,
    INTERACTIVE_WORKLOADS,
    DISTRIBUTED_WORKLOADS,
    INFERENCE_WORKLOADS,
    DISTRIBUTED_INFERENCE_WORKLOADS,
)
POLICIES = (TRAINING_POLICIES, INTERACTIVE_POLICIES, DISTRIBUTED_POLICIES, INFERENCE_POLICIES)

_BY_KIND = {(item.api_version, item.kind): item for item in tuple(globals().values()) if isinstance(item, Resource)}
