"""The part of CEL in which devices are selected: comparisons of a device's driver, attributes and capacity.

Understood are ``&&``, ``||``, ``!``, parentheses, ``==``, ``!=``, ``<``, ``<=``,
``>``, ``>=``, ``in [..]``, texts, numbers, booleans, ``device.driver``,
``device.attributes["domain"].name``, ``device.capacity["domain"].name``,
``quantity("..")``, ``.compareTo(..)``, ``.startsWith(..)``, ``.endsWith(..)``,
``.contains(..)``, ``.isGreaterThan(..)``, ``.isLessThan(..)``. A device about
which an expression asks more does not match, as one for which CEL fails.
"""

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from runai_core.model.errors import InvalidRequest
from runai_core.model.resources import parse_quantity


class HasRaw(Protocol):
    """A device as it was published."""

    @property
    def driver(self) -> str:
        """The name of its driver."""
        ...

    @property
    def raw(self) -> Mapping[str, Any]:
        """Its entry in the slice."""
        ...


class NotUnderstood(Exception):
    """The expression uses what is not in the part of CEL that we know."""


_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!()\[\].,]))"""
)

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_METHODS: Mapping[str, Callable[[Any, Any], Any]] = {
    "compareTo": lambda left, right: (left > right) - (left < right),
    "isGreaterThan": operator.gt,
    "isLessThan": operator.lt,
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
    "contains": lambda text, part: part in text,
}

Value = Callable[[HasRaw], Any]


def holds(text: str, device: HasRaw) -> bool:
    """Return whether an expression is true of a device."""
    try:
        return _parsed(text)(device) is True
    except (NotUnderstood, TypeError, ValueError, KeyError, AttributeError, InvalidRequest):
        return False


def understood(text: str) -> bool:
    """Return whether an expression is in the part of CEL that we know."""
    try:
        _parsed(text)
    except NotUnderstood:
        return False
    return True


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Value:
    parser = _Parser(_tokens(text))
    value = parser.either()
    if parser.rest:
        raise NotUnderstood(text)
    return value


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, text = [], 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotUnderstood(text)
        kind = match.lastgroup or ""
        found.append((kind, match[kind]))
        at = match.end()
    return found


class _Parser:
    """Recursive descent; each method returns a function of the device."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.rest = tokens

    def _take(self, *signs: str) -> str:
        if self.rest and self.rest[0][1] in signs and self.rest[0][0] in ("sign", "word"):
            return self.rest.pop(0)[1]
        return ""

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise NotUnderstood(sign)

    def either(self) -> Value:
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda device: any(part(device) is True for part in parts)

    def _both(self) -> Value:
        parts = [self._comparison()]
        while self._take("&&"):
            parts.append(self._comparison())
        return parts[0] if len(parts) == 1 else lambda device: all(part(device) is True for part in parts)

    def _comparison(self) -> Value:
        if self._take("!"):
            inner = self._comparison()
            return lambda device: not inner(device)
        left = self._value()
        sign = self._take(*_COMPARE, "in")
        if not sign:
            return left
        right = self._value()
        if sign == "in":
            return lambda device: left(device) in right(device)
        return lambda device: _COMPARE[sign](left(device), right(device))

    def _value(self) -> Value:
        value = self._atom()
        while self._take("."):
            name = self._word()
            self._need("(")
            argument = self.either()
            self._need(")")
            if name not in _METHODS:
                raise NotUnderstood(name)
            value = _called(_METHODS[name], value, argument)
        return value

    def _word(self) -> str:
        if not self.rest or self.rest[0][0] != "word":
            raise NotUnderstood("a name is missing")
        return self.rest.pop(0)[1]

    def _atom(self) -> Value:
        if not self.rest:
            raise NotUnderstood("it ends too early")
        kind, text = self.rest.pop(0)
        if kind == "text":
            return _constant(re.sub(r"\\(.)", r"\1", text[1:-1]))
        if kind == "number":
            return _constant(Decimal(text))
        if text == "(":
            inner = self.either()
            self._need(")")
            return inner
        if text == "[":
            return self._list()
        if text in ("true", "false"):
            return _constant(text == "true")
        if text == "quantity":
            self._need("(")
            inner = self._value()
            self._need(")")
            return lambda device: parse_quantity(inner(device))
        if text == "device":
            return self._device()
        raise NotUnderstood(text)

    def _list(self) -> Value:
        items = []
        while not self._take("]"):
            items.append(self._value())
            self._take(",")
        return lambda device: [item(device) for item in items]

    def _device(self) -> Value:
        self._need(".")
        part = self._word()
        if part == "driver":
            return lambda device: device.driver
        if part not in ("attributes", "capacity"):
            raise NotUnderstood(part)
        self._need("[")
        domain = self._value()
        self._need("]")
        self._need(".")
        name = self._word()
        read = _attribute if part == "attributes" else _capacity
        return lambda device: read(device, domain(device), name)


def _constant(value: Any) -> Value:
    return lambda _device: value


def _called(method: Callable[[Any, Any], Any], value: Value, argument: Value) -> Value:
    return lambda device: method(value(device), argument(device))


def _of(device: HasRaw, part: str, domain: str, name: str) -> Any:
    """Return an entry by its full name, or by its bare one where the domain is the driver's."""
    raw = device.raw.get("basic") or device.raw  # v1beta1 had one level more
    entries = raw.get(part) or {}
    if f"{domain}/{name}" in entries:
        return entries[f"{domain}/{name}"]
    if domain == device.driver and name in entries:
        return entries[name]
    raise KeyError(name)


def _attribute(device: HasRaw, domain: str, name: str) -> Any:
    entry = _of(device, "attributes", domain, name)
    kind, value = next(iter(entry.items()))
    return Decimal(value) if kind == "int" else value


def _capacity(device: HasRaw, domain: str, name: str) -> Decimal:
    entry = _of(device, "capacity", domain, name)
    return parse_quantity(entry["value"] if isinstance(entry, Mapping) else entry)
