"""What may stand in ``--backend-config`` and in ``-C`` of a deployment, and what each becomes. Pure."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest

Reader = Callable[[Any], Any]


class WrongForm(Exception):
    """A value does not have the form that its key wants; the message is that form."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it means, and how its value is read (values of the command line are text)."""

    meaning: str
    read: Reader


def text(value: Any) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise WrongForm("text")
    return value


def number(value: Any) -> float:
    """Read a number, also one that is written as text."""
    if isinstance(value, bool):
        raise WrongForm("a number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise WrongForm("a number") from None
    return int(found) if found == int(found) else found


def count(value: Any) -> int:
    """Read a whole number from 1."""
    found = number(value)
    if found != int(found) or found < 1:
        raise WrongForm("a whole number from 1")
    return int(found)


def amount(value: Any) -> int:
    """Read a whole number from 0."""
    found = number(value)
    if found != int(found) or found < 0:
        raise WrongForm("a whole number from 0")
    return int(found)


def flag(value: Any) -> bool:
    """Read true or false."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise WrongForm("true or false")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Read a mapping."""
    if not isinstance(value, Mapping):
        raise WrongForm("a mapping")
    return dict(value)


def names(value: Any) -> list[str]:
    """Read a list of names, or one name."""
    found = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise WrongForm("a list of names")
    return found


OF_WORKLOADS: Mapping[str, Key] = {
    "project": Key("project of the workload", text),
    "image": Key("container image; the embedded orchestrator uses this machine's Python", text),
    "gpus": Key("devices for each process; below 1 a share of one", number),
    "gpu_memory": Key("instead: memory of a device, for example 5G", text),
    "cpus": Key("cores for each process", number),
    "memory": Key("memory for each process, for example 4Gi", text),
    "env": Key("environment variables", mapping),
    "priority": Key("very-low ... very-high", text),
    "preemptible": Key("whether it may go over quota, and be evicted for it", flag),
    "node_pools": Key("node pools in order of preference", names),
    "spec": Key("any further field, in the names of the REST API", mapping),
}

OF_PROJECTS: Mapping[str, Key] = {
    **OF_WORKLOADS,
    "replicas": Key("processes that start together or not at all, in one run", count),
    "min_replicas": Key("of an elastic gang: how many are enough to start", count),
    "framework": Key("of a gang: PyTorch, TF, MPI, XGBoost or JAX", text),
    "working_dir": Key("where the project is in the image", text),
    "backoff_limit": Key("attempts again after a failure; 0 when left out", amount),
    "time_to_live": Key("seconds after which the workload is deleted, whatever it does; 604800 when left out", count),
    "wait": Key("whether the command waits for the end; true on a command line when left out", flag),
    "poll_interval": Key("seconds between two looks; 2 when left out", number),
}

OF_DEPLOYMENTS: Mapping[str, Key] = {
    **OF_WORKLOADS,
    "replicas": Key("servers", count),
    "port": Key("where it listens; a free port of this machine, or 8080 in an image", count),
    "timeout": Key("seconds until it must answer; 600 when left out", number),
    "python": Key("interpreter; this one, or `python` in an image", text),
}

OF_MLFLOW = frozenset({"ENV_MANAGER", "SYNCHRONOUS", "DOCKER_ARGS", "STORAGE_DIR", "build_image", "docker_auth"})
"""Keys that MLflow itself puts into the configuration of a backend."""


def read_config(given: Mapping[str, Any], known: Mapping[str, Key], *, source: str) -> dict[str, Any]:
    """Return the configuration with its values read.

    Raises:
        InvalidRequest: a key is unknown, with what may have been meant, or a value has a wrong form. Names all.
    """
    errors, found = [], {}
    for name, value in given.items():
        if name in OF_MLFLOW:
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(known)}"
            errors.append(FieldError(f"{source}.{name}", f"is unknown: {hint}", value))
            continue
        try:
            found[name] = known[name].read(value)
        except WrongForm as wanted:
            errors.append(FieldError(f"{source}.{name}", f"must be {wanted}", value))
    if errors:
        raise InvalidRequest.of(*errors)
    return found


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a submission, as the client takes them."""
    return {name: config[name] for name in OF_WORKLOADS if config.get(name) is not None}


def help_of(known: Mapping[str, Key]) -> str:
    """Return a line for each key."""
    return "\n".join(f"  {name:<14} {key.meaning}" for name, key in known.items())
