"""A `ports.Query` over objects in memory: conditions, order, pages.

The meaning is that of the embedded store: a field is a dotted path in our own
names, below a mapping the rest of the path is one key, a missing value sorts
first (last when descending), text comparison with `=@ !@ =^ =$` ignores case.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from runai_core.backends.fields import MAPPINGS, bare, check_membership, checked_key, plain, typed, unknown_field
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.ports import Filter, Op, Page, Query, Stored

T = TypeVar("T", bound=Stored)

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Path:
    """Where a field is, and what kind of value it has."""

    names: tuple[str, ...]  # attributes, one after the other
    key: str | None  # in the mapping that they lead to
    type: type[Any]  # str | int | float | bool | tuple


def select(kind: type[T], items: Iterable[T], query: Query, version: int) -> Page[T]:
    """Return the page of the objects that match.

    Raises:
        InvalidRequest: the query names a field that is not there, or a value of the wrong type.
    """
    for name, value in (("offset", query.offset), ("limit", query.limit)):
        if value is not None and not 0 <= value < 2**62:
            raise InvalidRequest.of(FieldError(name, "must not be negative", value))
    tests = _tests(kind, query)
    path = resolve(kind, query.sort_by)
    found = [item for item in items if all(test(item) for test in tests)]
    ordered = _ordered(found, path, descending=query.descending)
    end = None if query.limit is None else query.offset + query.limit
    return Page(tuple(ordered[query.offset : end]), len(found), version)


def _tests(kind: type[Any], query: Query) -> list[Test]:
    tests = [condition(kind, item) for item in query.filters]
    if query.project is not None:
        tests.append(lambda item: item.meta.project == query.project)
    if (projects := query.projects) is not None:
        tests.append(lambda item: item.meta.project in projects)
    if (names := query.names) is not None:
        tests.append(lambda item: item.meta.name in names)
    if query.owner is not None:
        tests.append(lambda item: item.meta.owner == query.owner)
    if query.search:
        part = query.search.casefold()
        tests.append(lambda item: part in item.meta.name.casefold())
    return tests


def _ordered(items: Sequence[Any], path: Path, *, descending: bool) -> list[Any]:
    """Return the objects in their total order: by the field, then by uid."""

    def key(item: Any) -> tuple[bool, Any, str]:
        value = value_at(item, path)
        return value is not None, _comparable(value), item.meta.uid

    return sorted(items, key=key, reverse=descending)


def _comparable(value: Any) -> Any:
    if value is None:
        return 0
    return value if isinstance(value, int | float | str) else str(value)


def resolve(kind: type[Any], dotted: str) -> Path:
    """Return where the field is, in our own names; below a mapping, the rest of the path is one key.

    Raises:
        InvalidRequest: the kind has no such field.
    """
    hint: Any = kind
    parts = dotted.split(".")
    names: list[str] = []
    for position, part in enumerate(parts):
        if get_origin(hint) in MAPPINGS:
            key = ".".join(parts[position:])
            return Path(tuple(names), checked_key(dotted, key), plain(get_args(hint)[1]))
        if not isinstance(hint, type) or part not in _hints(hint):
            raise unknown_field(kind, _hints(hint) if isinstance(hint, type) else (), dotted, part)
        names.append(part)
        hint = bare(_hints(hint)[part])
    return Path(tuple(names), None, plain(hint))


@cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    if not is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def value_at(item: Any, path: Path) -> Any:
    """Return the value of a field, or None where it, or what it is part of, is not there."""
    for name in path.names:
        if item is None:
            return None
        item = getattr(item, name)
    if path.key is not None and item is not None:
        item = item.get(path.key)
    return item.value if isinstance(item, Enum) else item


def condition(kind: type[Any], given: Filter) -> Test:
    """Return the test that a filter stands for; raise InvalidRequest."""
    path = resolve(kind, given.field)
    if path.type is tuple:
        return _membership(path, given)
    if given.op in _TEXT_OPS:
        compare, part = _TEXT_OPS[given.op], str(given.value).casefold()
        return lambda item: compare(_text(value_at(item, path)), part)
    wanted, op = typed(given, path.type), given.op

    def test(item: Any) -> bool:
        value = value_at(item, path)
        if op is Op.EQ:
            return bool(value == wanted)
        if op is Op.NE:
            return bool(value != wanted)
        if value is None:
            return False
        return bool(value <= wanted if op is Op.LE else value >= wanted)

    return test


def _text(value: Any) -> str:
    return "" if value is None else str(value).casefold()


_TEXT_OPS: Mapping[Op, Callable[[str, str], bool]] = {
    Op.CONTAINS: lambda text, part: part in text,
    Op.NOT_CONTAINS: lambda text, part: part not in text,
    Op.STARTS: lambda text, part: text.startswith(part),
    Op.ENDS: lambda text, part: text.endswith(part),
}


def _membership(path: Path, given: Filter) -> Test:
    check_membership(given)
    wanted, present = str(given.value), given.op is Op.CONTAINS
    return lambda item: any(_word(value) == wanted for value in value_at(item, path) or ()) is present


def _word(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)
