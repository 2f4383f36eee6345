"""Revisions of inference workloads: which specification a server had when, and who asked for it."""

import uuid
from dataclasses import dataclass

from runai_core.model.meta import WIRE, Meta
from runai_core.model.workload import Edition, Workload

SPACE = uuid.UUID("a3c4bb0c-0f2e-5d7b-8f1d-3e6a1c9d2b47")
"""Name space of the ids of revisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One specification that an inference workload had, or has.

    `meta.uid` and `meta.name` are the revision's id, `meta.owner` is the
    workload's. `workload` is as it was when this revision began.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    workload: Workload
    native: str = ""  # what the cluster calls it: Knative's revision, the number of a Deployment's; empty: nothing

    @property
    def edition(self) -> Edition:
        """Its number, when it was made, and by whom."""
        return edition_of(self.workload)


def edition_of(workload: Workload) -> Edition:
    """Return which of its revisions a workload is; the first, where nothing was ever noted."""
    meta = workload.meta
    return workload.edition or Edition(number=1, made_at=meta.created_at, made_by=meta.created_by, first_attempt=1)


def revision_id(workload_uid: str, number: int) -> str:
    """Return the id of a workload's revision: the same whoever asks."""
    return str(uuid.uuid5(SPACE, f"{workload_uid}/{number}"))
