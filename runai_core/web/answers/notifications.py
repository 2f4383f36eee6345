"""Channels, subscriptions and reports, as the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import Answer


class ChannelItem(Answer):
    """A channel; its secret is not among its configuration."""

    name: str
    type: str
    config: dict[str, Any]


class ChannelName(Answer):
    """A channel in a list."""

    name: str
    type: str


class TrialAnswer(Answer):
    """What became of a message that was sent to try a channel out."""

    delivered: bool
    error: str


class NoticeType(Answer):
    """A type of notification that can be subscribed to."""

    category: str
    type: str
    description: str


class SubscriptionEvents(Answer):
    """Types of one category."""

    category: str
    types: tuple[str, ...]


class SubscriptionItem(Answer):
    """A subscription."""

    id: str
    events: tuple[SubscriptionEvents, ...]
    channels: tuple[str, ...]
    projects: tuple[str, ...]


class ReportItem(Answer):
    """A report, without its table."""

    id: str
    name: str
    description: str
    start: str
    end: str
    group_by: str
    filter_by: tuple[str, ...]
    created_at: str
    created_by: str
    tenant_id: int
    status: str
    status_updated_at: str
    status_message: str


class ReportList(Answer):
    """A page of reports."""

    reports: tuple[ReportItem, ...]
    next: int | None = None


class Consumer(Answer):
    """What one project, department or node pool consumed: hours, over all node pools."""

    name: str
    measured: Annotated[float, Field(description="Hours in which something measured.")]
    quota: Annotated[float, Field(description="GPU hours, as all that follow up to idle.")]
    allocated: float
    over_quota: float
    used: Annotated[float | None, Field(description="Null, as the next two, where nothing measured GPUs.")]
    idle: float | None
    utilization: Annotated[float | None, Field(description="Percent of what is measured.")]
    cpu: Annotated[float, Field(description="Core hours allocated.")]
    memory: Annotated[float, Field(description="GB hours allocated.")]


class Consumption(Answer):
    """Who consumed what."""

    start: str
    end: str
    group_by: str
    rows: tuple[Consumer, ...]


class Availability(Answer):
    """Whether reports can be made."""

    is_available: bool
