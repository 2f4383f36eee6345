"""The scheduler on a real API server, as a process: what it places, what it refuses, and what it does in bad luck."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.faults import forget_history, through_proxy
from tests.cluster.kube import Kube, Refused
from tests.cluster.scheduling import GROUPS, LIMIT, Scheduling, a_scheduling

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture
def place(cluster: Cluster, kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Scheduling]:
    """Nothing yet but a namespace and one queue."""
    with a_scheduling(cluster, kube, namespace, tmp_path) as found:
        found.add_queue()
        yield found


# -- where pods go


def test_single_pods_and_gangs_are_bound_and_told_so(place: Scheduling) -> None:
    place.add_nodes(2)
    place.start()
    single, gang = place.submit("single"), place.submit("gang", 10)
    nodes = place.all_bound([*single, *gang])
    assert set(nodes.values()) <= set(place.nodes)
    path = f"{GROUPS.format(place.namespace)}/gang"
    status = place.kube.wait(path, lambda group: group.get("status", {}).get("running") == 10, seconds=LIMIT)["status"]
    assert status["resourcesStatus"]["allocated"]["nvidia.com/gpu"] == "10"
    queue = f"/apis/scheduling.run.ai/v2/queues/{place.queues[0]}"
    held = place.kube.wait(
        queue, lambda item: item.get("status", {}).get("allocated", {}).get("nvidia.com/gpu") == "11", seconds=LIMIT
    )
    assert held["status"]["fairShare"]
    place.told("Successfully assigned")


def test_a_gang_is_bound_whole_or_not_at_all_and_kubectl_describe_says_why(place: Scheduling) -> None:
    place.add_nodes(1)
    place.start()
    gang = place.submit("gang", 9)
    why = place.explanation(gang[0])
    assert "9" in why
    assert place.places() == {}
    start = why.split(";", maxsplit=1)[0][:60]
    describe = ("-n", place.namespace, "describe", "pod", gang[0])
    place.until(lambda: start in place.cluster.kubectl(*describe), "kubectl describe says why")
    place.add_nodes(1)
    place.all_bound(gang)


def test_taints_selectors_and_affinity_are_kept(place: Scheduling) -> None:
    red, blue = place.add_nodes(1, labels={"colour": "red"})[0], place.add_nodes(1, labels={"colour": "blue"})[0]
    place.kube.patch(
        f"/api/v1/nodes/{red}", {"spec": {"taints": [{"key": "own", "value": "a", "effect": "NoSchedule"}]}}
    )
    place.start()
    tolerates = [{"key": "own", "operator": "Exists"}]
    place.submit("wants-red", nodeSelector={"colour": "red"}, tolerations=tolerates)
    place.submit("cannot", nodeSelector={"colour": "red"})
    requirement = {"key": "colour", "operator": "NotIn", "values": ["red"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    place.submit("not-red", affinity=affinity, tolerations=tolerates)
    apart = {"labelSelector": {"matchLabels": {"app": "apart"}}, "topologyKey": "kubernetes.io/hostname"}
    spread = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    place.submit("apart", 2, affinity=spread, tolerations=tolerates, labels={"app": "apart"})
    found = place.all_bound(["wants-red-0", "not-red-0", "apart-0", "apart-1"])
    assert (found["wants-red-0"], found["not-red-0"]) == (red, blue)
    assert {found["apart-0"], found["apart-1"]} == {red, blue}
    assert "cannot-0" not in place.places()
    assert place.explanation("cannot-0")


def test_pods_of_other_schedulers_take_room(place: Scheduling) -> None:
    (node,) = place.add_nodes(1)
    other = place.pod("other", "none", gpus=5, schedulerName="somebody-else", nodeName=node)
    place.kube.post(f"/api/v1/namespaces/{place.namespace}/pods", other)
    place.start()
    place.submit("small", gpus=3)
    place.submit("large", gpus=4)
    place.all_bound(["small-0"])
    assert place.explanation("large-0")
    assert "large-0" not in place.places()


# -- who gives way


def test_a_queue_takes_its_quota_back_from_another(place: Scheduling) -> None:
    place.add_nodes(1)
    mine, other = place.add_queue("mine", gpus=4), place.add_queue("other", gpus=4)
    place.start()
    for number in range(8):
        place.submit(f"other-{number}", queue=other)
    place.all_bound([f"other-{number}-0" for number in range(8)])
    gang = place.submit("mine", 4, queue=mine)
    place.all_bound(gang)
    left = [name for name in place.places() if name.startswith("other")]
    assert len(left) == 4
    place.told("Evict")


def test_a_disruption_budget_is_kept_and_others_give_way(place: Scheduling) -> None:
    place.add_nodes(1)
    mine, other = place.add_queue("mine", gpus=4), place.add_queue("other", gpus=4)
    place.start()
    kept = {f"kept-{number}" for number in range(4)}
    for name in sorted(kept):
        place.submit(name, queue=other, labels={"keep": "me"})
    for number in range(4):
        place.submit(f"free-{number}", queue=other)
    place.all_bound([*(f"{name}-0" for name in kept), *(f"free-{number}-0" for number in range(4))])
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": place.namespace},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"keep": "me"}}},
    }
    path = f"/apis/policy/v1/namespaces/{place.namespace}/poddisruptionbudgets"
    place.kube.post(path, budget)
    place.kube.wait(f"{path}/keep", lambda item: item.get("status", {}).get("observedGeneration"), seconds=LIMIT)
    place.all_bound(place.submit("mine", 3, queue=mine))
    assert {f"{name}-0" for name in kept} <= set(place.places()), "those under the budget run on"


def test_a_promised_node_is_named_while_the_victim_leaves(place: Scheduling) -> None:
    (node,) = place.add_nodes(1)
    mine, other = place.add_queue("mine", gpus=8), place.add_queue("other", gpus=0)
    place.start()
    (victim,) = place.submit("slow", gpus=8, queue=other, terminationGracePeriodSeconds=3600)
    place.all_bound([victim])
    held = {"metadata": {"finalizers": ["example.org/hold"]}}
    place.kube.patch(place.path(victim), held)
    (pod,) = place.submit("mine", gpus=8, queue=mine)
    place.kube.wait(
        place.path(pod), lambda item: item.get("status", {}).get("nominatedNodeName") == node, seconds=LIMIT
    )
    place.kube.patch(place.path(victim), {"metadata": {"finalizers": None}})
    place.kube.delete(place.path(victim), grace=0)
    place.all_bound([pod])


# -- volumes and devices


def test_a_volume_that_waits_for_its_first_consumer_decides_the_node(place: Scheduling) -> None:
    there, _ = place.add_nodes(2)
    sort = f"{place.name}-local"
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": sort},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    place.kube.post("/apis/storage.k8s.io/v1/storageclasses", body)
    requirement = {"key": "kubernetes.io/hostname", "operator": "In", "values": [there]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": sort},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": sort,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": "/data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}},
        },
    }
    place.kube.post("/api/v1/persistentvolumes", volume)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": place.namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": sort,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    try:
        place.kube.post(f"/api/v1/namespaces/{place.namespace}/persistentvolumeclaims", claim)
        place.start()
        use = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        found = place.all_bound(place.submit("with-data", volumes=use))
        assert found["with-data-0"] == there
        bound = place.kube.get(f"/api/v1/namespaces/{place.namespace}/persistentvolumeclaims/data")
        assert bound["status"]["phase"] == "Bound"
    finally:
        place.kube.delete(f"/api/v1/namespaces/{place.namespace}/persistentvolumeclaims/data")
        place.kube.delete(f"/api/v1/persistentvolumes/{sort}")
        place.kube.delete(f"/apis/storage.k8s.io/v1/storageclasses/{sort}")


def test_a_claim_for_devices_is_allocated_before_its_pod_is_bound(place: Scheduling) -> None:
    (node,) = place.add_nodes(1, gpus=0)
    api, driver = "/apis/resource.k8s.io/v1", f"gpu.{place.name}.example.org"
    expression = f'device.driver == "{driver}" && device.attributes["{driver}"].model == "big"'
    sort = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": driver},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }
    devices = [{"name": f"gpu-{i}", "attributes": {"model": {"string": "big" if i else "small"}}} for i in range(3)]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    offered = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": place.name},
        "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": devices},
    }
    asked = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": driver, "count": 2}}]}}
    template = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "two", "namespace": place.namespace},
        "spec": {"spec": asked},
    }
    try:
        place.kube.post(f"{api}/deviceclasses", sort)
        place.kube.post(f"{api}/resourceslices", offered)
        place.kube.post(f"{api}/namespaces/{place.namespace}/resourceclaimtemplates", template)
        place.start()
        uses = [{"name": "gpus", "resourceClaimTemplateName": "two"}]
        place.submit("one", gpus=0, resourceClaims=uses)
        place.all_bound(["one-0"])
        (claim,) = place.kube.get(f"{api}/namespaces/{place.namespace}/resourceclaims")["items"]
        given = {item["device"] for item in claim["status"]["allocation"]["devices"]["results"]}
        assert given == {"gpu-1", "gpu-2"}
        assert claim["status"]["reservedFor"][0]["name"] == "one-0"
        place.submit("two", gpus=0, resourceClaims=uses)
        assert place.explanation("two-0")
        assert "two-0" not in place.places()
    finally:
        place.kube.delete(f"{api}/resourceslices/{place.name}")
        place.kube.delete(f"{api}/deviceclasses/{driver}")


# -- bad luck


def test_when_the_leader_is_killed_another_takes_over(place: Scheduling) -> None:
    place.add_nodes(1)
    first, second = place.start(elect=True), place.start(elect=True)
    place.all_bound(place.submit("before"))
    lease = f"/apis/coordination.k8s.io/v1/namespaces/runai/leases/{place.name}"
    holder = place.kube.get(lease)["spec"]["holderIdentity"]
    leader = first if f"_{first.pid}_" in holder else second
    os.kill(leader.pid, signal.SIGKILL)
    place.all_bound(place.submit("after"))
    assert place.kube.get(lease)["spec"]["holderIdentity"] != holder
    place.kube.delete(lease)


def test_a_leader_that_stops_hands_over_at_once(place: Scheduling) -> None:
    place.add_nodes(1)
    first = place.start(elect=True)
    place.start(elect=True)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/runai/leases/{place.name}"
    holder = place.kube.wait(lease, lambda item: item.get("spec", {}).get("holderIdentity"), seconds=LIMIT)
    assert f"_{first.pid}_" in holder["spec"]["holderIdentity"]
    first.terminate()
    assert first.wait(120) == 0
    place.kube.wait(
        lease,
        lambda item: f"_{place.processes[1].pid}_" in item.get("spec", {}).get("holderIdentity", ""),
        seconds=LIMIT,
    )
    place.all_bound(place.submit("after"))
    place.kube.delete(lease)


def test_killed_while_it_binds_gangs_it_leaves_no_half_gang_and_binds_nothing_twice(place: Scheduling) -> None:
    place.add_nodes(5)
    gangs = {f"gang-{number}": place.submit(f"gang-{number}", 8) for number in range(5)}
    process = place.start()
    place.until(place.places, "the first binding")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = {name: pod["metadata"]["uid"] for name, pod in place.pods().items()}
    nodes = place.places()
    place.start()
    place.all_bound([pod for pods in gangs.values() for pod in pods])
    after = place.pods()
    assert {name: pod["metadata"]["uid"] for name, pod in after.items()} == first, "nothing was lost or made again"
    assert {name: after[name]["spec"]["nodeName"] for name in nodes} == nodes, "what was bound stays where it is"
    per_node: dict[str, int] = {}
    for pod in after.values():
        per_node[pod["spec"]["nodeName"]] = per_node.get(pod["spec"]["nodeName"], 0) + 1
    assert max(per_node.values()) <= 8


def test_a_gang_of_which_a_pod_is_deleted_while_it_is_bound_becomes_whole(place: Scheduling) -> None:
    place.add_nodes(2)
    place.start()
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    gang = place.submit("gang", 5)
    place.kube.delete(place.path(gang[2]), grace=0)

    def whole() -> bool:
        for name in set(gang) - set(place.pods()):  # as a controller does; those that were taken back as well
            place.kube.post(path, place.pod(name, "gang"))
        return set(gang) <= set(place.places())

    place.until(whole, "the gang whole")


def test_a_malformed_object_among_good_ones_stops_nobody(place: Scheduling) -> None:
    place.add_nodes(1)
    name = f"{place.name}-bad"
    body = {"apiVersion": "scheduling.run.ai/v2", "kind": "Queue", "metadata": {"name": name}}
    unlimited: Any = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
    try:
        place.kube.post(
            "/apis/scheduling.run.ai/v2/queues",
            {**body, "spec": {"preemptMinRuntime": "soon", "resources": {"gpu": unlimited}}},
        )
    except Refused:
        pytest.skip("the kind's schema refuses everything that could be wrong")
    place.queues.append(name)
    wrong = place.pod("wrong", "good", gpus=0)
    wrong["metadata"]["annotations"]["gpu-fraction"] = "seven"
    place.kube.post(f"/api/v1/namespaces/{place.namespace}/pods", wrong)
    place.start()
    place.all_bound(place.submit("good", 3, least=1))
    assert place.metric("runai_unreadable_objects{") >= 1


def test_when_the_connection_breaks_it_goes_on_where_it_was(place: Scheduling, tmp_path: Path) -> None:
    place.add_nodes(1)
    with through_proxy(place.cluster, tmp_path) as (proxy, kubeconfig):
        place.start(kubeconfig=kubeconfig)
        place.all_bound(place.submit("before"))
        proxy.refuse()
        waiting = place.submit("meanwhile", 2)
        time.sleep(2)
        assert not set(waiting) & set(place.places())
        proxy.allow()
        place.all_bound(waiting)


def test_when_the_api_server_restarts_and_its_history_is_gone_it_lists_again(place: Scheduling) -> None:
    if os.environ.get("RUNAI_TEST_CLUSTER"):
        pytest.skip("others use this cluster (RUNAI_TEST_CLUSTER): its API server is left alone")
    place.add_nodes(1)
    place.start()
    place.all_bound(place.submit("before"))
    forget_history(place.cluster)
    place.all_bound(place.submit("after", 3))
