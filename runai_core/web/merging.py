"""Changes of a JSON document: fields merged into it, and fields taken out."""

from collections.abc import Mapping
from typing import Any


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with the patch merged into it, object by object; lists are replaced, nulls say nothing."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            old = result.get(name)
            result[name] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def without(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the document without the field at the dotted path; a path that is not there changes nothing."""
    head, _, rest = path.partition(".")
    if head not in document:
        return dict(document)
    if not rest:
        return {name: value for name, value in document.items() if name != head}
    inner = document[head]
    return {**document, head: without(inner, rest) if isinstance(inner, Mapping) else inner}
