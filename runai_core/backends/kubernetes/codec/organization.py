"""Departments, projects, node pools and policies as custom resources, and back.

Amounts are those of KAI and of Run:ai's API: GPUs in devices, CPU in
millicores, memory in MB (10^6 bytes), -1 for unlimited. Run:ai's older fields
of a project are read where the newer ones are not there.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from runai_core import wire
from runai_core.backends.kubernetes.codec.meta import meta_of, metadata_of
from runai_core.backends.kubernetes.codec.queues import topology_of
from runai_core.backends.kubernetes.codec.times import duration_of, duration_text, text_of
from runai_core.backends.kubernetes.names import (
    CREATED_BY_ANNOTATION,
    ID_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POLICY_TYPE_ANNOTATION,
    SYSTEM_NAMESPACE,
    UPDATED_ANNOTATION,
)
from runai_core.backends.kubernetes.resources import (
    DEPARTMENTS,
    NODE_POOLS,
    PROJECTS,
    TOPOLOGIES,
    Resource,
    resource_of,
)
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, NetworkTopology, NodePool
from runai_core.model.organization import (
    DEFAULT_DEPARTMENT,
    UNLIMITED,
    Department,
    Project,
    QueueResources,
    ResourceQuota,
    SchedulingRules,
)
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.v2alpha1 import GROUP_VERSION, KINDS

Object = dict[str, Any]

ANY = -1
"""Unlimited, in KAI's objects."""

SCALES: Mapping[str, int] = {"gpu": 1000, "cpu": 1, "memory": 1_000_000}
"""How many of our exact units one unit of the object is."""


# -- quota


def quota_of(entry: Any, resource: str, default: ResourceQuota, at: str) -> ResourceQuota:
    """Return one resource's quota; a missing one is the default. Raise InvalidRequest."""
    if entry is None:
        return default
    if not isinstance(entry, Mapping):
        raise InvalidRequest.of(FieldError(at, "must be an object with deserved, limit, overQuotaWeight", entry))
    weight = entry.get("overQuotaWeight")
    return ResourceQuota(
        deserved=_amount(entry, "deserved", resource, at, missing=0),
        limit=_amount(entry, "limit", resource, at, missing=None),
        over_quota_weight=1.0 if weight is None else _number(weight, f"{at}.overQuotaWeight"),
    )


def _amount(entry: Mapping[str, Any], name: str, resource: str, at: str, *, missing: int | None) -> int | None:
    if name not in entry:
        return missing
    if entry[name] is None or entry[name] == ANY:
        return None
    amount = _number(entry[name], f"{at}.{name}")
    if amount < 0:
        raise InvalidRequest.of(FieldError(f"{at}.{name}", "must be -1 (unlimited) or at least 0", entry[name]))
    return round(amount * SCALES[resource])


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest.of(FieldError(at, "must be a number", value))
    return float(value)


def quota_object(quota: ResourceQuota, resource: str) -> Object:
    """Return one resource's quota as the object has it."""
    found: Object = {"deserved": _shown(quota.deserved, resource), "overQuotaWeight": _plain(quota.over_quota_weight)}
    return found if quota.limit is None else {**found, "limit": _shown(quota.limit, resource)}


def _shown(amount: int | None, resource: str) -> float | int:
    return ANY if amount is None else _plain(amount / SCALES[resource])


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number


def resources_of(spec: Mapping[str, Any]) -> dict[str, QueueResources]:
    """Return the quota in each node pool; raise InvalidRequest."""
    found: dict[str, QueueResources] = {}
    for index, entry in enumerate(spec.get("resources") or ()):
        at = f"spec.resources.{index}"
        if not isinstance(entry, Mapping) or not entry.get("nodePool"):
            raise InvalidRequest.of(FieldError(f"{at}.nodePool", "is required: the name of a node pool"))
        standard = QueueResources()
        found[str(entry["nodePool"])] = QueueResources(
            gpu=quota_of(entry.get("gpu"), "gpu", standard.gpu, f"{at}.gpu"),
            cpu=quota_of(entry.get("cpu"), "cpu", UNLIMITED, f"{at}.cpu"),
            memory=quota_of(entry.get("memory"), "memory", UNLIMITED, f"{at}.memory"),
            priority=int(_number(entry.get("priority", standard.priority), f"{at}.priority")),
        )
    return found


def resources_object(resources: Mapping[str, QueueResources]) -> list[Object]:
    """Return the quota in each node pool as the object has it."""
    return [
        {
            "nodePool": pool,
            "gpu": quota_object(quota.gpu, "gpu"),
            "cpu": quota_object(quota.cpu, "cpu"),
            "memory": quota_object(quota.memory, "memory"),
            "priority": quota.priority,
        }
        for pool, quota in sorted(resources.items())
    ]


# -- projects


