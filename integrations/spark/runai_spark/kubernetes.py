"""`--master k8s://...`: Spark's own submission to Kubernetes, with our scheduler, labels and pod templates."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from runai_core.model.errors import FieldError, InvalidRequest
from runai_spark.arguments import FLAGS, OURS, Application
from runai_spark.home import find_spark

SCHEDULER = "runai-scheduler"
ROLES = ("driver", "executor")
CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}
EXECUTORS = "run.ai/reserved-members"
"""Annotation of the driver's pod: how many pods of the application the admission is for."""


def conf_for(application: Application, templates: Path, *, scheduler: str = SCHEDULER) -> dict[str, str]:
    """Return the settings with which Spark's pods are scheduled as one workload of the project."""
    labels = {"project": application.project, "runai/queue": application.project} if application.project else {}
    if application.priority:
        labels["priorityClassName"] = application.priority
    settings = {
        "spark.kubernetes.scheduler.name": scheduler,
        "spark.executor.instances": str(application.executors),
        "spark.dynamicAllocation.enabled": "false",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "1h",
        "spark.kubernetes.allocation.batch.size": str(application.executors),
    }
    for role in ROLES:
        settings |= {f"spark.kubernetes.{role}.label.{name}": value for name, value in labels.items()}
        settings[f"spark.kubernetes.{role}.podTemplateFile"] = str(templates / f"{role}.yaml")
        settings[f"spark.kubernetes.{role}.podTemplateContainerName"] = CONTAINERS[role]
    settings[f"spark.kubernetes.driver.annotation.{EXECUTORS}"] = str(1 + application.executors)
    return settings


def pod_template(role: str, application: Application, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the template of a role's pods: the user's own, if there is one, with what cannot be said by a setting."""
    environment: list[dict[str, Any]] = [
        {"name": "RUNAI_PROJECT", "value": application.project},
        {"name": "RUNAI_JOB_NAME", "value": application.workload_name or application.name},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    template: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **deepcopy(dict(own or {}))}
    spec = template.setdefault("spec", {})
    name = _setting(application, f"spark.kubernetes.{role}.podTemplateContainerName")
    containers = spec.setdefault("containers", [])
    main = next((item for item in containers if name and item.get("name") == name), containers[0] if containers else {})
    if not containers:
        containers.append(main)
    main["name"] = CONTAINERS[role]
    given = {item["name"] for item in main.get("env") or ()}
    main["env"] = [*(main.get("env") or ()), *(item for item in environment if item["name"] not in given)]
    return template


def submit_to_kubernetes(application: Application, words: Sequence[str]) -> int:
    """Run the real spark-submit with our settings put before the user's own, which win; return its exit code.

    Raises:
        Unavailable: there is no Spark, or no Java.
    """
    program = str(find_spark(os.environ) / "bin" / "spark-submit")
    if application.asks_only:
        return subprocess.run([program, *native(words)], check=False).returncode  # noqa: S603 - the user's own words
    with tempfile.TemporaryDirectory(prefix="runai-spark-") as folder:
        for role in ROLES:
            template = pod_template(role, application, _own_template(application, role))
            (Path(folder) / f"{role}.yaml").write_text(yaml.safe_dump(template))
        conf = conf_for(application, Path(folder))
        ours = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
        gpus = (
            ["--conf", f"spark.executor.resource.gpu.amount={application.executor_gpu}"]
            if application.executor_gpu
            else []
        )
        words = without_templates(native(words))
        return subprocess.run([program, *ours, *gpus, *words], check=False).returncode  # noqa: S603


def without_templates(words: Sequence[str]) -> list[str]:
    """Return the words without the user's pod templates: ours have them inside."""
    kept: list[str] = []
    for word in words:
        if ".podTemplate" in word and kept and kept[-1] in ("--conf", "-c"):
            kept.pop()
        else:
            kept.append(word)
    return kept


def _own_template(application: Application, role: str) -> dict[str, Any] | None:
    key = f"spark.kubernetes.{role}.podTemplateFile"
    path = _setting(application, key)
    if not path:
        return None
    try:
        found = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidRequest.of(FieldError(f"--conf {key}", f"cannot be read: {error}", path)) from None
    if not isinstance(found, dict):
        raise InvalidRequest.of(FieldError(f"--conf {key}", "must be the YAML of a pod", path))
    return found


def _setting(application: Application, key: str) -> str:
    """Return a setting of the user's; the last word counts."""
    pairs = zip(application.options, application.options[1:], strict=False)
    said = [value.partition("=") for name, value in pairs if name in ("--conf", "-c")]
    return next((value for found, _, value in reversed(said) if found.strip() == key), "")


def native(words: Sequence[str]) -> list[str]:
    """Return the words without our own options; those of the application stay as they are."""
    kept: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, joined, _ = word.partition("=")
        if name in OURS and not joined:
            rest.pop(0)
        elif name not in OURS and name not in FLAGS and word != "--":
            kept.append(word)
            if not joined and rest and name not in ("--verbose", "-v", "--supervise", "--load-spark-defaults"):
                kept.append(rest.pop(0))
    return kept + rest
