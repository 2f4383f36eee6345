"""Times as Kubernetes writes them (RFC 3339, UTC) and as we count them: seconds since the epoch."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = re.compile(r"^(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(\.\d{1,40})?([Zz]|[+-]\d\d:\d\d)$")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

LAST = 253_402_300_799
"""The last second of the year 9999."""


def seconds_of(text: object) -> float | None:
    """Return the time, or None for what is none."""
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    zone = "+00:00" if match[3] in "Zz" else match[3]
    try:
        whole = datetime.fromisoformat(f"{match[1]}{zone}") - EPOCH
    except ValueError:
        return None
    days = whole.days * 86_400 + whole.seconds
    return float(Decimal(days) + Decimal(match[2] or 0))


def text_of(seconds: float) -> str:
    """Return the time as a text, exactly: no digit that counts is lost."""
    exact = Decimal(repr(min(max(seconds, 0.0), float(LAST))))
    whole = int(exact)
    fraction = f"{exact - whole:f}"[1:].rstrip("0").rstrip(".")
    return (EPOCH + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def duration_of(text: object) -> float | None:
    """Return the seconds of a duration such as ``1h30m``, or None for what is none."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str) or not text or _DURATION.sub("", text):
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)))


def duration_text(seconds: float) -> str:
    """Return a duration as Kubernetes writes it, in seconds: ``1800s``."""
    return f"{Decimal(repr(seconds)):f}".removesuffix(".0") + "s"
