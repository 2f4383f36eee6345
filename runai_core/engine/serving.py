"""Serve waiting groups in turn; and look ahead to how the next cycle would serve them.

Evictions are worth their harm only if the room goes to the one they were for.
Promises do not outlive a cycle, so a decision that evicts is kept only if the
next cycle, with the victims gone and back in their queues, would place the
group, and everybody who was merely moved, by itself. This is what makes
eviction loops impossible to enter.
"""

from runai_core.engine.entities import EVICTED, PLACED, PROMISED, Job
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import JobOrder, blocked_by_queue, is_ready
from runai_core.engine.session import Session


def serve(session: Session, jobs: list[Job], depth: int | None = None) -> list[tuple[Job, list[int]]]:
    """Place every group that fits, best first; return (group, pods) in the order of placement.

    A group that may grow competes again for its next pod. One that fails is
    dropped: room only shrinks meanwhile, so groups equal to one that failed
    are not tried.
    """
    order = JobOrder(session, jobs, depth=depth)
    no_room: set[object] = set()
    placed: list[tuple[Job, list[int]]] = []
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
        placed.append((job, tries))
        if _wants_more(job):
            order.push(job)
    return placed


def _wants_more(job: Job) -> bool:
    only = job.only
    if only is not None:
        return only.existing > only.active
    return any(part.existing > part.active for part in job.sets.values())


def unserved(session: Session, promised: list[int]) -> list[int]:
    """Return which of these pods, and of all that were moved, the next cycle would not place by itself."""
    mark = session.mark()
    gone = [pod for pod in session.evicted_from if not session.stays(pod)]
    moved = [pod for pod in gone if session.pod_state[pod] == PROMISED]
    waiting = {id(job): job for job in session.waiting}
    for pod in dict.fromkeys([*gone, *session.promises(), *promised]):
        if session.pod_state[pod] == PROMISED:
            session.withdraw(pod)
        if session.pod_state[pod] == EVICTED:
            session.depart(pod)
        job = session.pod_job[pod]
        if job is not None:
            waiting[id(job)] = job
    for job in waiting.values():
        job.tries = None
    jobs = [job for job in waiting.values() if job.queue is not None and is_ready(job)]
    jobs.sort(key=lambda job: job.name)
    serve(session, jobs)
    left = [pod for pod in (*promised, *moved) if session.pod_state[pod] not in (PLACED, PROMISED)]
    session.rollback(mark)
    for job in waiting.values():
        job.tries = None
    return left
