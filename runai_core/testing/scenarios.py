"""Scenario files (the format of the conformance suite) as snapshots, and the world between two cycles.

The format is that of the tables exported from KAI-Scheduler: initial nodes,
queues and jobs, how many rounds to run, and what must come out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.resources import MB, MILLI
from runai_core.model.snapshot import (
    NO_CONSTRAINTS,
    CycleSettings,
    LabelRequirement,
    NodeEntry,
    PodAffinityTerm,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    ResourceClaim,
    Snapshot,
    SubGroup,
    Topology,
    TopologyConstraint,
)

Json = Mapping[str, Any]

NOW = 1_000_000_000.0
"""The moment of every scenario, seconds since the epoch."""

NODE_NAME_LABEL = "kai.scheduler/type"

RULE_OF_PLUGIN = {
    "predicates": "constraints",
    "proportion": "quota",
    "priority": "priority",
    "elastic": "elastic",
    "gpusharingorder": "sharing_first",
    "nodeavailability": "idle_first",
    "resourcetype": "node_kind",
    "nodeplacement": "placement",
    "nominatednode": "nominated",
}
"""KAI's plug-ins and the built-in rules that stand for them."""

ACTION_NAMES = {
    "allocate": "allocate",
    "consolidation": "consolidate",
    "reclaim": "reclaim",
    "preempt": "preempt",
    "stalegangeviction": "stale_gang",
}


@dataclass(slots=True)
class World:
    """The state of a scenario between two cycles: each pod's state, node and shared devices."""

    base: Snapshot
    pods: dict[str, PodEntry]
    keeps_releasing: frozenset[str] = frozenset()  # groups whose evicted pods never finish terminating
    moved: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """Return what the engine sees now."""
        running = {pod.pod_group for pod in self.pods.values() if pod.state in (PodState.RUNNING, PodState.BOUND)}
        groups = tuple(
            replace(group, last_start=NOW - 60.0) if group.name in running else group for group in self.base.pod_groups
        )
        return replace(self.base, pods=tuple(self.pods.values()), pod_groups=groups)

    def observe(self, result: CycleResult | None) -> None:
        """Set every pod's status as a live session would show it after the decisions."""
        self.statuses = {name: (pod.state.value, pod.node) for name, pod in self.pods.items()}
        if result is None:
            return
        for eviction in result.evictions:
            self.statuses[eviction.pod] = ("Releasing", eviction.node)
        for bind in result.binds:
            self.statuses[bind.pod] = ("Binding", bind.node)
        for promise in result.pipelines:
            self.statuses[promise.pod] = ("Pipelined", promise.node)

    def transfer(self, result: CycleResult) -> None:
        """Carry the decisions out: binding succeeds at once, evicted pods are gone and created again."""
        devices = {bind.pod: bind.gpu_groups for bind in result.binds}
        for name, (status, node) in self.statuses.items():
            pod = self.pods[name]
            if status == "Binding":
                self.pods[name] = replace(pod, state=PodState.RUNNING, node=node, gpu_groups=devices[name])
            elif status == "Releasing" and pod.pod_group not in self.keeps_releasing:
                self.pods[name] = replace(pod, state=PodState.PENDING, node=None, gpu_groups=())
            elif status == "Releasing":
                self.pods[name] = replace(pod, state=PodState.RELEASING)
            elif status == "Pipelined":
                self.pods[name] = replace(pod, state=PodState.PENDING, node=None, gpu_groups=())


def load_world(scenario: Json) -> World:
    """Translate a scenario into its initial world."""
    jobs = scenario["jobs"]
    pods = {}
    for number, job in enumerate(jobs):
        for task in job["tasks"]:
            pods[task["id"]] = _pod(job, task, number)
    snapshot = Snapshot(
        taken_at=NOW,
        nodes=tuple(_nodes(scenario)),
        queues=tuple(_queue(queue) for queue in scenario["queues"]),
        pod_groups=tuple(_group(job) for job in jobs),
        topologies=tuple(Topology(name=item["name"], levels=tuple(item["levels"])) for item in scenario["topologies"]),
        claims=tuple(_claims(scenario.get("dra") or {})),
        settings=_settings(scenario),
    )
    keeps = frozenset(job["name"] for job in jobs if job.get("delete_when_evicted"))
    return World(snapshot, pods, keeps)


