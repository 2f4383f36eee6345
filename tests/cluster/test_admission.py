"""The operator with exactly its rights: what it makes of projects, and what it says when the API server asks."""

import os
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.kube import Kube, Object, Refused
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORKLOADS = "/apis/run.ai/v2alpha1/namespaces/runai-vision/trainingworkloads"
PROJECTS = "/apis/run.ai/v1/projects"
QUEUES = "/apis/scheduling.run.ai/v2/queues"
PODS = "/api/v1/namespaces/{}/pods"
PATIENCE = 90
"""Seconds: the machine may be busy with other things."""


class Operator:
    """The operator as a process beside the cluster, as its own service account."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, folder: Path) -> None:
        self.webhook, self.health = free_port(), free_port()
        self._cluster, self._kubeconfig, self._folder = cluster, kubeconfig, folder

    def start(self) -> None:
        command = [sys.executable, "-m", "runai_core.cli.main", "operator", "--kubeconfig", str(self._kubeconfig)]
        ports = ["--webhook-port", str(self.webhook), "--health-port", str(self.health)]
        environment = {**os.environ, "RUNAI_DATA_DIR": str(self._folder)}
        self._cluster.run("operator", [*command, *ports], environment=environment)
        self.wait_ready()

    def stop(self) -> None:
        self._cluster.stop("operator")

    def wait_ready(self) -> None:
        ready = "a ready operator; it says\n"
        eventually(
            lambda: self.get("/readyz", quiet=True) == "ok\n",
            lambda: ready + self._cluster.log("operator", 60),
            seconds=PATIENCE,
        )

    def get(self, path: str, *, quiet: bool = False) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.health}{path}", trust_env=False, timeout=60).text
        except httpx.HTTPError:
            if quiet:
                return ""
            raise

    def log(self) -> str:
        return self._cluster.log("operator", 2000)


@pytest.fixture(scope="module")
def own(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of this file alone: everything of ours is on it. A session that keeps its cluster keeps this one."""
    if kept := os.environ.get("RUNAI_TEST_CLUSTER"):
        yield Cluster.up(Path(f"{kept}-admission"), stays=True)
        return
    made = Cluster.up(tmp_path_factory.mktemp("admission"))
    yield made
    made.down()


