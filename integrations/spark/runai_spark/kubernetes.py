"""`--master k8s://...`: Spark's own submission to Kubernetes, with our scheduler, labels and pod templates."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

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


def pod_template(role: str, application: Application) -> dict[str, Any]:
    """Return the template of a role's pods: what cannot be said by a setting."""
    environment = [
        {"name": "RUNAI_PROJECT", "value": application.project},
        {"name": "RUNAI_JOB_NAME", "value": application.workload_name or application.name},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [{"name": CONTAINERS[role], "env": environment}]},
    }


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
            (Path(folder) / f"{role}.yaml").write_text(yaml.safe_dump(pod_template(role, application)))
        conf = conf_for(application, Path(folder))
        ours = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
        gpus = (
            ["--conf", f"spark.executor.resource.gpu.amount={application.executor_gpu}"]
            if application.executor_gpu
            else []
        )
        return subprocess.run([program, *ours, *gpus, *native(words)], check=False).returncode  # noqa: S603


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