def _settings(scenario: Json) -> CycleSettings:
    given = scenario["settings"]
    disabled: set[str] = set()
    gpu = cpu = "binpack"
    devices = ""
    if not given.get("default_plugins", True):
        listed = {plugin["name"]: plugin.get("arguments") or {} for plugin in given["plugins"]}
        disabled = {rule for plugin, rule in RULE_OF_PLUGIN.items() if plugin not in listed}
        gpu = listed.get("nodeplacement", {}).get("gpu", gpu)
        cpu = listed.get("nodeplacement", {}).get("cpu", cpu)
        devices = "spread" if "gpuspread" in listed else "binpack"
    if not given.get("predicates_enabled", True):
        disabled.add("constraints")
    return CycleSettings(
        actions=tuple(ACTION_NAMES[name] for name in scenario["run"]["actions"]),
        gpu_placement=gpu,
        cpu_placement=cpu,
        device_placement=devices,
        staleness_grace=given["staleness_grace_seconds"],
        max_consolidation_victims=given["max_consolidation_preemptees"],
        allow_consolidating_reclaim=given["allow_consolidating_reclaim"],
        disabled_rules=frozenset(disabled),
        compatibility=COMPATIBILITY,
    )


COMPATIBILITY: frozenset[str] = frozenset()
"""Named behaviours of KAI that its own tables rely on."""


def _nodes(scenario: Json) -> Iterable[NodeEntry]:
    claimable: dict[str, int] = {}
    for item in (scenario.get("dra") or {}).get("resource_slices", ()):
        claimable[item["node"]] = claimable.get(item["node"], 0) + item["device_count"]
    for node in scenario["nodes"]:
        known = node.get("gpu_memory_synced", True)
        yield NodeEntry(
            name=node["name"],
            cpu=node["cpu_millis"],
            memory=node["memory_bytes"],
            gpus=node["gpus"],
            gpu_memory_mib=node["gpu_memory_mib"] if known else 0,
            max_pods=node["max_pods"],
            labels={NODE_NAME_LABEL: node["name"], **node["labels"]},
            mig_strategy=node.get("mig_strategy") or "",
            extended=tuple(sorted((node.get("mig_instances") or {}).items())),
            dra_gpus=node.get("dra_gpus") or claimable.get(node["name"], 0),
        )


def _queue(queue: Json) -> Queue:
    resources = queue["resources"]
    return Queue(
        name=queue["name"],
        parent=queue["parent"],
        created_at=float(queue["creation_index"]),
        resources=QueueResources(
            gpu=_quota(resources["gpus"], MILLI),
            cpu=_quota(resources["cpu_millis"], 1),
            memory=_quota(resources["memory_mb"], MB),
            priority=queue["priority"],
        ),
    )


def _quota(given: Json, scale: int) -> ResourceQuota:
    quota, limit = given["quota"], given["limit"]
    return ResourceQuota(
        deserved=None if quota is None else round(quota * scale),
        limit=None if limit is None else round(limit * scale),
        over_quota_weight=max(float(given["over_quota_weight"] or 0), 0.0),
    )


def _group(job: Json) -> PodGroup:
    tree = job["pod_group"]
    flat = not tree["groups"] and len(tree["pod_sets"]) == 1 and not tree["pod_sets"][0]["topology_constraint"]
    stale = job.get("stale_for_seconds")
    return PodGroup(
        name=job["name"],
        queue=job["queue"],
        priority=job["priority"],
        preemptibility=Preemptibility.PREEMPTIBLE if job["preemptible"] else Preemptibility.NON_PREEMPTIBLE,
        min_members=tree["pod_sets"][0]["min_member"] if flat else job["min_member"],
        sub_groups=() if flat else tuple(_sub_groups(tree, None)),
        topology=_topology(tree["topology_constraint"]),
        created_at=NOW - job["age_minutes"] * 60.0,
        stale_since=None if stale is None else NOW - stale,
        delete_when_evicted=bool(job.get("delete_when_evicted")),
    )