@pytest.fixture(scope="module")
def operator(own: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    found = Operator(own, folder / "kubeconfig", folder / "data")
    words = ["admin", "install", "--no-workloads", "--webhook-url", f"https://127.0.0.1:{found.webhook}"]
    command = [sys.executable, "-m", "runai_core.cli.main", *words, "--kubeconfig", str(own.kubeconfig())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    with own.kube() as kube:
        path = "/api/v1/namespaces/runai/serviceaccounts/runai-operator/token"
        token = kube.post(path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
        own.write_kubeconfig(folder / "kubeconfig", {"token": token})
        found.start()
        project = {"spec": {"resources": [{"nodePool": "default", "gpu": {"deserved": 4}}]}}
        kube.patch(f"{PROJECTS}/vision", _named("run.ai/v1", "Project", "vision", project), kind="apply")
        kube.wait(f"{PROJECTS}/vision", lambda seen: _phase(seen) == "Ready", seconds=PATIENCE)
    yield found
    found.stop()


@pytest.fixture
def kube(own: Cluster) -> Iterator[Kube]:
    with own.kube() as kube:
        yield kube


def _named(version: str, kind: str, name: str, more: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def _phase(item: Object) -> str:
    return str((item.get("status") or {}).get("phase", ""))


def _training(name: str = "", **spec: Any) -> Object:
    fields = {field: value if isinstance(value, dict) else {"value": value} for field, value in spec.items()}
    unique = name or f"t-{secrets.token_hex(3)}"
    return _named("run.ai/v2alpha1", "TrainingWorkload", unique, {"spec": fields})


def _refused(kube: Kube, path: str, body: Object) -> Refused:
    with pytest.raises(Refused) as refused:
        kube.post(path, body)
    return refused.value


# -- projects


def test_a_project_gets_its_namespace_and_queues(operator: Operator, kube: Kube) -> None:
    namespace = kube.wait("/api/v1/namespaces/runai-vision", bool, seconds=PATIENCE)
    queue = kube.wait(f"{QUEUES}/vision", bool, seconds=PATIENCE)

    assert namespace["metadata"]["labels"]["runai/queue"] == "vision"
    assert queue["spec"]["resources"]["gpu"] == {"quota": 4, "limit": -1, "overQuotaWeight": 1}
    assert queue["spec"]["parentQueue"] == "department.default"


def test_quota_that_changes_reaches_the_queue(operator: Operator, kube: Kube) -> None:
    name = f"p-{secrets.token_hex(3)}"
    spec = {"resources": [{"nodePool": "default", "gpu": {"deserved": 1}}]}
    kube.post(PROJECTS, _named("run.ai/v1", "Project", name, {"spec": spec}))
    kube.wait(f"{QUEUES}/{name}", lambda seen: bool(seen) and seen["spec"]["resources"]["gpu"]["quota"] == 1)

    spec["resources"][0]["gpu"] = {"deserved": 2.5}
    kube.patch(f"{PROJECTS}/{name}", {"spec": spec})

    kube.wait(f"{QUEUES}/{name}", lambda seen: seen["spec"]["resources"]["gpu"]["quota"] == 2.5, seconds=PATIENCE)


def test_what_was_deleted_by_hand_comes_back(operator: Operator, kube: Kube) -> None:
    kube.wait(f"{QUEUES}/vision", bool, seconds=PATIENCE)
    before = kube.get(f"{QUEUES}/vision")["metadata"]["uid"]

    kube.delete(f"{QUEUES}/vision")

    kube.wait(
        f"{QUEUES}/vision", lambda seen: bool(seen) and seen["metadata"]["uid"] != before, seconds=PATIENCE
    )  # fmt: skip


def test_a_project_that_goes_takes_its_queue_and_leaves_its_namespace(operator: Operator, kube: Kube) -> None:
    name = f"p-{secrets.token_hex(3)}"
    kube.post(PROJECTS, _named("run.ai/v1", "Project", name, {"spec": {}}))
    kube.wait(f"{PROJECTS}/{name}", lambda seen: _phase(seen) == "Ready", seconds=PATIENCE)

    kube.delete(f"{PROJECTS}/{name}")

    kube.wait_gone(f"{QUEUES}/{name}", seconds=PATIENCE)
    kube.wait(
        f"/api/v1/namespaces/runai-{name}",
        lambda seen: "runai/queue" not in seen["metadata"].get("labels", {}),
        seconds=PATIENCE,
    )


def test_nodes_of_a_pool_are_labelled(operator: Operator, kube: Kube) -> None:
    pool, node = f"pool-{secrets.token_hex(3)}", f"node-{secrets.token_hex(3)}"
    kube.post("/api/v1/nodes", {"metadata": {"name": node, "labels": {"kind-of": pool}}})
    spec = {"spec": {"labelKey": "kind-of", "labelValue": pool}}
    kube.post("/apis/run.ai/v1alpha1/nodepools", _named("run.ai/v1alpha1", "NodePool", pool, spec))
    try:
        kube.wait(
            f"/api/v1/nodes/{node}",
            lambda seen: seen["metadata"]["labels"].get("kai.scheduler/node-pool") == pool,
            seconds=PATIENCE,
        )
        kube.wait(
            f"/apis/run.ai/v1alpha1/nodepools/{pool}",
            lambda seen: (seen.get("status") or {}).get("nodeCount") == 1,
            seconds=PATIENCE,
        )
    finally:
        kube.delete(f"/apis/run.ai/v1alpha1/nodepools/{pool}")
        kube.delete(f"/api/v1/nodes/{node}")


# -- pods


def _pod(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "none"}], **spec}}


def test_pods_in_a_projects_namespace_get_scheduler_and_queue(operator: Operator, kube: Kube) -> None:
    made = kube.post(PODS.format("runai-vision"), _pod(f"p-{secrets.token_hex(3)}"))

    assert made["spec"]["schedulerName"] == "runai-scheduler"
    assert made["metadata"]["labels"]["runai/queue"] == "vision"


def test_pods_that_name_a_scheduler_keep_it(operator: Operator, kube: Kube) -> None:
    made = kube.post(PODS.format("runai-vision"), _pod(f"p-{secrets.token_hex(3)}", schedulerName="volcano"))

    assert made["spec"]["schedulerName"] == "volcano"


def test_pods_elsewhere_are_never_asked_about(operator: Operator, own: Cluster, kube: Kube) -> None:
    def asked() -> float:
        text = httpx.get(
            f"{own.url}/metrics",
            headers={"Authorization": f"Bearer {own.token()}"},
            verify=ssl.create_default_context(cadata=own.authority.certificate.read_text()),
            trust_env=False,
            timeout=60,
        ).text
        lines = [
            line for line in text.splitlines() if "webhook_request_total" in line and "pods.webhook.run.ai" in line
        ]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    kube.post(PODS.format("runai-vision"), _pod(f"p-{secrets.token_hex(3)}"))
    before = asked()
    made = [kube.post(PODS.format("default"), _pod(f"p-{secrets.token_hex(3)}")) for _ in range(5)]

    assert before > 0
    assert asked() == before
    assert {pod["spec"]["schedulerName"] for pod in made} == {"default-scheduler"}


def test_a_wrong_share_of_a_gpu_is_refused_with_the_annotation(operator: Operator, kube: Kube) -> None:
    pod = _pod(f"p-{secrets.token_hex(3)}", schedulerName="runai-scheduler")
    pod["metadata"]["annotations"] = {"gpu-fraction": "1.5"}

    assert "gpu-fraction" in str(_refused(kube, PODS.format("runai-vision"), pod))


# -- workloads and policies


@pytest.fixture
def policy(operator: Operator, kube: Kube) -> Iterator[None]:
    path = "/apis/run.ai/v2alpha1/namespaces/runai-vision/trainingpolicies"
    spec = {
        "gpu": {"rules": {"max": "2", "required": True}},
        "image": {"value": "base:1"},
        "environment": {"items": {"HTTP_PROXY": {"value": "http://proxy"}}},
    }
    kube.post(path, _named("run.ai/v2alpha1", "TrainingPolicy", "limits", {"spec": spec}))
    # The operator sees it a moment after it was written.
    probe = f"{WORKLOADS}?dryRun=All"
    plain = _training("probe", gpu="1", image="own:1")
    eventually(lambda: "environment" in kube.post(probe, plain)["spec"], "the policy at work", seconds=PATIENCE)
    yield
    kube.delete(f"{path}/limits")
    eventually(lambda: "environment" not in kube.post(probe, plain)["spec"], "no policy", seconds=PATIENCE)


def test_a_policy_completes_what_is_written_and_changes_nothing_else(
    operator: Operator, policy: None, kube: Kube
) -> None:
    made = kube.post(f"{WORKLOADS}?dryRun=All", _training(gpu="1", environment={"items": {"LR": {"value": "1"}}}))

    assert made["spec"]["gpu"] == {"value": "1"}
    assert made["spec"]["image"] == {"value": "base:1"}
    assert set(made["spec"]["environment"]["items"]) == {"LR", "HTTP_PROXY"}


def test_what_a_policy_forbids_is_refused_with_field_value_and_policy(
    operator: Operator, policy: None, own: Cluster
) -> None:
    body = _training(gpu="8")
    with pytest.raises(AssertionError) as refused:
        own.kubectl("create", "-n", "runai-vision", "-f", "-", stdin=yaml.safe_dump(body))

    said = str(refused.value)
    assert "denied the request: not allowed by policy: spec.gpu: must be no greater than 2 (given: 8)" in said
    assert "policy training of project vision" in said


def test_what_a_policy_requires_must_be_there(operator: Operator, policy: None, kube: Kube) -> None:
    assert "spec.gpu: is required" in str(_refused(kube, WORKLOADS, _training()))


def test_a_change_cannot_slip_past_a_policy_but_stopping_always_can(
    operator: Operator, policy: None, kube: Kube
) -> None:
    name = kube.post(WORKLOADS, _training(gpu="1"))["metadata"]["name"]
    path = f"{WORKLOADS}/{name}"
    kube.wait(path, lambda seen: bool(_phase(seen)), seconds=PATIENCE)

    with pytest.raises(Refused, match="must be no greater than 2"):
        kube.patch(path, {"spec": {"gpu": {"value": "8"}}})
    kube.patch(path, {"spec": {"active": {"value": False}}})

    kube.delete(path)
    kube.wait_gone(path, seconds=PATIENCE)


OVER_ITS_LIMIT = {"nodePool": "default", "gpu": {"deserved": 5, "limit": 2}}

WRONG: list[tuple[str, str, Object, str]] = [
    ("a value that is no number", WORKLOADS, _training("a", cpu="lots"), "spec.cpu: must be a number"),
    ("a node pool that is not there", WORKLOADS, _training("a", nodePools="h100"), "spec.nodePools"),
    ("a priority that nobody knows", WORKLOADS, _training("a", priorityClass="urgent"), "spec.priorityClass"),
    (
        "a workload in a namespace of no project",
        WORKLOADS.replace("runai-vision", "default"),
        _training("a", gpu="1"),
        "belongs to no project",
    ),
    (
        "quota over its limit",
        PROJECTS,
        _named("run.ai/v1", "Project", "w", {"spec": {"resources": [OVER_ITS_LIMIT]}}),
        "must not be more than the limit 2 (given: 5)",
    ),
    ("a queue without resources", QUEUES, _named("scheduling.run.ai/v2", "Queue", "w", {"spec": {}}), "spec.resources"),
    (
        "sub-groups in a circle",
        "/apis/scheduling.run.ai/v2alpha2/namespaces/default/podgroups",
        _named(
            "scheduling.run.ai/v2alpha2",
            "PodGroup",
            "w",
            {"spec": {"subGroups": [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}]}},
        ),
        "in a circle",
    ),
    (
        "a rule that the field cannot have",
        "/apis/run.ai/v2alpha1/namespaces/runai-vision/interactivepolicies",
        _named("run.ai/v2alpha1", "InteractivePolicy", "w", {"spec": {"image": {"rules": {"min": "2"}}}}),
        "is no rule for a field of type string",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_refused_with_a_sentence(operator: Operator, kube: Kube, path: str, body: Object, said: str) -> None:
    assert said in str(_refused(kube, path, body))


def test_a_department_with_projects_stays(operator: Operator, kube: Kube) -> None:
    with pytest.raises(Refused, match="has projects"):
        kube.delete("/apis/scheduling.run.ai/v1/departments/default")


# -- the operator itself


def test_it_did_all_that_with_its_own_rights(operator: Operator, kube: Kube) -> None:
    assert "forbidden" not in operator.log().lower()


def test_it_measures_the_cluster_while_it_leads(operator: Operator) -> None:
    text = operator.get("/metrics")

    assert 'runai_leader{lease="runai-operator"} 1' in text
    assert "runai_project_guaranteed_gpus{" in text
    assert 'project="vision"' in text


def test_killed_and_started_again_it_goes_on(operator: Operator, own: Cluster, kube: Kube) -> None:
    name = f"p-{secrets.token_hex(3)}"
    own.kill("operator")
    kube.post(PROJECTS, _named("run.ai/v1", "Project", name, {"spec": {"resources": []}}))

    operator.start()

    kube.wait(f"{PROJECTS}/{name}", lambda seen: _phase(seen) == "Ready", seconds=PATIENCE)


def test_while_it_is_down_everything_is_let_through_and_judged_later(operator: Operator, kube: Kube) -> None:
    operator.stop()
    began = time.monotonic()
    pod = kube.post(PODS.format("runai-vision"), _pod(f"p-{secrets.token_hex(3)}"))
    wrong = kube.post(WORKLOADS, _training(priorityClass="urgent"))["metadata"]["name"]
    waited = time.monotonic() - began

    operator.start()

    assert pod["spec"]["schedulerName"] == "default-scheduler"
    assert waited < 30
    judged = kube.wait(f"{WORKLOADS}/{wrong}", lambda seen: _phase(seen) == "Failed", seconds=PATIENCE)
    assert "spec.priorityClass" in judged["status"]["phaseMessage"]


def test_uninstalling_everything_ends_workloads_in_good_order(operator: Operator, own: Cluster, kube: Kube) -> None:
    made = kube.post(WORKLOADS, _training(image="own:1"))["metadata"]["name"]
    kube.wait(f"{WORKLOADS}/{made}", lambda seen: bool(_phase(seen)), seconds=PATIENCE)

    words = ["admin", "uninstall", "--yes", "--with-user-objects", "--kubeconfig", str(own.kubeconfig())]
    command = [sys.executable, "-m", "runai_core.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)

    assert done.returncode == 0, done.stderr
    kube.wait(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", lambda seen: not seen["items"], seconds=PATIENCE
    )
    kube.wait(PODS.format("runai-vision"), lambda seen: made not in str(seen.get("items")), seconds=PATIENCE)
