"""What the watches show becomes snapshots, and what was decided lies over it until they show that as well."""

from copy import deepcopy
from typing import Any

import pytest

from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.snapshot import PodState, Preemptibility, Snapshot
from tests.kubernetes_world import StillWorld, a_group, a_node, a_pod, a_queue, a_world

DEFAULT = NodePool(meta=Meta(name="default"))
FAST = NodePool(meta=Meta(name="fast"), label_key="kai.scheduler/node-pool", label_value="fast")


def look(snapshots: Snapshots, pool: NodePool = DEFAULT, now: float = 100.0) -> Snapshot:
    return snapshots.snapshot(pool, now)


def states(snapshot: Snapshot) -> dict[str, tuple[str, str | None]]:
    return {pod.name.removeprefix("team/"): (pod.state.value, pod.node) for pod in snapshot.pods}


def test_pods_groups_nodes_and_queues_are_in_it() -> None:
    world = a_world(nodes=2)
    world.put(kinds.POD_GROUPS, a_group("g", least=2))
    world.put(kinds.PODS, a_pod("p", "g"))
    world.put(kinds.PODS, a_pod("q", "g", node="n1"))
    found = look(Snapshots(world))
    assert [node.name for node in found.nodes] == ["n1", "n2"]
    assert [queue.name for queue in found.queues] == ["team"]
    assert [(group.name, group.min_members) for group in found.pod_groups] == [("team/g", 2)]
    assert states(found) == {"p": ("Pending", None), "q": ("Running", "n1")}


def test_only_what_changed_is_read_again() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g"))
    for number in range(3):
        world.put(kinds.PODS, a_pod(f"p{number}", "g"))
    snapshots = Snapshots(world)
    before = {pod.name: pod for pod in look(snapshots).pods}
    world.put(kinds.PODS, a_pod("p1", "g", node="n1"))
    after = {pod.name: pod for pod in look(snapshots).pods}
    assert after["team/p0"] is before["team/p0"]
    assert after["team/p2"] is before["team/p2"]
    assert after["team/p1"].node == "n1"


def test_pods_of_other_schedulers_take_room_once_they_have_a_node() -> None:
    world = a_world()
    world.put(kinds.PODS, a_pod("placed", node="n1", schedulerName="default-scheduler"))
    world.put(kinds.PODS, a_pod("waiting", schedulerName="default-scheduler"))
    world.put(kinds.PODS, a_pod("done", node="n1", schedulerName="default-scheduler", phase="Succeeded"))
    (pod,) = look(Snapshots(world)).pods
    assert (pod.name, pod.pod_group, pod.request.gpu_devices) == ("team/placed", "", 1)


def test_a_group_without_living_pods_is_left_out_and_a_finished_pod_stays_while_its_gang_lives() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("done", "g", node="n1", phase="Succeeded"))
    other = world.put(kinds.PODS, a_pod("other", "g", node="n1"))
    snapshots = Snapshots(world)
    assert states(look(snapshots)) == {"done": ("Succeeded", "n1"), "other": ("Running", "n1")}
    world.drop(kinds.PODS, other)
    found = look(snapshots)
    assert (found.pods, found.pod_groups) == ((), ())


def test_a_group_may_come_after_its_pods_and_go_before_them() -> None:
    world = a_world()
    world.put(kinds.PODS, a_pod("p", "g"))
    snapshots = Snapshots(world)
    assert look(snapshots).pods == ()
    group = world.put(kinds.POD_GROUPS, a_group("g"))
    assert states(look(snapshots)) == {"p": ("Pending", None)}
    world.drop(kinds.POD_GROUPS, group)
    assert look(snapshots).pods == ()


def test_equal_group_names_of_two_namespaces_do_not_collide() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("p", "g"))
    other = a_group("g", least=5)
    other["metadata"]["namespace"] = "another"
    world.put(kinds.POD_GROUPS, other)
    (group,) = look(Snapshots(world)).pod_groups
    assert group.name == "team/g"


BAD: dict[str, Any] = {"metadata": {"name": "bad", "namespace": "team"}}
TOO_MUCH = a_pod("bad", "g")
TOO_MUCH["metadata"]["annotations"]["gpu-fraction"] = "7"