def _sub_groups(tree: Json, parent: str | None) -> Iterable[SubGroup]:
    for part in tree["pod_sets"]:
        topology = _topology(part["topology_constraint"])
        yield SubGroup(name=part["name"], min_members=part["min_member"], parent=parent, topology=topology)
    for inner in tree["groups"]:
        yield SubGroup(name=inner["name"], parent=parent, topology=_topology(inner["topology_constraint"]))
        yield from _sub_groups(inner, inner["name"])


def _topology(given: Json | None) -> TopologyConstraint | None:
    if not given or not given["topology"]:
        return None
    return TopologyConstraint(
        topology=given["topology"],
        required_level=given.get("required_level") or None,
        preferred_level=given.get("preferred_level") or None,
    )


def _pod(job: Json, task: Json, _number: int) -> PodEntry:
    affinity = task.get("pod_affinity") or {}
    state = task["state"]
    groups = task.get("gpu_groups") or ()
    return PodEntry(
        name=task["id"],
        pod_group=job["name"],
        sub_group=task["pod_set"],
        request=_request(task["request"]),
        state=PodState(state),
        node=task["node"],  # a waiting pod may name the node that it had: it counts for nothing
        gpu_groups=tuple(name for name in groups if name is not None),
        constraints=_constraints(task, affinity),
        labels=tuple(sorted((affinity.get("pod_labels") or {}).items())),
        order=task.get("task_priority"),
        resource_claims=tuple(claim["claim"] for claim in task.get("resource_claims") or () if claim["claim"]),
        legacy_mig=bool(task.get("legacy_mig")),
    )


def _request(given: Json) -> PodRequest:
    kind, gpus = given["kind"], given.get("gpus") or 0
    devices = given.get("gpu_devices") or 0
    portion = 0
    if kind == "gpu_fraction":
        portion = round(gpus * MILLI / max(devices, 1))
    return PodRequest(
        cpu=given["cpu_millis"],
        memory=given["memory_bytes"],
        gpu_devices=int(gpus) if kind == "whole_gpu" else devices,
        gpu_portion=portion,
        gpu_memory_mib=given.get("gpu_memory_mib") or 0,
        mig=tuple(sorted((given.get("mig") or {}).items())),
        dra=tuple(sorted((given.get("dra_gpus_by_class") or {}).items())),
    )


def _constraints(task: Json, affinity: Json) -> PodConstraints:
    names = task.get("required_node_names") or ()
    terms = []
    selector = tuple(
        LabelRequirement(key, "In", (value,)) for key, value in sorted((affinity.get("pod_labels") or {}).items())
    )
    for key, anti in (("affinity_topology_key", False), ("anti_affinity_topology_key", True)):
        if affinity.get(key):
            terms.append(PodAffinityTerm(selector, affinity[key], anti))
    if not names and not terms:
        return NO_CONSTRAINTS
    nodes = ((LabelRequirement(NODE_NAME_LABEL, "In", tuple(names)),),) if names else ()
    return PodConstraints(node_affinity=nodes, pod_affinity=tuple(terms))


def _claims(dra: Json) -> Iterable[ResourceClaim]:
    for claim in dra.get("resource_claims", ()):
        status = claim.get("initial_status") or {}
        yield ResourceClaim(
            name=claim["name"],
            device_class=claim["device_class"],
            device_count=claim["device_count"],
            labels=tuple(sorted(claim["labels"].items())),
            allocated_devices=tuple((item["pool"], item["device"]) for item in status.get("allocated_devices") or ()),
            reserved_for=tuple(item["name"] for item in status.get("reserved_for") or ()),
        )
