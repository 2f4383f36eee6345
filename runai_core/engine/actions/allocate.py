"""Give free capacity to the pod groups that wait, in the order of their queues."""

from runai_core.engine.ordering import waiting_jobs
from runai_core.engine.serving import serve
from runai_core.engine.session import Session

NAME = "allocate"


def allocate(session: Session) -> None:
    """Place every pod group that fits, best first; an idle cluster lets any queue go to its limit."""
    jobs = waiting_jobs(session)
    if jobs:
        for job, pods in serve(session, jobs, session.settings.queue_depth.get(NAME)):
            session.decided.append((NAME, job, pods, None))
