"""Rules of the engine broken on purpose, one at a time: the suite must notice each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """Text of one file of the engine, and what it is replaced with."""

    rule: str
    file: str
    text: str
    broken: str


MUTATIONS = (
    Mutation(
        "a lower priority waits for the surplus of a higher one",
        "fairshare.py",
        "key=lambda item: -item.priority",
        "key=lambda item: item.priority",
    ),
    Mutation("surplus goes out in whole units", "fairshare.py", "whole = floor(share)", "whole = share"),
    Mutation(
        "a gang is placed whole or not at all",
        "gang.py",
        "    if not done:\n        session.rollback(mark)\n        return False",
        "    if not done:\n        return False",
    ),
    Mutation(
        "a gang that starts below its minimum is only promised",
        "gang.py",
        "        if real < part.minimum:",
        "        if real < 0:",
    ),
    Mutation(
        "limits hold at every ancestor",
        "ordering.py",
        "if ask[column] > 0 and allocated[column] + ask[column] > limit[column]:",
        "if node is job.path[-1] and allocated[column] > limit[column]:",
    ),
    Mutation(
        "non-preemptible work stays within the deserved quota",
        "ordering.py",
        "held[column] + ask[column] > deserved[column]",
        "held[column] > deserved[column]",
    ),
    Mutation(
        "non-preemptible work is no victim",
        "victim_order.py",
        "for job in leaf.jobs if job.preemptible and (job.only or job).active",
        "for job in leaf.jobs if (job.only or job).active",
    ),
    Mutation(
        "departments settle before projects",
        "search.py",
        "        if left is not right:\n            return left, right\n",
        "        del left, right\n",
    ),
    Mutation(
        "what is reclaimed comes from a queue above its share or quota",
        "actions/reclaim.py",
        "        if not _over_share(theirs, held) and not (",
        "        if False and not (",
    ),
    Mutation(
        "only a higher priority preempts",
        "actions/preempt.py",
        "victim.priority < job.priority and may_go(victim)",
        "victim.priority <= job.priority and may_go(victim)",
    ),
    Mutation(
        "consolidation loses nobody's place",
        "actions/consolidate.py",
        "valid=lambda search, lost: not lost",
        "valid=lambda search, lost: True",
    ),
    Mutation(
        "work is protected for its minimum run time",
        "protection.py",
        "session.now < started + runtime",
        "session.now < started",
    ),
    Mutation(
        "shared devices are not filled above their size",
        "gpu.py",
        "if used > 0 and size - used >= amount:\n            # A",
        "if used > 0:\n            # A",
    ),
    Mutation(
        "evictions are kept only if the next cycle serves the one they were for",
        "serving.py",
        "    return left",
        "    return []",
    ),
)
