"""From an application to one workload: the driver and its executors, as one gang; pure."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from runai_core.client.ownership import TIME_TO_LIVE
from runai_core.client.specs import build_spec
from runai_spark.arguments import Application, request_of

JOB = "RUNAI_SPARK_JOB"
"""What the pods of an application do, as JSON; see `node`."""

KEPT = (
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "SPARK_HOME",
    "SPARK_CONF_DIR",
    "PYSPARK_PYTHON",
    "PYSPARK_DRIVER_PYTHON",
    "HADOOP_CONF_DIR",
)
"""Variables of the submitting process that Spark and its Java read on every node."""

MAX_NAME = 40


def gang_options(
    application: Application, job: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """Return the type and the options of the application's workload.

    The driver is the gang's master: it is placed first, and its success is the
    workload's. The executors' places are the workers', reserved with it.
    """
    command = ["python" if application.image else sys.executable, "-m", "runai_spark.node"]
    common = {
        "project": application.project or None,
        "priority": application.priority or None,
        "image": application.image or None,
        "command": command,
        "env": {**environment, JOB: json.dumps(job)},
        "backoff_limit": 0,  # Spark has tried again itself
        "annotations": {TIME_TO_LIVE: str(application.time_to_live)} if application.time_to_live else None,
    }
    driver = {
        "cpus": application.driver_cores,
        "memory": request_of(application.driver_memory, "--driver-memory"),
    }
    if job["mode"] == "local":
        return "Training", _given({**common, **driver, "gpus": application.executor_gpu or None})
    workers = {
        "workers": application.executors,
        "cpus": application.executor_cores,
        "memory": request_of(application.executor_memory, "--executor-memory"),
        "gpus": application.executor_gpu or None,
        "master": build_spec("Distributed", {**driver, "gpus": 0}),
    }
    return "Distributed", _given({**common, **workers})


def job_of(application: Application, mode: str, directory: str) -> dict[str, Any]:
    """Return what the pods do: run an application, or keep a cluster for a session elsewhere."""
    return {
        "mode": mode,  # application | session | local
        "options": list(application.options),
        "words": list(application.words),
        "name": application.name,
        "master": application.master,
        "executors": application.executors,
        "cores": application.executor_cores,
        "memory": application.executor_memory,
        "gpus": application.executor_gpu,
        "driver_memory": application.driver_memory,
        "directory": directory,
    }


def workload_name(application: Application, unique: str) -> str:
    """Return the name of the workload: as asked for, or the application's made unique."""
    if application.workload_name:
        return application.workload_name
    base = application.name or application.words[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]
    name = re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")[:MAX_NAME].rstrip("-")
    return f"{name if name[:1].isalpha() else f'spark-{name}'.rstrip('-')}-{unique}"


def spark_options(job: Mapping[str, Any], master: str) -> list[str]:
    """Return Spark's options of a driver whose executors are the gang: all of them, and for nobody else."""
    settings = {
        "spark.executor.cores": job["cores"],
        "spark.executor.memory": job["memory"],
        "spark.executor.instances": job["executors"],
        "spark.cores.max": job["executors"] * job["cores"],
        "spark.dynamicAllocation.enabled": "false",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "300s",
    }
    if job["gpus"]:
        settings |= {"spark.executor.resource.gpu.amount": job["gpus"], "spark.task.resource.gpu.amount": job["gpus"]}
    words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    named = ["--name", job["name"]] if job["name"] else []
    return ["--master", master, "--driver-memory", job["driver_memory"], *named, *words]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
