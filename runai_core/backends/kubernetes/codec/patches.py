"""What the public fields cannot express, as a JSON merge patch over what they say (RFC 7386).

Lists are mappings with labels there, and mappings come back in the order of
their keys: `order` keeps the order that was given.
"""

from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]


def difference(have: Mapping[str, Any], want: Mapping[str, Any]) -> Tree:
    """Return the merge patch that makes `want` of `have`; empty where they are equal."""
    patch: Tree = {name: None for name in have if name not in want}
    for name, value in want.items():
        known = have.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            if below := difference(known, value):
                patch[name] = below
        elif name not in have or known != value or isinstance(known, bool) is not isinstance(value, bool):
            patch[name] = value
    return patch


def patched(have: Mapping[str, Any], patch: Mapping[str, Any]) -> Tree:
    """Return what a merge patch makes of a mapping, which is not changed."""
    merged = dict(have)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            known = merged.get(name)
            merged[name] = patched(known if isinstance(known, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def orders_of(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the labels of each field with items whose order is not that of their names."""
    labels = {name: list(body["items"]) for name, body in spec.items() if isinstance(body, Mapping) and "items" in body}
    return {name: given for name, given in labels.items() if given != sorted(given)}


def in_order(spec: Mapping[str, Any], orders: Mapping[str, Any]) -> Tree:
    """Return the fields with their items in the given order; new ones follow, by name."""
    sorted_spec: Tree = {}
    for name, body in spec.items():
        sorted_spec[name] = body
        if isinstance(body, Mapping) and isinstance(body.get("items"), Mapping):
            items, order = body["items"], orders.get(name)
            first = [label for label in order if label in items] if isinstance(order, list) else []
            labels = [*first, *sorted(label for label in items if label not in set(first))]
            sorted_spec[name] = {**body, "items": {label: items[label] for label in labels}}
    return sorted_spec