def project_of(item: Mapping[str, Any]) -> Project:
    """Return the project that an object is; raise InvalidRequest."""
    spec, meta = item.get("spec") or {}, meta_of(item)
    types = spec.get("nodeTypes") or {}
    return Project(
        meta=meta,
        department=str(spec.get("department") or DEFAULT_DEPARTMENT),
        description=str(spec.get("description") or ""),
        resources=resources_of(spec) or _older_resources(spec),
        default_node_pools=_texts(spec, "defaultNodePools"),
        node_types_training=_texts(types, "training") or _texts(spec, "nodeAffinityTrain"),
        node_types_workspace=_texts(types, "workspace") or _texts(spec, "nodeAffinityInteractive"),
        scheduling_rules=_rules(spec),
        enforce_scheduler=spec.get("enforceRunaiScheduler") is not False,
        namespace=str(spec.get("namespace") or f"runai-{meta.name}"),
    )


def project_object(project: Project) -> Object:
    """Return the custom resource of a project."""
    spec = {
        "department": project.department,
        "namespace": project.namespace or f"runai-{project.name}",
        **_unit_spec(project),
        **({} if project.enforce_scheduler else {"enforceRunaiScheduler": False}),
    }
    return _object(PROJECTS, project.meta, spec)


def _older_resources(spec: Mapping[str, Any]) -> dict[str, QueueResources]:
    """Return the quota that Run:ai's first version of the project gives: GPUs of one node pool."""
    if not any(name in spec for name in ("deservedGpus", "gpuOverQuotaWeight", "maxAllowedGpus")):
        return {}
    names = {"deserved": "deservedGpus", "limit": "maxAllowedGpus", "overQuotaWeight": "gpuOverQuotaWeight"}
    entry = {ours: spec[theirs] for ours, theirs in names.items() if theirs in spec}
    return {DEFAULT_NODE_POOL: QueueResources(gpu=quota_of(entry, "gpu", ResourceQuota(), "spec"))}


def _rules(spec: Mapping[str, Any]) -> SchedulingRules:
    rules = wire.decode(SchedulingRules, spec.get("schedulingRules") or {}, at="spec.schedulingRules")
    older = spec.get("interactiveJobTimeLimitSecs")
    if older is not None and rules.interactive_job_time_limit_seconds is None:
        return replace(
            rules, interactive_job_time_limit_seconds=int(_number(older, "spec.interactiveJobTimeLimitSecs"))
        )
    return rules


# -- departments


def department_of(item: Mapping[str, Any]) -> Department:
    """Return the department that an object is; raise InvalidRequest."""
    spec = item.get("spec") or {}
    return Department(
        meta=meta_of(item),
        description=str(spec.get("description") or ""),
        resources=resources_of(spec),
        default_node_pools=_texts(spec, "defaultNodePools"),
        node_types_training=_texts(spec.get("nodeTypes") or {}, "training"),
        node_types_workspace=_texts(spec.get("nodeTypes") or {}, "workspace"),
        scheduling_rules=wire.decode(SchedulingRules, spec.get("schedulingRules") or {}, at="spec.schedulingRules"),
    )


def department_object(department: Department) -> Object:
    """Return the custom resource of a department."""
    return _object(DEPARTMENTS, department.meta, _unit_spec(department))


def _unit_spec(unit: Project | Department) -> Object:
    rules = wire.encode(unit.scheduling_rules)
    types = {"training": list(unit.node_types_training), "workspace": list(unit.node_types_workspace)}
    types = {name: values for name, values in types.items() if values}
    return {
        **({"description": unit.description} if unit.description else {}),
        "resources": resources_object(unit.resources),
        **({"defaultNodePools": list(unit.default_node_pools)} if unit.default_node_pools else {}),
        **({"nodeTypes": types} if types else {}),
        **({"schedulingRules": rules} if rules else {}),
    }


