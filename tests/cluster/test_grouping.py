"""The pod grouper and the rows of others' workloads on a real API server.

Jobs, Deployments, StatefulSets and CronJobs are those of the real controller
manager. JobSet, LeaderWorkerSet and PyTorchJob are stand-ins: their kinds are
there without their operators, and the tests make the pods that those would.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import (
    CRON_JOBS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    POD_GROUPS,
    PODS,
    Resource,
)
from runai_core.model.errors import NotFound, Unsupported
from runai_core.model.workload import Phase
from runai_core.operator.grouping import PodGrouper
from tests.cluster.bulk import send_all
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import AddNodes
from tests.cluster.fakes import a_pod
from tests.cluster.kube import Kube
from tests.cluster.operating import group_name, operating, stand_in
from tests.waiting import until

pytestmark = pytest.mark.cluster

Object = dict[str, Any]

TEMPLATE = """
    metadata: {labels: {app: x}}
    spec: {schedulerName: runai-scheduler, terminationGracePeriodSeconds: 0, restartPolicy: %s,
           containers: [{name: main, image: none, resources: {limits: {nvidia.com/gpu: "1"}}}]}
"""
ENDING, LASTING = TEMPLATE % "Never", TEMPLATE % "Always"
JOB = "{apiVersion: batch/v1, kind: Job, metadata: {name: sum}}"
A_JOB = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: sum, labels: {{priorityClassName: build}}}}
spec:
  parallelism: 3
  completions: 3
  template: {ENDING}
"""
A_DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: x}}}}
  template: {LASTING}
"""
A_STATEFUL_SET = f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  podManagementPolicy: Parallel
  serviceName: db
  selector: {{matchLabels: {{app: x}}}}
  template: {LASTING}
"""
A_CRON_JOB = f"""
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      parallelism: 2
      completions: 2
      template: {ENDING.replace(chr(10), chr(10) + "    ")}
"""

CONTAINERS = [{"name": "main", "image": "none"}]

JOBSETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
LWS = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
PYTORCH_JOBS = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")


def owned(owner: Object, name: str, **labels: str) -> Object:
    """Return a pod as an operator would make it for its object."""
    pod = a_pod(name, gpus=1, scheduler="runai-scheduler", labels=labels)
    meta = owner["metadata"]
    ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    pod["metadata"] |= {"ownerReferences": [{**ref, "controller": True}]}
    return pod


