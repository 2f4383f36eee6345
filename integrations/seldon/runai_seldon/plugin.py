"""Model servers as workloads: Seldon, KServe and Knative.

Replicas of a server answer requests on their own, so that none waits for all;
a Knative revision that must not scale below some replicas starts with those.
"""

from collections.abc import Iterable, Mapping, Sequence

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import MAX_MEMBERS, Divided, Gangs, each_pod, field_of
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, PodGroupPlan, SubGroup, WorkloadKind

MIN_SCALE = "autoscaling.knative.dev/min-scale"


def revision_gang(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of a Knative service's revision: the replicas that it never goes below, at least one."""
    path = "spec.template.metadata.annotations"
    annotations = field_of(manifest, path) or {}
    text = str(annotations.get(MIN_SCALE, "1"))
    if not text.isdecimal() or int(text) > MAX_MEMBERS:
        raise InvalidRequest.of(FieldError(f"{path}[{MIN_SCALE}]", f"must be a number from 0 to {MAX_MEMBERS}", text))
    return (PodGroupPlan(min_members=max(int(text), 1)),)


def predictor_gang(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of a predictor that spans nodes; of other servers none: what KServe makes has kinds of its own.

    A head and its workers load one model together: all of them or none can start (KServe's WorkerSpec: the
    pipeline is one head and `pipelineParallelSize` - 1 workers, or `size` of the older form).
    """
    worker = field_of(manifest, "spec.predictor.workerSpec")
    if worker is None:
        return ()
    path = "spec.predictor.workerSpec"
    size = worker.get("pipelineParallelSize", worker.get("size", 2)) if isinstance(worker, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or not 1 < size <= MAX_MEMBERS:
        message = f"must be a whole number from 2 to {MAX_MEMBERS}"
        raise InvalidRequest.of(FieldError(f"{path}.pipelineParallelSize", message, size))
    parts = (SubGroup(name="head", min_members=1), SubGroup(name="worker", min_members=size - 1))
    return (PodGroupPlan(min_members=size, sub_groups=parts),)


def predictor_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the sub-group of a predictor's pod: KServe names the workers' Deployment ``...-worker``."""
    return "", "worker" if labels.get("app", "").endswith("-worker") else "head"


def _server(api_version: str, kind: str, adapter: Gangs) -> WorkloadKind:
    """Return a kind that answers requests until it is deleted."""
    return WorkloadKind(
        api_version=api_version,
        kind=kind,
        adapter=adapter,
        priority_class="inference",
        category="Deploy",
        serves=True,
    )


KINDS: tuple[WorkloadKind, ...] = (
    _server("serving.knative.dev/v1", "Service", Gangs(revision_gang)),
    _server("serving.kserve.io/v1beta1", "InferenceService", Divided(predictor_gang, predictor_place)),
    # KAI has no rule for Seldon and would take its servers for training; they answer requests as the others do.
    *(
        _server(version, kind, Gangs(each_pod))
        for version, kind in (
            ("machinelearning.seldon.io/v1", "SeldonDeployment"),
            ("machinelearning.seldon.io/v1alpha2", "SeldonDeployment"),
            ("mlops.seldon.io/v1alpha1", "Server"),
        )
    ),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return the kinds of model servers."""
    return KINDS
