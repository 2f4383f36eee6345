"""The journal: whatever was tried, a rollback restores the session to the last number."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from runai_core.engine.cycle import run_cycle
from runai_core.engine.entities import EVICTED, PENDING, PLACED, PROMISED, RUNNING
from runai_core.engine.feasibility import NOW
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import refresh
from runai_core.engine.rules import DEFAULT_RULES
from runai_core.engine.scoring import best_node
from runai_core.engine.session import Session
from runai_core.testing.worlds import carry_out, random_world


def books(session: Session) -> object:
    """Return every number that a cycle changes."""
    return (
        [list(row) for row in session.idle],
        [list(row) for row in session.later],
        [{name: list(entry) for name, entry in table.items()} for table in session.devices],
        [(node.name, list(node.allocated), list(node.non_preemptible)) for node in session.queues.values()],
        list(session.pod_state),
        list(session.pod_node),
        list(session.pod_devices),
        dict(session.evicted_from),
        [(job.name, [part.active for part in job.sets.values()]) for job in session.jobs.values()],
    )


def some_moves(session: Session, random: Random) -> None:
    for _ in range(random.randint(1, 12)):
        pod = random.randrange(len(session.pods))
        state = session.pod_state[pod]
        if state == RUNNING:
            session.evict(pod)
        elif state == PLACED and random.random() < 0.5:
            session.demote(pod)
        elif state in (PLACED, PROMISED) and pod not in session.evicted_from:
            session.withdraw(pod)
        elif state == EVICTED and random.random() < 0.3:
            session.depart(pod)
        elif state in (PENDING, EVICTED):
            job = session.pod_job[pod]
            node, answer = best_node(session, pod, ((0, session.all_nodes),))
            if job is not None and node >= 0:
                place_job(session, job, [pod], promise_only=answer != NOW or state == EVICTED, within=1 << node)


@given(st.integers(0, 10**9))
def test_a_rollback_restores_every_number(seed: int) -> None:
    random = Random(seed)
    snapshot = random_world(random)
    snapshot = carry_out(snapshot, run_cycle(snapshot))
    session = Session(snapshot, DEFAULT_RULES)
    some_moves(session, random)
    before, mark = books(session), session.mark()

    some_moves(session, random)
    session.rollback(mark)

    assert books(session) == before


@given(st.integers(0, 10**9))
def test_a_refused_gang_leaves_the_session_as_it_was(seed: int) -> None:
    session = Session(random_world(Random(seed)), DEFAULT_RULES)
    for job in session.jobs.values():
        refresh(session, job)
        before = books(session)
        if job.tries and not place_job(session, job, job.tries):
            assert books(session) == before
