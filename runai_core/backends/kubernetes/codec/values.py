"""Small values of the Kubernetes API: times, durations, quantities, labels."""

import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from runai_core.backends.kubernetes.codec.times import duration_of, seconds_of
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.resources import MILLI, parse_amount

Labels = tuple[tuple[str, str], ...]


@lru_cache(maxsize=8192)
def timestamp(text: str) -> float:
    """Return the seconds since the epoch of an RFC 3339 time; raise InvalidRequest for anything else."""
    found = seconds_of(text)
    if found is None:
        raise InvalidRequest.of(FieldError("time", "must be a time such as 2026-01-31T12:00:00Z", text))
    return found


def rfc3339(seconds: float) -> str:
    """Return a time as the API writes it, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def micro_time(seconds: float) -> str:
    """Return a time with microseconds, as leases and events want it."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def duration(value: Any, field: str) -> float:
    """Return the seconds of a duration such as ``1h30m``; raise InvalidRequest for anything else."""
    found = duration_of(value)
    if found is None:
        raise InvalidRequest.of(FieldError(field, "must be a duration such as 30s, 5m or 1h30m", value))
    return found


@lru_cache(maxsize=8192)
def millicores(quantity: str | int | float) -> int:
    """Return an amount of CPU."""
    return parse_amount(quantity, "cpu", scale=MILLI)


@lru_cache(maxsize=8192)
def whole(quantity: str | int | float) -> int:
    """Return an amount in whole units, rounded up: bytes, devices, pods."""
    return parse_amount(quantity, "quantity")


def labels_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """Return an object's labels."""
    return item["metadata"].get("labels") or _NONE


def annotations_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """Return an object's annotations."""
    return item["metadata"].get("annotations") or _NONE


def first_of(labels: Mapping[str, str], keys: Iterable[str]) -> str:
    """Return the value of the first of these labels that is there, or nothing."""
    return next((labels[key] for key in keys if labels.get(key)), "")


def key_of(item: Mapping[str, Any]) -> str:
    """Return ``namespace/name``: how pods and groups are called in snapshots."""
    meta = item["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def created_at(item: Mapping[str, Any]) -> float:
    """Return when an object was created."""
    text = item["metadata"].get("creationTimestamp")
    return timestamp(text) if text else 0.0


_NONE: Mapping[str, str] = {}
