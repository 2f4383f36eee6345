"""What MLflow's own code does with the variables that pods are given."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from runai_mlflow.config import OF_PROJECTS, read_config
from runai_mlflow.kubernetes import schedule
from runai_mlflow.marks import tags_of
from runai_mlflow.plugin import runai_pod_environment
from runai_mlflow.runs import Change, apply, change_of

from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.workload import Phase, Pod, PodSpec, Workload
from runai_core.plugins.manager import load_plugins

WORKLOAD = Workload(meta=Meta(name="train", project="team-a", uid="123"))
POD = Pod(meta=Meta(name="train-1-0"), workload="train", pod_group="train", attempt=2, spec=PodSpec())


def test_a_pod_is_told_which_workload_its_run_belongs_to() -> None:
    given = runai_pod_environment(WORKLOAD, POD, {"mlflow.tracking_uri": "", "mlflow.experiment": ""})

    assert set(given) == {"MLFLOW_RUN_CONTEXT"}
    assert json.loads(given["MLFLOW_RUN_CONTEXT"]) == {
        "runai.workload.id": "123",
        "runai.workload.name": "train",
        "runai.project": "team-a",
        "runai.attempt": "2",
    }


def test_a_pod_is_told_where_to_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_MLFLOW_TRACKING_URI", "http://localhost:5000")
    monkeypatch.setenv("RUNAI_MLFLOW_EXPERIMENT", "digits")
    registry = load_plugins(["mlflow"])

    given = registry.pod_environment(WORKLOAD, POD)

    assert (given["MLFLOW_TRACKING_URI"], given["MLFLOW_EXPERIMENT_NAME"]) == ("http://localhost:5000", "digits")


TEMPLATE = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "{replaced}", "namespace": "runai-team-a"},
    "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "x"}], "restartPolicy": "Never"}}},
}


def test_a_job_of_mlflows_own_backend_is_put_under_the_scheduler() -> None:
    before = json.dumps(TEMPLATE)

    placed = schedule(TEMPLATE, "team-a", priority="high")

    pods = placed["spec"]["template"]
    assert pods["spec"]["schedulerName"] == "runai-scheduler"
    for labels in (placed["metadata"]["labels"], pods["metadata"]["labels"]):
        assert labels == {"runai/queue": "team-a", "project": "team-a", "priorityClassName": "high"}
    assert json.dumps(TEMPLATE) == before, "what was given stays as it was"
    assert schedule(placed, "team-a", priority="high") == placed
    kind = load_plugins(["mlflow"]).kind_of("batch/v1", "Job")
    assert [plan.each_pod for plan in kind.adapter.pod_groups(placed)] == [True]


def test_what_is_no_job_or_belongs_to_another_scheduler_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="kind: must be Job"):
        schedule({**TEMPLATE, "kind": "Pod"}, "team-a")
    foreign = json.loads(json.dumps(TEMPLATE))
    foreign["spec"]["template"]["spec"]["schedulerName"] = "volcano"
    with pytest.raises(InvalidRequest, match="asks for another scheduler"):
        schedule(foreign, "team-a")


@pytest.mark.parametrize(
    ("before", "after", "signal", "status"),
    [
        (Phase.CREATING, Phase.PENDING, "PodsCreated", "SCHEDULED"),
        (Phase.INITIALIZING, Phase.RUNNING, "AllReady", "RUNNING"),
        (Phase.RUNNING, Phase.PENDING, "Evicted", "KILLED"),
        (Phase.RUNNING, Phase.PENDING, "Retry", "SCHEDULED"),
        (Phase.RUNNING, Phase.STOPPING, "StopAsked", "KILLED"),
        (Phase.RUNNING, Phase.DELETING, "DeleteAsked", "KILLED"),
        (Phase.RUNNING, Phase.FAILED, "Failed", "FAILED"),
        (Phase.RUNNING, Phase.COMPLETED, "Succeeded", "FINISHED"),
        (Phase.COMPLETED, Phase.DELETING, "DeleteAsked", ""),
        (Phase.RUNNING, Phase.DEGRADED, "PodsLost", ""),
    ],
    ids=str,
)
def test_what_a_phase_means_for_runs(before: Phase, after: Phase, signal: str, status: str) -> None:
    assert change_of(before, after, signal, "why").status == status


class Store:
    """A tracking store with one run."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.tags: dict[str, str] = {}

    def set_tag(self, _run: str, name: str, value: str) -> None:
        self.tags[name] = value

    def get_run(self, _run: str) -> object:
        return SimpleNamespace(info=SimpleNamespace(status=self.status))

    def update_run(self, _run: str, *, status: str) -> None:
        self.status = status

    def set_terminated(self, run: str, status: str) -> None:
        self.update_run(run, status=status)


