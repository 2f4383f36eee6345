"""Evict gangs that have run below their minimum for longer than the grace period.

Pods that are terminating still count, a gang with a finished pod is never
broken, and non-preemptible gangs are not spared (scheduler semantics, 2.16).
"""

from runai_core.engine.entities import RUNNING, Job
from runai_core.engine.ordering import ordered_pods
from runai_core.engine.session import Session

NAME = "stale_gang"


def stale_gang(session: Session) -> None:
    """Evict all active pods of every gang whose grace period is over."""
    grace = session.settings.staleness_grace
    several = [job for job in session.jobs.values() if job.only is None or job.only.minimum > 1]
    for name in sorted(job.name for job in several if is_stale(job)):
        job = session.jobs[name]
        session.stale.append(name)
        since = job.group.stale_since
        waited = 0.0 if since is None else session.now - since
        if grace is not None and waited >= grace:
            _evict_all(session, job)


def is_stale(job: Job) -> bool:
    """Return whether a gang runs with a pod set below its minimum."""
    only = job.only
    if only is not None:
        return 0 < only.active + only.releasing < only.minimum and not job.finished
    if job.finished:
        return False
    used = [(part.active + part.releasing, part.minimum) for part in job.sets.values()]
    return any(count for count, _ in used) and any(count < minimum for count, minimum in used)


def _evict_all(session: Session, job: Job) -> None:
    for part in job.sets.values():
        for pod in ordered_pods(session, part):
            if session.pod_state[pod] == RUNNING:
                session.evict(pod)
