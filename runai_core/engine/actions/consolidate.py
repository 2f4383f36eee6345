"""Move work to make room: no one loses a place (scheduler semantics, 2.13)."""

from runai_core.engine.entities import Job
from runai_core.engine.ordering import waiting_jobs
from runai_core.engine.protection import never, victim_test
from runai_core.engine.search import Search, free_gpus
from runai_core.engine.session import Session
from runai_core.engine.victims import help_each

NAME = "consolidate"


def consolidate(session: Session) -> None:
    """Try each preemptible waiting pod group once; off where either placement strategy spreads."""
    settings = session.settings
    if settings.max_consolidation_victims == 0 or "spread" in (settings.gpu_placement, settings.cpu_placement):
        return
    jobs = [job for job in waiting_jobs(session) if job.preemptible]
    if jobs:
        help_each(session, NAME, jobs, lambda job: _search(session, job))


def _search(session: Session, job: Job) -> Search | None:
    """Return the search for a group, unless the node pool has not enough free GPUs in all."""
    pods = list(job.tries or ())
    if job.ask[2] > free_gpus(session):
        return None
    return Search(
        session=session,
        job=job,
        pods=pods,
        ask=job.ask,
        leaves=[node for node in session.queues.values() if not node.children and node.jobs],
        eligible=victim_test(session, job, never),
        protected=lambda victim: False,
        valid=lambda search, lost: not lost,
        takeable=lambda search, node: True,
        most_victims=session.settings.max_consolidation_victims,
    )
