"""`--master k8s://...`: Spark's own submission to Kubernetes, with our scheduler, labels and pod templates."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from runai_core.model.errors import FieldError, InvalidRequest
from runai_spark.arguments import FLAGS, MIN_OVERHEAD, OURS, Application, bytes_of, setting_of
from runai_spark.home import find_spark

SCHEDULER = "runai-scheduler"
ROLES = ("driver", "executor")
CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}
MEMBERS = "run.ai/reserved-members"
"""Annotation of the driver's pod: how many pods the application has with it; it starts when there is room for all."""

REQUEST = "run.ai/reserved-request"
"""Annotation beside it: what each executor asks for, as JSON."""

MIN_MEMBER = "kai.scheduler/min-member"
"""Annotation of executors whose driver is no pod: how many of them start together."""

DISCOVERY = "/opt/spark/examples/src/main/scripts/getGpusResources.sh"
"""What tells an executor which GPUs it has, in Spark's own images."""

GPU = "spark.executor.resource.gpu"
SCRIPTED = (".py", ".R", ".r")
"""Endings of applications beside whose JVM another interpreter runs."""

SCRIPTED_OVERHEAD, JVM_OVERHEAD = 0.4, 0.1
"""Part of the heap that Spark adds for what is not heap (Spark 4, Running on Kubernetes: memoryOverheadFactor)."""


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
        **_gpu_settings(application),
    }
    for role in ROLES:
        settings |= {f"spark.kubernetes.{role}.label.{name}": value for name, value in labels.items()}
        settings[f"spark.kubernetes.{role}.podTemplateFile"] = str(templates / f"{role}.yaml")
        settings[f"spark.kubernetes.{role}.podTemplateContainerName"] = CONTAINERS[role]
    if application.deploy_mode == "cluster":
        settings[f"spark.kubernetes.driver.annotation.{MEMBERS}"] = str(1 + application.executors)
        settings[f"spark.kubernetes.driver.annotation.{REQUEST}"] = json.dumps(executor_request(application))
    else:
        settings[f"spark.kubernetes.executor.annotation.{MIN_MEMBER}"] = str(application.executors)
    return settings


def executor_request(application: Application) -> dict[str, str]:
    """Return what the pod of an executor asks for, as Spark reckons it: nobody has made it yet.

    Raises:
        InvalidRequest: a setting is no amount; names it.
    """
    heap = bytes_of(application.executor_memory, "--executor-memory")
    scripted = bool(application.words) and application.words[0].endswith(SCRIPTED)
    given = setting_of(application, "spark.executor.memoryOverhead")
    factor = _factor(application, SCRIPTED_OVERHEAD if scripted else JVM_OVERHEAD)
    beside = bytes_of(given, "spark.executor.memoryOverhead") if given else max(int(heap * factor), MIN_OVERHEAD)
    python = bytes_of(setting_of(application, "spark.executor.pyspark.memory", "0"), "spark.executor.pyspark.memory")
    cores = setting_of(application, "spark.kubernetes.executor.request.cores", str(application.executor_cores))
    request = {"cpu": cores, "memory": f"{(heap + beside + python) >> 20}Mi"}
    if application.executor_gpu:
        request[f"{setting_of(application, f'{GPU}.vendor', 'nvidia.com')}/gpu"] = str(application.executor_gpu)
    return request


def _factor(application: Application, default: float) -> float:
    for key in ("spark.executor.memoryOverheadFactor", "spark.kubernetes.memoryOverheadFactor"):
        if text := setting_of(application, key):
            try:
                return float(text)
            except ValueError:
                raise InvalidRequest.of(FieldError(f"--conf {key}", "must be a number such as 0.1", text)) from None
    return default


def _gpu_settings(application: Application) -> dict[str, str]:
    """Return the settings with which executors, and not the driver, have GPUs."""
    if not application.executor_gpu:
        return {}
    amount = str(application.executor_gpu)
    return {
        f"{GPU}.amount": amount,
        f"{GPU}.vendor": "nvidia.com",
        f"{GPU}.discoveryScript": DISCOVERY,
        "spark.task.resource.gpu.amount": amount,
    }


def pod_template(role: str, application: Application, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the template of a role's pods: the user's own, if there is one, with what cannot be said by a setting."""
    environment: list[dict[str, Any]] = [
        {"name": "RUNAI_PROJECT", "value": application.project},
        {"name": "RUNAI_JOB_NAME", "value": application.workload_name or application.name},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    template: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **deepcopy(dict(own or {}))}
    spec = template.setdefault("spec", {})
    name = setting_of(application, f"spark.kubernetes.{role}.podTemplateContainerName")
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
        words = without_templates(native(words))
        return subprocess.run([program, *ours, *words], check=False).returncode  # noqa: S603


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
    path = setting_of(application, key)
    if not path:
        return None
    try:
        found = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidRequest.of(FieldError(f"--conf {key}", f"cannot be read: {error}", path)) from None
    if not isinstance(found, dict):
        raise InvalidRequest.of(FieldError(f"--conf {key}", "must be the YAML of a pod", path))
    return found


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
