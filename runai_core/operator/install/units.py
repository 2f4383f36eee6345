"""Schemas of departments, projects, node pools, queues, pod groups and topologies.

Departments, projects and node pools have the members of the public API; the
three of the scheduler have those that KAI's own tools read and write.
"""

from runai_core.model.nodes import PlacementStrategy
from runai_core.model.organization import SchedulingRules
from runai_core.operator.install.schemas import (
    Schema,
    anything,
    boolean,
    listing,
    mapping,
    model_schema,
    number,
    open_structure,
    said,
    structure,
    text,
    texts,
    whole,
)

UNLIMITED = "-1 or null: unlimited."


def conditions() -> Schema:
    """Return the schema of a list of conditions (meta/v1 Condition, with less required)."""
    return listing(
        structure(
            {
                "type": text(),
                "status": text(),
                "reason": text(),
                "message": text(),
                "lastTransitionTime": text(),
                "lastUpdateTime": text(),
                "observedGeneration": {"type": "integer", "format": "int64"},
            }
        ),
        "What is known of the object.",
    )


def _quota(name: str, unit: str) -> Schema:
    return structure(
        {
            "deserved": number(f"Quota, in {unit}. {UNLIMITED}", nullable=True),
            "limit": number(f"Most that may be held, in {unit}. {UNLIMITED}", nullable=True),
            "overQuotaWeight": number("Share of what others leave free; 0: never over quota.", minimum=0),
        },
        f"{name} of the unit in this node pool.",
    )


def _resources() -> Schema:
    entry = structure(
        {
            "nodePool": text("Name of the node pool."),
            "gpu": _quota("GPUs", "devices"),
            "cpu": _quota("CPUs", "millicores"),
            "memory": _quota("Memory", "MB, 10^6 bytes"),
            "priority": whole("Rank: the higher is served first over quota; 100 when left out.", minimum=0),
        },
        required=["nodePool"],
    )
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["nodePool"]}
    return listing(entry, "Quota in each node pool; a pool that is not there has quota 0.", **keys)


def _scheduling_rules() -> Schema:
    return said(model_schema(SchedulingRules), "Time limits, in seconds; those of the department hold too.")


def _node_types() -> Schema:
    return structure(
        {"training": texts("For trainings."), "workspace": texts("For workspaces.")},
        "Node types that workloads may use, by the node label run.ai/type.",
    )


def department_spec() -> Schema:
    """Return the schema of a department's specification."""
    return structure(
        {
            "description": text("What the department is."),
            "resources": _resources(),
            "defaultNodePools": texts("Node pools of workloads that name none, in order of preference."),
            "nodeTypes": _node_types(),
            "schedulingRules": _scheduling_rules(),
        },
        "A group of projects that share quota.",
    )


def project_spec() -> Schema:
    """Return the schema of a project's specification."""
    return structure(
        {
            "department": text("Name of the department; default when left out."),
            "description": text("What the project is."),
            "namespace": text("Namespace of the workloads; runai-<project> when left out."),
            "resources": _resources(),
            "defaultNodePools": texts("Node pools of workloads that name none, in order of preference."),
            "nodeTypes": _node_types(),
            "schedulingRules": _scheduling_rules(),
            "enforceRunaiScheduler": boolean("Pods that name no other scheduler get ours; true when left out."),
            "deservedGpus": number("Older form: GPU quota in the default node pool.", minimum=0),
            "gpuOverQuotaWeight": number("Older form: weight in the default node pool.", minimum=0),
            "maxAllowedGpus": number("Older form: GPU limit in the default node pool; -1: none."),
            "interactiveJobTimeLimitSecs": {**whole("Older form: time limit of workspaces.", minimum=1)},
            "nodeAffinityInteractive": texts("Older form: node types of workspaces."),
            "nodeAffinityTrain": texts("Older form: node types of trainings."),
            "swapEnabled": boolean("Accepted and without effect."),
        },
        "Where workloads are submitted, and what they may use.",
    )


