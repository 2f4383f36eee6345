"""Move work to make room: no one loses a place (scheduler semantics, 2.13)."""

from runai_core.engine.entities import Job
from runai_core.engine.ordering import JobOrder, is_ready
from runai_core.engine.protection import never, may_be_victim
from runai_core.engine.session import Session
from runai_core.engine.statement import commit
from runai_core.engine.victims import Search, free_gpus, kinds_of, solve

NAME = "consolidate"


def consolidate(session: Session) -> None:
    """Try each preemptible waiting pod group once; off where either placement strategy spreads."""
    settings = session.settings
    if settings.max_consolidation_victims == 0 or "spread" in (settings.gpu_placement, settings.cpu_placement):
        return
    jobs = [job for job in session.jobs.values() if job.queue is not None and job.preemptible and is_ready(job)]
    order = JobOrder(session, jobs, depth=settings.queue_depth.get(NAME))
    failed: set[object] = set()
    while (job := order.pop()) is not None:
        if not job.tries or (job.shape is not None and job.shape in failed):
            continue
        mark = session.mark()
        search = _search(session, job)
        if search is not None and solve(search):
            session.decided.append((NAME, job, search.pods))
            commit(session, mark, NAME, job.name, None)
        else:
            failed.add(job.shape)


def _search(session: Session, job: Job) -> Search | None:
    """Return the search for a group, unless the node pool has not enough free GPUs in all."""
    pods = list(job.tries or ())
    wanted = sum(kind.gpus for kind in kinds_of(session, pods))
    if wanted > free_gpus(session):
        return None
    return Search(
        session=session,
        job=job,
        pods=pods,
        ask=job.ask,
        leaves=[node for node in session.queues.values() if not node.children and node.jobs],
        eligible=lambda victim: may_be_victim(session, victim, job, never),
        protected=lambda victim: False,
        valid=lambda search, lost: not lost,
        takeable=lambda search, node: True,
        most_victims=session.settings.max_consolidation_victims,
    )
