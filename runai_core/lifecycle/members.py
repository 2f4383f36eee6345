"""Workers that come and go on demand: who is wanted after somebody joined or left. Pure.

A rank is never given twice, so that whoever remembers a worker by its pod never
meets another one under the same name.
"""

from collections.abc import Sequence
from dataclasses import replace

from runai_core.lifecycle.own_rules import WORKERS_ON_DEMAND, workers_on_demand
from runai_core.model.errors import FieldError, InvalidRequest, Unsupported
from runai_core.model.workload import Members, Workload


def members_of(workload: Workload) -> Members:
    """Return the workers that are wanted now.

    Raises:
        Unsupported: the workload's workers do not come and go on demand.
    """
    at_start = workers_on_demand(workload)
    if at_start is None:
        raise Unsupported(
            f"{workload.key} has a fixed number of workers: submit it with the annotation {WORKERS_ON_DEMAND}"
        )
    return workload.members or Members(ranks=tuple(range(1, 1 + at_start)), next_rank=1 + at_start)


def scaled(workload: Workload, *, add: int = 0, remove: Sequence[int] = ()) -> Workload:
    """Return the workload with workers that joined, and without those of these ranks; who is gone already is no error.

    Raises:
        Unsupported: as `members_of`. InvalidRequest: there would be too few or too many.
    """
    now = members_of(workload)
    stay = tuple(rank for rank in now.ranks if rank not in remove)
    ranks = (*stay, *range(now.next_rank, now.next_rank + add))
    fewest, most = workers_on_demand(workload) or 0, workload.spec.max_replicas or 0
    if len(ranks) > most:
        message = f"{workload.key} has {len(now.ranks)} workers, and may have at most {most} (spec.maxReplicas)"
        raise InvalidRequest.of(FieldError("add", message, add))
    if len(ranks) < fewest:
        message = (
            f"{workload.key} starts with {fewest} workers and needs them: delete it, or add others in the same call"
        )
        raise InvalidRequest.of(FieldError("remove", message, ", ".join(map(str, remove))))
    return replace(workload, members=Members(ranks=ranks, next_rank=now.next_rank + add))
