"""Structural schemas (apiextensions.k8s.io/v1) of our custom resources' specifications, from the tables of the model.

A schema refuses what has the wrong type and drops nothing that a Run:ai
manifest carries; whether values fit together is judged by the webhook.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from runai_core.model.meta import to_camel
from runai_core.model.workload import PolicyType
from runai_core.policy.v2alpha1 import KINDS as POLICY_KINDS
from runai_core.policy.v2alpha1_kinds import WORKLOAD_KINDS, Form, KindField, Member, Shape, kind_fields

Schema = dict[str, Any]

_FORMS: Mapping[Form, Schema] = {
    Form.TEXT: {"type": "string"},
    Form.WHOLE: {"x-kubernetes-int-or-string": True},
    Form.BOOLEAN: {"type": "boolean"},
    Form.TEXTS: {"type": "array", "items": {"type": "string"}},
    Form.OBJECT: {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}

_TYPES: Mapping[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}

_BOUNDS: Mapping[str, str] = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
"""Constraint in the model's metadata -> keyword of the schema."""


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return said({"type": "string", **more}, description)


def number(description: str = "", **more: Any) -> Schema:
    """Return the schema of a number that may have decimals."""
    return said({"type": "number", **more}, description)


def whole(description: str = "", **more: Any) -> Schema:
    """Return the schema of a whole number."""
    return said({"type": "integer", "format": "int32", **more}, description)


def boolean(description: str = "") -> Schema:
    """Return the schema of true or false."""
    return said({"type": "boolean"}, description)


def texts(description: str = "") -> Schema:
    """Return the schema of a list of texts."""
    return said({"type": "array", "items": {"type": "string"}}, description)


def listing(items: Schema, description: str = "", **more: Any) -> Schema:
    """Return the schema of a list."""
    return said({"type": "array", "items": items, **more}, description)


def mapping(values: Schema, description: str = "") -> Schema:
    """Return the schema of an object whose keys are free."""
    return said({"type": "object", "additionalProperties": values}, description)


