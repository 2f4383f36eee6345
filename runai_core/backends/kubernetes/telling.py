"""Events on a workload's object that its user sees with ``kubectl describe`` and in its story."""

import logging

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.events import About, Event, body_of
from runai_core.backends.kubernetes.resources import EVENTS
from runai_core.model.errors import AlreadyExists, RunaiError
from runai_core.model.workload import Workload

log = logging.getLogger(__name__)

REPORTER = "runai-operator"


async def warn(api: Api, workload: Workload, place: Place, reason: str, message: str) -> None:
    """Say on the workload's object what is wrong; once for each attempt and reason. What cannot be said is logged."""
    owner = place.owner
    about = About(owner["kind"], owner["apiVersion"], place.namespace, owner["name"], owner.get("uid", ""))
    event = Event(about, "Warning", reason, message, workload.phase_updated_at, workload.phase_updated_at)
    name = f"{about.name}.{workload.attempt}.{reason.lower()}"
    try:
        await api.create(EVENTS, body_of(event, name, REPORTER))
    except AlreadyExists:
        return
    except RunaiError as trouble:
        log.warning("event on %s: %s", workload.key, trouble.message)
