"""`runai admin` on a real API server: installed twice, tried dry, taken away, and refused where rights are missing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.kube import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Runai = Callable[..., subprocess.CompletedProcess[str]]

KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TRAINING = """
apiVersion: run.ai/v2alpha1
kind: TrainingWorkload
metadata: {name: t1, namespace: runai-team-a}
spec:
  name: {value: t1}
  image: {value: "python:3.11"}
  gpu: {value: "0.5"}
  nodePools: {value: "a100 default"}
  environment: {items: {LR: {value: "0.1"}, TOKEN: {value: "SECRET:my-secret,token"}}}
  pvcs: {items: {pvc--0: {value: {claimName: data, existingPvc: true, path: /data, readOnly: true}}}}
"""


@pytest.fixture(scope="module")
def own(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of this file alone: it is cleaned out. A session that keeps its cluster keeps this one beside it."""
    if kept := os.environ.get("RUNAI_TEST_CLUSTER"):
        yield Cluster.up(Path(f"{kept}-install"), stays=True)
        return
    made = Cluster.up(tmp_path_factory.mktemp("install"))
    yield made
    made.down()


@pytest.fixture
def runai(own: Cluster) -> Runai:
    def run(*words: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "runai_core.cli.main",
            "admin",
            *words,
            "--kubeconfig",
            str(own.kubeconfig(user)),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    return run


@pytest.fixture
def kube(own: Cluster) -> Iterator[Kube]:
    with own.kube() as kube:
        yield kube


@pytest.fixture
def installed(runai: Runai) -> Runai:
    done = runai("install", "--no-workloads")
    assert done.returncode == 0, done.stderr
    return runai


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)["counts"]
    return found


def test_a_dry_run_changes_nothing(runai: Runai, kube: Kube) -> None:
    done = runai("install", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert re.search(r"^Nothing was changed; (\d+) objects: \1 would be created\.$", done.stdout, re.MULTILINE)
    assert kube.get(KINDS)["items"] == []
    assert "runai" not in [item["metadata"]["name"] for item in kube.get("/api/v1/namespaces")["items"]]


def test_a_user_without_rights_is_told_which_and_nothing_is_made(runai: Runai, kube: Kube) -> None:
    done = runai("install", user="nobody")

    assert done.returncode == 3
    assert "customresourcedefinitions.apiextensions.k8s.io (create, patch)" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert kube.get(KINDS)["items"] == []


def test_installing_again_finds_everything_as_it_should_be(runai: Runai) -> None:
    first = counts(runai("install", "--json"))
    again = counts(runai("install", "--json"))

    assert first == {"created": sum(first.values())}
    assert again == {"unchanged": sum(first.values())}


def test_installing_repairs_what_was_changed_by_hand(installed: Runai, kube: Kube) -> None:
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/runai-operator"
    kube.patch(role, {"rules": []})

    assert counts(installed("install", "--no-workloads", "--json")).get("configured") == 1
    assert kube.get(role)["rules"]


def test_what_is_no_longer_chosen_goes(runai: Runai, kube: Kube) -> None:
    assert runai("install").returncode == 0
    assert runai("install", "--no-webhooks", "--replicas", "2").returncode == 0

    kinds = kube.get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations")["items"]
    deployment = kube.get("/apis/apps/v1/namespaces/runai/deployments/runai-operator")
    assert kinds == []
    assert deployment["spec"]["replicas"] == 2
    assert "--no-webhook" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_the_manifests_are_what_kubectl_can_apply(installed: Runai, own: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runai_core.cli.main", "admin", "manifests"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    file = tmp_path / "all.yaml"
    file.write_text(text)

    printed = own.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file), seconds=120)

    assert printed.count("serverside-applied") == len(list(yaml.safe_load_all(text)))


def test_a_priority_class_of_somebody_else_is_kept(own: Cluster, runai: Runai, kube: Kube) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    kube.delete(f"{path}/high")
    kube.post(path, {"metadata": {"name": "high"}, "value": 7})
    try:
        done = runai("install", "--no-workloads")
        assert done.returncode == 0, done.stderr
        assert "priorityclass/high kept: it is there with the value 7, and values cannot be changed" in done.stdout
    finally:
        kube.delete(f"{path}/high")


