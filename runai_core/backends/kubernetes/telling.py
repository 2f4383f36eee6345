"""Events on a workload's object that its user sees with ``kubectl describe`` and in its story."""

import logging

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.codec.values import rfc3339
from runai_core.backends.kubernetes.resources import EVENTS
from runai_core.model.errors import AlreadyExists, RunaiError
from runai_core.model.workload import Workload

log = logging.getLogger(__name__)

REPORTER = "runai-operator"


async def warn(api: Api, workload: Workload, place: Place, reason: str, message: str) -> None:
    """Say on the workload's object what is wrong; once for each attempt and reason. What cannot be said is logged."""
    now = rfc3339(workload.phase_updated_at)
    name = f"{place.owner['name']}.{workload.attempt}.{reason.lower()}"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": place.namespace},
        "involvedObject": {**place.owner, "namespace": place.namespace},
        "reason": reason,
        "message": message[:1000],
        "type": "Warning",
        "source": {"component": REPORTER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await api.create(EVENTS, event)
    except AlreadyExists:
        return
    except RunaiError as trouble:
        log.warning("event on %s: %s", workload.key, trouble.message)