MALFORMED: dict[str, tuple[Any, dict[str, Any]]] = {
    "a group whose minimum is a text": (kinds.POD_GROUPS, {**BAD, "spec": {"minMember": "many"}}),
    "a group whose sub-groups have no names": (kinds.POD_GROUPS, a_group("bad", subGroups=[{"minMember": 1}])),
    "a group whose spec is a text": (kinds.POD_GROUPS, {**BAD, "spec": "?"}),
    "a queue with a text for a quota": (kinds.QUEUES, {**BAD, "spec": {"resources": {"gpu": {"quota": "x"}}}}),
    "a pod that asks for seven times a device": (kinds.PODS, TOO_MUCH),
    "a node with a broken quantity": (kinds.NODES, a_node("bad", cpu="lots")),
    "a topology whose levels name no label": (kinds.TOPOLOGIES, {**BAD, "spec": {"levels": [{}]}}),
    "a node pool whose spec is a list": (kinds.NODE_POOLS, {**BAD, "spec": [1]}),
    "a claim of unknown form": (kinds.RESOURCE_CLAIMS, {**BAD, "spec": {"devices": {"requests": [{}]}}}),
}


@pytest.mark.parametrize(("kind", "item"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_object_is_left_out_with_the_reason_and_stops_nobody(kind: Any, item: dict[str, Any]) -> None:
    world = a_world()
    world.put(kind, deepcopy(item))
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("p", "g"))
    snapshots = Snapshots(world)
    assert states(look(snapshots)) == {"p": ("Pending", None)}
    assert [kind for kind, _ in snapshots.problems] == [kind.kind]


def test_a_malformed_object_that_is_mended_is_taken_in() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g", least="many"))  # type: ignore[arg-type]
    world.put(kinds.PODS, a_pod("p", "g"))
    snapshots = Snapshots(world)
    assert look(snapshots).pods == ()
    world.put(kinds.POD_GROUPS, a_group("g"))
    assert states(look(snapshots)) == {"p": ("Pending", None)}
    assert not snapshots.problems


# -- node pools


def labelled(item: dict[str, Any], pool: str) -> dict[str, Any]:
    item["metadata"].setdefault("labels", {})["kai.scheduler/node-pool"] = pool
    return item


def test_each_node_pool_has_its_own_nodes_groups_and_queues() -> None:
    world = a_world()
    world.put(kinds.NODE_POOLS, {"metadata": {"name": "fast"}, "spec": {}})
    world.put(kinds.NODES, labelled(a_node("f1"), "fast"))
    world.put(kinds.QUEUES, labelled(a_queue("team-fast"), "fast"))
    world.put(kinds.POD_GROUPS, labelled(a_group("gf"), "fast"))
    world.put(kinds.PODS, a_pod("pf", "gf"))
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("p", "g"))
    snapshots = Snapshots(world)
    fast, default = look(snapshots, FAST), look(snapshots)
    assert ([node.name for node in fast.nodes], [pod.name for pod in fast.pods]) == (["f1"], ["team/pf"])
    assert ([node.name for node in default.nodes], [pod.name for pod in default.pods]) == (["n1"], ["team/p"])
    assert fast.pod_groups[0].queue == "team-fast", "the queue of a project has the node pool in its name"


def test_a_node_that_moves_to_another_node_pool_takes_its_pods_along() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("p", "g", node="n1"))
    world.put(kinds.NODE_POOLS, {"metadata": {"name": "fast"}, "spec": {}})
    snapshots = Snapshots(world)
    assert states(look(snapshots)) == {"p": ("Running", "n1")}
    world.put(kinds.NODES, labelled(a_node("n1"), "fast"))
    there, here = look(snapshots, FAST), look(snapshots)
    assert states(there) == {"p": ("Running", "n1")}, "it takes room there"
    assert there.pod_groups == ()
    assert here.nodes == ()
    assert states(here) == {"p": ("Running", "n1")}, "and is charged to its group here"


def test_node_pools_may_be_declared_by_the_caller_alone() -> None:
    world = a_world()
    world.put(kinds.NODES, labelled(a_node("f1"), "fast"))
    snapshots = Snapshots(world)
    assert [node.name for node in look(snapshots, FAST).nodes] == ["f1"]
    assert [node.name for node in look(snapshots).nodes] == ["n1"]


# -- what was decided


