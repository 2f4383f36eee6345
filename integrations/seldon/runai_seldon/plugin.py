"""Model servers as workloads: Seldon, KServe and Knative.

Replicas of a server answer requests on their own, so that none waits for all;
a Knative revision that must not scale below some replicas starts with those.
"""

from collections.abc import Iterable, Sequence

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import MAX_MEMBERS, Gangs, field_of, of_its_children, one_gang
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, PodGroupPlan, WorkloadKind

MIN_SCALE = "autoscaling.knative.dev/min-scale"


def revision_gang(manifest: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of a Knative service's revision: the replicas that it never goes below, at least one."""
    path = "spec.template.metadata.annotations"
    annotations = field_of(manifest, path) or {}
    text = str(annotations.get(MIN_SCALE, "1"))
    if not text.isdecimal() or int(text) > MAX_MEMBERS:
        raise InvalidRequest.of(FieldError(f"{path}[{MIN_SCALE}]", f"must be a number from 0 to {MAX_MEMBERS}", text))
    return (PodGroupPlan(min_members=max(int(text), 1)),)


KINDS: tuple[WorkloadKind, ...] = (
    WorkloadKind(
        api_version="serving.knative.dev/v1", kind="Service", adapter=Gangs(revision_gang), priority_class="inference"
    ),
    # KServe makes a Knative service or a deployment, which has a kind of its own.
    WorkloadKind(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        adapter=Gangs(of_its_children),
        priority_class="inference",
    ),
    # The class of Seldon's own kinds is KAI's.
    WorkloadKind(api_version="machinelearning.seldon.io/v1", kind="SeldonDeployment", adapter=Gangs(one_gang)),
    WorkloadKind(api_version="machinelearning.seldon.io/v1alpha2", kind="SeldonDeployment", adapter=Gangs(one_gang)),
    WorkloadKind(api_version="mlops.seldon.io/v1alpha1", kind="Server", adapter=Gangs(one_gang)),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return the kinds of model servers."""
    return KINDS
