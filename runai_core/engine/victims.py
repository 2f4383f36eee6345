"""The victims that let a pod group in, found by simulation.

Shared by consolidation, reclaim and preemption; they differ in who may be a
victim and in what a valid solution is. Victims are taken in the order in which
their queues can best do without them. Room is gathered node by node: a trial
evicts only those gathered victims that live on the node in question, so nobody
loses a place that would not help. Before a solution is judged, everyone who
still finds room is put back or moved (scheduler semantics, 2.12).
"""

from collections.abc import Callable

from runai_core.engine.causes import Cause, cause_of
from runai_core.engine.entities import EVICTED, PENDING, Job
from runai_core.engine.gang import place_job
from runai_core.engine.gathering import gather, may_fit, needs, note
from runai_core.engine.ordering import JobOrder, blocked_by_queue, refresh
from runai_core.engine.search import Search, Unit, take_away
from runai_core.engine.serving import unserved
from runai_core.engine.session import Session
from runai_core.engine.statement import commit, take_back
from runai_core.engine.topology import required_domains
from runai_core.engine.victim_order import note_placed, victim_units


def help_each(session: Session, action: str, jobs: list[Job], search_for: Callable[[Job], Search | None]) -> None:
    """Try each waiting group once, best first, and keep what the next cycle would hold to.

    Where it would not serve somebody who was helped, all is taken back and
    tried again without those; after some rounds nobody is evicted.
    """
    mark, decisions = session.mark(), len(session.decided)
    refused: set[str] = set()
    for _ in range(MOST_ROUNDS):
        _help_all(session, action, [job for job in jobs if job.name not in refused], search_for)
        made = session.decided[decisions:]
        left = unserved(session, [pod for _, _, pods, _ in made for pod in pods]) if made else []
        if not left:
            _remember_causes(session, action, decisions)
            return
        take_back(session, mark, decisions)
        refused |= _helped_in_vain(made, set(left))


def _helped_in_vain(made: list[tuple[str, Job, list[int], object]], left: set[int]) -> set[str]:
    """Return the groups that would not be served, and those for which a pod was moved that would not."""
    found = {job.name for _, job, pods, _ in made if not left.isdisjoint(pods)}
    found |= {job.name for _, job, _, cause in made if isinstance(cause, Cause) and not left.isdisjoint(cause.evicted)}
    if not found:  # somebody whom an earlier action moved would lose the new place: any of these may be why
        found = {job.name for _, job, _, _ in made}
    return found


def _remember_causes(session: Session, action: str, decisions: int) -> None:
    for _, job, _, cause in session.decided[decisions:]:
        if isinstance(cause, Cause):
            for pod in cause.evicted:
                session.evicted_why[pod] = (action, job.name, cause)


def _help_all(session: Session, action: str, jobs: list[Job], search_for: Callable[[Job], Search | None]) -> None:
    """Try each group; one equal to a group of its queue that failed is not tried.

    An eviction that would help it would have helped the other.
    """
    order = JobOrder(session, jobs, depth=session.settings.queue_depth.get(action))
    waiting: dict[str, dict[object, Job]] = {}
    while (job := order.pop()) is not None:
        rivals = waiting.setdefault(job.path[0].name, {})
        memo = (job.shape, job.preemptible, job.priority) if job.shape is not None else job.name
        if not job.tries or memo in rivals:
            continue
        search = search_for(job)
        if search is not None:
            search.rivals = list(rivals.values())
        if search is not None and solve(search):
            cause = cause_of(session, job, search.pods, search.evicted)
            commit(session, action, job, search.pods, cause, search.evicted)
            note_placed(session, job)
        else:
            rivals[memo] = job


MOST_DOMAINS = 16
"""So many topology domains are tried for one group, those with the fewest victims."""

MOST_ATTEMPTS = 2000
"""So many simulations one group may cost in a cycle; then it waits for the next."""

MOST_ROUNDS = 8
"""How often an action is tried anew without those who were helped in vain."""


def solve(search: Search) -> bool:
    """Make room for the group and place it as promises, or leave the session as it was."""
    if _is_plain(search) and len(search.pods) > 1:
        units = gather(search, victim_units(search, []), search.session.all_nodes)
        if units is None:
            return False
        if _attempt(search, search.pods, [pod for unit in units for pod in unit]):
            return True
    return _solve_stepwise(search) or _solve_by_domain(search)