def unit_status() -> Schema:
    """Return the schema of a project's or department's status."""
    amounts = mapping(number(), "By resource: gpu in devices, cpu in millicores, memory in MB.")
    usage = {
        "allocated": said(amounts, "What its workloads hold."),
        "allocatedNonPreemptible": said(amounts, "The part that cannot be taken back."),
        "requested": said(amounts, "Held and waited for."),
    }
    return open_structure(
        {
            "phase": text("Creating, Ready, NotReady or Deleting."),
            "message": text("Why it is not ready."),
            "namespace": text("Namespace of the project."),
            "queues": texts("Queues that were made of it."),
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": conditions(),
            "quotaStatus": structure(usage, "Over all node pools."),
        },
    )


def node_pool_spec() -> Schema:
    """Return the schema of a node pool's specification."""
    strategies = [str(item) for item in PlacementStrategy]
    return open_structure(
        {
            "labelKey": text("Label of the nodes that belong; empty in the default pool alone."),
            "labelValue": text("Value of the label."),
            "placementStrategy": structure(
                {
                    "gpu": text(f"Of GPU workloads: {', '.join(strategies)}; a plug-in may add some."),
                    "cpu": text("Of workloads without GPU."),
                },
                "Which node is best of those that fit.",
            ),
            "minGuaranteedRuntime": text("How long preemptible work cannot be evicted, for example 30m."),
            "timeBasedFairShare": boolean("Past use counts in what is shared over quota."),
            "fairShareHistoryWeight": number("How much it counts; 0: not at all.", minimum=0),
            "fairShareWindowSeconds": number("Past that counts, in seconds; a week when left out.", minimum=600),
            "fairShareWindowType": text("sliding, or tumbling: windows that follow each other."),
            "fairShareWindowStartSeconds": number("When a tumbling window began, in seconds since the epoch."),
            "fairShareHalfLifeSeconds": number("Age at which use counts half; 0: never.", minimum=0),
            "networkTopology": text("Name of the Topology by which gangs are kept near that say nothing themselves."),
            "overProvisioningRatio": number("Accepted; bursts are not spread by it."),
        },
        "A part of the nodes that is scheduled by itself.",
    )


def node_pool_status() -> Schema:
    """Return the schema of a node pool's status."""
    return open_structure(
        {
            "phase": text("Ready, Empty or Unschedulable."),
            "nodes": texts("Names of its nodes."),
            "nodeCount": whole("How many nodes there are."),
            "gpuCount": whole("How many GPUs they have."),
            "conditions": conditions(),
            "observedGeneration": {"type": "integer", "format": "int64"},
        },
    )


def queue_spec() -> Schema:
    """Return the schema of a queue's specification (KAI Queue v2)."""

    def share(name: str, unit: str) -> Schema:
        return structure(
            {
                "quota": number(f"Deserved, in {unit}; -1: unlimited."),
                "limit": number(f"Most that may be held, in {unit}; -1: no limit. 0, or none, allows nothing."),
                "overQuotaWeight": number("Share of the surplus; 0, or none: never over quota."),
            },
            name,
        )

    return structure(
        {
            "displayName": text("Name in messages."),
            "parentQueue": text("The queue above; empty at the top."),
            "priority": whole("Rank over quota; 100 when left out."),
            "resources": structure(
                {
                    "cpu": share("CPU.", "millicores"),
                    "memory": share("Memory.", "10^6 bytes"),
                    "gpu": share("GPUs.", "devices"),
                },
                "What the queue may use.",
            ),
            "preemptMinRuntime": text("How long work cannot be preempted, for example 30m."),
            "reclaimMinRuntime": text("How long work cannot be reclaimed."),
        },
        "A share of a node pool.",
    )


def _amounts(description: str) -> Schema:
    return mapping({"x-kubernetes-int-or-string": True}, description)


