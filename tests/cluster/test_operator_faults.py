"""The leading operator is killed at random moments while workloads are made: a standby goes on, nothing is lost."""

import contextlib
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.bulk import send_all
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes
from tests.cluster.kube import Kube, Object, Refused
from tests.cluster.processes import Process
from tests.cluster.running import fake, install, make_project

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(580)]

LIMIT = 240.0
"""Seconds that anything may take: a lease must pass first, and the machine may be busy with much else."""

LEASE = "/apis/coordination.k8s.io/v1/namespaces/runai/leases/runai-operator"
RUNAI = [sys.executable, "-m", "runai_core.cli.main"]
PODS = {"TrainingWorkload": 1, "DistributedWorkload": 3}


@dataclass
class Site:
    """A cluster with replicas of the operator, and everything that was ever seen of one project."""

    cluster: Cluster
    kube: Kube
    folder: Path
    name: str = field(default_factory=lambda: f"faults-{secrets.token_hex(3)}")
    namespace: str = ""
    replicas: list[Process] = field(default_factory=list)
    wanted: dict[str, str] = field(default_factory=dict)  # workload -> its kind
    seen: dict[str, dict[str, str]] = field(default_factory=dict)  # plural -> uid -> name, of all that ever were

    def start_operator(self) -> None:
        """Start one more replica."""
        name = f"{self.name}-operator-{len(self.replicas)}"
        options = ["--kubeconfig", str(self.cluster.kubeconfig()), "--data-dir", str(self.folder / name)]
        self.replicas.append(
            self.cluster.run(name, [*RUNAI, "operator", *options, "--no-webhook", "--health-port", "0"])
        )

    def leader(self) -> Process:
        """Wait until a replica that lives leads; return it."""

        def look() -> Process | None:
            holder = str(self.kube.get(LEASE)["spec"].get("holderIdentity") or "")
            return next((each for each in self.replicas if each.is_alive and f"_{each.pid}_" in holder), None)

        found: Process = self.until(look, "a replica leads")
        return found

    def make(self, prefix: str, **counts: int) -> None:
        """Create workloads and plain Jobs, all at once; they never end by themselves."""
        requests = []
        for kind, count in counts.items():
            names = [f"{prefix}-{kind[:4].lower()}-{number}" for number in range(count)]
            requests += [("POST", *self._request(kind, name)) for name in names]
            self.wanted |= dict.fromkeys(names, kind)
        send_all(self.cluster.kubeconfig(), requests)

    def _request(self, kind: str, name: str) -> tuple[str, Object]:
        if kind == "Job":
            return f"/apis/batch/v1/namespaces/{self.namespace}/jobs", a_job(name)
        spec = fake(workers={"value": 2}) if kind == "DistributedWorkload" else fake()
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "run.ai/v2alpha1", "kind": kind, "metadata": meta, "spec": spec}
        return f"/apis/run.ai/v2alpha1/namespaces/{self.namespace}/{kind.lower()}s", body

    def look(self, plural: str) -> dict[str, Object]:
        """Return what there is of pods, or pod groups, by name; remember that it was there."""
        group = "/api/v1" if plural == "pods" else "/apis/scheduling.run.ai/v2alpha2"
        items = self.kube.get(f"{group}/namespaces/{self.namespace}/{plural}")["items"]
        for item in items:
            self.seen.setdefault(plural, {})[item["metadata"]["uid"]] = item["metadata"]["name"]
        return {item["metadata"]["name"]: item for item in items}

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition holds; return what it said."""
        deadline = time.monotonic() + LIMIT
        while True:
            with contextlib.suppress(httpx.HTTPError, Refused):
                if found := condition():
                    return found
            if time.monotonic() > deadline:
                logs = "\n".join(self.cluster.log(f"{self.name}-operator-{n}") for n in range(len(self.replicas)))
                lacks = self.lacking() if self.namespace else {}
                raise AssertionError(f"{what}: not within {LIMIT} s; lacking {lacks}; the operators say\n{logs}")
            time.sleep(0.1)

    def lacking(self) -> dict[str, int]:
        """Return how many pods each workload lacks, or has too many: those that run, or have, as Jobs do, succeeded."""
        self.look("podgroups")
        found = Counter({name: PODS.get(kind, 1) for name, kind in self.wanted.items()})
        for pod in self.look("pods").values():
            if pod["status"].get("phase") in ("Running", "Succeeded"):
                found[owner_of(pod)] -= 1
        return {name: count for name, count in found.items() if count}


def owner_of(pod: Object) -> str:
    """Return the name of the workload or Job that a pod is of."""
    labels = pod["metadata"]["labels"]
    return str(labels.get("runai/workload") or labels["job-name"])


def a_job(name: str) -> Object:
    """A plain Job whose pod is our scheduler's."""
    term = {"matchExpressions": [{"key": "type", "operator": "In", "values": ["kwok"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    pod = {
        "schedulerName": "runai-scheduler",
        "restartPolicy": "Never",
        "affinity": {"nodeAffinity": required},
        "containers": [{"name": "main", "image": "example/image"}],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": pod}}}


@pytest.fixture
def site(own_cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """Two replicas of the operator, a scheduler, three fake nodes and a project."""
    with own_cluster.kube() as kube:
        install(kube)
        add_fake_nodes(own_cluster, 3, prefix="killed", seconds=LIMIT)
        found = Site(own_cluster, kube, tmp_path)
        options = ["--kubeconfig", str(own_cluster.kubeconfig()), "--no-leader-elect", "--port", "0"]
        scheduler = own_cluster.run(f"{found.name}-scheduler", [*RUNAI, "scheduler", *options])
        found.start_operator()
        found.start_operator()
        try:
            found.leader()
            found.namespace = make_project(kube, found.name, 8, seconds=LIMIT)
            yield found
        finally:
            for process in (*found.replicas, scheduler):
                process.stop()


def test_a_standby_goes_on_where_a_killed_operator_was_and_nothing_is_lost_or_made_twice(site: Site) -> None:
    moments = []
    for prefix in ("first", "second"):
        leader = site.leader()
        before = len(site.look("pods"))
        site.make(prefix, TrainingWorkload=12, DistributedWorkload=5, Job=4)
        moments.append(before + random.randrange(1, 30))
        site.until(lambda: len(site.look("pods")) >= moments[-1], "pods are made")
        leader.kill()
        site.start_operator()
        site.make(f"{prefix}-headless", TrainingWorkload=2)  # while nobody leads
        assert site.leader() != leader

    site.until(lambda: not site.lacking(), f"all pods run, after kills at {moments} pods")

    assert sorted(site.seen["pods"].values()) == sorted(site.look("pods")), "no pod was made again"
    assert len(site.seen["podgroups"]) == len(site.look("podgroups")) == len(site.wanted), "each has one group"


def test_the_new_leader_does_all_that_the_old_one_did(site: Site) -> None:
    site.make("life", TrainingWorkload=2)
    site.until(lambda: not site.lacking(), "both run")
    leader = site.leader()
    leader.kill()
    path = f"/apis/run.ai/v2alpha1/namespaces/{site.namespace}/trainingworkloads"
    site.kube.patch(f"{path}/life-trai-0", {"spec": {"active": {"value": False}}})
    site.kube.delete(f"{path}/life-trai-1")
    site.kube.wait(f"{path}/life-trai-0", lambda seen: seen["status"]["phase"] == "Stopped", seconds=LIMIT)
    site.kube.wait_gone(f"{path}/life-trai-1", seconds=LIMIT)
    site.until(lambda: not site.look("pods"), "the pods are gone")
    assert site.leader() != leader
