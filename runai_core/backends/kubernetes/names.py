"""Labels, annotations, finalizers and fixed names on Kubernetes, each with where it comes from.

KAI: the KAI-Scheduler's code; Run:ai: the product's documents; ours: nobody
else has a word for it.
"""

from collections.abc import Mapping, Sequence

SCHEDULER = "runai-scheduler"
"""``spec.schedulerName`` of pods that we place (Run:ai)."""

KAI_SCHEDULER = "kai-scheduler"
"""The same in a KAI installation; its pods are ours only when KAI is not there, so it is not used by default."""

FIELD_MANAGER = "runai"
"""Who we are in ``managedFields`` (ours)."""

# -- namespaces (Run:ai)

SYSTEM_NAMESPACE = "runai"
RESERVATION_NAMESPACE = "runai-reservation"
PROJECT_NAMESPACE = "runai-{project}"

# -- membership

POD_GROUP_ANNOTATION = "pod-group-name"
"""Annotation of a pod: its PodGroup, in the pod's namespace (KAI)."""

SUB_GROUP_LABEL = "kai.scheduler/subgroup-name"
"""Label of a pod: the leaf sub-group that it belongs to (KAI)."""

QUEUE_LABELS = ("runai/queue", "kai.scheduler/queue")
"""Label of a pod, workload or namespace: the queue (Run:ai, KAI); the first that is there counts."""

ENFORCE_LABEL = "runai/enforce-scheduler"
"""Label of a project's namespace: ``false`` where its pods keep the scheduler that they name or get (ours)."""

PROJECT_LABEL = "project"
"""The older label for the same (Run:ai up to 2.9, KAI's fallback)."""

NODE_POOL_LABELS = ("kai.scheduler/node-pool", "runai/node-pool")
"""Label of nodes, queues, pods and PodGroups: the node pool (KAI, Run:ai)."""

PRIORITY_LABEL = "priorityClassName"
"""Label of an owner or pod: priority class (Run:ai, KAI)."""

PREEMPTIBILITY_LABEL = "kai.scheduler/preemptibility"
"""Label: ``preemptible`` or ``non-preemptible`` (KAI)."""

TASK_PRIORITY_LABEL = "kai.scheduler/task-priority"
"""Label of a pod, an integer: the larger is placed first and evicted last (KAI)."""

ROLE_LABELS: Mapping[str, Sequence[str]] = {
    "training.kubeflow.org/job-role": ("master", "launcher"),
    "ray.io/node-type": ("head",),
    "spark-role": ("driver",),
    "runai/role": ("master", "launcher", "leader"),
}
"""Labels whose values make a pod the one that is placed first and evicted last (Kubeflow, Ray, Spark, ours)."""

MACHINE_GPUS_ANNOTATION = "run.ai/gpu-devices"
"""Annotation of a virtual machine's pod: names, with commas, of the resources that are its GPUs; each is one (ours)."""

MACHINE_NODE_LABEL, MACHINE_NODES = "nvidia.com/gpu.workload.config", ("vm-passthrough", "vm-vgpu")
"""Label of a node, and its values, whose GPUs are given whole to virtual machines (NVIDIA GPU Operator)."""

USER_LABEL = "user"
"""Label of a pod: who submitted it (Run:ai, KAI)."""

CATEGORY_LABEL = "run.ai/category"
"""Label of a framework's object: what the work is for, where that is not what its kind is for (ours)."""

NODE_TYPE_LABEL = "run.ai/type"
"""Label of a node: its type (Run:ai)."""

TOPOLOGY_ANNOTATION = "kai.scheduler/topology"
TOPOLOGY_REQUIRED_ANNOTATION = "kai.scheduler/topology-required-placement"
TOPOLOGY_PREFERRED_ANNOTATION = "kai.scheduler/topology-preferred-placement"
"""Annotations of an owner: become the PodGroup's topology constraint (KAI)."""

# -- on PodGroups

LAST_START_ANNOTATION = "kai.scheduler/last-start-timestamp"
"""RFC 3339: when the group last went from no pod placed to placed (KAI)."""

STALE_ANNOTATION = "kai.scheduler/stale-podgroup-timestamp"
"""RFC 3339: since when the group runs below its minimum (KAI)."""

TOP_OWNER_ANNOTATION = "kai.scheduler/top-owner-metadata"
"""YAML of name, uid, group, version and kind of the top owner (KAI)."""

WORKLOAD_ANNOTATION = "runai/workload"
"""``<project>/<name>``: what people call the group (ours)."""

