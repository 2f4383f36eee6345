"""The one place where model objects become JSON and JSON becomes model objects.

Names are camelCase outside and snake_case inside (`model.meta.WIRE`). Bad input
raises `InvalidRequest` whose errors name each field by its path in the API.
Text in YAML that others wrote becomes JSON here as well.
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from runai_core.model.errors import MAX_ERRORS, MAX_NAME, FieldError, InvalidRequest, and_more
from runai_core.model.meta import to_camel

T = TypeVar("T")

MAX_GIVEN = 80
"""Characters of a wrong value that are repeated to the user."""


MAX_DEPTH = 100
"""Levels of objects and lists that are read. The deepest that mean something, in pod templates, are about 20."""

MAX_YAML = 256 * 1024
"""Characters of YAML that are read at once: somebody waits meanwhile."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""One for each class, built when it is first met: building one costs milliseconds."""


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> dict[str, Any]:
    """Return the object as a mapping of JSON values, leaving out what equals its default."""
    return _adapter(type(value)).dump_python(value, by_alias=True, exclude_defaults=True, mode="json")  # type: ignore[no-any-return]


def encode_json(value: object) -> bytes:
    """Return the object as JSON text, leaving out what equals its default."""
    return _adapter(type(value)).dump_json(value, by_alias=True, exclude_defaults=True)


def decode(kind: type[T], data: Mapping[str, Any], *, at: str = "") -> T:
    """Return the object that the mapping describes; `at` is the path of the mapping in the request.

    Raises:
        InvalidRequest: a field is unknown, missing, or has a value that is not allowed.
    """
    try:
        return _adapter(kind).validate_python(data)
    except ValidationError as error:
        raise InvalidRequest.of(*_field_errors(kind, error, at)) from None


def decode_json(kind: type[T], text: str | bytes) -> T:
    """Return the object that the JSON text describes.

    Raises:
        InvalidRequest: the text is not JSON, or as `decode`.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise InvalidRequest.of(*_field_errors(kind, error, "")) from None


def read_yaml(text: str | bytes) -> Any:
    """Return what a text in YAML stands for, as JSON would say it; what others wrote is read in no other way.

    Raises:
        ValueError: it is no YAML of one document, is too long or nested too deep, or has aliases, with which
            a few lines can stand for more than the memory of this machine; says which, and where.
    """
    if len(text) > MAX_YAML:
        raise ValueError(f"it is longer than {MAX_YAML} characters")
    try:
        _check_events(text)
        found = json.dumps(yaml.load(text, Loader=_LOADER), default=str, ensure_ascii=False)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError(_problem(text, error)) from None
    except TypeError:
        raise ValueError("the names of fields must be texts") from None
    if r"\u0000" in found.replace(r"\\", "") or not _is_unicode(found):
        raise ValueError("it has NUL, or half a character")
    return json.loads(found)


def _problem(text: str | bytes, error: yaml.YAMLError) -> str:
    """Return what is wrong with a text: the loader in Python is slower, and knows better where."""
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as found:
        error = found
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return f"{where}{problem or ' '.join(str(error).split())[:200]}"


def _check_events(text: str | bytes) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not read: write out what they stand for")  # noqa: TRY004 - of the text
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def schema(kind: type[object]) -> dict[str, Any]:
    """Return the JSON schema of a model class, in the API's names."""
    return _adapter(kind).json_schema(by_alias=True)


def _field_errors(kind: type[object], error: ValidationError, at: str) -> list[FieldError]:
    found = error.errors(include_url=False)
    named = (
        FieldError(
            field=".".join(part[:MAX_NAME] for part in (at, *map(str, item["loc"])) if part) or "body",
            message=_message(kind, item["type"], item["loc"], item["msg"], item.get("ctx", {})),
            given=None if item["type"] == "missing" else _shown(item["input"]),
        )
        for item in found[:MAX_ERRORS]
    )
    return [*named, *and_more(len(found) - MAX_ERRORS)]


def _message(kind: type[object], code: str, path: tuple[int | str, ...], text: str, context: Mapping[str, Any]) -> str:
    if code == "missing":
        return "is required"
    if code in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(str(path[-1])[:MAX_NAME], _known_fields(kind, path[:-1]), n=2)
        return "unknown field" + (f", did you mean {' or '.join(near)}?" if near else "")
    if code in _SHAPES:
        return f"must be {_SHAPES[code]}"
    if words := _WORDS.fullmatch(context.get("pattern", "")):
        return f"must be one of {', '.join(words[1].split('|'))}"
    return text.replace("Input should be", "must be").replace("Value should have", "must have")


_WORDS = re.compile(r"\^\(([\w.|-]+)\)\$")
"""A pattern that allows some words and nothing else."""

_SHAPES: Mapping[str, str] = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "json_invalid": "JSON",
}
"""Validation code -> what the API's users call the shape."""


def _known_fields(kind: Any, path: tuple[int | str, ...]) -> list[str]:
    """Return the names that are allowed at the path below a dataclass."""
    for part in path:
        if isinstance(part, int):
            continue
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        kind = next((hint for name, hint in hints.items() if part in (name, to_camel(name))), None)
        kind = _dataclass_in(kind)
    return [to_camel(field.name) for field in fields(kind)] if is_dataclass(kind) else []


def _dataclass_in(hint: Any) -> Any:
    if is_dataclass(hint):
        return hint
    return next((found for argument in get_args(hint) if (found := _dataclass_in(argument))), None)


def _shown(value: object) -> object:
    if value is None or isinstance(value, int | float | bool):
        return value
    text = str(value)
    return text if len(text) <= MAX_GIVEN else text[:MAX_GIVEN] + "..."