@pytest.mark.parametrize(
    ("is_now", "told", "becomes"),
    [
        ("RUNNING", "SCHEDULED", "SCHEDULED"),
        ("FINISHED", "RUNNING", "FINISHED"),
        ("KILLED", "RUNNING", "RUNNING"),
        ("FINISHED", "FAILED", "FAILED"),
        ("FAILED", "FINISHED", "FAILED"),
        ("FINISHED", "KILLED", "KILLED"),
    ],
    ids=[
        "it waits",
        "user code was quicker",
        "it runs again",
        "user code had ended it, and the workload failed after all",
        "user code called it failed",
        "it was ended while it said that it had",
    ],
)
def test_what_user_code_said_stands_where_it_can(is_now: str, told: str, becomes: str) -> None:
    store = Store(is_now)

    apply(store, "1", Change(told, "Phase", "because"))

    assert (store.status, store.tags) == (becomes, {"runai.phase": "Phase", "runai.message": "because"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpu": 1}, r"s.gpu: is unknown: did you mean gpus\?"),
        ({"zzz": 1}, "s.zzz: is unknown: use project, image"),
        ({"gpus": "many"}, "s.gpus: must be a number"),
        ({"replicas": 1.5}, "s.replicas: must be a whole number from 1"),
        ({"env": "A=1"}, "s.env: must be a mapping"),
        ({"preemptible": 1}, "s.preemptible: must be true or false"),
        ({"gpu": 1, "wait": "x"}, "s.gpu.*s.wait"),
    ],
    ids=["a typo", "nothing like it", "no number", "half a replica", "no mapping", "no flag", "two at once"],
)
def test_a_wrong_configuration_is_named_key_by_key(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_config(given, OF_PROJECTS, source="s")


def test_a_configuration_of_a_command_line_is_text() -> None:
    given = {"gpus": "0.5", "replicas": "2", "preemptible": "True", "node_pools": "a, b", "ENV_MANAGER": "local"}

    assert read_config(given, OF_PROJECTS, source="s") == {
        "gpus": 0.5,
        "replicas": 2,
        "preemptible": True,
        "node_pools": ["a", "b"],
    }


def test_tags_are_those_of_the_workload_and_none_outside() -> None:
    environ = {"RUNAI_JOB_UUID": "1", "RUNAI_JOB_NAME": "w", "RUNAI_PROJECT": "p", "RUNAI_ATTEMPT": "1", "RANK": "3"}

    assert tags_of(environ)["runai.rank"] == "3"
    assert tags_of({"RANK": "3", "RUNAI_PROJECT": "p"}) == {}


def test_the_plugin_is_imported_in_a_moment() -> None:
    """Beyond what `runai` has imported anyway."""
    code = (
        "import time, runai_core.plugins.types, runai_core.plugins.markers\n"
        "begin = time.process_time(); import runai_mlflow.plugin; print(time.process_time() - begin)"
    )

    seconds = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3))

    assert seconds < 0.05


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_mlflow.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"mlflow"} & set(loaded)
