"""Whose a workload is, where another tool owns it; pure."""

from runai_core.client.results import Workload
from runai_core.model.workload import Phase

OWNER = "run.ai/owner"
"""Annotation: the object of the other tool, for people and for that tool: ``airflow:daily/manual__1/train``."""

TIME_TO_LIVE = "run.ai/time-to-live-seconds"
"""Annotation: the workload is deleted so long after its submission, whatever it does."""


def owner_of(workload: Workload) -> str:
    """Return who owns a workload that was read by its id; empty where no tool does."""
    annotations = (workload.raw.get("spec") or {}).get("annotations") or ()
    return next((str(item.get("value", "")) for item in annotations if item.get("name") == OWNER), "")


def is_leaving(workload: Workload) -> bool:
    """Return whether the workload was deleted; its pods may still be ending."""
    return workload.phase is Phase.DELETING or workload.deleted_at is not None


def sentence_of(workload: Workload) -> str:
    """Return where a workload is and why, as one sentence."""
    why = f": {workload.phase_message}" if workload.phase_message else ""
    return f"{workload.project_name}/{workload.name} is {workload.phase}{why}"


def page_url(url: str, uid: str) -> str:
    """Return the address of a workload's page, for links from other tools; `url` is the orchestrator's."""
    return f"{url.rstrip('/')}/workloads/{uid}"
