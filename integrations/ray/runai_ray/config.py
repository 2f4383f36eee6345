"""From a cluster's YAML to one workload: pure.

One workload has one kind of worker, so all worker types must ask for the same
hardware; the head may differ.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from runai_core.client.specs import build_spec
from runai_core.model.errors import FieldError, InvalidRequest

PROVIDER_KEYS = frozenset({"project", "name", "priority", "preemptible", "launch_seconds", "node_pools"})
"""Keys of the section `provider` that are ours."""

RAY_KEYS = frozenset(
    {
        "type",
        "module",
        "use_internal_ips",
        "disable_node_updaters",
        "disable_launch_config_check",
        "cache_stopped_nodes",
        "worker_liveness_check",
        "worker_rpc_drain",
        "foreground_node_launch",
        "head_node_type",
        "gang",
        "_config_cache_path",
    }
)
"""Keys of that section that are Ray's, or that we add ourselves."""

NODE_KEYS: Mapping[str, str] = {
    "image": "image",
    "gpu": "gpus",
    "gpu_memory": "gpu_memory",
    "cpu": "cpus",
    "memory": "memory",
    "node_type": "node_type",
    "env": "env",
}
"""Keys of a node type's `node_config` -> the client's words."""

HARDWARE = ("image", "gpu", "gpu_memory", "cpu", "memory", "node_type", "env")

EMPTY: Mapping[str, Any] = {
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "initialization_commands": [],
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "auth": {},
    "head_start_ray_commands": [
        "ray stop",
        "ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml",
    ],
    "worker_start_ray_commands": [],
}
"""What Ray asks an external provider's file to say, though it is the same for all."""

FIXED: Mapping[str, Any] = {
    "use_internal_ips": True,
    "disable_node_updaters": True,  # a worker's pod joins by itself
    "disable_launch_config_check": True,
}

MAX_NAME = 40


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cluster's file with what Ray demands and nobody wants to write.

    Raises:
        InvalidRequest: a key of ours is unknown, or node types contradict each other.
    """
    filled: dict[str, Any] = {**deepcopy(dict(EMPTY)), **deepcopy(dict(config))}
    check(filled)
    types = filled["available_node_types"]
    filled["provider"] = {"type": "external", "module": "runai_ray.NodeProvider", **filled["provider"], **FIXED}
    for node_type in types.values():
        node_type.setdefault("node_config", {})
        node_type["resources"] = node_type.get("resources") or _resources(node_type["node_config"])
    minimum = sum(_whole(name, "min_workers", kind) for name, kind in _workers(filled).items())
    most = sum(_whole(name, "max_workers", kind, minimum) for name, kind in _workers(filled).items())
    filled.setdefault("max_workers", max(most, minimum))
    filled.setdefault("upscaling_speed", 100.0)  # what is asked for together is launched together
    return filled


def gang_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the provider must know of the whole cluster when it creates the head: plain values."""
    workers = _workers(config)
    head_type = config["head_node_type"]
    first = next(iter(workers), "")
    most = sum(int(kind.get("max_workers", config["max_workers"])) for kind in workers.values())
    return {
        "head_type": head_type,
        "worker_type": first,
        "head": dict(config["available_node_types"][head_type]["node_config"]),
        "worker": dict(workers[first]["node_config"]) if first else {},
        "resources": dict(workers[first]["resources"]) if first else {},
        "min_workers": {name: int(kind.get("min_workers", 0)) for name, kind in workers.items()},
        "max_workers": min(most, int(config["max_workers"])),
    }