def queue_status() -> Schema:
    """Return the schema of a queue's status."""
    return open_structure(
        {
            "conditions": conditions(),
            "childQueues": texts("Queues directly below."),
            "allocated": _amounts("What its pods hold."),
            "allocatedNonPreemptible": _amounts("The part that cannot be taken back."),
            "requested": _amounts("Held and waited for."),
        },
    )


def _constraint() -> Schema:
    return structure(
        {
            "topology": text("Name of a Topology."),
            "requiredTopologyLevel": text("Node label: all pods in one of its domains, or none."),
            "preferredTopologyLevel": text("Node label: in as few domains as possible."),
        },
        "Where in the topology the pods go.",
    )


def pod_group_spec() -> Schema:
    """Return the schema of a pod group's specification (KAI PodGroup v2alpha2)."""
    sub_group = structure(
        {
            "name": text("Name, used by the pods' label kai.scheduler/subgroup-name.", minLength=1),
            "minMember": whole("Pods that must be placed together.", minimum=0),
            "parent": text("Name of the sub-group above.", nullable=True),
            "topologyConstraint": _constraint(),
        },
        required=["name"],
    )
    return structure(
        {
            "minMember": whole("Pods that are placed together, or not at all; not used with sub-groups.", minimum=0),
            "queue": text("Name of the queue."),
            "priorityClassName": text("Priority class; decides what is placed and evicted first in its queue."),
            "preemptibility": text(
                "preemptible or non-preemptible; empty: by the priority.", enum=["preemptible", "non-preemptible", ""]
            ),
            "markUnschedulable": boolean("Tell the pods why they wait; true when left out."),
            "schedulingBackoff": whole("1: after a failed cycle the group is left out of the node pool; -1: never."),
            "topologyConstraint": _constraint(),
            "subGroups": listing(sub_group, "Parts of the gang, as a tree."),
            "parallelism": whole("Accepted for old manifests, and without effect."),
            "completions": whole("Accepted for old manifests, and without effect."),
            "backoffLimit": whole("Accepted for old manifests, and without effect."),
        },
        "A gang: its pods are placed together.",
    )


def pod_group_status() -> Schema:
    """Return the schema of a pod group's status."""
    entry = structure(
        {
            "type": text("UnschedulableOnNodePool."),
            "nodePool": text(),
            "reason": text(),
            "message": text("Why it waits."),
            "status": text(),
            "transitionID": text(),
            "lastTransitionTime": text(),
            "reasons": listing(anything()),
        }
    )
    return open_structure(
        {
            "phase": text("Pending, Running, Succeeded or Failed, by its pods."),
            "conditions": conditions(),
            **{
                name: whole(f"Pods that are {name}.")
                for name in ("pending", "running", "succeeded", "failed")
            },
            "schedulingConditions": listing(entry, "Why it cannot be placed, by node pool."),
            "resourcesStatus": structure(
                {
                    "allocated": _amounts("What its pods hold."),
                    "allocatedNonPreemptible": _amounts("The part that cannot be taken back."),
                    "requested": _amounts("Held and waited for."),
                }
            ),
        },
    )  # fmt: skip


def topology_spec() -> Schema:
    """Return the schema of a topology's specification (KAI Topology)."""
    level = structure(
        {"nodeLabel": text("Node label of the level.", minLength=1, maxLength=316)}, required=["nodeLabel"]
    )
    rules = [
        {
            "rule": "self.all(x, self.exists_one(y, x.nodeLabel == y.nodeLabel))",
            "message": "levels must have different node labels",
        },
        {
            "rule": "self.all(x, x.nodeLabel != 'kubernetes.io/hostname' || x == self[size(self) - 1])",
            "message": "kubernetes.io/hostname can only be the last level",
        },
        {"rule": "self == oldSelf", "message": "levels cannot be changed: make a new topology"},
    ]
    levels = listing(
        level,
        "Node labels from the widest level to the narrowest.",
        minItems=1,
        maxItems=16,
        **{"x-kubernetes-list-type": "atomic", "x-kubernetes-validations": rules},
    )
    return structure({"levels": levels}, "How nodes are grouped.", required=["levels"])
