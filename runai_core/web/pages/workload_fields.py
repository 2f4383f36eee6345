"""The fields of the New Workload forms: one row for each field of the specification.

Types, choices and which workload has a field are the policies' catalogue
(`policy.fields`); help and limits are those of the model (`model.spec`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from runai_core.model.meta import to_camel
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import PRIORITIES, PolicyType
from runai_core.policy.fields import FIELDS, Field, ValueType
from runai_core.web.pages.inputs import Widget

ENVIRONMENT, COMPUTE, GANG = "Environment", "Compute resources", "Workers"
SERVING, DATA, PLACE = "Serving", "Data", "Where and in which order"
LIFE, TOOLS, SECURITY, OTHER = "Life", "Tools and network", "Security", "Other"

OPEN = (ENVIRONMENT, COMPUTE, GANG, SERVING)
"""Sections that are open at first; the others are when something in them is filled in or wrong."""

SECTIONS = (ENVIRONMENT, COMPUTE, GANG, SERVING, DATA, PLACE, LIFE, TOOLS, SECURITY, OTHER)
"""In the order of the form."""

CORES, SECONDS = "cores", "s"


def list_of(value: Any) -> list[Any]:
    """Return the entries of a field that is a list of them."""
    return list(value) if isinstance(value, list | tuple) else []


ALTERNATIVE = "alternative"
"""Column of a node affinity: the number of the term that a row belongs to; the first where it says nothing."""


def expressions_of(affinity: Any) -> list[Any]:
    """Return the expressions of a required node affinity as rows, numbered where there are several terms."""
    terms = (affinity or {}).get("nodeSelectorTerms") or []
    numbered = len(terms) > 1
    return [
        {**({ALTERNATIVE: number} if numbered else {}), **item}
        for number, term in enumerate(terms, 1)
        for item in term.get("matchExpressions") or ()
    ]


def affinity_of(rows: list[Any]) -> dict[str, Any]:
    """Return the required node affinity of the rows: all of one term must hold, and one of the terms."""
    terms: dict[int, list[Any]] = {}
    for row in rows:
        expression = {name: value for name, value in row.items() if name != ALTERNATIVE}
        terms.setdefault(row.get(ALTERNATIVE, 1), []).append(expression)
    return {"nodeSelectorTerms": [{"matchExpressions": terms[number]} for number in sorted(terms)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field as the form shows it. What is empty comes from the catalogue and the model."""

    path: str
    label: str
    section: str
    widget: Widget | None = None
    unit: str = ""
    help: str = ""
    options: tuple[str, ...] = ()
    members: tuple[tuple[str, str], ...] = ()  # a table: member and heading of each column
    kinds: Mapping[str, ValueType] = field(default_factory=dict)  # of members that are no text and not the catalogue's
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of members
    entries: Callable[[Any], list[Any]] = list_of  # value -> entries of the table
    value: Callable[[list[Any]], Any] = list  # entries -> value

    @property
    def entry(self) -> Field:
        """What policies know of the field."""
        return FIELDS[self.path]


def _row(section: str, path: str, label: str, **more: Any) -> FormField:
    return FormField(path=path, label=label, section=section, **more)


def _table(section: str, path: str, label: str, /, **members: str) -> FormField:
    named = tuple((name.replace("__", "."), heading) for name, heading in members.items())
    return FormField(path=path, label=label, section=section, widget=Widget.ROWS, members=named)