def anything(description: str = "") -> Schema:
    """Return the schema of an object of which nothing is known."""
    return said({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, description)


def structure(properties: Mapping[str, Schema], description: str = "", **more: Any) -> Schema:
    """Return the schema of an object with these members, and no others."""
    return said({"type": "object", "properties": dict(properties), **more}, description)


def open_structure(properties: Mapping[str, Schema], description: str = "") -> Schema:
    """Return the same for an object that may have members besides these."""
    return {**structure(properties, description), "x-kubernetes-preserve-unknown-fields": True}


def said(schema: Mapping[str, Any], description: str) -> Schema:
    """Return the schema with its description first."""
    return {"description": description, **schema} if description else dict(schema)


def workload_spec(workload: PolicyType) -> Schema:
    """Return the schema of the specification of a v2alpha1 workload."""
    known = {name: _field(entry) for name, entry in sorted(kind_fields(workload).items())}
    return structure(known, "What the workload asks for; each field is an object with value or items.")


def policy_spec(workload: PolicyType) -> Schema:
    """Return the schema of the specification of a v2alpha1 policy."""
    known = {name: _ruled(entry) for name, entry in sorted(kind_fields(workload).items()) if _governed(entry)}
    known["document"] = anything(
        "The policy in the current form, with defaults, rules and imposedAssets, instead of all other fields."
    )
    known["scope"] = structure(
        {
            "type": text(
                "tenant, cluster, department or project.", enum=["tenant", "cluster", "department", "project"]
            ),
            "name": text("Name of the department or project."),
        },
        "Where the policy holds, if its namespace does not say it.",
    )
    return structure(known, "Defaults (value, items) and rules for the fields of workloads.")


def _governed(entry: KindField) -> bool:
    return entry.name == "gpu" or bool(entry.path and entry.model is None and entry.name != "imagePullSecrets")


def _field(entry: KindField) -> Schema:
    value = _value(entry)
    match entry.shape:
        case Shape.PLAIN:
            return said(value, entry.description)
        case Shape.VALUE:
            return structure({"value": said(value, _about(entry))}, entry.description)
        case Shape.ITEMS:
            item = structure({"value": value, "deleted": boolean("Leave out the item that a template brings.")})
            return structure({"items": mapping(item, "The items by their labels.")}, entry.description)


def _about(entry: KindField) -> str:
    return f"One of {', '.join(entry.choices)}." if entry.choices else "The value."


def _value(entry: KindField) -> Schema:
    if entry.model is not None:
        return model_schema(entry.model)
    if entry.members:
        return structure({name: _member(member) for name, member in entry.members.items()})
    return {**_FORMS[entry.form], **({"enum": list(entry.choices)} if entry.choices else {})}


def _member(member: Member) -> Schema:
    return said(_FORMS[member.form], member.description)


_FLAGS = {
    "required": boolean("The submitter must give a value."),
    "canEdit": boolean("false: the value must stay as it is."),
}


def _ruled(entry: KindField) -> Schema:
    if entry.shape is Shape.ITEMS:
        return _ruled_items(entry)
    value = {name: part for name, part in _value(entry).items() if name != "enum"}
    rules = structure(
        {
            **_FLAGS,
            "min": said(_FORMS[Form.WHOLE], "Least value."),
            "max": said(_FORMS[Form.WHOLE], "Greatest value."),
            "options": listing(
                structure({"value": value, "displayed": text("What people are shown.")}), "The only values."
            ),
        },
        "What submissions may do with the field.",
    )
    return structure({"value": said(_value(entry), "Value where the submission has none."), "rules": rules},
                     entry.description)  # fmt: skip


def _ruled_items(entry: KindField) -> Schema:
    rules = {**_FLAGS, "min": _FORMS[Form.WHOLE], "max": _FORMS[Form.WHOLE]}
    item = structure(
        {
            "value": _value(entry),
            "rules": structure(
                {"canRemove": boolean("false: the item stays."), "canEdit": boolean("false: the item stays as it is.")}
            ),
        }
    )
    members = structure({name: structure(rules) for name in entry.members}) if entry.members else mapping(
        structure(rules)
    )  # fmt: skip
    return structure(
        {
            "items": mapping(item, "Items that every workload has; the label DEFAULTS holds values for all items."),
            "rules": structure(
                {"canAdd": boolean("false: no further items."), "required": boolean("There must be an item.")}
            ),
            "itemRules": said(members, "Rules for the members of every item."),
        },
        entry.description,
    )


def model_schema(kind: type[Any]) -> Schema:
    """Return the schema of a class of the model, in the API's names."""
    hints = get_type_hints(kind)
    properties = {}
    for item in fields(kind):
        schema = {**_hinted(hints[item.name]), **_bounds(item.metadata)}
        properties[to_camel(item.name)] = said(schema, str(item.metadata.get("description", "")))
    needed = [
        to_camel(item.name) for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING
    ]
    return structure(properties, (kind.__doc__ or "").partition("\n")[0], **({"required": needed} if needed else {}))


def _hinted(hint: Any) -> Schema:
    parts = [part for part in get_args(hint) if part not in (NoneType, Ellipsis)]
    if is_dataclass(hint):
        return model_schema(hint)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [item.value for item in hint]}
    if hint in _TYPES:
        return dict(_TYPES[hint])
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _hinted(parts[0])}
    return _hinted(parts[0])


def _bounds(metadata: Mapping[Any, Any]) -> Schema:
    return {keyword: metadata[name] for name, keyword in _BOUNDS.items() if name in metadata}


__all__ = [
    "POLICY_KINDS",
    "WORKLOAD_KINDS",
    "Schema",
    "anything",
    "boolean",
    "listing",
    "mapping",
    "model_schema",
    "number",
    "open_structure",
    "policy_spec",
    "said",
    "structure",
    "text",
    "texts",
    "whole",
    "workload_spec",
]
