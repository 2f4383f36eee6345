"""Notifications: where they go (channels), who wants which (subscriptions), and what is on its way (notices)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta
from runai_core.model.workload import HistoryRecord, Phase, RecordType

CATEGORY = "Workload"


class ChannelType(StrEnum):
    """How a message travels."""

    EMAIL = "email"
    WEBHOOK = "webhook"  # ours


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationChannel:
    """A place to which messages are sent. Its secret is sealed: it is never shown again."""

    __pydantic_config__ = WIRE
    meta: Meta
    type: ChannelType
    config: Mapping[str, object] = field(default_factory=dict)
    sealed: str = ""  # password of the mail server, or the key that signs webhooks

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What somebody wants to be told, and where."""

    __pydantic_config__ = WIRE
    meta: Meta
    subject: str
    subject_type: str = "user"  # as an actor's kind
    types: tuple[str, ...] = ()  # of `NOTICE_TYPES`
    channels: tuple[str, ...] = ()  # by name
    projects: tuple[str, ...] = ()  # of all workloads in these; empty: of one's own, in every project


class Delivery(StrEnum):
    """Where a notice is on its way."""

    PENDING = "Pending"
    SENT = "Sent"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to one channel. Its name is made of the record and the channel, so that none is made twice."""

    __pydantic_config__ = WIRE
    meta: Meta
    channel: str
    type: str
    body: Mapping[str, object] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()  # mail addresses beside the channel's own
    state: Delivery = Delivery.PENDING
    attempts: int = 0
    next_at: float = 0.0  # seconds since the epoch, UTC
    error: str = ""  # why the newest attempt failed


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeCursor:
    """Up to which record of history notices were made."""

    __pydantic_config__ = WIRE
    meta: Meta
    version: int
    time: float  # of that record; seconds since the epoch, UTC


Matches = Callable[[HistoryRecord], bool]


def _entered(*phases: Phase) -> Matches:
    return lambda record: record.type is RecordType.PHASE_UPDATE and record.to_phase in phases


def _told(*words: str) -> Matches:
    return lambda record: bool({record.reason, record.signal} & set(words))


NOTICE_TYPES: Mapping[str, tuple[str, Matches]] = {
    "WorkloadPhaseChanged": (
        "The workload entered another phase.",
        lambda record: record.type is RecordType.PHASE_UPDATE,
    ),
    "WorkloadRunning": ("The workload runs.", _entered(Phase.RUNNING)),
    "WorkloadCompleted": ("The workload has ended well.", _entered(Phase.COMPLETED)),
    "WorkloadFailed": ("The workload has failed.", _entered(Phase.FAILED)),
    "WorkloadStopped": ("The workload was stopped.", _entered(Phase.STOPPED)),
    "WorkloadPreempted": ("The scheduler took the workload's place for another.", _told("Evicted", "EvictedForGood")),
    "WorkloadHalfTime": ("Half of a limit of a scheduling rule has passed.", _told("LimitHalfTime")),
    "WorkloadStoppedByRule": ("A scheduling rule stopped the workload.", _told("StoppedByRule")),
    "WorkloadGpusNotMeasured": ("Idleness cannot be found: nothing measures the GPUs.", _told("GpusNotMeasured")),
}
"""Type of notification -> what it says, and which records of history it is about."""


def types_of(record: HistoryRecord) -> frozenset[str]:
    """Return the types of notification that a record of history is."""
    return frozenset(name for name, (_, matches) in NOTICE_TYPES.items() if matches(record))