def _solve_stepwise(search: Search) -> bool:
    """Let the first pod in, then the first two, and so on: what was evicted for fewer is kept for more."""
    recorded: list[int] = []
    for count in range(1, len(search.pods) + 1):
        mark = search.session.mark()
        if not _solve_first(search, search.pods[:count], recorded):
            return False
        recorded = list(search.evicted)
        if count < len(search.pods):
            search.session.rollback(mark)
    return True


def _solve_by_domain(search: Search) -> bool:
    """Gather a gang's room inside one domain of its required level, the domain with the fewest victims first."""
    session, constraint = search.session, search.job.group.topology
    flat = constraint is not None and constraint.required_level is not None and not search.job.group.sub_groups
    if constraint is None or not flat or len(search.pods) < 2 or not _lacks_only_room(search):
        return False
    units = list(victim_units(search, []))
    masks = [sum({1 << session.pod_node[pod] for pod in unit}) for unit in units]
    found = []
    for domain in required_domains(session, constraint):
        inside = [unit for unit, mask in zip(units, masks, strict=True) if mask & domain]
        chosen = gather(search, inside, domain)
        if chosen is not None:
            pods = [pod for unit in chosen for pod in unit]
            found.append((len(pods), domain, pods))
    search.attempts = 0
    return any(_attempt(search, search.pods, pods) for _, _, pods in sorted(found)[:MOST_DOMAINS])


def _is_plain(search: Search) -> bool:
    """Return whether only room on nodes is lacking: no tree, no limit, no neighbours to look at."""
    return search.job.tree is None and _lacks_only_room(search)


def _lacks_only_room(search: Search) -> bool:
    session = search.session
    kinds = [session.pod_class[pod] for pod in search.pods]
    if any(kind.solitary or kind.extended is not None for kind in kinds):
        return False
    return not session.quota_on or blocked_by_queue(search.job, search.ask) is None


# -- one attempt ---------------------------------------------------------------------------------------------------


def _attempt(search: Search, pods: list[int], evicted: list[int]) -> bool:
    """Evict, place the group, give back what is not needed, and judge; undo everything on refusal."""
    session = search.session
    search.attempts += 1
    if search.attempts > MOST_ATTEMPTS:
        return False
    mark = session.mark()
    for pod in evicted:
        take_away(session, pod)
    if _admit(search, pods, evicted) and search.valid(search, _lost(session, evicted)):
        search.evicted = [pod for pod in evicted if not _is_back(session, pod)]
        return True
    session.rollback(mark)
    return False


def _lost(session: Session, evicted: list[int]) -> list[int]:
    return [pod for pod in evicted if session.pod_state[pod] in (EVICTED, PENDING)]


def _is_back(session: Session, pod: int) -> bool:
    if session.pod_state[pod] in (EVICTED, PENDING):
        return False
    origin = session.evicted_from.get(pod)
    return origin is None or origin == (session.pod_node[pod], session.pod_devices[pod])


def _admit(search: Search, pods: list[int], evicted: list[int]) -> bool:
    """Place the group and its victims in the order of their queues; the group must get in."""
    session, job = search.session, search.job
    mark = session.mark()
    if not _enter(search, pods):  # not even with the field to itself
        return False
    if not evicted:
        return True
    session.rollback(mark)
    victims = {id(session.pod_job[pod]): session.pod_job[pod] for pod in evicted}
    jobs = [victim for victim in victims.values() if victim is not None]
    for victim in jobs:
        refresh(session, victim, moving=True)
    job.tries, job.shape = pods, None
    job.ask = _cost(session, pods)
    order = JobOrder(session, [*jobs, *search.rivals, job])
    gone = _by_job(session, evicted)
    hopeless: set[object] = set()
    entered = settled = False
    while (popped := order.pop()) is not None:
        if popped is job:
            if not _enter(search, pods):
                return False
            entered = settled = True
            _put_all_back(session, jobs, gone)
        elif popped in search.rivals:
            # The next cycle would serve it first: the victims would leave for somebody else.
            if not entered and _would_enter(session, popped):
                return False
        else:
            settled = not _move(session, popped, gone[popped.name], hopeless) and settled
    if not settled:  # else nothing has changed since they were asked last
        _put_all_back(session, jobs, gone)
    return True


