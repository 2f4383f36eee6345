"""Fields of the model as a `ports.Query` names them: what is the same whether SQL or Python compares.

A field is a dotted path in our own names; below a mapping the rest of the path is one key.
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Union, get_args, get_origin

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.ports import Filter, Op

MAPPINGS = (dict, Mapping)


def bare(hint: Any) -> Any:
    """Return the type without None."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((argument for argument in get_args(hint) if argument is not type(None)), str)
    return hint


def plain(hint: Any) -> type[Any]:
    """Return the type that values are compared as: str, int, float, bool, or tuple for a list."""
    hint = bare(hint)
    if get_origin(hint) in (tuple, list, frozenset):
        return tuple
    if not isinstance(hint, type):
        return str
    if issubclass(hint, Enum):
        return str if issubclass(hint, str) else int
    return hint if hint in (int, float, bool) else str


def checked_key(dotted: str, key: str) -> str:
    """Return the key; raise InvalidRequest where it could not stand in a query."""
    if '"' in key or "\\" in key or not key:
        raise InvalidRequest.of(FieldError("filterBy", "a key in a field must not be empty or hold quotes", dotted))
    return key


def unknown_field(kind: type[Any], known: Iterable[str], dotted: str, part: str) -> InvalidRequest:
    """Return the refusal of a path whose part is none of the fields that are known there."""
    known = list(known)
    near = difflib.get_close_matches(part, known, n=2)
    advice = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(known) or 'nothing'}"
    return InvalidRequest.of(FieldError("filterBy", f"{kind.__name__} has no field {dotted[:80]}; {advice}", part))


def check_membership(given: Filter) -> None:
    """Raise InvalidRequest unless the operator fits a list."""
    if given.op not in (Op.CONTAINS, Op.NOT_CONTAINS):
        raise InvalidRequest.of(FieldError("filterBy", "a list can be asked with =@ and !@ only", given.field))


def typed(given: Filter, as_type: type[Any]) -> str | int | float | bool:
    """Return the value to compare with, as the type of the field; words such as ``true`` and ``5`` are read.

    Raises:
        InvalidRequest: the value is not of that type, or a number beyond 64 bits.
    """
    value = given.value
    if as_type is bool:
        words = {"true": True, "false": False}
        if isinstance(value, bool) or str(value).lower() in words:
            return words[str(value).lower()]
        raise InvalidRequest.of(FieldError("filterBy", f"{given.field} is compared with true or false", value))
    if as_type in (int, float):
        try:
            number = float(value) if as_type is float else int(value)
        except (ValueError, OverflowError):
            number = float("nan")
        if not -(2**63) <= number < 2**63:
            message = f"{given.field} is compared with numbers of 64 bits"
            raise InvalidRequest.of(FieldError("filterBy", message, value))
        return number
    return value.value if isinstance(value, Enum) else str(value)