@pytest.mark.asyncio
async def test_the_pods_of_kubernetes_own_kinds_get_their_groups(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        job, deployment, db = await parts.create(A_JOB, A_DEPLOYMENT, A_STATEFUL_SET)
        pods = await parts.pods(7)
        groups = await parts.groups(6)

    uids = {item["kind"]: item["metadata"]["uid"] for item in (job, deployment, db)}
    for pod in pods:
        kind, name = pod["metadata"]["ownerReferences"][0]["kind"], pod["metadata"]["name"]
        alone = {"Job": f"pg-{name}-{uids['Job']}", "ReplicaSet": f"pg-{name}-{uids['Deployment']}"}
        assert group_name(pod) == alone.get(kind, f"pg-db-{uids['StatefulSet']}")
        top = json.loads(groups[group_name(pod)]["metadata"]["annotations"]["kai.scheduler/top-owner-metadata"])
        assert top["uid"] in uids.values()
    specs = {tuple(sorted(item["spec"].items())) for item in groups.values()}
    assert specs == {
        (("minMember", 1), ("priorityClassName", "build"), ("queue", "default-queue")),
        (("minMember", 1), ("priorityClassName", "inference"), ("queue", "default-queue")),
        (("minMember", 1), ("priorityClassName", "train"), ("queue", "default-queue")),
    }


@pytest.mark.asyncio
async def test_the_jobs_of_a_cron_job_are_gangs_and_the_cron_job_is_the_workload(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        [cron] = await parts.create(A_CRON_JOB)
        cluster.kubectl("create", "job", "--from=cronjob/nightly", "by-hand", "-n", parts.namespace)
        pods = await parts.pods(2)
        job = await parts.api.get(JOBS, "by-hand", parts.namespace)
        await parts.groups(1)
        row = await parts.row(cron["metadata"]["uid"], Phase.PENDING)

        await parts.frameworks.stop(row)
        await parts.row(row.meta.uid, Phase.STOPPED)
        assert (await parts.api.get(JOBS, "by-hand", parts.namespace))["spec"]["suspend"] is True
        await parts.frameworks.run(row)
        await parts.pods(2)
        assert (await parts.api.get(CRON_JOBS, "nightly", parts.namespace))["spec"]["suspend"] is False

    assert {group_name(pod) for pod in pods} == {f"pg-by-hand-{job['metadata']['uid']}"}
    assert (row.kind, row.name, row.pods_requested) == ("CronJob", "nightly", 2)


@pytest.mark.asyncio
async def test_gangs_of_operators_kinds_are_whole_and_follow_their_owner(cluster: Cluster) -> None:
    roles = {"Master": {"replicas": 1}, "Worker": {"replicas": 2}}
    torch = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "bert"},
        "spec": {"pytorchReplicaSpecs": roles},
    }
    async with operating(cluster) as parts:
        await stand_in(parts.api, PYTORCH_JOBS)
        [job] = await parts.create(torch)
        label = "training.kubeflow.org/replica-type"
        await parts.create(owned(job, "m0", **{label: "master"}), owned(job, "w0", **{label: "worker"}))
        pods = await parts.pods(2)
        [group] = (await parts.groups(1)).values()
        more = {"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 4}}}}
        await parts.api.patch(PYTORCH_JOBS, "bert", more, parts.namespace)

        async def grown() -> bool:
            found = await parts.api.get(POD_GROUPS, group["metadata"]["name"], parts.namespace)
            return bool(found["spec"]["minMember"] == 5)

        await until(grown)

    assert {pod["metadata"]["labels"]["kai.scheduler/subgroup-name"] for pod in pods} == {"master", "worker"}
    assert group["spec"]["subGroups"] == [{"name": "master", "minMember": 1}, {"name": "worker", "minMember": 2}]
    assert group["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]


@pytest.mark.asyncio
async def test_job_sets_and_leader_worker_sets_have_a_group_for_each_part(cluster: Cluster) -> None:
    jobs = [{"name": name, "replicas": 1, "template": {"spec": {"parallelism": 2}}} for name in ("a", "b")]
    jobset = {
        "apiVersion": JOBSETS.api_version,
        "kind": "JobSet",
        "metadata": {"name": "js"},
        "spec": {"replicatedJobs": jobs},
    }
    lws = {
        "apiVersion": LWS.api_version,
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "llm"},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2}},
    }
    async with operating(cluster) as parts:
        await stand_in(parts.api, JOBSETS)
        await stand_in(parts.api, LWS)
        [made, servers] = await parts.create(jobset, lws)
        job: Object = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "js-a-0", "ownerReferences": owned(made, "x")["metadata"]["ownerReferences"]},
            "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": CONTAINERS}}},
        }
        [below] = await parts.create(job)
        await parts.create(owned(below, "a-0", **{"jobset.sigs.k8s.io/replicatedjob-name": "a"}))
        for group in ("0", "1"):
            labels = {"leaderworkerset.sigs.k8s.io/group-index": group, "leaderworkerset.sigs.k8s.io/worker-index": "1"}
            await parts.create(owned(servers, f"llm-{group}-1", **labels))
        pods = {pod["metadata"]["name"]: group_name(pod) for pod in await parts.pods(3)}

    uid = servers["metadata"]["uid"]
    assert pods == {
        "a-0": f"pg-js-{made['metadata']['uid']}-a",
        "llm-0-1": f"pg-llm-{uid}-group-0",
        "llm-1-1": f"pg-llm-{uid}-group-1",
    }