def one_waiting() -> tuple[StillWorld, Snapshots, dict[str, Any]]:
    world = a_world(nodes=2)
    world.put(kinds.POD_GROUPS, a_group("g"))
    pod = world.put(kinds.PODS, a_pod("p", "g"))
    snapshots = Snapshots(world)
    look(snapshots)
    return world, snapshots, pod


def test_a_binding_is_assumed_until_the_watch_shows_it() -> None:
    world, snapshots, _ = one_waiting()
    snapshots.assume("team/p", "uid-p", "n2", ("shared-1",))
    (entry,) = look(snapshots).pods
    assert (entry.state, entry.node, entry.gpu_groups) == (PodState.BINDING, "n2", ("shared-1",))
    world.put(kinds.PODS, {**a_pod("p", "g"), "status": {"phase": "Pending", "conditions": []}})
    assert states(look(snapshots)) == {"p": ("Binding", "n2")}, "another change does not undo it"
    world.put(kinds.PODS, a_pod("p", "g", node="n2", phase="Pending"))
    assert states(look(snapshots)) == {"p": ("Bound", "n2")}
    assert "team/p" not in snapshots


def test_a_binding_that_failed_is_forgotten() -> None:
    _, snapshots, _ = one_waiting()
    snapshots.assume("team/p", "uid-p", "n2")
    look(snapshots)
    snapshots.forget("team/p")
    assert states(look(snapshots)) == {"p": ("Pending", None)}


def test_a_pod_of_the_same_name_that_came_after_is_another() -> None:
    world, snapshots, pod = one_waiting()
    snapshots.assume("team/p", "uid-p", "n2")
    world.drop(kinds.PODS, pod)
    new = a_pod("p", "g")
    new["metadata"]["uid"] = "another"
    world.put(kinds.PODS, new)
    assert states(look(snapshots)) == {"p": ("Pending", None)}


def test_an_eviction_is_assumed_until_the_watch_shows_it() -> None:
    world, snapshots, _ = one_waiting()
    world.put(kinds.PODS, a_pod("p", "g", node="n1"))
    snapshots.assume_leaving("team/p", "uid-p")
    assert states(look(snapshots)) == {"p": ("Releasing", "n1")}
    gone = a_pod("p", "g", node="n1")
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.put(kinds.PODS, gone)
    assert states(look(snapshots)) == {"p": ("Releasing", "n1")}
    assert "team/p" not in snapshots


def test_a_pod_whose_binding_failed_may_have_no_place_for_a_while() -> None:
    _, snapshots, _ = one_waiting()
    snapshots.hold("team/p")
    assert states(look(snapshots)) == {"p": ("Gated", None)}
    snapshots.forget("team/p")
    assert states(look(snapshots)) == {"p": ("Pending", None)}


def test_a_spared_group_is_no_victim_until_its_time_is_over() -> None:
    _, snapshots, _ = one_waiting()
    snapshots.spare("team/g", 120.0)
    assert look(snapshots, now=110.0).pod_groups[0].preemptibility is Preemptibility.NON_PREEMPTIBLE
    assert look(snapshots, now=121.0).pod_groups[0].preemptibility is Preemptibility.PREEMPTIBLE


# -- gangs over time


def test_a_gang_below_its_minimum_is_stale_from_when_it_was_seen() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g", least=2))
    world.put(kinds.PODS, a_pod("p", "g", node="n1"))
    snapshots = Snapshots(world)
    assert look(snapshots, now=100.0).pod_groups[0].stale_since == 100.0
    world.put(kinds.PODS, a_pod("q", "g"))
    assert look(snapshots, now=130.0).pod_groups[0].stale_since == 100.0
    world.put(kinds.PODS, a_pod("q", "g", node="n1"))
    assert look(snapshots, now=140.0).pod_groups[0].stale_since is None


def test_what_another_scheduler_wrote_of_a_stale_gang_is_kept() -> None:
    world = a_world()
    group = a_group("g", least=2)
    group["metadata"]["annotations"] = {"kai.scheduler/stale-podgroup-timestamp": "1970-01-01T00:01:00Z"}
    world.put(kinds.POD_GROUPS, group)
    world.put(kinds.PODS, a_pod("p", "g", node="n1"))
    assert look(Snapshots(world), now=100.0).pod_groups[0].stale_since == 60.0


