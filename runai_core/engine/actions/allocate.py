"""Give free capacity to the pod groups that wait, in the order of their queues."""

from runai_core.engine.entities import Job
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import JobOrder, blocked_by_queue, waiting_jobs
from runai_core.engine.session import Session

NAME = "allocate"


def allocate(session: Session) -> None:
    """Place every pod group that fits, best first; a group that may grow competes again for its next pod.

    A group that fails is dropped for this cycle. Room only shrinks meanwhile,
    so groups that are equal to one that failed are not tried.
    """
    jobs = waiting_jobs(session)
    if not jobs:
        return
    order = JobOrder(session, jobs, depth=session.settings.queue_depth.get(NAME))
    no_room: set[object] = set()
    journal = session.journal
    while (job := order.pop()) is not None:
        tries = job.tries
        if not tries or job.shape in no_room:
            continue
        if session.quota_on and blocked_by_queue(job, job.ask) is not None:
            continue
        if not place_job(session, job, tries):
            if job.shape is not None:
                no_room.add(job.shape)
            continue
        journal.clear()
        session.decided.append((NAME, job, tries))
        if _wants_more(job):
            order.push(job)


def _wants_more(job: Job) -> bool:
    only = job.only
    if only is not None:
        return only.existing > only.active
    return any(part.existing > part.active for part in job.sets.values())