def _by_job(session: Session, pods: list[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pod in pods:
        job = session.pod_job[pod]
        if job is not None:
            found.setdefault(job.name, []).append(pod)
    return found


def _cost(session: Session, pods: list[int]) -> tuple[int, int, int]:
    charges = [session.pod_class[pod].charge for pod in pods]
    return sum(row[0] for row in charges), sum(row[1] for row in charges), sum(row[2] for row in charges)


def _enter(search: Search, pods: list[int]) -> bool:
    session, job = search.session, search.job
    if session.quota_on and blocked_by_queue(job, _cost(session, pods)) is not None:
        return False
    return place_job(session, job, pods, promise_only=True)


def _would_enter(session: Session, rival: Job) -> bool:
    """Return whether a group that waits would be placed now; the session is left as it was."""
    refresh(session, rival)
    if session.quota_on and blocked_by_queue(rival, rival.ask) is not None:
        return False
    mark = session.mark()
    placed = place_job(session, rival, rival.tries or [], promise_only=True)
    session.rollback(mark)
    return placed


def _put_all_back(session: Session, jobs: list[Job], gone: dict[str, list[int]]) -> None:
    for victim in reversed(jobs):
        _put_back(session, victim, gone[victim.name])


def _put_back(session: Session, job: Job, pods: list[int]) -> None:
    """Let a victim's pods stay where they are, where nothing needs their room; a gang never in part."""
    mine = [pod for pod in pods if session.pod_state[pod] == EVICTED]
    if mine:
        mark = session.mark()
        for pod in mine:
            _stay(session, job, pod)
        if session.mark() > mark and any(part.active < part.minimum for part in job.sets.values()):
            session.rollback(mark)


def _stay(session: Session, job: Job, pod: int) -> None:
    node, devices = session.evicted_from[pod]
    if node < 0:
        return
    kind, row = session.pod_class[pod], session.later[node]
    if row[0] < kind.cpu or row[1] < kind.memory or row[2] < kind.gpus or row[3] < 1:
        return
    if session.quota_on and blocked_by_queue(job, session.charge_of(kind, node)) is not None:
        return
    if kind.extended is not None:
        amounts = session.later_extended[node] or {}
        if any(amounts.get(name, 0) < amount for name, amount in kind.extended):
            return
    if all(session.has_device_room(pod, node, name) for name in devices):
        session.promise(pod, node, devices)


def _move(session: Session, job: Job, gone: list[int], hopeless: set[object]) -> bool:
    """Place what a victim lost somewhere else; return whether that was possible."""
    if job.only is not None and len(job.only.pods) == 1 and job.shape in hopeless:
        return False  # its only pod has the same shape whatever else moved
    refresh(session, job, moving=True)
    pods = job.tries or []
    if not pods or (job.shape is not None and job.shape in hopeless):
        return False
    if not any(pod in gone for pod in pods):
        return False  # only growth that waited before: not this attempt's business
    if session.quota_on and blocked_by_queue(job, job.ask) is not None:
        return False
    if place_job(session, job, pods, promise_only=True):
        return True
    if job.shape is not None:
        hopeless.add(job.shape)
    return False


# -- step by step ------------------------------------------------------------------------------------------------------


def _solve_first(search: Search, pods: list[int], recorded: list[int]) -> bool:
    """Let the first pods of a gang in: with the victims known so far, then with ever more of them."""
    session = search.session
    if _attempt(search, pods, recorded):
        return True
    gathered: dict[int, list[Unit]] = {}
    sums: dict[int, list[int]] = {}
    room_decides = _room_decides(search, pods)
    asked = needs(session, pods)
    for unit in victim_units(search, recorded):
        if search.attempts > MOST_ATTEMPTS:
            return False
        for node in note(session, unit, gathered, sums):
            if room_decides and not may_fit(session, asked, node, sums[node]):
                continue
            evicted = recorded + [pod for other in gathered[node] for pod in other]
            if search.most_victims is not None and len(_by_job(session, evicted)) > search.most_victims:
                continue
            if _attempt(search, pods, evicted):
                return True
    return False


def _room_decides(search: Search, pods: list[int]) -> bool:
    session = search.session
    if any(session.pod_class[pod].solitary for pod in pods):
        return False
    return not session.quota_on or blocked_by_queue(search.job, _cost(session, pods)) is None
