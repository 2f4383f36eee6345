"""Numbers and times of the model in the API's units; and the ids that names stand for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runai_core.model.errors import FieldError
from runai_core.model.resources import MB, MILLI
from runai_core.web.answers.base import FieldErrorItem

TENANT_ID = 1001
"""There is one tenant; Run:ai's clients want its number."""

CLUSTER_NAME = "default"

_BINARY = (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024))
_DECIMAL = (("T", 1000**4), ("G", 1000**3), ("M", 1000**2), ("k", 1000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What a view needs besides its object: ids by name, and the time. Seconds since the epoch, UTC."""

    cluster_id: str
    now: float
    projects: Mapping[str, str] = field(default_factory=dict)
    departments: Mapping[str, str] = field(default_factory=dict)
    node_pools: Mapping[str, str] = field(default_factory=dict)


def iso(seconds: float) -> str:
    """Return a time as the API writes it: ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(seconds: float | None) -> str | None:
    """Return the same for a time that may not have come."""
    return None if seconds is None else iso(seconds)


def units(thousandths: int) -> int | float:
    """Return thousandths as a number of units, whole where it is: 2000 -> 2, 500 -> 0.5."""
    whole, rest = divmod(thousandths, MILLI)
    return thousandths / MILLI if rest else whole


def quantity(amount: int) -> str:
    """Return bytes as a Kubernetes quantity, exact and as short as possible: 2147483648 -> 2Gi."""
    for suffix, size in (*_BINARY, *_DECIMAL):
        if amount and amount % size == 0:
            return f"{amount // size}{suffix}"
    return str(amount)


def megabytes(amount: int) -> int | float:
    """Return bytes in MB, whole where they are."""
    whole, rest = divmod(amount, MB)
    return amount / MB if rest else whole


def field_error_items(errors: Sequence[FieldError]) -> tuple[FieldErrorItem, ...]:
    """Return what is wrong with each field; numbers that JSON does not know become text."""
    return tuple(
        FieldErrorItem(field=item.field, message=item.message, given=_finite(item.given), policy=item.policy)
        for item in errors
    )


def _finite(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
