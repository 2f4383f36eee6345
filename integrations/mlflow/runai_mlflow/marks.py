"""Names that MLflow and we agree on: tags of runs, variables of pods. Pure."""

from collections.abc import Mapping

TAG_ID = "runai.workload.id"
TAG_NAME = "runai.workload.name"
TAG_PROJECT = "runai.project"
TAG_ATTEMPT = "runai.attempt"
TAG_RANK = "runai.rank"
TAG_URL = "runai.workload.url"
TAG_PHASE = "runai.phase"
TAG_MESSAGE = "runai.message"
"""Why the workload is where it is, while it waits and at its end."""

RUN_ID = "MLFLOW_RUN_ID"
TRACKING_URI = "MLFLOW_TRACKING_URI"
EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_NAME"
RUN_CONTEXT = "MLFLOW_RUN_CONTEXT"

OWNER_SCHEME = "mlflow"

_VARIABLES: Mapping[str, str] = {
    TAG_ID: "RUNAI_JOB_UUID",
    TAG_NAME: "RUNAI_JOB_NAME",
    TAG_PROJECT: "RUNAI_PROJECT",
    TAG_ATTEMPT: "RUNAI_ATTEMPT",
}


def tags_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a run that is started in this environment; empty outside a workload."""
    tags = {tag: environ[variable] for tag, variable in _VARIABLES.items() if environ.get(variable)}
    if TAG_ID not in tags:
        return {}
    rank = environ.get("RANK") or environ.get("RUNAI_POD_INDEX")
    return tags | ({TAG_RANK: rank} if rank else {})