def _texts(spec: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(str(value) for value in spec.get(name) or ())


# -- node pools


_FAIR_SHARE_SECONDS: Mapping[str, str] = {
    "fair_share_window": "fairShareWindowSeconds",
    "fair_share_window_start": "fairShareWindowStartSeconds",
    "fair_share_half_life": "fairShareHalfLifeSeconds",
}


def node_pool_of(item: Mapping[str, Any]) -> NodePool:
    """Return the node pool that an object is; raise InvalidRequest."""
    spec, standard = item.get("spec") or {}, NodePool(meta=Meta(name=""))
    placement = spec.get("placementStrategy") or {}
    runtime = spec.get("minGuaranteedRuntime")
    guaranteed = 0.0 if runtime is None else duration_of(runtime)
    if guaranteed is None:
        message = "must be a duration such as 30m or 1h30m"
        raise InvalidRequest.of(FieldError("spec.minGuaranteedRuntime", message, runtime))
    weight = spec.get("fairShareHistoryWeight", standard.fair_share_history_weight)
    return NodePool(
        meta=meta_of(item),
        label_key=str(spec.get("labelKey") or ""),
        label_value=str(spec.get("labelValue") or ""),
        gpu_placement=str(placement.get("gpu") or standard.gpu_placement),
        cpu_placement=str(placement.get("cpu") or standard.cpu_placement),
        min_guaranteed_runtime=guaranteed,
        time_based_fair_share=bool(spec.get("timeBasedFairShare")),
        fair_share_history_weight=_number(weight, "spec.fairShareHistoryWeight"),
        network_topology=str(spec.get("networkTopology") or ""),
        fair_share_window_type=str(spec.get("fairShareWindowType") or standard.fair_share_window_type),
        **{field: _number(spec[name], f"spec.{name}") for field, name in _FAIR_SHARE_SECONDS.items() if name in spec},
    )


def node_pool_object(pool: NodePool) -> Object:
    """Return the custom resource of a node pool."""
    labels = {"labelKey": pool.label_key, "labelValue": pool.label_value}
    spec = {
        **{name: value for name, value in labels.items() if value},
        "placementStrategy": {"gpu": str(pool.gpu_placement), "cpu": str(pool.cpu_placement)},
        **({"minGuaranteedRuntime": duration_text(pool.min_guaranteed_runtime)} if pool.min_guaranteed_runtime else {}),
        **({"timeBasedFairShare": True} if pool.time_based_fair_share else {}),
        **({"networkTopology": pool.network_topology} if pool.network_topology else {}),
        "fairShareHistoryWeight": _plain(pool.fair_share_history_weight),
        "fairShareWindowType": str(pool.fair_share_window_type),
        **{name: _plain(getattr(pool, field)) for field, name in _FAIR_SHARE_SECONDS.items()},
    }
    return _object(NODE_POOLS, pool.meta, spec)


# -- network topologies


def network_topology_of(item: Mapping[str, Any]) -> NetworkTopology | None:
    """Return the topology that an object is; None for one that we made of a single label, for a gang."""
    if (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY:
        return None
    return NetworkTopology(meta=meta_of(item), levels=topology_of(item).levels)


def network_topology_object(topology: NetworkTopology) -> Object:
    """Return the object of a topology, in the form of KAI."""
    return _object(TOPOLOGIES, topology.meta, {"levels": [{"nodeLabel": label} for label in topology.levels]})


# -- policies

POLICY_RESOURCES: Mapping[str, Resource] = {kind: resource_of(GROUP_VERSION, kind) for kind in KINDS}
_KIND_OF: Mapping[PolicyType, str] = {
    **{policy_type: kind for kind, policy_type in KINDS.items()},
    PolicyType.DISTRIBUTED_INFERENCE: "InferencePolicy",
}


def policy_of(item: Mapping[str, Any], project_of_namespace: Callable[[str], str]) -> Policy:
    """Return the policy that an object is: in the current form with ``spec.document``, else as it stands.

    Raises:
        InvalidRequest: the kind is none of a policy.
    """
    metadata, spec = item["metadata"], dict(item.get("spec") or {})
    kind, namespace = str(item.get("kind")), metadata.get("namespace", "")
    if kind not in KINDS:
        raise InvalidRequest.of(FieldError("kind", f"must be one of {', '.join(KINDS)}", kind))
    written = (metadata.get("annotations") or {}).get(POLICY_TYPE_ANNOTATION)
    policy_type = PolicyType(written) if written in set(PolicyType) else KINDS[kind]
    document, scope = spec.pop("document", None), spec.pop("scope", None) or {}
    own = {"type": "tenant"} if namespace == SYSTEM_NAMESPACE else {
        "type": "project", "name": project_of_namespace(namespace)
    }  # fmt: skip
    scope_type, name = str(scope.get("type") or own["type"]), str(scope.get("name") or own.get("name", ""))
    if document is None:
        place = {"name": metadata.get("name", ""), "namespace": namespace}
        document = {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": place, "spec": spec}
    called = ".".join(part for part in (policy_type.value, scope_type, name) if part)
    return Policy(
        meta=meta_of(item, name=called), type=policy_type, scope_type=scope_type, scope=name, document=document
    )


def policy_resource(policy_type: PolicyType) -> Resource:
    """Return where the policies for a type of workload are."""
    return POLICY_RESOURCES[_KIND_OF[policy_type]]


def policy_object(policy: Policy, namespace: str) -> Object:
    """Return the custom resource of a policy; `namespace` is the project's for one of a project."""
    scope = {"type": policy.scope_type, **({"name": policy.scope} if policy.scope else {})}
    spec = {"document": wire.encode(policy).get("document", {}), "scope": scope}
    where = namespace if policy.scope_type == "project" else SYSTEM_NAMESPACE
    item = _object(policy_resource(policy.type), policy.meta, spec, where)
    item["metadata"]["name"] = policy.meta.name.lower()
    if KINDS[item["kind"]] is not policy.type:
        item["metadata"].setdefault("annotations", {})[POLICY_TYPE_ANNOTATION] = policy.type.value
    return item


def _object(resource: Resource, meta: Meta, spec: Object, namespace: str = "") -> Object:
    annotations = {
        CREATED_BY_ANNOTATION: meta.created_by,
        ID_ANNOTATION: meta.uid,
        UPDATED_ANNOTATION: text_of(meta.updated_at) if meta.updated_at else "",
    }
    metadata = metadata_of(meta, namespace, annotations=annotations)
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
