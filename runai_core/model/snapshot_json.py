"""Snapshots as JSON text, both ways.

A bug report contains one and a replay reads it. Fields at their defaults are
left out; names are ours (snake case), because nobody but this project reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from runai_core.model.errors import FieldError, InvalidSnapshot
from runai_core.model.snapshot import Snapshot

FORMAT = 1
"""Raised when an older reader could misunderstand a newer text."""

MOST_TEXT = 1 << 30
"""Longest text that is read, in characters."""


def snapshot_to_json(snapshot: Snapshot) -> str:
    """Return a snapshot as JSON text; equal snapshots give equal texts."""
    return json.dumps({"format": FORMAT, "snapshot": _plain(snapshot)}, separators=(",", ":"), sort_keys=True)


def snapshot_from_json(text: str) -> Snapshot:
    """Return the snapshot that a text holds.

    Raises:
        InvalidSnapshot: not JSON, an unknown or missing field, or a value of
            the wrong type; the message names the path to it.
    """
    if len(text) > MOST_TEXT:
        raise InvalidSnapshot.of(FieldError("snapshot", f"must be at most {MOST_TEXT} characters long"))
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise InvalidSnapshot.of(FieldError("snapshot", f"must be JSON ({str(problem)[:80]})")) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or "snapshot" not in content:
        raise InvalidSnapshot.of(FieldError("format", f"must be an object with format {FORMAT} and a snapshot"))
    made: Snapshot = _read(Snapshot, content["snapshot"], "snapshot")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that can be scheduled")


def _plain(value: Any) -> Any:
    """Return a value as lists, objects and scalars."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in fields(value)
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _default(field: "Field[Any]") -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return MISSING


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if name in {field.name for field in fields(kind)}}


def _refuse(path: str, message: str, given: Any) -> InvalidSnapshot:
    fault = FieldError(path, message, given)
    return InvalidSnapshot(str(fault), (fault,))


def _read(hint: Any, value: Any, path: str) -> Any:
    """Turn a plain value into what a type hint of the model asks for."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        choices = [choice for choice in get_args(hint) if choice is not NoneType]
        if value is None and len(choices) < len(get_args(hint)):
            return None
        return _read(choices[0], value, path)
    if origin is tuple:
        return _read_tuple(get_args(hint), value, path)
    if origin is frozenset:
        return frozenset(_read_tuple((get_args(hint)[0], ...), value, path))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _refuse(path, "must be an object", value)
        item = get_args(hint)[1]
        return {key: _read(item, entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return _read_dataclass(hint, value, path)
    return _read_scalar(hint, value, path)


def _read_tuple(items: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _refuse(path, "must be a list", value)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_read(items[0], entry, f"{path}[{number}]") for number, entry in enumerate(value))
    if len(value) != len(items):
        raise _refuse(path, f"must be a list of {len(items)}", value)
    return tuple(
        _read(item, entry, f"{path}[{number}]") for number, (item, entry) in enumerate(zip(items, value, strict=True))
    )


def _read_dataclass(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _refuse(path, "must be an object", value)
    hints = _hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise _refuse(f"{path}.{unknown[0]}", f"is not a field of {kind.__name__}", value[unknown[0]])
    lacking = [field.name for field in fields(kind) if _default(field) is MISSING and field.name not in value]
    if lacking:
        raise _refuse(f"{path}.{lacking[0]}", f"must be given for a {kind.__name__}", None)
    return kind(**{name: _read(hints[name], entry, f"{path}.{name}") for name, entry in value.items()})


def _read_scalar(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise _refuse(path, f"must be one of {', '.join(str(item.value) for item in hint)}", value) from None
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _refuse(path, "must be a number", value) from None
    if type(value) is not hint:
        raise _refuse(path, f"must be a {_WORDS.get(hint, 'value')}", value)
    return value


_WORDS = {int: "whole number", float: "number", str: "text", bool: "truth value"}
