"""Why one pod group waits, with the changes that would start it, each confirmed by a cycle.

A suggestion is *sound*: the snapshot with that one change applied was given to
the engine, and the group was placed, or promised a place.
"""

from dataclasses import replace

from runai_core.engine.cycle import confirmed, open_cycle, run_actions, starts
from runai_core.engine.rules import DEFAULT_RULES, RuleSet
from runai_core.engine.suggestions import large_changes, small_changes
from runai_core.engine.verdicts import verdict_for
from runai_core.model.decision import Verdict
from runai_core.model.errors import NotFound
from runai_core.model.snapshot import Snapshot
from runai_core.model.snapshot_check import check_snapshot


def explain(snapshot: Snapshot, name: str, rules: RuleSet = DEFAULT_RULES) -> Verdict | None:
    """Return why a pod group waits; `None` where it runs, or starts in this cycle.

    Raises:
        InvalidSnapshot: the snapshot contradicts itself.
        NotFound: it has no such pod group.
    """
    check_snapshot(snapshot)
    if all(group.name != name for group in snapshot.pod_groups):
        raise NotFound(f"There is no pod group {name} in node pool {snapshot.node_pool}.")
    session = open_cycle(snapshot, rules)
    result = run_actions(session)
    if all(verdict.pod_group != name for verdict in result.verdicts):
        return None
    job = session.jobs[name]
    verdict = verdict_for(session, job)
    if verdict.promised or job.queue is None or not job.tries:
        return verdict
    candidates = [*small_changes(session, job), *large_changes(session, job)]
    return replace(verdict, suggestions=confirmed(snapshot, name, candidates, rules))


def would_start(snapshot: Snapshot, name: str, rules: RuleSet = DEFAULT_RULES) -> bool:
    """Return whether a pod group of the snapshot would be placed, or promised a place, in a cycle now.

    Raises:
        InvalidSnapshot: the snapshot contradicts itself.
    """
    check_snapshot(snapshot)
    return starts(snapshot, name, rules)
