"""The built-in plug-in: our own types and Kubernetes' workload objects, by the same door as everybody's.

Each pod of a Job or Deployment is scheduled alone, as KAI's pod grouper does
it; the pods of a JobSet or LeaderWorkerSet wait for each other.
"""

from collections.abc import Iterable, Mapping, Sequence

from runai_core.lifecycle.gang import gang_of
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import TopologyConstraint
from runai_core.model.workload import TYPE_DEFAULTS, Gang, Pod, Workload, WorkloadType
from runai_core.plugins.grouping import (
    DividedScaled,
    DividedSuspendable,
    Gangs,
    Scaled,
    Suspendable,
    count_of,
    each_child,
    each_pod,
    field_of,
    list_of,
    numbered_by,
    one_gang,
)
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.segments import SEGMENT_SIZE, segment_size, segment_topology, segments
from runai_core.plugins.types import Manifest, PodGroupPlan, RunContext, SubGroup, WorkloadKind

JOBSET_JOB_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
LWS_GROUP_LABEL = "leaderworkerset.sigs.k8s.io/group-index"
LWS_WORKER_LABEL = "leaderworkerset.sigs.k8s.io/worker-index"
LWS_SEGMENT_LABEL = "leaderworkerset.sigs.k8s.io/subgroup-index"

LWS_TEMPLATE = "spec.leaderWorkerTemplate"

LEADER_CREATED = "LeaderCreated"
LEADER_READY = "LeaderReady"