def workload_options(
    gang: Mapping[str, Any], provider: Mapping[str, Any], environment: Mapping[str, str], annotations: Mapping[str, str]
) -> dict[str, Any]:
    """Return the options of the workload: the head as its master, workers that come and go on demand."""
    options: dict[str, Any] = {
        **{NODE_KEYS[key]: value for key, value in gang["worker"].items()},
        "max_replicas": max(int(gang["max_workers"]), 1),
        "backoff_limit": 0,  # a head that is lost cannot be repaired by starting another one
        "annotations": dict(annotations),
    }
    options["env"] = {**environment, **options.get("env", {})}
    # What a master leaves out is as for the workers; a head is not meant to have their GPUs.
    head = {"gpus": 0} | {NODE_KEYS[key]: value for key, value in gang["head"].items()}
    if "gpu_memory" in head:
        del head["gpus"]
    options["master"] = build_spec("Distributed", head)
    for key in ("project", "priority", "preemptible", "node_pools"):
        if key in provider:
            options[key] = provider[key]
    options["spec"] = {"terminateAfterPreemption": True}
    return {key: value for key, value in options.items() if value is not None}


def check(config: Mapping[str, Any]) -> None:
    """Refuse what is unknown or contradicts itself.

    Raises:
        InvalidRequest: names each field.
    """
    types = config.get("available_node_types")
    if not isinstance(types, Mapping) or config.get("head_node_type") not in types:
        message = "must name one of available_node_types"
        raise InvalidRequest.of(FieldError("head_node_type", message, config.get("head_node_type")))
    errors = unknown_keys("provider", config.get("provider") or {}, PROVIDER_KEYS, RAY_KEYS)
    for name, kind in types.items():
        at = f"available_node_types.{name}.node_config"
        errors += unknown_keys(at, kind.get("node_config") or {}, NODE_KEYS)
    errors += _different_workers(config)
    if errors:
        raise InvalidRequest.of(*errors)


def unknown_keys(
    at: str, given: Mapping[str, Any], known: Collection[str], silent: Collection[str] = ()
) -> list[FieldError]:
    """Return an error for each key that nobody knows, with the nearest one that somebody does."""
    errors = []
    for key in sorted(set(given) - set(known) - set(silent)):
        near = difflib.get_close_matches(key, sorted(known), n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}"
        errors.append(FieldError(f"{at}.{key}", f"there is no such key: {hint}", given[key]))
    return errors


def workload_name(cluster: str) -> str:
    """Return the name of a cluster's workload: the cluster's own, as far as names of workloads allow.

    Raises:
        InvalidRequest: nothing of it can be used.
    """
    name = re.sub(r"[^a-z0-9]+", "-", cluster.lower()).strip("-")[:MAX_NAME].rstrip("-")
    if not name or not name[0].isalpha():
        raise InvalidRequest.of(FieldError("cluster_name", "must begin with a letter", cluster))
    return name


def owner_text(cluster: str) -> str:
    """Return whose the workload is."""
    return f"ray:{cluster}"


def _workers(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    head = config["head_node_type"]
    return {name: kind for name, kind in config["available_node_types"].items() if name != head}


def _different_workers(config: Mapping[str, Any]) -> list[FieldError]:
    workers = _workers(config)
    if len(workers) < 2:
        return []
    (first, reference), *others = workers.items()
    wanted = {key: (reference.get("node_config") or {}).get(key) for key in HARDWARE}
    errors = []
    for name, kind in others:
        for key in HARDWARE:
            given = (kind.get("node_config") or {}).get(key)
            if given != wanted[key]:
                message = f"must be as in {first}, {wanted[key]!r}: one workload has one kind of worker"
                errors.append(FieldError(f"available_node_types.{name}.node_config.{key}", message, given))
    return errors


def _resources(node: Mapping[str, Any]) -> dict[str, int]:
    """Return the resources of Ray that the hardware is: whole CPUs and GPUs, at least one CPU."""
    cpus, gpus = max(int(node.get("cpu", 1)), 1), int(node.get("gpu", 0))
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _whole(name: str, key: str, kind: Mapping[str, Any], default: int = 0) -> int:
    value = kind.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest.of(FieldError(f"available_node_types.{name}.{key}", "must be a whole number", value))
    return value