DELETE_WHEN_EVICTED_ANNOTATION = "runai/terminate-after-preemption"
"""``true``: evicted pods are not made again (ours; Run:ai's field ``terminateAfterPreemption``)."""

# -- of our own pods (ours)

WORKLOAD_LABEL = "runai/workload"
WORKLOAD_UID_LABEL = "runai/workload-uid"
ATTEMPT_LABEL = "runai/attempt"
RANK_LABEL = "runai/rank"
ROLE_LABEL = "runai/role"
REPLACEMENT_LABEL = "runai/replacement"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "runai"

FINALIZER = "run.ai/workload"
"""Keeps a workload's object until its pods are gone (ours)."""

BACKOFF_ANNOTATION = "run.ai/backoff-limit"
"""Annotation of a pod: how often its container may be started again in place."""

ENDED_ANNOTATION = "run.ai/ended"
"""Annotation of a pod that we ended for good though Kubernetes would start it again: why."""

EVICTION_ANNOTATION = "run.ai/eviction"
"""Annotation of a pod that the scheduler evicts: for whom, as a sentence."""

# -- of the objects that we store (ours)

ID_ANNOTATION = "run.ai/id"
"""The id that an object had before the server gave it its uid, where it had one."""

CREATED_ANNOTATION = "run.ai/created-at"
"""When the object was accepted, with fractions of a second: the server's own time has none."""

CREATED_BY_ANNOTATION = "run.ai/created-by"
UPDATED_ANNOTATION = "run.ai/updated-at"
UPDATED_BY_ANNOTATION = "run.ai/updated-by"
OWNER_ANNOTATION = "run.ai/owner"

SUBMITTED_ANNOTATION = "run.ai/submitted-at"
"""On a workload that our API creates: its status follows at once, so nobody else need complete it."""

SPECIFICATION_ANNOTATION = "run.ai/specification"
MASTER_SPECIFICATION_ANNOTATION = "run.ai/master-specification"
"""What the public fields of `spec` and `masterSpec` cannot express: a JSON merge patch over what they say."""

ORDER_ANNOTATION = "run.ai/item-order"
"""The order of the items of a workload's fields, where it is not that of their labels."""

POLICY_TYPE_ANNOTATION = "run.ai/policy-type"
"""On a policy: the type of workload that it is for, where its kind stands for another one as well."""

# -- GPUs

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
"""Whole devices (KAI)."""

MIG_PREFIX = "nvidia.com/mig-"
GPU_MEMORY_NODE_LABEL = "nvidia.com/gpu.memory"
GPU_COUNT_NODE_LABEL = "nvidia.com/gpu.count"
GPU_PRODUCT_NODE_LABEL = "nvidia.com/gpu.product"
MIG_ENABLED_NODE_LABEL = "node-role.kubernetes.io/mig-enabled"
MIG_STRATEGY_NODE_LABEL = "nvidia.com/mig.strategy"
"""Labels of nodes, set by NVIDIA's feature discovery (KAI reads the same)."""

GPU_FRACTION_ANNOTATION = "gpu-fraction"
GPU_MEMORY_ANNOTATION = "gpu-memory"
GPU_DEVICES_ANNOTATION = "gpu-fraction-num-devices"
GPU_CONTAINER_ANNOTATION = "gpu-fraction-container-name"
"""Annotations of a pod: share of each device, or its MiB, of how many devices, for which container (Run:ai, KAI)."""

GPU_GROUP_LABEL = "runai-gpu-group"
GPU_GROUP_LABEL_PREFIX = "runai-gpu-group/"
"""Labels of a pod and of its reservation pod: the shared device, or several of them (KAI)."""

RECEIVED_TYPE_ANNOTATION = "received-resource-type"
"""Annotation of a placed pod: Regular, Fraction or MigInstance (KAI)."""

RESERVED_DEVICE_ANNOTATION = "run.ai/reserve_for_gpu_index"
"""Annotation of a reservation pod: the device's UUID (KAI)."""

SHARED_GPU_CONFIG_MAP_ANNOTATION = "runai/shared-gpu-configmap"
"""Annotation of a pod: prefix of the ConfigMaps that tell its container the device (KAI)."""

# -- Kubernetes' own

SELECTED_NODE_ANNOTATION = "volume.kubernetes.io/selected-node"
"""Annotation of a claim that waits for its first consumer: the node that was chosen."""

HOSTNAME_LABEL = "kubernetes.io/hostname"
