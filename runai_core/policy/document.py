"""A policy document, read: defaults and rules by field, and what is wrong with it.

The document is the product's YAML form, ``{defaults, rules, imposedAssets}``, or
an object of the older form, which is translated (`v2alpha1`).
Reading never fails; what cannot be understood is left out and reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import to_camel
from runai_core.model.workload import PolicyType
from runai_core.policy.fields import ALIASES, Field, ValueType, fields_of, unknown_name
from runai_core.policy.literals import literal_error
from runai_core.policy.tree import leaves
from runai_core.policy.v2alpha1 import from_v2alpha1, is_v2alpha1

PARTS = ("worker", "master")
"""Sub-trees of a distributed policy; its other fields stand for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultFrom:
    """Take a missing value from another field, times a factor."""

    field: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRules:
    """The rules of one field, or of one attribute of an itemized field."""

    required: bool = False
    can_edit: bool = True
    blocked: bool = False
    min: Any = None
    max: Any = None
    step: Any = None
    options: tuple[Any, ...] | None = None
    default_from: DefaultFrom | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRules:
    """The rules of an itemized field."""

    can_add: bool = True
    required: bool = False  # at least one instance; only the v2alpha1 form can say it
    locked: tuple[str, ...] = ()
    attributes: Mapping[str, FieldRules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDefaults:
    """Instances that are there unless excluded, and values for members that an instance leaves out."""

    instances: tuple[Mapping[str, Any], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """Defaults and rules of one specification, by path."""

    defaults: dict[str, Any] = field(default_factory=dict)
    item_defaults: dict[str, ItemDefaults] = field(default_factory=dict)
    rules: dict[str, FieldRules] = field(default_factory=dict)
    item_rules: dict[str, ItemRules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A document, read. `parts` has the fields that stand for all under the empty name."""

    parts: Mapping[str, Part]
    imposed_assets: tuple[str, ...] = ()
    errors: tuple[FieldError, ...] = ()


RULES_OF: Mapping[ValueType, tuple[str, ...]] = {
    ValueType.BOOLEAN: ("canEdit", "required", "blocked"),
    ValueType.STRING: ("canEdit", "required", "options", "blocked"),
    ValueType.INTEGER: ("canEdit", "required", "min", "max", "step", "options", "defaultFrom", "blocked"),
    ValueType.NUMBER: ("canEdit", "required", "min", "max", "step", "options", "defaultFrom", "blocked"),
    ValueType.QUANTITY: ("canEdit", "required", "min", "max", "options", "defaultFrom", "blocked"),
    ValueType.ARRAY: ("canEdit", "required", "blocked"),
    ValueType.OBJECT: ("canEdit", "required", "blocked"),
    ValueType.ITEMIZED: ("instances", "attributes"),
}
"""Rules that a type of value may have. Options for numbers are ours and v2alpha1's; the product has them for texts."""

_FLAGS = ("canEdit", "required", "blocked")
_LIMITS = ("min", "max", "step")
_SECTIONS = ("defaults", "rules", "imposedAssets")
_INSTANCE_RULES = ("canAdd", "locked", "required")


def read(workload: PolicyType, document: Any) -> Document:
    """Return the document's defaults and rules by field, and what is wrong with it."""
    if is_v2alpha1(document):
        return _read_v2alpha1(workload, document)
    reader = _Reader(workload)
    if not isinstance(document, Mapping):
        error = FieldError("policy", "must be a mapping with defaults, rules and imposedAssets", document)
        return Document({"": Part()}, errors=(error,))
    for section in document:
        if section not in _SECTIONS:
            reader.refuse(str(section), unknown_name(str(section), _SECTIONS))
    for name in ("defaults", "rules"):
        reader.section(name, document.get(name))
    assets = reader.texts("imposedAssets", document.get("imposedAssets") or [])
    return Document(reader.parts, assets, tuple(reader.errors))


def _read_v2alpha1(workload: PolicyType, document: Mapping[str, Any]) -> Document:
    try:
        kind, current = from_v2alpha1(document)
    except InvalidRequest as error:
        return Document({"": Part()}, errors=error.errors)
    if kind != workload:
        message = f"is for {kind} workloads, and this is the policy for {workload} workloads"
        return Document({"": Part()}, errors=(FieldError("kind", message, document.get("kind")),))
    return read(workload, current)


class _Reader:
    """Collects the parts of one document, and its errors."""

    def __init__(self, workload: PolicyType) -> None:
        self.workload = workload
        self.fields = fields_of(workload)
        self.stops = {**self.fields, **dict.fromkeys(ALIASES)}
        self.parts: dict[str, Part] = {"": Part()}
        self.errors: list[FieldError] = []

    def refuse(self, path: str, message: str, given: Any = None) -> None:
        self.errors.append(FieldError(path, message, given))

    def section(self, name: str, tree: Any) -> None:
        """Read ``defaults`` or ``rules``, with the sub-trees of a distributed policy."""
        if tree is None:
            return
        if not isinstance(tree, Mapping):
            self.refuse(name, "must be a mapping of fields", tree)
            return
        own = {key: value for key, value in tree.items() if not self._is_part(key)}
        self._fields(name, "", own)
        for key, value in tree.items():
            if self._is_part(key) and isinstance(value, Mapping):
                self._fields(f"{name}.{key}", key, value)
            elif self._is_part(key) and value is not None:
                self.refuse(f"{name}.{key}", "must be a mapping of fields", value)

    def texts(self, path: str, value: Any) -> tuple[str, ...]:
        """Read a list of texts."""
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.refuse(path, "must be a list of texts", value)
            return ()
        return tuple(value)

    def _is_part(self, key: Any) -> bool:
        return self.workload == PolicyType.DISTRIBUTED and key in PARTS

    def _fields(self, at: str, part_name: str, tree: Mapping[str, Any]) -> None:
        part = self.parts.setdefault(part_name, Part())
        for spelled, value in leaves(tree, self.stops):
            path = ALIASES.get(spelled, spelled)
            entry = self.fields.get(path)
            if entry is not None and value is not None:
                read_value = self._default if at.startswith("defaults") else self._rule
                read_value(f"{at}.{spelled}", entry, part, value)
            elif entry is None and not (isinstance(value, Mapping) and not value) and value is not None:
                self.refuse(f"{at}.{spelled}", self._unknown_field(spelled), None)

    def _unknown_field(self, spelled: str) -> str:
        path = spelled
        while path:
            if path in self.fields:
                return f"{path} is a field of type {self.fields[path].type}: it has no members"
            path = path.rpartition(".")[0]
        message = unknown_name(spelled, self.fields)
        if message == "unknown field":
            return f"unknown field of a {self.workload} workload"
        return message

    def _default(self, at: str, entry: Field, part: Part, value: Any) -> None:
        if entry.type == ValueType.ITEMIZED:
            part.item_defaults[entry.path] = self._item_defaults(at, entry, value)
            return
        error = literal_error(entry.type, value, entry.choices)
        if error is not None:
            self.refuse(at, error, value)
            return
        part.defaults[entry.path] = value

    def _item_defaults(self, at: str, entry: Field, value: Any) -> ItemDefaults:
        if isinstance(value, list | tuple):
            value = {"instances": value}
        if not self._has_only(at, value, ("instances", "attributes")):
            return ItemDefaults()
        instances = value.get("instances") or []
        if not isinstance(instances, list | tuple):
            self.refuse(f"{at}.instances", "must be a list", instances)
            instances = []
        good = tuple(
            item for index, item in enumerate(instances) if self._is_instance(f"{at}.instances.{index}", entry, item)
        )
        keys = [str(item[entry.key]) for item in good]
        for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
            self.refuse(f"{at}.instances", f"two instances have the {entry.key} {key}: keep one", key)
        attributes = {}
        for name, attribute_type, member in self._attributes(f"{at}.attributes", entry, value.get("attributes")):
            error = literal_error(attribute_type, member)
            if error is None:
                attributes[name] = member
            else:
                self.refuse(f"{at}.attributes.{name}", error, member)
        return ItemDefaults(instances=good, attributes=attributes)

    def _is_instance(self, at: str, entry: Field, item: Any) -> bool:
        if not isinstance(item, Mapping):
            self.refuse(at, f"must be a mapping with the member {entry.key}", item)
            return False
        if not isinstance(item.get(entry.key), str) or not item[entry.key]:
            self.refuse(f"{at}.{entry.key}", "is required, because instances are told apart by it")
            return False
        members = {key: value for key, value in item.items() if key not in (entry.key, "exclude")}
        before = len(self.errors)
        for name, attribute_type, value in self._attributes(at, entry, members):
            error = literal_error(attribute_type, value)
            if error is not None:
                self.refuse(f"{at}.{name}", error, value)
        return len(self.errors) == before

    def _attributes(self, at: str, entry: Field, tree: Any) -> list[tuple[str, ValueType, Any]]:
        if tree is None:
            return []
        if not isinstance(tree, Mapping):
            self.refuse(at, "must be a mapping of attributes", tree)
            return []
        known = []
        for name, value in leaves(tree, entry.attributes):
            if name in entry.attributes:
                known.append((name, entry.attributes[name], value))
            else:
                self.refuse(f"{at}.{name}", unknown_name(name, entry.attributes))
        return [found for found in known if found[2] is not None]

    def _rule(self, at: str, entry: Field, part: Part, value: Any) -> None:
        if entry.type != ValueType.ITEMIZED:
            part.rules[entry.path] = self._field_rules(at, entry.type, value)
            return
        if not self._has_only(at, value, RULES_OF[ValueType.ITEMIZED]):
            return
        instances = value.get("instances") or {}
        if not self._has_only(f"{at}.instances", instances, _INSTANCE_RULES):
            instances = {}
        flags = {name: instances.get(name) for name in ("canAdd", "required") if instances.get(name) is not None}
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                self.refuse(f"{at}.instances.{name}", "must be true or false", flag)
        attributes = self._attributes(f"{at}.attributes", entry, value.get("attributes"))
        part.item_rules[entry.path] = ItemRules(
            can_add=flags.get("canAdd", True) is True,
            required=flags.get("required", False) is True,
            locked=self.texts(f"{at}.instances.locked", instances.get("locked") or []),
            attributes={
                name: self._field_rules(f"{at}.attributes.{name}", kind, rule) for name, kind, rule in attributes
            },
        )

    def _field_rules(self, at: str, kind: ValueType, tree: Any) -> FieldRules:
        if not self._has_only(at, tree, RULES_OF[kind], f"is no rule for a field of type {kind}"):
            return FieldRules()
        found: dict[str, Any] = {}
        for name, value in tree.items():
            if value is None:
                continue
            error = self._rule_error(name, kind, value)
            if error is None:
                found[name] = value
            else:
                self.refuse(f"{at}.{name}", error, value)
        origin = found.pop("defaultFrom", None)
        options = found.pop("options", None)
        snake = {
            member.name: found[to_camel(member.name)] for member in fields(FieldRules) if to_camel(member.name) in found
        }
        return FieldRules(
            **snake,
            options=None if options is None else tuple(_option(option) for option in options),
            default_from=None
            if origin is None
            else DefaultFrom(field=_path(origin["field"]), factor=origin.get("factor", 1)),
        )

    def _rule_error(self, name: str, kind: ValueType, value: Any) -> str | None:
        if name in _FLAGS:
            return literal_error(ValueType.BOOLEAN, value)
        if name in _LIMITS:
            return literal_error(kind, value)
        if name == "options":
            return _options_error(kind, value)
        return self._origin_error(kind, value)

    def _origin_error(self, kind: ValueType, value: Any) -> str | None:
        if (
            not isinstance(value, Mapping)
            or not isinstance(value.get("field"), str)
            or set(value) - {"field", "factor"}
        ):
            return "must be {field: <path of a field>, factor: <number>}"
        source = self.fields.get(_path(value["field"]))
        if source is None:
            return f"{value['field']}: {self._unknown_field(value['field'])}"
        if (source.type == ValueType.QUANTITY) != (kind == ValueType.QUANTITY) or source.type not in NUMERIC_TYPES:
            return f"{source.path} is of type {source.type}, which cannot give a value of type {kind}"
        factor = value.get("factor", 1)
        if literal_error(ValueType.NUMBER, factor) is not None or factor <= 0:
            return "factor must be a number above 0"
        return None

    def _has_only(self, at: str, tree: Any, known: tuple[str, ...], otherwise: str = "") -> bool:
        if not isinstance(tree, Mapping):
            self.refuse(at, f"must be a mapping with {', '.join(known)}", tree)
            return False
        for name in tree:
            if name not in known:
                near = unknown_name(str(name), known)
                self.refuse(
                    f"{at}.{name}", near if "mean" in near or not otherwise else f"{otherwise}: use {', '.join(known)}"
                )
        return all(name in known for name in tree)


NUMERIC_TYPES = frozenset({ValueType.INTEGER, ValueType.NUMBER, ValueType.QUANTITY})


def _path(spelled: str) -> str:
    return ALIASES.get(spelled, spelled)


def _option(option: Any) -> Any:
    return option["value"] if isinstance(option, Mapping) else option


def _options_error(kind: ValueType, value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not value:
        return "must be a list of {value, displayed}"
    for option in value:
        if isinstance(option, Mapping) and (set(option) - {"value", "displayed"} or "value" not in option):
            return "each option has a value, and may have displayed"
        error = literal_error(kind, _option(option))
        if error is not None:
            return f"each option {error}"
    return None
