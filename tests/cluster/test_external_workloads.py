"""Others' workloads beside the whole orchestrator: grouped, scheduled, shown, stopped, run again and deleted.

What `kubectl` makes here are Kubernetes' own kinds, with the real controller manager; fake nodes play the kubelets.
"""

from collections.abc import Iterator

import pytest

from runai_core.model.errors import NotFound, Unsupported
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import Phase, Workload, WorkloadType
from runai_core.ports import Query
from runai_core.service.submissions import Submission
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.running import Running, eventually, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NODES = "externals"
TEMPLATE = """
      metadata: {labels: {app: x}, annotations: {%s}}
      spec:
        schedulerName: runai-scheduler
        restartPolicy: %s
        terminationGracePeriodSeconds: 0
        nodeSelector: {tests: externals}
        containers: [{name: main, image: none, resources: {limits: {nvidia.com/gpu: "2"}}}]
"""
A_DEPLOYMENT = (
    """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {user: ann}}
spec:
  replicas: 2
  selector: {matchLabels: {app: x}}
  template:
"""
    + TEMPLATE % ("", "Always")
)
A_JOB = (
    """
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  parallelism: 2
  completions: 2
  template:
"""
    + TEMPLATE % ("runai.test/succeeds-after: 3s", "Never")
)


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator, a project, and a node for these tests alone."""
    nodes = add_fake_nodes(cluster, 1, prefix=NODES, labels={"tests": NODES})
    try:
        with running(cluster, tmp_path_factory.mktemp("orchestrator")) as found:
            yield found
    finally:
        remove_nodes(cluster, nodes)


def reaches(run: Running, name: str, phase: Phase) -> Workload:
    """Return a workload, as the services list it, when it is in a phase."""
    seen: list[Phase] = []

    def look() -> Workload | None:
        try:
            found = run.workload(name)
        except NotFound:
            return None
        seen.append(found.phase)
        return found if found.phase is phase else None

    try:
        return eventually(look, 60)
    except AssertionError:
        raise AssertionError(f"{name} is not {phase}; it was {list(dict.fromkeys(seen))}") from None


def gone(run: Running, uid: str) -> bool:
    """Return whether the services list a workload no more."""
    page = run.call(run.orchestrator.workloads.list(SYSTEM, Query(project=run.project)))
    return uid not in {item.meta.uid for item in page.items}


def test_a_deployment_of_kubectl_is_a_workload_with_all_actions(run: Running) -> None:
    run.cluster.kubectl("apply", "-n", run.namespace, "-f", "-", stdin=A_DEPLOYMENT)
    services = run.orchestrator.workloads

    row = reaches(run, "web", Phase.RUNNING)
    pods = run.call(services.pods(SYSTEM, row.meta.uid))
    run.call(services.stop(SYSTEM, row.meta.uid))
    reaches(run, "web", Phase.STOPPED)
    run.call(services.resume(SYSTEM, row.meta.uid))
    again = reaches(run, "web", Phase.RUNNING)

    def whole_story() -> list[str]:  # it is written after the changes that it tells of
        found = run.phases("web", row.meta.uid)
        return found if "Stopped" in found and found[-1] == "Running" else []

    story = eventually(whole_story)
    run.call(services.delete(SYSTEM, row.meta.uid))
    eventually(lambda: gone(run, row.meta.uid))

    assert (row.type, row.kind, row.meta.created_by) == (WorkloadType.EXTERNAL, "Deployment", "ann")
    assert (row.pods_running, row.pods_requested, row.priority_class) == (2, 2, "inference")
    assert {pod.status.node for pod in pods} == {f"{NODES}-0"}
    assert {pod.meta.owner for pod in pods} == {row.meta.uid}
    assert again.pods_running == 2
    assert story.index("Running") < story.index("Stopped") < len(story) - 1


def test_a_job_of_kubectl_runs_to_its_end(run: Running) -> None:
    run.cluster.kubectl("apply", "-n", run.namespace, "-f", "-", stdin=A_JOB)

    done = reaches(run, "sum", Phase.COMPLETED)

    assert done.pods_running == 0
    eventually(lambda: run.phases("sum", done.meta.uid)[-1:] == ["Completed"])
    assert run.workload("sum").running_seconds > 0


def test_a_pod_that_cannot_be_placed_says_why(run: Running) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "huge"},
        "spec": {
            "schedulerName": "runai-scheduler",
            "nodeSelector": {"tests": NODES},
            "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "9"}}}],
        },
    }
    run.kube.post(f"/api/v1/namespaces/{run.namespace}/pods", body)
    row = reaches(run, "huge", Phase.PENDING)
    told = eventually(lambda: run.workload("huge").verdict)

    with pytest.raises(Unsupported, match=r"a Pod \(v1\) cannot be stopped: delete it instead"):
        run.call(run.orchestrator.workloads.stop(SYSTEM, row.meta.uid))
    run.call(run.orchestrator.workloads.delete(SYSTEM, row.meta.uid))
    eventually(lambda: gone(run, row.meta.uid))

    assert "GPU" in told.message


def test_an_object_that_is_submitted_to_the_api_is_made_in_the_projects_namespace(run: Running) -> None:
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "elsewhere", "namespace": "default"},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "nodeSelector": {"tests": NODES},
                    "containers": [{"name": "main", "image": "none"}],
                }
            }
        },
    }
    submission = Submission(
        name="submitted",
        project=run.project,
        type=WorkloadType.EXTERNAL,
        spec={"priorityClass": "build"},
        api_version="batch/v1",
        kind="Job",
        manifest=manifest,
    )

    made = run.call(run.orchestrator.workloads.submit(SYSTEM, submission))
    row = reaches(run, "submitted", Phase.RUNNING)
    run.call(run.orchestrator.workloads.delete(SYSTEM, row.meta.uid))
    eventually(lambda: gone(run, row.meta.uid))

    assert made.meta.uid == row.meta.uid
    assert (row.priority_class, row.key) == ("build", f"{run.project}/submitted")
