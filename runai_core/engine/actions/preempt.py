"""Let a higher priority in by evicting lower ones of the same queue (scheduler semantics, 2.15)."""

from runai_core.engine.entities import Job
from runai_core.engine.ordering import waiting_jobs
from runai_core.engine.protection import is_protected, runtime_for_preempt, victim_test
from runai_core.engine.search import Search
from runai_core.engine.session import Session
from runai_core.engine.victims import help_each

NAME = "preempt"


def preempt(session: Session) -> None:
    """Try each waiting pod group once, best first. Limits and quota bind; fair shares do not matter."""
    jobs = waiting_jobs(session)
    if jobs:
        help_each(session, NAME, jobs, lambda job: _search(session, job))


def _search(session: Session, job: Job) -> Search | None:
    leaf = job.path[0]
    if not any(other.preemptible and other.priority < job.priority and other.active for other in leaf.jobs):
        return None
    may_go = victim_test(session, job, runtime_for_preempt)
    return Search(
        session=session,
        job=job,
        pods=list(job.tries or ()),
        ask=job.ask,
        leaves=[leaf],
        eligible=lambda victim: victim.priority < job.priority and may_go(victim),
        protected=lambda victim: is_protected(session, victim, runtime_for_preempt(session, victim, job)),
        valid=lambda search, lost: True,
        takeable=lambda search, node: True,
    )
