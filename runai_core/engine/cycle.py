"""One scheduling cycle: the engine's public door.

``run_cycle(snapshot, rules)`` is a pure function. Time is `snapshot.taken_at`;
the same input gives the same answer whatever its order.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from runai_core.engine.actions.allocate import allocate
from runai_core.engine.actions.consolidate import consolidate
from runai_core.engine.actions.preempt import preempt
from runai_core.engine.actions.reclaim import reclaim
from runai_core.engine.actions.stale_gang import stale_gang
from runai_core.engine.causes import eviction_message, eviction_shares
from runai_core.engine.entities import PLACED, PROMISED
from runai_core.engine.rules import DEFAULT_RULES, RuleSet
from runai_core.engine.session import Session
from runai_core.engine.statement import victims_by_decision
from runai_core.engine.suggestions import follow, small_changes
from runai_core.engine.verdicts import all_shares, verdicts
from runai_core.model.decision import Bind, CycleResult, Evict, Pipeline, QueueShare, Suggestion, Verdict
from runai_core.model.snapshot import Snapshot
from runai_core.model.snapshot_check import check_snapshot

EXPLAINED_PODS, EXPLAINED_VERDICTS = 300, 8
"""A cycle works suggestions out for small snapshots and their first verdicts; `explain` does for any."""

MOST_SUGGESTIONS = 4

ACTIONS: Mapping[str, Callable[[Session], None]] = {
    "allocate": allocate,
    "consolidate": consolidate,
    "reclaim": reclaim,
    "preempt": preempt,
    "stale_gang": stale_gang,
}
"""In order of harm. `CycleSettings.actions` names those that run, in its order."""


def run_cycle(snapshot: Snapshot, rules: RuleSet = DEFAULT_RULES) -> CycleResult:
    """Decide what starts, what must give way, and why the others wait.

    Raises:
        InvalidSnapshot: the snapshot contradicts itself; the message names the object.
    """
    check_snapshot(snapshot)
    session = open_cycle(snapshot, rules)
    result = run_actions(session)
    if not result.verdicts or len(snapshot.pods) > EXPLAINED_PODS:
        return result
    return replace(result, verdicts=_with_suggestions(session, result.verdicts, rules))


def _with_suggestions(session: Session, found: tuple[Verdict, ...], rules: RuleSet) -> tuple[Verdict, ...]:
    """Add to the first verdicts the small changes that would start their groups, each confirmed by a cycle."""
    made = []
    for number, verdict in enumerate(found):
        job = session.jobs[verdict.pod_group]
        if number < EXPLAINED_VERDICTS and not verdict.promised and job.queue is not None:
            candidates = list(small_changes(session, job))
            suggestions = confirmed(session.snapshot, job.name, candidates, rules)
            made.append(replace(verdict, suggestions=suggestions))
        else:
            made.append(verdict)
    return tuple(made)


def confirmed(
    snapshot: Snapshot, name: str, candidates: Iterable[Suggestion], rules: RuleSet
) -> tuple[Suggestion, ...]:
    """Return the first few suggestions that a cycle confirms, one of each kind."""
    found: dict[str, Suggestion] = {}
    for suggestion in candidates:
        wanted = suggestion.kind not in found and len(found) < MOST_SUGGESTIONS
        if wanted and starts(follow(snapshot, name, suggestion), name, rules):
            found[suggestion.kind] = suggestion
    return tuple(found.values())


def starts(snapshot: Snapshot, name: str, rules: RuleSet) -> bool:
    """Return whether a cycle places the pod group, or promises it a place."""
    result = run_actions(open_cycle(snapshot, rules))
    return any(bind.pod_group == name for bind in result.binds) or any(
        promise.pod_group == name for promise in result.pipelines
    )


def open_cycle(snapshot: Snapshot, rules: RuleSet = DEFAULT_RULES) -> Session:
    """Build the working copy of a snapshot; the first half of `run_cycle`."""
    with _collector_off():
        return Session(snapshot, rules)


def run_actions(session: Session) -> CycleResult:
    """Run the actions on an opened session and read the decisions off it; the second half of `run_cycle`."""
    with _collector_off():
        for name in session.settings.actions:
            ACTIONS[name](session)
        return _result(session)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the garbage collector from walking a hundred thousand records that all stay alive."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _result(session: Session) -> CycleResult:
    binds: list[Bind] = []
    promises: list[Pipeline] = []
    names, pods, nodes = [node.name for node in session.nodes], session.pods, session.pod_node
    seen: set[int] = set()
    states, devices = session.pod_state, session.pod_devices
    for action, job, placed, _ in session.decided:
        group = job.name
        for pod in placed:
            state = states[pod]
            if state == PLACED:
                binds.append(Bind(pods[pod].name, names[nodes[pod]], devices[pod], group))
            elif state == PROMISED and pod not in seen and pod not in session.evicted_from:
                seen.add(pod)
                promises.append(Pipeline(pods[pod].name, names[nodes[pod]], session.pod_devices[pod], job.name, action))
    evictions = _evictions(session, names, promises, seen)
    return CycleResult(
        revision=session.snapshot.revision,
        node_pool=session.snapshot.node_pool,
        binds=tuple(binds),
        evictions=tuple(evictions),
        pipelines=tuple(promises),
        verdicts=verdicts(session),
        shares=all_shares(session),
        stale_groups=tuple(session.stale),
    )


def _evictions(session: Session, names: list[str], promises: list[Pipeline], seen: set[int]) -> list[Evict]:
    """Return who gives way; the new places of those that are moved are added to the promises."""
    evictions = []
    told: dict[object, tuple[str, tuple[QueueShare, ...]]] = {}
    for pod, (action, for_group, cause) in victims_by_decision(session).items():
        entry, origin = session.pods[pod], session.evicted_from[pod][0]
        moved_to = names[session.pod_node[pod]] if session.pod_state[pod] == PROMISED else None
        if moved_to is not None and pod not in seen:
            promises.append(Pipeline(entry.name, moved_to, session.pod_devices[pod], entry.pod_group, action))
        loser = session.pod_job[pod]
        alike = (id(cause), action, moved_to, None if loser is None else (loser.group.queue, loser.priority))
        text = None if cause is None else told.get(alike)
        if text is None:
            message = eviction_message(session, pod, action, cause, moved_to)
            text = told[alike] = (message, eviction_shares(session, pod, cause))
        node = names[origin] if origin >= 0 else entry.node or ""
        evictions.append(Evict(entry.name, node, action, entry.pod_group, for_group, text[0], moved_to, text[1]))
    return evictions
