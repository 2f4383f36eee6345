"""Whether a value is one that a type of field takes, and what numbers values stand for."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from runai_core.model.errors import InvalidRequest
from runai_core.model.resources import parse_quantity
from runai_core.policy.fields import ValueType


def literal_error(field_type: ValueType, value: Any, choices: tuple[str, ...] = ()) -> str | None:
    """Return what is wrong with a value for a field of this type; None: nothing."""
    fits, wanted = _LITERALS[field_type]
    if not fits(value):
        return f"must be {wanted}"
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    return None


def number_of(field_type: ValueType, value: Any) -> Decimal | None:
    """Return the number that a value stands for, exactly; None where it stands for none."""
    if field_type not in NUMERIC or not _LITERALS[field_type][0](value):
        return None
    return parse_quantity(value) if field_type == ValueType.QUANTITY else Decimal(repr(value))


def literal_of(field_type: ValueType, number: Decimal) -> int | float | str:
    """Return a number as a value of this type; what must be whole is rounded up."""
    whole = int(number.to_integral_value(rounding="ROUND_CEILING"))
    if field_type == ValueType.INTEGER:
        return whole
    return float(number) if field_type == ValueType.NUMBER else str(whole)


NUMERIC = frozenset({ValueType.INTEGER, ValueType.NUMBER, ValueType.QUANTITY})


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_quantity(value: Any) -> bool:
    if not isinstance(value, str) and not _is_number(value):
        return False
    try:
        return parse_quantity(value) >= 0
    except InvalidRequest:
        return False


_LITERALS: Mapping[ValueType, tuple[Callable[[Any], bool], str]] = {
    ValueType.BOOLEAN: (lambda value: isinstance(value, bool), "true or false"),
    ValueType.STRING: (lambda value: isinstance(value, str), "a text"),
    ValueType.INTEGER: (_is_integer, "a whole number"),
    ValueType.NUMBER: (_is_number, "a number"),
    ValueType.QUANTITY: (_is_quantity, "a quantity such as 500m, 512Mi or 5G"),
    ValueType.ARRAY: (lambda value: isinstance(value, list | tuple), "a list"),
    ValueType.OBJECT: (lambda value: isinstance(value, Mapping), "a mapping"),
    ValueType.ITEMIZED: (lambda value: isinstance(value, list | tuple), "a list"),
}


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
