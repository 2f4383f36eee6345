"""Turns a `ports.Query` into SQL over the columns and the JSON documents of `tables.OBJECTS`.

Documents leave out what equals its default, so a missing value is read as the
default of its field. Comparison of text with `=@ !@ =^ =$` ignores case.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from sqlalchemy import BigInteger, Boolean, ColumnElement, Float, String, and_, cast, func, literal, not_
from sqlalchemy.dialects.postgresql import JSONB

from runai_core.backends.fields import MAPPINGS, bare, check_membership, checked_key, plain, typed, unknown_field
from runai_core.backends.local.tables import LIVE, OBJECTS
from runai_core.model.meta import to_camel
from runai_core.ports import Filter, Op, Query

COLUMNS: Mapping[str, ColumnElement[Any]] = {
    f"meta.{name}": OBJECTS.c[name]
    for name in ("uid", "name", "project", "version", "created_at", "updated_at", "deleted_at", "owner")
}
"""Fields that have a column of their own."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a field is in the document, what kind of value it has, and what a missing one means."""

    keys: tuple[str, ...]
    type: type[Any]  # str | int | float | bool | tuple
    default: str | int | float | bool | None


def conditions(kind: type[Any], kind_name: str, query: Query, dialect: str) -> ColumnElement[bool]:
    """Return what every object of the answer fulfils.

    Raises:
        InvalidRequest: a filter names a field that the kind does not have, or a value of the wrong type.
    """
    terms: list[ColumnElement[bool]] = [OBJECTS.c.kind == kind_name, not_(LIVE) if query.deleted else LIVE]
    if query.project is not None:
        terms.append(OBJECTS.c.project == query.project)
    if query.projects is not None:
        terms.append(OBJECTS.c.project.in_(sorted(query.projects)))
    if query.names is not None:
        terms.append(OBJECTS.c.name.in_(sorted(query.names)))
    if query.owner is not None:
        terms.append(OBJECTS.c.owner == query.owner)
    if query.search:
        terms.append(OBJECTS.c.name.icontains(query.search, autoescape=True))
    terms.extend(_condition(kind, condition, dialect) for condition in query.filters)
    return and_(*terms)


def ordering(kind: type[Any], query: Query, dialect: str) -> Sequence[ColumnElement[Any]]:
    """Return the total order of the answer: the asked field, then the uid."""
    path = resolve(kind, query.sort_by)
    value = COLUMNS.get(query.sort_by)
    if value is None:
        value = _value(path, dialect)
        value = value.desc().nulls_last() if query.descending else value.asc().nulls_first()
    elif query.descending:
        value = value.desc()
    return value, OBJECTS.c.uid.desc() if query.descending else OBJECTS.c.uid


def value_of(kind: type[Any], field: str, dialect: str) -> ColumnElement[Any]:
    """Return the SQL value of a field; raise InvalidRequest for one that the kind does not have."""
    path = resolve(kind, field)
    column = COLUMNS.get(field)
    return _value(path, dialect) if column is None else column


def resolve(kind: type[Any], dotted: str) -> Path:
    """Return where the field is, in our own names; below a mapping, the rest of the path is one key.

    Raises:
        InvalidRequest: the kind has no such field.
    """
    keys: list[str] = []
    hint: Any = kind
    default: Any = MISSING
    parts = dotted.split(".")
    for position, part in enumerate(parts):
        if get_origin(hint) in MAPPINGS:
            keys.append(checked_key(dotted, ".".join(parts[position:])))
            return Path(tuple(keys), plain(get_args(hint)[1]), None)
        found = _field(hint, part)
        if found is None:
            raise unknown_field(kind, [f.name for f in fields(hint)] if is_dataclass(hint) else (), dotted, part)
        keys.append(to_camel(part) if getattr(hint, "__pydantic_config__", None) else part)
        default = _default(found, default)
        hint = bare(_hints(hint)[part])
    return Path(tuple(keys), plain(hint), _plain_default(default))


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _field(hint: Any, name: str) -> Field[Any] | None:
    return next((f for f in fields(hint) if f.name == name), None) if is_dataclass(hint) else None


def _default(found: Field[Any], parent: Any) -> Any:
    """Return the default of a field, which is the parent's default value of it where there is one."""
    if parent is not MISSING and parent is not None and hasattr(parent, found.name):
        return getattr(parent, found.name)
    if found.default_factory is not MISSING:
        return found.default_factory()
    return found.default


def _plain_default(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return value if isinstance(value, str | int | float | bool) else None


def _value(path: Path, dialect: str) -> ColumnElement[Any]:
    """Return the SQL value at the path, of its own type, with the default for a missing one."""
    if dialect == "postgresql":
        found: ColumnElement[Any] = func.jsonb_extract_path_text(cast(OBJECTS.c.document, JSONB), *path.keys)
        found = cast(found, _SQL_TYPES[path.type]) if path.type in _SQL_TYPES else found
    else:
        found = func.json_extract(OBJECTS.c.document, "$" + "".join(f'."{key}"' for key in path.keys))
        found.type = _SQL_TYPES.get(path.type, String())
    return found if path.default is None else func.coalesce(found, literal(path.default))


_SQL_TYPES: Mapping[type[Any], Any] = {int: BigInteger(), float: Float(53), bool: Boolean()}


def _condition(kind: type[Any], condition: Filter, dialect: str) -> ColumnElement[bool]:
    path = resolve(kind, condition.field)
    column = COLUMNS.get(condition.field)
    value = _value(path, dialect) if column is None else column
    if path.type is tuple:
        return _membership(condition, value)
    if condition.op in _TEXT_OPS:
        text = cast(value, String) if path.type is not str else value
        return _TEXT_OPS[condition.op](func.coalesce(text, ""), str(condition.value))
    return _COMPARISONS[condition.op](value, typed(condition, path.type))


def _membership(condition: Filter, value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether a list holds the text, which is quoted in its JSON."""
    check_membership(condition)
    holds = func.coalesce(cast(value, String), "").contains(f'"{condition.value}"', autoescape=True)
    return holds if condition.op is Op.CONTAINS else not_(holds)


_TEXT_OPS: Mapping[Op, Callable[[ColumnElement[Any], str], ColumnElement[bool]]] = {
    Op.CONTAINS: lambda value, text: value.icontains(text, autoescape=True),
    Op.NOT_CONTAINS: lambda value, text: not_(value.icontains(text, autoescape=True)),
    Op.STARTS: lambda value, text: value.istartswith(text, autoescape=True),
    Op.ENDS: lambda value, text: value.iendswith(text, autoescape=True),
}
_COMPARISONS: Mapping[Op, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    Op.EQ: lambda value, given: value == given,
    Op.NE: lambda value, given: value.is_distinct_from(given),
    Op.LE: lambda value, given: value <= given,
    Op.GE: lambda value, given: value >= given,
}
