"""What the tables show: one row of data for each column."""

from collections.abc import Mapping
from typing import Any

from runai_core.cli.output import Column, age, duration, text
from runai_core.model.resources import MIB, parse_quantity


def _pods(item: Any) -> str:
    return f"{item.running_pods}/{item.requested_pods}"


def _gib(quantity: str | None) -> str | None:
    return f"{parse_quantity(quantity) / (1024 * MIB):.1f}Gi" if quantity else None


def _quota(kind: str, field: str) -> Any:
    def read(unit: Any) -> object:
        values = [getattr(getattr(pool, kind), field) for pool in unit.resources]
        if not values:
            return None
        return "unlimited" if None in values else sum(values)

    return read


def _fields_with(document: Mapping[str, Any], section: str, member: str) -> int:
    """Count the fields that a policy sets; the older form (v2alpha1) has a member in each field instead of sections."""
    if "apiVersion" not in document:
        return len(document.get(section) or {})
    return sum(member in field for field in (document.get("spec") or {}).values() if isinstance(field, Mapping))


WORKLOADS = (
    Column("Workload", lambda w: w.name),
    Column("Type", lambda w: w.distributed_framework or w.type),
    Column("Status", lambda w: w.phase.value),
    Column("Project", lambda w: w.project_name),
    Column("Preemptible", lambda w: w.preemptible, narrow="Preempt-\nible"),
    Column("Running/Req.Pods", _pods, narrow="Running/\nReq.Pods"),
    Column("GPU Alloc.", lambda w: f"{w.gpu_allocated:.2f}", narrow="GPU\nAlloc."),
    Column("GPU Request", lambda w: f"{w.gpu_request:.2f}", shown=False),
    Column("Age", lambda w: age(w.created_at), shown=False),
    Column("Department", lambda w: w.department_name, shown=False),
    Column("Category", lambda w: w.category, shown=False),
    Column("Priority", lambda w: w.priority_class_name, shown=False),
    Column("Node Pools", lambda w: w.current_node_pools or w.requested_node_pools, shown=False),
    Column("Image", lambda w: w.images, shown=False),
    Column("Created By", lambda w: w.submitted_by, shown=False),
    Column("Created", lambda w: w.created_at, shown=False),
    Column("Completed", lambda w: w.completed_at, shown=False),
    Column("Pending Time", lambda w: duration(w.total_pending_time_seconds), shown=False),
    Column("Run Time", lambda w: duration(w.total_running_time_seconds), shown=False),
    Column("Message", lambda w: w.phase_message, shown=False),
    Column("ID", lambda w: w.id, shown=False),
)
"""`runai workload list`; the first seven are CLI v2's."""

PODS = (
    Column("Pod", lambda p: p.name),
    Column("Status", lambda p: p.k8s_phase),
    Column("Node", lambda p: p.node_name),
    Column("Node Pool", lambda p: p.current_node_pool, shown=False),
    Column("GPU Alloc.", lambda p: f"{p.gpu_allocated:.2f}"),
    Column("Age", lambda p: age(p.created_at)),
)

EVENTS = (
    Column("Time", lambda e: e.created_at),
    Column("Type", lambda e: e.type),
    Column("Reason", lambda e: e.reason),
    Column("Object", lambda e: "/".join(part for part in (e.involved_kind.lower(), e.involved_name) if part)),
    Column("Message", lambda e: e.message),
)


def _story_what(record: Any) -> str:
    if record.phase:
        return f"{record.from_phase} -> {record.phase}" if record.from_phase else str(record.phase)
    return str(record.reason)


def _story_why(record: Any) -> str:
    why = record.cause or record.phase_message or record.message
    return f"{why} (by {record.actor})" if record.actor and record.actor != "system" else str(why)


HISTORY = (
    Column("Time", lambda h: h.time),
    Column("What", _story_what),
    Column("Cause", _story_why),
)

PROJECTS = (
    Column("Project", lambda p: p.name),
    Column("Department", lambda p: p.department_name),
    Column("GPU Quota", _quota("gpu", "deserved"), right=True),
    Column("GPU Limit", _quota("gpu", "limit"), right=True),
    Column("GPU Alloc.", lambda p: p.gpu_allocated, right=True),
    Column("GPU Requested", lambda p: p.gpu_requested, right=True),
    Column("Status", lambda p: p.phase, shown=False),
    Column("Description", lambda p: p.description, shown=False),
    Column("ID", lambda p: p.id, shown=False),
)

DEPARTMENTS = (
    Column("Department", lambda d: d.name),
    Column("GPU Quota", _quota("gpu", "deserved"), right=True),
    Column("GPU Limit", _quota("gpu", "limit"), right=True),
    Column("GPU Alloc.", lambda d: d.gpu_allocated, right=True),
    Column("GPU Requested", lambda d: d.gpu_requested, right=True),
    Column("Description", lambda d: d.description, shown=False),
    Column("ID", lambda d: d.id, shown=False),
)

NODES = (
    Column("Node", lambda n: n.name),
    Column("Status", lambda n: n.status),
    Column("Node Pool", lambda n: n.node_pool),
    Column("GPU Type", lambda n: f"{text(n.gpu_type)} (simulated)" if n.simulated else n.gpu_type),
    Column("GPUs", lambda n: n.gpu_count, right=True),
    Column("CPU Cores", lambda n: n.raw.get("cpuCores"), right=True),
    Column("CPU Memory", lambda n: _gib(n.raw.get("cpuMemory")), right=True),
    Column("ID", lambda n: n.id, shown=False),
)

NODE_POOLS = (
    Column("Node Pool", lambda p: p.name),
    Column("Status", lambda p: p.phase),
    Column("Label", lambda p: f"{p.label_key}={p.label_value}" if p.label_key else "(all other nodes)"),
    Column("GPU Placement", lambda p: p.gpu_placement),
    Column("CPU Placement", lambda p: p.cpu_placement),
    Column("Network Topology", lambda p: p.raw.get("networkTopologyId"), shown=False),
    Column("ID", lambda p: p.id, shown=False),
)

POLICIES = (
    Column("Type", lambda p: p.type),
    Column("Scope", lambda p: p.scope),
    Column("Of", lambda p: p.scope_name),
    Column("Defaults", lambda p: _fields_with(p.policy, "defaults", "value"), right=True),
    Column("Rules", lambda p: _fields_with(p.policy, "rules", "rules"), right=True),
)
