"""Samples and present numbers, as the API shows them."""

from runai_core.web.answers.base import Answer


class MetricValue(Answer):
    """One sample."""

    value: str
    timestamp: str


class Measurement(Answer):
    """The samples of one metric."""

    type: str
    labels: dict[str, str] | None = None
    values: tuple[MetricValue, ...]


class Metrics(Answer):
    """Samples of several metrics."""

    measurements: tuple[Measurement, ...]


class TelemetryGroup(Answer):
    """The group that a value is of."""

    key: str
    value: str
    name: str | None = None


class TelemetryValue(Answer):
    """One number, in up to two groups."""

    value: str
    groups: tuple[TelemetryGroup, ...] = ()


class Telemetry(Answer):
    """A number as it is now, in groups."""

    type: str
    timestamp: str
    values: tuple[TelemetryValue, ...]