ROWS: tuple[FormField, ...] = (
    _row(ENVIRONMENT, "image", "Image"),
    _row(ENVIRONMENT, "command", "Command", widget=Widget.AREA),
    _row(ENVIRONMENT, "args", "Arguments", widget=Widget.AREA),
    _row(ENVIRONMENT, "workingDir", "Working directory"),
    _table(
        ENVIRONMENT,
        "environmentVariables",
        "Environment variables",
        name="Name",
        value="Value",
        secret__name="or secret",  # noqa: S106  a heading
        secret__key="key of it",  # noqa: S106  a heading
    ),
    _row(ENVIRONMENT, "imagePullPolicy", "When to pull the image"),
    _row(ENVIRONMENT, "imagePullSecrets", "Image pull secrets", widget=Widget.ROWS, members=(("name", "Name"),)),
    _row(COMPUTE, "compute.gpuDevicesRequest", "GPU devices", unit="of each pod"),
    _row(COMPUTE, "compute.gpuRequestType", "Part of each device"),
    _row(COMPUTE, "compute.gpuPortionRequest", "Portion of each device", unit="0 to 1"),
    _row(COMPUTE, "compute.gpuPortionLimit", "Portion limit", unit="0 to 1"),
    _row(COMPUTE, "compute.gpuMemoryRequest", "GPU memory of each device"),
    _row(COMPUTE, "compute.gpuMemoryLimit", "GPU memory limit"),
    _row(COMPUTE, "compute.cpuCoreRequest", "CPU", unit=CORES),
    _row(COMPUTE, "compute.cpuCoreLimit", "CPU limit", unit=CORES),
    _row(COMPUTE, "compute.cpuMemoryRequest", "Memory"),
    _row(COMPUTE, "compute.cpuMemoryLimit", "Memory limit"),
    _row(COMPUTE, "compute.largeShmRequest", "Large shared memory"),
    _row(COMPUTE, "compute.migProfile", "MIG profile"),
    _table(COMPUTE, "compute.extendedResources", "Other resources", resource="Resource", quantity="Quantity"),
    _row(GANG, "distributedFramework", "Framework"),
    _row(GANG, "numWorkers", "Workers"),
    _row(GANG, "minReplicas", "Fewest workers"),
    _row(GANG, "maxReplicas", "Most workers"),
    _row(GANG, "replicas", "Replicas"),
    _row(GANG, "workers", "Workers of each replica"),
    _row(GANG, "startupPolicy", "Workers start", options=("LeaderCreated", "LeaderReady")),
    _row(GANG, "slotsPerWorker", "Slots of each worker"),
    _row(GANG, "cleanPodPolicy", "Remove pods at the end"),
    _row(GANG, "mpiLauncherCreationPolicy", "Create the launcher", options=("AtStartup", "WaitForWorkersReady")),
    _row(GANG, "sshAuthMountPath", "SSH keys"),
    _row(GANG, "parallelism", "Pods at once"),
    _row(GANG, "completions", "Runs"),
    _row(SERVING, "servingPort.container", "Serving port", help="The port that answers."),
    _row(SERVING, "servingPort.protocol", "Protocol"),
    _row(
        SERVING,
        "servingPort.authorizationType",
        "Who may call it",
        options=("public", "authenticatedUsers", "authorizedUsersOrGroups"),
    ),
    _row(SERVING, "servingPort.authorizedUsers", "Users"),
    _row(SERVING, "servingPort.authorizedGroups", "Groups"),
    _row(SERVING, "servingPort.clusterLocalAccessOnly", "Only inside the cluster"),
    _row(SERVING, "autoscaling.minReplicas", "Fewest replicas"),
    _row(SERVING, "autoscaling.maxReplicas", "Most replicas"),
    _row(SERVING, "autoscaling.initialReplicas", "Replicas at the start"),
    _row(SERVING, "autoscaling.activationReplicas", "Replicas when it wakes"),
    _row(SERVING, "autoscaling.metric", "Scale by", help="throughput, concurrency, latency or a metric of your own."),
    _row(SERVING, "autoscaling.metricThreshold", "Threshold"),
    _row(SERVING, "autoscaling.metricThresholdPercentage", "Percentage of it to aim at", unit="%"),
    _row(SERVING, "autoscaling.concurrencyHardLimit", "Most requests at once"),
    _row(SERVING, "autoscaling.scaleToZeroRetentionSeconds", "Idle time before zero", unit=SECONDS),
    _row(SERVING, "autoscaling.scaleDownDelaySeconds", "Delay before fewer", unit=SECONDS),
    _row(SERVING, "autoscaling.initializationTimeoutSeconds", "Time to become ready (autoscaler)", unit=SECONDS),
    _row(SERVING, "servingConfiguration.initializationTimeoutSeconds", "Time to become ready", unit=SECONDS),
    _row(SERVING, "servingConfiguration.requestTimeoutSeconds", "Time for one request", unit=SECONDS),
    _table(DATA, "storage.hostPath", "Host paths", name="Name", path="Path on the node", mountPath="Mount at"),
    _table(DATA, "storage.git", "Git", name="Name", repository="Repository", branch="Branch", path="Mount at"),
    _table(DATA, "storage.nfs", "NFS", name="Name", server="Server", path="Path", mountPath="Mount at"),
    _table(
        DATA,
        "storage.pvc",
        "Volume claims",
        name="Name",
        existingPvc="Exists",
        claimName="Claim",
        path="Mount at",
        claimInfo__size="Size if new",
        claimInfo__storageClass="Storage class",
    ),
    _table(DATA, "storage.s3", "S3", name="Name", bucket="Bucket", url="Address", path="Mount at"),
    _table(DATA, "storage.configMapVolume", "Config maps", name="Name", configMap="Config map", mountPath="Mount at"),
    _table(DATA, "storage.secretVolume", "Secrets", name="Name", secret="Secret", mountPath="Mount at"),  # noqa: S106
    _table(DATA, "storage.emptyDirVolume", "Empty directories", name="Name", path="Mount at", sizeLimit="Size"),
    _table(DATA, "storage.dataVolume", "Data volumes", name="Name", id="Id", mountPath="Mount at"),
    _row(PLACE, "priorityClass", "Priority", options=tuple(PRIORITIES)),
    _row(PLACE, "preemptibility", "Preemptibility"),
    _row(PLACE, "category", "Category"),
    _row(PLACE, "nodePools", "Node pools"),
    _row(PLACE, "nodeType", "Node type"),
    _row(PLACE, "podAffinity.type", "Keep pods together", help="Required: or it waits. Preferred: if it can be."),
    _row(PLACE, "podAffinity.key", "in one", help="Key of the node label that names the domain."),
    FormField(
        path="nodeAffinityRequired",
        label="Node labels that must match",
        section=PLACE,
        widget=Widget.ROWS,
        members=(
            ("key", "Label key"),
            ("operator", "Operator"),
            ("values", "Values, between commas"),
            (ALTERNATIVE, "Alternative"),
        ),
        kinds={"values": ValueType.ARRAY, ALTERNATIVE: ValueType.INTEGER},
        choices={"operator": ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")},
        entries=expressions_of,
        value=affinity_of,
        help="All must hold; of rows with different numbers in Alternative, those of one number are enough.",
    ),
    _table(
        PLACE, "tolerations", "Tolerations", name="Name", key="Key", operator="Operator", value="Value", effect="Effect"
    ),
    _row(LIFE, "restartPolicy", "Restart"),
    _row(LIFE, "backoffLimit", "Retries"),
    _row(LIFE, "terminationGracePeriodSeconds", "Grace period", unit=SECONDS),
    _row(LIFE, "autoDeletionTimeAfterCompletionSeconds", "Delete after the end", unit=SECONDS),
    _row(LIFE, "terminateAfterPreemption", "End when evicted"),
    _row(LIFE, "preemptionLimit", "Evictions before it ends"),
    _row(LIFE, "probes.readiness.initialDelaySeconds", "Readiness: first try after", unit=SECONDS),
    _row(LIFE, "probes.readiness.periodSeconds", "Readiness: every", unit=SECONDS),
    _row(LIFE, "probes.readiness.timeoutSeconds", "Readiness: time-out", unit=SECONDS),
    _row(LIFE, "probes.readiness.successThreshold", "Readiness: successes"),
    _row(LIFE, "probes.readiness.failureThreshold", "Readiness: failures"),
    _table(TOOLS, "ports", "Ports", name="Name", container="Port", toolType="Tool", toolName="Shown as"),
    _table(TOOLS, "exposedUrls", "Public URLs", name="Name", container="Port", url="URL"),
    _table(TOOLS, "relatedUrls", "Related links", name="Text", url="URL", type="Kind"),
    _row(TOOLS, "stdin", "Keep standard input open"),
    _row(TOOLS, "tty", "Terminal"),
    _row(SECURITY, "security.uidGidSource", "User and group", options=("fromTheImage", "fromIdpToken", "custom")),
    _row(SECURITY, "security.runAsUid", "User id"),
    _row(SECURITY, "security.runAsGid", "Group id"),
    _row(SECURITY, "security.supplementalGroups", "Further groups"),
    _row(SECURITY, "security.runAsNonRoot", "Refuse root"),
    _row(SECURITY, "security.capabilities", "Capabilities"),
    _row(
        SECURITY,
        "security.seccompProfileType",
        "Seccomp profile",
        options=("RuntimeDefault", "Unconfined", "Localhost"),
    ),
    _row(SECURITY, "security.allowPrivilegeEscalation", "Allow more rights than the parent"),
    _row(SECURITY, "security.readOnlyRootFilesystem", "Read-only root file system"),
    _row(SECURITY, "security.hostIpc", "Host IPC"),
    _row(SECURITY, "security.hostNetwork", "Host network"),
    _row(SECURITY, "security.privileged", "Privileged"),
    _row(SECURITY, "createHomeDir", "Temporary home directory"),
    _table(OTHER, "labels", "Labels", name="Name", value="Value"),
    _table(OTHER, "annotations", "Annotations", name="Name", value="Value"),
)


@cache
def rows_for(kind: PolicyType) -> tuple[FormField, ...]:
    """Return the fields that a type of workload has, in the order of the form."""
    return tuple(row for row in ROWS if kind in row.entry.workloads)


@cache
def master_rows(kind: PolicyType) -> tuple[FormField, ...]:
    """Return the fields in which a master or leader may differ from the workers."""
    return tuple(row for row in rows_for(kind) if row.section in (ENVIRONMENT, COMPUTE))


def types_of_members(row: FormField) -> Mapping[str, ValueType]:
    """Return the type of each cell of a table's row."""
    return {**{name: ValueType.STRING for name, _ in row.members}, **row.entry.attributes, **row.kinds}


@cache
def said_of(path: str) -> Mapping[str, Any]:
    """Return what the model says of a field: description, and limits such as ``ge``."""
    kind: Any = WorkloadSpec
    found: Mapping[str, Any] = {}
    for part in path.split("."):
        member = next(item for item in fields(kind) if to_camel(item.name) == part)
        found, kind = member.metadata, _dataclass_in(get_type_hints(kind)[member.name])
    return found


def _dataclass_in(hint: Any) -> Any:
    if is_dataclass(hint):
        return hint
    return next((found for part in get_args(hint) if (found := _dataclass_in(part))), None)
