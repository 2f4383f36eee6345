"""Ties MLflow runs to workloads: pods are told where to track, runs are tagged and end with their workload.

MLflow reads the variables itself, so that the training code stays as it is.
On Kubernetes, the Jobs of MLflow's own kubernetes backend are recognised too.
"""

import json
from collections.abc import Iterable, Mapping

from runai_core.model.workload import Pod, Workload
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import LifecycleObserver, Setting, SettingValue
from runai_mlflow.marks import (
    EXPERIMENT_NAME,
    RUN_CONTEXT,
    TAG_ATTEMPT,
    TAG_ID,
    TAG_NAME,
    TAG_PROJECT,
    TRACKING_URI,
)
from runai_mlflow.observer import RunObserver

TRACKING = Setting(
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
    return (TRACKING, EXPERIMENT)


@hookimpl
def runai_pod_environment(workload: Workload, pod: Pod, settings: Mapping[str, SettingValue]) -> Mapping[str, str]:
    """Return the variables that MLflow reads; tags of the run name its workload and its place in the gang."""
    tags = {
        TAG_ID: workload.meta.uid,
        TAG_NAME: workload.name,
        TAG_PROJECT: workload.meta.project,
        TAG_ATTEMPT: str(pod.attempt),
    }
    wanted = {
        RUN_CONTEXT: json.dumps(tags, sort_keys=True),
        TRACKING_URI: str(settings[TRACKING.name]),
        EXPERIMENT_NAME: str(settings[EXPERIMENT.name]),
    }
    return {name: value for name, value in wanted.items() if value}


@hookimpl
def runai_lifecycle_observers(settings: Mapping[str, SettingValue]) -> Iterable[LifecycleObserver]:
    """Return the observer that ends runs with their workload."""
    return (RunObserver(str(settings[TRACKING.name])),)