def jobset_gangs(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return one gang for each replicated job, or one for all where they start in any order."""
    sizes = {
        str(job.get("name") or index): _job_pods(job, f"spec.replicatedJobs[{index}]")
        for index, job in enumerate(list_of(manifest, "spec.replicatedJobs"))
    }
    if not sizes:
        raise InvalidRequest.of(FieldError("spec.replicatedJobs", "must name at least one job"))
    order = field_of(manifest, "spec.startupPolicy.startupPolicyOrder") or "InOrder"
    if order == "InOrder":
        return tuple(PodGroupPlan(name=name, min_members=size) for name, size in sizes.items())
    return (PodGroupPlan(min_members=sum(sizes.values())),)


def lws_gangs(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return one gang for each replica: a leader and its workers, in segments where the set is divided.

    With LeaderReady the workers are created when the leader is ready, so that
    only the leader can be waited for.
    """
    replicas = count_of(manifest, "spec.replicas", 1)
    size = max(count_of(manifest, "spec.leaderWorkerTemplate.size", 1), 1)
    policy = field_of(manifest, "spec.startupPolicy") or LEADER_CREATED
    if policy not in (LEADER_CREATED, LEADER_READY):
        raise InvalidRequest.of(FieldError("spec.startupPolicy", f"must be {LEADER_CREATED} or {LEADER_READY}", policy))
    if policy == LEADER_READY:
        parts: tuple[SubGroup, ...] = (SubGroup(name="leader"), SubGroup(name="workers", min_members=0))
    else:
        parts = _lws_parts(manifest, size)
    minimum = sum(part.min_members for part in parts)
    return tuple(
        PodGroupPlan(name=f"group-{index}", min_members=minimum, sub_groups=parts) for index in range(replicas)
    )


def _job_pods(job: Manifest, path: str) -> int:
    """Return how many pods of one replicated job run at once; what is missing or 0 counts as 1."""
    replicas = count_of(job, "replicas", 1, at=path) or 1
    parallelism = count_of(job, "template.spec.parallelism", 1, at=path) or 1
    completions = count_of(job, "template.spec.completions", parallelism, at=path) or parallelism
    return replicas * min(parallelism, completions)


def _lws_parts(manifest: Manifest, size: int) -> tuple[SubGroup, ...]:
    segment, topology = _lws_segment(manifest, size)
    if segment == 0:
        workers = (SubGroup(name="workers", min_members=size - 1),) if size > 1 else ()
        return (SubGroup(name="leader"), *workers)
    kind = field_of(manifest, "spec.leaderWorkerTemplate.subGroupPolicy.subGroupPolicyType") or "LeaderWorker"
    if kind == "LeaderExcluded":
        return (SubGroup(name="leader"), *segments(size - 1, segment, topology=topology))
    # A leader that is one pod too many joins the first segment (LeaderWorkerSet numbers its pods so).
    extra = 1 if (size - 1) % segment == 0 else 0
    return segments(size, segment, topology=topology, extra=extra)


def _lws_segment(manifest: Manifest, size: int) -> tuple[int, TopologyConstraint | None]:
    """Return how many pods a segment has, 0 for none, and how close together they are to be.

    The set says it itself, or an annotation of its workers' template or its own does.
    """
    own, path = field_of(manifest, "metadata.annotations") or {}, "metadata.annotations"
    notes = field_of(manifest, f"{LWS_TEMPLATE}.workerTemplate.{path}") or {}
    at = f"{LWS_TEMPLATE}.workerTemplate.{path}" if SEGMENT_SIZE in notes else path
    topology = segment_topology({**own, **notes}, own, at=at)
    segment = count_of(manifest, f"{LWS_TEMPLATE}.subGroupPolicy.subGroupSize", 0)
    if segment == 0:
        return segment_size({**own, **notes}, size, at=at, least=2), topology
    if not 1 < segment <= size:
        message = f"must be from 2 to the size of the group, {size}"
        raise InvalidRequest.of(FieldError(f"{LWS_TEMPLATE}.subGroupPolicy.subGroupSize", message, segment))
    return segment, topology


def jobset_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the replicated job of a pod."""
    return labels.get(JOBSET_JOB_LABEL, ""), ""


def lws_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the replica of a pod, and leader, workers or its segment."""
    group = f"group-{labels.get(LWS_GROUP_LABEL, '0')}"
    if LWS_SEGMENT_LABEL in labels:
        return group, f"segment-{labels[LWS_SEGMENT_LABEL]}"
    return group, "leader" if labels.get(LWS_WORKER_LABEL, "0") == "0" else "workers"


class Native:
    """A type of workload of our own: its pods are made from its specification, not from a manifest."""

    def pod_groups(self, _: Manifest) -> Sequence[PodGroupPlan]:
        """Return no gang: `gang` makes it together with the pods."""
        return ()

    def gang(self, workload: Workload, run_context: RunContext, existing: Sequence[Pod]) -> Gang:
        """Return the pods of the attempt and their group."""
        return gang_of(workload, run_context=run_context, existing=existing)


NATIVE_KINDS: Mapping[str, WorkloadType] = {
    "InteractiveWorkload": WorkloadType.WORKSPACE,
    "TrainingWorkload": WorkloadType.TRAINING,
    "DistributedWorkload": WorkloadType.DISTRIBUTED,
    "InferenceWorkload": WorkloadType.INFERENCE,
    "DistributedInferenceWorkload": WorkloadType.DISTRIBUTED_INFERENCE,
}
"""Kind in the group run.ai (v2alpha1) -> type."""

KINDS: tuple[WorkloadKind, ...] = (
    *(
        WorkloadKind(
            api_version="run.ai/v2alpha1",
            kind=kind,
            adapter=Native(),
            workload_type=native,
            priority_class=TYPE_DEFAULTS[native].priority_class,
        )
        for kind, native in NATIVE_KINDS.items()
    ),
    WorkloadKind(api_version="v1", kind="Pod", adapter=Gangs(one_gang), category="Deploy"),
    WorkloadKind(
        api_version="apps/v1",
        kind="Deployment",
        adapter=Scaled(each_pod),
        priority_class="inference",
        category="Deploy",
        serves=True,
    ),
    WorkloadKind(api_version="apps/v1", kind="ReplicaSet", adapter=Scaled(one_gang), category="Deploy", serves=True),
    WorkloadKind(api_version="apps/v1", kind="StatefulSet", adapter=Scaled(one_gang), category="Deploy", serves=True),
    WorkloadKind(api_version="batch/v1", kind="Job", adapter=Suspendable(each_pod, "spec.suspend"), category="Build"),
    WorkloadKind(
        api_version="batch/v1",
        kind="CronJob",
        adapter=Suspendable(each_child("Job"), "spec.suspend"),
        category="Deploy",
        serves=True,
    ),
    WorkloadKind(
        api_version="jobset.x-k8s.io/v1alpha2",
        kind="JobSet",
        adapter=DividedSuspendable(jobset_gangs, jobset_place, "spec.suspend"),
    ),
    WorkloadKind(
        api_version="leaderworkerset.x-k8s.io/v1",
        kind="LeaderWorkerSet",
        adapter=DividedScaled(lws_gangs, lws_place, number_of=numbered_by(LWS_WORKER_LABEL)),
        category="Deploy",
        serves=True,
    ),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return our own types, and Kubernetes' workload objects."""
    return KINDS
