"""Consumption reports: what was asked for, and the table that came of it."""

from dataclasses import dataclass
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta


class ReportStatus(StrEnum):
    """How far a report is."""

    PENDING = "Pending"
    PROCESSING = "Processing"
    READY = "Ready"
    FAILED = "Failed"


class Grouping(StrEnum):
    """What the rows of a report are."""

    PROJECT = "Project"
    DEPARTMENT = "Department"
    NODE_POOL = "Nodepool"
    CLUSTER = "Cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report on a part of the past. Times are seconds since the epoch, UTC."""

    __pydantic_config__ = WIRE
    meta: Meta
    start: float
    end: float
    group_by: Grouping = Grouping.PROJECT
    description: str = ""
    filters: tuple[str, ...] = ()  # names of groups; empty: all
    projects: tuple[str, ...] | None = None  # those that its author may see; None: all
    status: ReportStatus = ReportStatus.PENDING
    status_message: str = ""
    status_updated_at: float = 0.0
    csv: str = ""

    @property
    def name(self) -> str:
        """The report's name."""
        return self.meta.name