def test_a_gang_started_when_its_pods_say_so_and_again_when_it_starts_again() -> None:
    world = a_world()
    world.put(kinds.POD_GROUPS, a_group("g"))
    placed = a_pod("p", "g", node="n1")
    placed["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:01:30Z"}
    ]
    pod = world.put(kinds.PODS, placed)
    snapshots = Snapshots(world)
    assert look(snapshots, now=100.0).pod_groups[0].last_start == 90.0
    world.drop(kinds.PODS, pod)
    world.put(kinds.PODS, a_pod("q", "g"))
    look(snapshots, now=200.0)
    snapshots.assume("team/q", "uid-q", "n1")
    assert look(snapshots, now=210.0).pod_groups[0].last_start == 210.0


# -- shared devices


def test_a_reservation_counts_as_a_whole_device_only_while_nobody_sits_on_it() -> None:
    world = a_world()
    reservation = a_pod("reservation", node="n1", schedulerName="default-scheduler")
    reservation["metadata"] |= {"namespace": "runai-reservation", "labels": {"runai-gpu-group": "shared-1"}}
    world.put(kinds.PODS, reservation)
    snapshots = Snapshots(world)

    def held() -> int:
        return next(pod for pod in look(snapshots).pods if "reservation" in pod.name).request.gpu_devices

    assert held() == 1
    world.put(kinds.POD_GROUPS, a_group("g"))
    user = a_pod("user", "g", gpus=0, node="n1")
    user["metadata"]["labels"] = {"runai-gpu-group": "shared-1"}
    user["metadata"]["annotations"]["gpu-fraction"] = "0.5"
    world.put(kinds.PODS, user)
    look(snapshots)
    assert held() == 0
    world.drop(kinds.PODS, user)
    look(snapshots)
    assert held() == 1


# -- volumes and claims


def test_a_pod_waits_for_its_claim_and_then_goes_where_the_volume_is() -> None:
    world = a_world(nodes=2)
    world.put(kinds.POD_GROUPS, a_group("g"))
    world.put(kinds.PODS, a_pod("p", "g", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]))
    snapshots = Snapshots(world)
    nowhere = look(snapshots).pods[0].constraints
    assert nowhere.node_affinity
    volume = {"metadata": {"name": "v1"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}
    ]}}}}  # fmt: skip
    world.put(kinds.PVS, volume)
    world.put(kinds.PVCS, {"metadata": {"name": "data", "namespace": "team"}, "spec": {"volumeName": "v1"}})
    (terms,) = look(snapshots).pods[0].constraints.node_affinity
    assert [(term.key, term.values) for term in terms] == [("kubernetes.io/hostname", ("n2",))]


def test_a_claim_made_for_a_pod_belongs_to_its_queue() -> None:
    world = a_world()
    world.put(kinds.DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
    pool = {"name": "n1", "generation": 1}
    spec = {"driver": "gpu.example.org", "nodeName": "n1", "pool": pool, "devices": [{"name": "a"}, {"name": "b"}]}
    world.put(kinds.RESOURCE_SLICES, {"metadata": {"name": "s"}, "spec": spec})
    world.put(kinds.POD_GROUPS, a_group("g"))
    pod = a_pod("p", "g", gpus=0, resourceClaims=[{"name": "dev", "resourceClaimTemplateName": "t"}])
    world.put(kinds.PODS, pod)
    snapshots = Snapshots(world)
    first = look(snapshots)
    assert first.nodes[0].dra_gpus == 2
    assert first.pods[0].resource_claims == ("team/dev (to be made)",)
    claim = {
        "metadata": {"name": "p-dev", "namespace": "team", "ownerReferences": [{"kind": "Pod", "name": "p"}]},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2}}]}},
    }
    world.put(kinds.RESOURCE_CLAIMS, claim)
    made = a_pod("p", "g", gpus=0, resourceClaims=[{"name": "dev", "resourceClaimTemplateName": "t"}])
    made["status"]["resourceClaimStatuses"] = [{"name": "dev", "resourceClaimName": "p-dev"}]
    world.put(kinds.PODS, made)
    found = look(snapshots)
    assert found.pods[0].resource_claims == ("team/p-dev",)
    assert found.pods[0].request.dra == (("gpu", 2),)
    assert dict(found.claims[0].labels)["kai.scheduler/queue"] == "team"
