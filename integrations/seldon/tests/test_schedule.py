"""Manifests of model servers, as people write them, before and after they are put under the scheduler."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from runai_seldon import NotScheduled, schedule

from runai_core.model.errors import InvalidRequest

MARKS = {"runai/queue": "team-a", "priorityClassName": "inference"}

SELDON = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: iris}
spec:
  predictors:
  - name: default
    replicas: 2
    graph: {name: classifier, implementation: SKLEARN_SERVER}
    componentSpecs:
    - metadata: {labels: {team: ml}}
      spec: {containers: [{name: classifier, resources: {limits: {nvidia.com/gpu: 1}}}]}
"""
SERVER = "apiVersion: mlops.seldon.io/v1alpha1\nkind: Server\nmetadata: {name: mlserver}\nspec: {replicas: 2}"
KSERVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: llm}
spec:
  predictor:
    minReplicas: 2
    model: {modelFormat: {name: huggingface}}
    workerSpec: {pipelineParallelSize: 2, containers: [{name: worker}]}
  transformer: {containers: [{name: t}]}
"""
KNATIVE = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec: {template: {spec: {containers: [{image: hello}]}}}
"""


def scheduled(text: str, **marks: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotScheduled)
        return schedule(yaml.safe_load(text), project="team-a", **marks)


def test_every_component_of_a_seldon_deployment_is_reached() -> None:
    done = scheduled(SELDON)

    predictor = done["spec"]["predictors"][0]
    component = predictor["componentSpecs"][0]
    assert done["metadata"] == {"name": "iris", "labels": MARKS, "namespace": "runai-team-a"}
    assert predictor["labels"] == MARKS
    assert component["metadata"]["labels"] == {"team": "ml", **MARKS}
    assert component["spec"]["schedulerName"] == "runai-scheduler"
    assert component["spec"]["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 1}}


def test_a_seldon_server_gets_a_pod_spec() -> None:
    assert scheduled(SERVER)["spec"] == {"replicas": 2, "podSpec": {"schedulerName": "runai-scheduler"}}


def test_all_components_of_kserve_are_reached_the_workers_of_several_nodes_too() -> None:
    spec = scheduled(KSERVE)["spec"]

    assert spec["predictor"]["schedulerName"] == "runai-scheduler"
    assert spec["predictor"]["labels"] == MARKS
    assert spec["predictor"]["workerSpec"]["schedulerName"] == "runai-scheduler"
    assert spec["transformer"]["schedulerName"] == "runai-scheduler"
    assert "explainer" not in spec


def test_knative_says_what_must_be_switched_on() -> None:
    with pytest.warns(NotScheduled, match=r"Service hello: Knative refuses .*podspec-schedulername"):
        done = schedule(yaml.safe_load(KNATIVE), project="team-a")

    assert done["spec"]["template"]["spec"]["schedulerName"] == "runai-scheduler"
    assert done["spec"]["template"]["metadata"]["labels"] == MARKS


UNREACHED = {
    "an explainer": ("explainer: {type: AnchorTabular}", "explainer's pod"),
    "a separate engine": ("annotations: {seldon.io/engine-separate-pod: 'true'}", "separate engine"),
}


@pytest.mark.parametrize(("line", "words"), UNREACHED.values(), ids=UNREACHED)
def test_pods_that_no_manifest_reaches_are_named(line: str, words: str) -> None:
    text = SELDON.replace("    replicas: 2", f"    {line}")

    with pytest.warns(NotScheduled, match=words):
        schedule(yaml.safe_load(text), project="team-a")


@pytest.mark.parametrize("text", [SELDON, SERVER, KSERVE, KNATIVE], ids=["seldon", "server", "kserve", "knative"])
def test_twice_is_once(text: str) -> None:
    once = scheduled(text)

    assert scheduled(yaml.safe_dump(once)) == once


def test_yaml_comes_back_as_yaml_with_the_documents_beside_it() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---" + SELDON

    secret, server = yaml.safe_load_all(schedule(text, project="team-a", priority="high", node_pool="a100"))

    assert secret == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    assert server["metadata"]["labels"] == {
        "runai/queue": "team-a",
        "priorityClassName": "high",
        "runai/node-pool": "a100",
    }


WRONG: dict[str, tuple[Any, dict[str, str], str]] = {
    "another kind": ({"apiVersion": "v1", "kind": "Pod"}, {}, "SeldonDeployment"),
    "text that is no YAML": ("a: [", {}, "is no YAML"),
    "no object": ("", {}, "apiVersion"),
    "an unknown priority": (SERVER, {"priority": "urgent"}, "inference"),
    "a list that is none": (SELDON.replace("  - name: default\n", "    name: default\n"), {}, "must be a list"),
}


@pytest.mark.parametrize(("manifest", "marks", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_what_is_allowed(manifest: Any, marks: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        schedule(manifest, project="team-a", **marks)


def test_the_first_example_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None

    done = subprocess.run(
        [sys.executable, "-c", example[1]], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240
    )

    assert "schedulerName: runai-scheduler" in done.stdout
