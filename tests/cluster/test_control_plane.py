"""The harness itself: what the other cluster tests stand on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import binaries, slots
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import AddNodes
from tests.cluster.fakes import a_binding, a_pod
from tests.cluster.images import ROOT
from tests.cluster.kube import Kube, Object, Refused
from tests.cluster.processes import marked

pytestmark = pytest.mark.cluster


def test_the_api_server_is_ready_and_of_the_version_that_we_promise(kube: Kube) -> None:
    assert kube.http.get("/readyz").text == "ok"
    assert kube.get("/version")["gitVersion"].startswith("v1.36.")


_SOME_TEST = test_the_api_server_is_ready_and_of_the_version_that_we_promise.__name__


def test_a_bound_pod_runs_on_a_node_that_kwok_plays(kube: Kube, namespace: str, fake_nodes: AddNodes) -> None:
    [node] = fake_nodes(1, gpus=4)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    kube.post(pods, a_pod("waiting", gpus=4, scheduler="nobody"))

    assert "nodeName" not in kube.get(f"{pods}/waiting")["spec"]
    kube.post(f"{pods}/waiting/binding", a_binding("waiting", node))

    running = kube.wait(f"{pods}/waiting", lambda pod: pod["status"]["phase"] == "Running")
    assert running["spec"]["nodeName"] == node
    assert kube.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]["nvidia.com/gpu"] == "4"


@pytest.mark.parametrize(
    ("annotations", "end"),
    [
        pytest.param({"runai.test/succeeds-after": "100ms"}, "Succeeded", id="succeeds"),
        pytest.param({"runai.test/fails-after": "100ms"}, "Failed", id="fails"),
    ],
)
def test_a_fake_pod_ends_as_its_annotation_says(
    kube: Kube, namespace: str, fake_nodes: AddNodes, annotations: dict[str, str], end: str
) -> None:
    [node] = fake_nodes(1)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    kube.post(pods, a_pod("short", node=node, annotations=annotations))

    ended = kube.wait(f"{pods}/short", lambda pod: pod["status"]["phase"] in {"Succeeded", "Failed"})

    assert ended["status"]["phase"] == end


def test_a_deleted_fake_pod_takes_the_time_that_it_asks_for(kube: Kube, namespace: str, fake_nodes: AddNodes) -> None:
    [node] = fake_nodes(1)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    slow = a_pod("slow", node=node, annotations={"runai.test/ends-after": "1500ms"})
    slow["spec"]["terminationGracePeriodSeconds"] = 30
    kube.post(pods, slow)
    kube.wait(f"{pods}/slow", lambda pod: pod["status"]["phase"] == "Running")

    began = time.monotonic()
    kube.delete(f"{pods}/slow")
    kube.wait_gone(f"{pods}/slow")

    assert time.monotonic() - began >= 1.4


def test_a_job_completes_on_fake_nodes(kube: Kube, namespace: str, fake_nodes: AddNodes) -> None:
    [node] = fake_nodes(1)
    template: Object = a_pod("", node=node, annotations={"runai.test/succeeds-after": "1s"})
    template["spec"]["restartPolicy"] = "Never"
    template["metadata"].pop("name")
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    kube.post(jobs, {"metadata": {"name": "two"}, "spec": {"completions": 2, "parallelism": 2, "template": template}})

    assert kube.wait(f"{jobs}/two", lambda job: job["status"].get("succeeded") == 2)


def test_users_may_do_what_their_groups_allow(cluster: Cluster, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with cluster.kube("reader") as reader, cluster.kube("nobody") as nobody:
        assert reader.get(pods)["items"] == []
        with pytest.raises(Refused, match="cannot create resource"):
            reader.post(pods, a_pod("forbidden"))
        with pytest.raises(Refused, match='User \\\\"nobody\\\\" cannot list'):
            nobody.get(pods)


def test_pods_get_a_service_account_as_in_every_real_cluster(kube: Kube, namespace: str) -> None:
    pod = a_pod("plain")
    del pod["spec"]["automountServiceAccountToken"]

    made = kube.post(f"/api/v1/namespaces/{namespace}/pods", pod)

    assert made["spec"]["serviceAccountName"] == "default"
    assert [volume["projected"]["sources"][0].keys() for volume in made["spec"]["volumes"]] == [{"serviceAccountToken"}]


def test_secrets_are_for_the_owner_alone(cluster: Cluster) -> None:
    private = [cluster.kubeconfig(), cluster.kubeconfig("alice"), *cluster.directory.glob("pki/*.key")]

    assert len(private) > 5
    assert {path.stat().st_mode & 0o777 for path in [*private, cluster.directory / "pki" / "tokens.csv"]} == {0o600}


def test_down_leaves_nothing_even_when_up_was_killed_in_the_middle(tmp_path: Path) -> None:
    whole = Cluster.up(tmp_path / "whole")
    # As after a crash between the start of a process and the note about it.
    whole.processes.clear()
    whole.save()
    assert len(marked(whole.mark)) == 4

    Cluster.open(tmp_path / "whole").down()

    assert marked(whole.mark) == []
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_built_the_reason_is_told_and_tests_are_skipped(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    by_hand = [sys.executable, "-m", "tests.cluster", "up", "--dir", str(tmp_path / "c")]
    session = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"{__file__}::{_SOME_TEST}"]
    answers = [
        subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
        for command in (by_hand, session)
    ]

    reason = "etcd is not in KUBEBUILDER_ASSETS, on PATH or built before, and cannot be built: Go"
    assert (answers[0].returncode, reason in answers[0].stderr) == (2, True)
    assert (answers[1].returncode, reason in answers[1].stdout) == (0, True)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_whose_session_was_killed_is_removed_by_the_next_one(tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; from tests.cluster import cluster; cluster.Cluster.up(Path('{tmp_path}/left'))"
    )
    cache = {"XDG_CACHE_HOME": str(binaries.CACHE.parents[1])}  # the home of tests is empty
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env={**os.environ, **cache})
    left = Cluster.open(tmp_path / "left")
    assert len(marked(left.mark)) == 4

    slots.remove_orphans()

    assert marked(left.mark) == []
    assert list(tmp_path.iterdir()) == []


def test_up_starts_what_is_missing_and_keeps_what_runs(tmp_path: Path) -> None:
    first = Cluster.up(tmp_path / "again")
    first.kill("kube-controller-manager")

    second = Cluster.up(tmp_path / "again")

    try:
        kept = {name for name, process in second.processes.items() if process == first.processes[name]}
        assert kept == {"etcd", "kube-apiserver", "kwok"}
        assert second.processes["kube-controller-manager"].is_alive
    finally:
        second.down()
