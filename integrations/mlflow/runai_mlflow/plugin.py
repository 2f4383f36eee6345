"""Ties MLflow runs to workloads: each pod is told where to track, and runs are tagged with their workload.

MLflow reads the variables itself, so that the training code stays as it is.
"""

import json
from collections.abc import Iterable, Mapping

from runai_core.model.workload import Pod, Workload
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Setting, SettingValue

TRACKING_URI = Setting(
    name="mlflow.tracking_uri",
    default="",
    help="Tracking server that pods report to; empty leaves MLFLOW_TRACKING_URI alone.",
)
EXPERIMENT = Setting(
    name="mlflow.experiment",
    default="",
    help="Experiment of runs that name none; empty leaves MLFLOW_EXPERIMENT_NAME alone.",
)


@hookimpl
def runai_settings() -> Iterable[Setting]:
    """Return where to track, and under which experiment."""
    return (TRACKING_URI, EXPERIMENT)


@hookimpl
def runai_pod_environment(workload: Workload, pod: Pod, settings: Mapping[str, SettingValue]) -> Mapping[str, str]:
    """Return the variables that MLflow reads; tags of the run name its workload and its place in the gang."""
    tags = {
        "runai.workload.id": workload.meta.uid,
        "runai.workload.name": workload.name,
        "runai.project": workload.meta.project,
        "runai.attempt": str(pod.attempt),
    }
    wanted = {
        "MLFLOW_RUN_CONTEXT": json.dumps(tags, sort_keys=True),
        "MLFLOW_TRACKING_URI": str(settings[TRACKING_URI.name]),
        "MLFLOW_EXPERIMENT_NAME": str(settings[EXPERIMENT.name]),
    }
    return {name: value for name, value in wanted.items() if value}
