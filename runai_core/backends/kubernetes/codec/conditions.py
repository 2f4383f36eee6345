"""Conditions in the status of objects: what they say, since when, and how a new one is written."""

from collections.abc import Mapping, Sequence
from typing import Any

from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.backends.kubernetes.codec.values import rfc3339

MOST_TEXT = 4096
"""Characters of a message that are written."""


def conditions_of(item: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """Return all conditions of an object."""
    return (item.get("status") or {}).get("conditions") or ()


def condition_of(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the condition of a type; an empty one where the object says nothing of it."""
    return next((each for each in conditions_of(item) if each.get("type") == kind), {})


def holds(item: Mapping[str, Any], kind: str) -> bool:
    """Return whether a condition is true."""
    return condition_of(item, kind).get("status") == "True"


def holds_since(item: Mapping[str, Any], kind: str) -> float | None:
    """Return when a condition became true; None where it is not, or does not say when."""
    found = condition_of(item, kind)
    return seconds_of(found.get("lastTransitionTime")) if found.get("status") == "True" else None


def statuses_of(item: Mapping[str, Any]) -> dict[str, str]:
    """Return the status of each condition by its type: what somebody decides on, without times and texts."""
    return {each["type"]: each["status"] for each in conditions_of(item)}


def stated(item: Mapping[str, Any], kind: str, status: str, *, reason: str, message: str, now: float) -> dict[str, Any]:
    """Return an object's condition as it is to be written: its time is that of the last turn of its status."""
    known = condition_of(item, kind)
    since = known.get("lastTransitionTime") if known.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:MOST_TEXT],
        "lastTransitionTime": since or rfc3339(now),
    }
