"""Values as inputs hold them: texts that stand for numbers, truths and lists, and YAML."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from runai_core import wire
from runai_core.model.errors import FieldError
from runai_core.policy.fields import ValueType
from runai_core.web.pages.inputs import Posted, text_of

MAX_YAML = 100_000
"""Characters of YAML that are read."""


def text_of_value(value: Any) -> str:
    """Return a value as an input shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_value(kind: ValueType, text: str) -> Any:
    """Return the value that a text stands for.

    Raises:
        ValueError: it stands for none of this type; the message says what is allowed.
    """
    return _READERS.get(kind, str)(text)


def _whole(text: str) -> int:
    number = _number(text)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _number(text: str) -> float:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not value.is_finite() or abs(value) > 10**15:
        raise ValueError("must be a number below 1000000000000000")
    return float(value)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_READERS: Mapping[ValueType, Callable[[str], Any]] = {
    ValueType.INTEGER: _whole,
    ValueType.NUMBER: _number,
    ValueType.BOOLEAN: _truth,
    ValueType.ARRAY: _list,
}


def pruned(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree without empty mappings and lists."""
    inner = {key: pruned(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    return {key: value for key, value in inner.items() if value not in ({}, [])}


def yaml_of(posted: Posted, name: str) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the mapping that is written as YAML in an input, empty where nothing is; and what is wrong with it."""
    text = text_of(posted, name)
    if len(text) > MAX_YAML:
        return {}, [FieldError(name, f"must be at most {MAX_YAML} characters")]
    try:
        value = wire.read_yaml(text) if text else {}
    except ValueError as error:
        return {}, [FieldError(name, f"is not YAML: {error}")]
    if not isinstance(value, dict):
        return {}, [FieldError(name, "must be fields with values, for example `replicas: 2`")]
    return value, []


def yaml_text(value: Mapping[str, Any]) -> str:
    """Return a mapping as an input for YAML shows it."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def line_of(text: str, path: str) -> int:
    """Return the line of YAML, from 1, on which a field or what is nearest above it stands."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in path.split("."):
        found = _below(node, part)
        if found is None:
            return line
        key, node = found
        line = key.start_mark.line + 1
    return line


def _below(node: Any, part: str) -> tuple[Any, Any] | None:
    """Return the node that says the key or begins the item, and the node of its value."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part[:9]) < len(node.value):
        item = node.value[int(part)]
        return item, item
    return None
