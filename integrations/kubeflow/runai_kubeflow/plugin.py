"""Kubeflow's training jobs, notebooks and pipeline runs as workloads.

Sizes of gangs are those of KAI's pod grouper: what the scheduling policy of the
job asks for, else the sum of its replicas.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import (
    DividedSuspendable,
    Gangs,
    Suspendable,
    count_of,
    field_of,
    numbered_by,
    of_its_children,
    one_gang,
)
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.segments import segment_size, segment_topology, segments
from runai_core.plugins.types import Manifest, PodGroupPlan, SubGroup, WorkloadKind

ROLE_LABEL = "training.kubeflow.org/replica-type"
NUMBER_LABEL = "training.kubeflow.org/replica-index"
SUSPEND = "spec.runPolicy.suspend"
MIN_AVAILABLE = "spec.runPolicy.schedulingPolicy.minAvailable"

WAIT_FOR_WORKERS = "WaitForWorkersReady"


def replicas_of(manifest: Manifest, specs: str) -> dict[str, int]:
    """Return how many replicas each role has; `specs` is the name of the field with the roles.

    Raises:
        InvalidRequest: there is no role, or a role has no replicas.
    """
    path = f"spec.{specs}"
    roles = field_of(manifest, path)
    if not isinstance(roles, Mapping) or not roles:
        raise InvalidRequest.of(FieldError(path, "must name the roles of the job, for example Worker", roles))
    counts = {str(role): count_of(manifest, f"{path}.{role}.replicas", 0) for role in roles}
    for role, count in counts.items():
        if count == 0:
            raise InvalidRequest.of(FieldError(f"{path}.{role}.replicas", "must be at least 1", count))
    return counts


def job_gang(manifest: Manifest, *, specs: str, required: tuple[str, ...] = ()) -> Sequence[PodGroupPlan]:
    """Return the gang of a job: the minimum that its scheduling policy names, else all replicas."""
    counts = replicas_of(manifest, specs)
    for role in required:
        if role not in counts:
            raise InvalidRequest.of(FieldError(f"spec.{specs}.{role}", "is required"))
    return (PodGroupPlan(min_members=count_of(manifest, MIN_AVAILABLE, 0) or sum(counts.values())),)


def mpi_gang(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of an MPI job; a launcher that is made later is not waited for."""
    counts = replicas_of(manifest, "mpiReplicaSpecs")
    late = field_of(manifest, "spec.launcherCreationPolicy") == WAIT_FOR_WORKERS
    launchers = counts.get("Launcher", 0) if late else 0
    return (PodGroupPlan(min_members=count_of(manifest, MIN_AVAILABLE, 0) or sum(counts.values()) - launchers),)


def pytorch_gang(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of a PyTorch job: master and workers; an elastic job starts with its minimum."""
    counts = replicas_of(manifest, "pytorchReplicaSpecs")
    minimum = (
        count_of(manifest, MIN_AVAILABLE, 0)
        or count_of(manifest, "spec.elasticPolicy.minReplicas", 0)
        or sum(counts.values())
    )
    masters = counts.get("Master", 0)
    parts = [SubGroup(name="master", min_members=masters)] if masters else []
    if "Worker" in counts:
        workers = _segments(manifest, counts["Worker"])
        if workers:  # each must be whole, so that an elastic job has all of its workers
            minimum = masters + counts["Worker"]
        parts += [SubGroup(name="worker", min_members=max(0, minimum - masters)), *workers]
    return (PodGroupPlan(min_members=minimum, sub_groups=tuple(parts)),)


def _segments(manifest: Manifest, workers: int) -> tuple[SubGroup, ...]:
    """Return the segments that the annotations of the workers' template ask for."""
    at = "spec.pytorchReplicaSpecs.Worker.template.metadata.annotations"
    notes = field_of(manifest, at) or {}
    size = segment_size(notes, workers, at=at)
    if not size:
        return ()
    topology = segment_topology(notes, field_of(manifest, "metadata.annotations") or {}, at=at)
    return segments(workers, size, name="worker", parent="worker", topology=topology)


def role_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the role of a pod as its sub-group."""
    return "", labels.get(ROLE_LABEL, "").lower()


def _training(kind: str, adapter: Suspendable, version: str = "kubeflow.org/v1") -> WorkloadKind:
    return WorkloadKind(api_version=version, kind=kind, adapter=adapter)


KINDS: tuple[WorkloadKind, ...] = (
    _training("PyTorchJob", DividedSuspendable(pytorch_gang, role_place, SUSPEND, number_of=numbered_by(NUMBER_LABEL))),
    _training("TFJob", Suspendable(partial(job_gang, specs="tfReplicaSpecs"), SUSPEND)),
    _training(
        "XGBoostJob", Suspendable(partial(job_gang, specs="xgbReplicaSpecs", required=("Master", "Worker")), SUSPEND)
    ),
    _training("JAXJob", Suspendable(partial(job_gang, specs="jaxReplicaSpecs", required=("Worker",)), SUSPEND)),
    _training("MPIJob", Suspendable(mpi_gang, SUSPEND)),
    _training("MPIJob", Suspendable(mpi_gang, SUSPEND), "kubeflow.org/v2beta1"),
    # The trainer makes a JobSet, which has a kind and gangs of its own.
    _training("TrainJob", Suspendable(of_its_children, "spec.suspend"), "trainer.kubeflow.org/v1alpha1"),
    # A notebook is somebody's desk: its class is not preemptible.
    *(
        WorkloadKind(
            api_version=version,
            kind="Notebook",
            adapter=Gangs(one_gang),
            priority_class="build",
            category="Build",
            serves=True,
        )
        for version in ("kubeflow.org/v1", "kubeflow.org/v1beta1")
    ),
    WorkloadKind(
        api_version="kubeflow.org/v1alpha1",
        kind="ScheduledWorkflow",
        adapter=Gangs(one_gang),
        category="Deploy",
        serves=True,
    ),
    # The steps of a pipeline run after each other: waiting for all of them would wait for ever.
    WorkloadKind(
        api_version="argoproj.io/v1alpha1",
        kind="Workflow",
        adapter=Suspendable(of_its_children, "spec.suspend"),
        category="Deploy",
    ),
    # An experiment of Katib's is one workload, and each of its trials is a job with a gang of its own.
    *(
        WorkloadKind(api_version="kubeflow.org/v1beta1", kind=kind, adapter=Gangs(of_its_children))
        for kind in ("Experiment", "Trial")
    ),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return Kubeflow's kinds."""
    return KINDS