@pytest.mark.asyncio
async def test_a_bad_pod_is_told_why_and_holds_up_nobody(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        await stand_in(parts.api, JOBSETS)
        body = {"apiVersion": JOBSETS.api_version, "kind": "JobSet", "metadata": {"name": "js"}, "spec": {}}
        [broken] = await parts.create(body)
        await parts.create(owned(broken, "bad"))
        await parts.create(*(a_pod(f"good-{n}", scheduler="runai-scheduler") for n in range(5)))
        await parts.groups(5)

        async def told() -> Object | None:
            events, _ = await parts.api.list(EVENTS, parts.namespace)
            return next((item for item in events if item["reason"] == "PodGrouperWarning"), None)

        event = await until(told)
        mended = {"spec": {"replicatedJobs": [{"name": "a", "replicas": 1}]}}
        await parts.api.patch(JOBSETS, "js", mended, parts.namespace)
        labels = {"metadata": {"labels": {"jobset.sigs.k8s.io/replicatedjob-name": "a"}}}
        await parts.api.patch(PODS, "bad", labels, parts.namespace)
        await parts.pods(6)

    assert event["involvedObject"]["name"] == "bad"
    assert "spec.replicatedJobs: must name at least one job" in event["message"]


@pytest.mark.asyncio
async def test_what_somebody_deletes_or_changes_is_made_right(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        await parts.create(A_STATEFUL_SET)
        pods = await parts.pods(2)
        name = group_name(pods[0])
        first = (await parts.groups(1))[name]
        await parts.api.delete(POD_GROUPS, name, parts.namespace)

        async def anew() -> Object | None:
            items, _ = await parts.api.list(POD_GROUPS, parts.namespace)
            return next((item for item in items if item["metadata"]["uid"] != first["metadata"]["uid"]), None)

        again = await until(anew)
        changed = {"spec": {"minMember": 9, "queue": "elsewhere"}}
        await parts.api.patch(POD_GROUPS, name, changed, parts.namespace)

        async def right() -> bool:
            found = await parts.api.get(POD_GROUPS, name, parts.namespace)
            return bool(found["spec"]["minMember"] == 1 and found["spec"]["queue"] == "elsewhere")

        await until(right)

    assert again["metadata"]["name"] == name


@pytest.mark.asyncio
async def test_pods_that_name_a_group_themselves_and_pods_of_others_are_left_alone(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        by_hand = {
            "apiVersion": POD_GROUPS.api_version,
            "kind": "PodGroup",
            "metadata": {"name": "mine"},
            "spec": {"minMember": 2, "queue": "q"},
        }
        mine = [a_pod(f"m{n}", scheduler="runai-scheduler", annotations={"pod-group-name": "mine"}) for n in range(2)]
        others = a_pod("other", scheduler="somebody-else")
        [group] = await parts.create(by_hand)
        await parts.create(*mine, others, a_pod("plain", scheduler="runai-scheduler"))
        groups = await parts.groups(2)

        async def named() -> dict[str, str]:
            found = {pod["metadata"]["name"]: group_name(pod) for pod in await parts.pods(4, grouped=False)}
            return found if found["plain"] else {}

        pods = await until(named)
        row = await parts.row(group["metadata"]["uid"], Phase.PENDING)

    assert pods["m0"] == pods["m1"] == "mine"
    assert pods["other"] == ""
    assert pods["plain"] in groups
    assert (row.kind, row.name, row.pods_requested) == ("PodGroup", "mine", 2)


@pytest.mark.asyncio
async def test_the_namespaces_project_decides_about_the_queue(cluster: Cluster) -> None:
    async with operating(cluster, labels={"runai/queue": "team-a"}) as parts:
        await parts.create(
            a_pod("p", scheduler="runai-scheduler", labels={"runai/queue": "rich", "kai.scheduler/node-pool": "a100"})
        )
        [group] = (await parts.groups(1)).values()
        [pod] = await parts.pods(1)
        row = await parts.row(pod["metadata"]["uid"], Phase.PENDING)

    assert group["spec"]["queue"] == "team-a-a100"
    assert group["metadata"]["labels"]["kai.scheduler/node-pool"] == "a100"
    assert (row.key, row.node_pool) == ("team-a/p", "a100")


@pytest.mark.asyncio
async def test_a_deployment_is_seen_stopped_run_again_and_deleted(cluster: Cluster, fake_nodes: AddNodes) -> None:
    [node] = await asyncio.to_thread(fake_nodes, 1)
    async with operating(cluster) as parts:
        [made] = await parts.create(A_DEPLOYMENT)
        uid = made["metadata"]["uid"]
        pods = await parts.pods(2)
        await parts.row(uid, Phase.PENDING)
        await parts.bind(pods[:1], node)
        degraded = await parts.row(uid, Phase.DEGRADED)
        await parts.bind(pods[1:], node)
        running = await parts.row(uid, Phase.RUNNING)

        await parts.frameworks.stop(running)
        stopped = await parts.row(uid, Phase.STOPPED)
        await parts.frameworks.stop(stopped)
        await parts.frameworks.run(stopped)
        await parts.bind(await parts.pods(2), node)
        again = await parts.row(uid, Phase.RUNNING)
        kept = await parts.api.get(DEPLOYMENTS, "web", parts.namespace)
        await parts.frameworks.delete(again)

        async def gone() -> bool:
            return parts.rows.get(uid) is None and not parts.rows.pods_of(uid)

        await until(gone)

    assert (degraded.pods_running, degraded.pods_requested) == (1, 2)
    assert (running.pods_running, running.kind, running.category, running.priority_class) == (
        2,
        "Deployment",
        "Deploy",
        "inference",
    )
    assert (running.asked[0][0].gpu_devices, running.held[0][1]) == (1, 2)
    assert kept["spec"]["replicas"] == 2
    assert not any(name.startswith("run.ai/") for name in kept["metadata"]["annotations"])


@pytest.mark.asyncio
async def test_a_job_runs_to_its_end(cluster: Cluster, fake_nodes: AddNodes) -> None:
    [node] = await asyncio.to_thread(fake_nodes, 1)
    async with operating(cluster) as parts:
        [made] = await parts.create(
            A_JOB.replace("{labels: {app: x}}", "{annotations: {runai.test/succeeds-after: 500ms}}")
        )
        uid = made["metadata"]["uid"]
        row = await parts.row(uid, Phase.PENDING)
        await parts.frameworks.stop(row)
        await parts.row(uid, Phase.STOPPED)
        await parts.frameworks.run(row)
        await parts.bind(await parts.pods(3), node)
        done = await parts.row(uid, Phase.COMPLETED)

    assert done.completed_at is not None
    assert done.phase_message


@pytest.mark.asyncio
async def test_a_pod_cannot_be_stopped_and_the_error_names_the_kind(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        await parts.create(a_pod("p", scheduler="runai-scheduler"))
        [pod] = await parts.pods(1)
        row = await parts.row(pod["metadata"]["uid"], Phase.PENDING)

        with pytest.raises(Unsupported, match=r"a Pod \(v1\) cannot be stopped: delete it instead"):
            await parts.frameworks.stop(row)
        await parts.frameworks.delete(row)

        async def gone() -> bool:
            try:
                await parts.api.get(PODS, "p", parts.namespace)
            except NotFound:
                return parts.rows.get(row.meta.uid) is None
            return False

        await until(gone)


@pytest.fixture
def without_rights(cluster: Cluster, kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig for a grouper that may read Kubernetes' own kinds only."""
    name = f"k5-{namespace}"
    every = ["get", "list", "watch", "create", "update", "patch"]
    groups = ["", "apps", "batch", "scheduling.run.ai", "scheduling.k8s.io", "run.ai"]
    rules = [{"apiGroups": groups, "resources": ["*"], "verbs": every}]
    meta = {"name": name}
    roles = "/apis/rbac.authorization.k8s.io/v1"
    kube.post(f"{roles}/clusterroles", {"metadata": meta, "rules": rules})
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    kube.post(f"{roles}/clusterrolebindings", {"metadata": meta, "subjects": [account], "roleRef": role})
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = kube.post(path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    yield cluster.write_kubeconfig(tmp_path / "kubeconfig", {"token": token["status"]["token"]})
    kube.delete(f"{roles}/clusterroles/{name}")
    kube.delete(f"{roles}/clusterrolebindings/{name}")


@pytest.mark.asyncio
async def test_an_owner_that_may_not_be_read_ends_the_climb(cluster: Cluster, without_rights: Path) -> None:
    experiments = Resource("k5.example.org", "v1", "experiments", "Experiment")
    async with connect(cluster.kubeconfig()) as admin:
        await stand_in(admin, experiments)
        async with operating(cluster, kubeconfig=without_rights) as parts:
            namespace = parts.namespace
            meta = {"name": "exp", "namespace": namespace}
            body: Object = {"apiVersion": experiments.api_version, "kind": "Experiment", "metadata": meta}
            made = await admin.create(experiments, body)
            await parts.create(owned(made, "p"))
            [pod] = await parts.pods(1)
            row = await parts.row(pod["metadata"]["uid"], Phase.PENDING)

        async with operating(cluster) as parts:
            body["metadata"]["namespace"] = parts.namespace
            made = await admin.create(experiments, body)
            await parts.create(owned(made, "p"))
            [allowed] = await parts.pods(1)
            seen = await parts.row(made["metadata"]["uid"], Phase.PENDING)

    assert group_name(pod) == f"pg-p-{pod['metadata']['uid']}"
    assert (row.kind, row.name) == ("Pod", "p")
    assert group_name(allowed) == f"pg-exp-{made['metadata']['uid']}"
    assert (seen.kind, seen.name) == ("Experiment", "exp")


@pytest.mark.asyncio
async def test_a_grouper_that_dies_in_the_middle_is_followed_by_another(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        path = f"/api/v1/namespaces/{parts.namespace}/pods"
        bodies = [a_pod(f"p{n}", scheduler="runai-scheduler") for n in range(120)]
        first = asyncio.create_task(PodGrouper(parts.api, parts.world, parts.registry, SystemClock()).run())
        await asyncio.to_thread(send_all, cluster.kubeconfig(), [("POST", path, body) for body in bodies])
        first.cancel()
        pods = await parts.pods(120)
        groups = await parts.groups(120)

    assert {group_name(pod) for pod in pods} == set(groups)


@pytest.mark.asyncio
async def test_a_thousand_pods_are_grouped_and_shown(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        path = f"/api/v1/namespaces/{parts.namespace}/pods"
        bodies = [a_pod(f"p{n}", gpus=1, scheduler="runai-scheduler") for n in range(1000)]
        began, used = time.monotonic(), time.process_time()
        await asyncio.to_thread(send_all, cluster.kubeconfig(), [("POST", path, body) for body in bodies])
        created = time.monotonic() - began

        async def all_of_them() -> bool:
            found = [pod for pod in parts.world.pods.all() if pod["metadata"]["namespace"] == parts.namespace]
            return len(found) == 1000 and all(map(group_name, found))

        await until(all_of_them, "a group for each pod", seconds=120)
        taken, used = time.monotonic() - began, time.process_time() - used  # of this process: the server's is its own
        began = time.monotonic()
        rows = [row for row in parts.rows.rows() if row.meta.project == parts.namespace]
        shown = time.monotonic() - began

    spent = f"grouped after {taken:.1f} s with {used:.1f} s of CPU, rows in {shown * 1000:.0f} ms"
    sys.stdout.write(f"1000 pods created in {created:.1f} s, {spent}\n")
    assert len(rows) == 1000
    assert {row.phase for row in rows} == {Phase.PENDING}
    assert used < 60, "two writes for each pod, and not much more"