def test_kubectl_explains_the_fields(installed: Runai, own: Cluster) -> None:
    printed = own.kubectl("explain", "trainingworkload.spec.nodeType")

    assert "Node type: the node label run.ai/type." in printed
    assert re.search(r"value\s+<string>", printed)
    assert "PyTorchJob" in own.kubectl("explain", "distributedworkload.spec.jobType")
    assert "GPUs for each pod" in own.kubectl("explain", "trainingpolicies.spec.gpu")


def test_a_manifest_of_the_product_is_accepted_and_shown(installed: Runai, own: Cluster) -> None:
    own.kubectl("create", "namespace", "runai-team-a")
    own.kubectl("apply", "-f", "-", stdin=TRAINING)

    shown = own.kubectl("get", "tw", "-n", "runai-team-a")
    assert shown.split()[:6] == ["NAME", "STATUS", "PROJECT", "GPUS", "RUNNING", "AGE"]
    assert "trainingworkload.run.ai/t1" in own.kubectl("get", "runai", "-n", "runai-team-a", "-o", "name")


WRONG = [
    ("a number for a text", {"gpu": {"value": 1}}, "spec.gpu.value in body must be of type string"),
    ("an unknown field", {"gpuu": {"value": "1"}}, 'unknown field "spec.gpuu"'),
    ("a wrong word", {"imagePullPolicy": {"value": "Sometimes"}}, '"Always", "IfNotPresent", "Never"'),
    (
        "a wrong member of an item",
        {"pvcs": {"items": {"a": {"value": {"readOnly": 3}}}}},
        "spec.pvcs.items.a.value.readOnly in body must be of type boolean",
    ),
]


@pytest.mark.parametrize(("spec", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_manifest_is_refused_with_the_field(
    installed: Runai, own: Cluster, spec: dict[str, Any], said: str
) -> None:
    body = {"apiVersion": "run.ai/v2alpha1", "kind": "TrainingWorkload", "metadata": {"name": "w"}, "spec": spec}

    with pytest.raises(AssertionError) as refused:
        own.kubectl("create", "-f", "-", stdin=yaml.safe_dump(body))

    assert said in str(refused.value)


def test_uninstalling_keeps_what_users_made(runai: Runai, own: Cluster, kube: Kube) -> None:
    assert runai("install").returncode == 0
    own.kubectl("apply", "-f", "-", stdin=TRAINING)

    done = runai("uninstall", "--yes")

    assert done.returncode == 0, done.stderr
    assert own.kubectl("get", "tw", "t1", "-n", "runai-team-a", "-o", "name").strip() == "trainingworkload.run.ai/t1"
    assert kube.get("/apis/apps/v1/namespaces/runai/deployments")["items"] == []
    names = [item["metadata"]["name"] for item in kube.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]]
    assert [name for name in names if name.startswith("runai")] == []
    assert kube.get("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations")["items"] == []


def test_uninstalling_asks_first(runai: Runai, kube: Kube) -> None:
    assert runai("install", "--no-workloads").returncode == 0

    assert runai("uninstall").returncode != 0  # nobody answers

    assert kube.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/runai-operator")


def test_uninstalling_can_take_everything(installed: Runai, own: Cluster, kube: Kube) -> None:
    held = yaml.safe_load(TRAINING)
    held["metadata"] |= {"name": "held", "finalizers": ["run.ai/workload"]}  # nobody answers for it any more
    own.kubectl("create", "-f", "-", stdin=yaml.safe_dump(held))

    done = installed("uninstall", "--yes", "--with-user-objects")

    assert done.returncode == 0, done.stderr
    kube.wait(KINDS, lambda seen: not seen["items"])
    kube.wait_gone("/api/v1/namespaces/runai", seconds=60)
    assert kube.get("/api/v1/namespaces/runai-team-a")  # a project's namespace is its people's
