"""Reading and writing nested mappings by dotted path. Mappings that are read are never changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from runai_core.model.meta import to_camel


def get_at(tree: Mapping[str, Any], path: str) -> Any:
    """Return the value at the path, or None."""
    node: Any = tree
    for part in path.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part)
    return node


def set_at(tree: dict[str, Any], path: str, value: Any) -> None:
    """Put the value at the path of a tree that `copied` made; what stands in the way is replaced."""
    *parents, leaf = path.split(".")
    for part in parents:
        child = tree.get(part)
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    tree[leaf] = value


def drop_at(tree: dict[str, Any], path: str) -> None:
    """Remove what is at the path, if there is something."""
    *parents, leaf = path.split(".")
    for part in parents:
        child = tree.get(part)
        if not isinstance(child, dict):
            return
        tree = child
    tree.pop(leaf, None)


def copied(value: Any) -> Any:
    """Return a deep copy of a JSON value, made of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def camel_keys(value: Any) -> Any:
    """Return a deep copy whose keys are the API's spelling; of two spellings of a key, the API's is kept."""
    if isinstance(value, Mapping):
        usual = {str(key) for key in value}
        pairs = ((str(key), to_camel(str(key)), item) for key, item in value.items())
        return {camel: camel_keys(item) for key, camel, item in pairs if key == camel or camel not in usual}
    if isinstance(value, list | tuple):
        return [camel_keys(item) for item in value]
    return value


def leaves(tree: Mapping[str, Any], stops: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) for each value that is no mapping, or whose path is among the stops."""
    for key, value in tree.items():
        path = f"{at}.{key}" if at else str(key)
        if path in stops or not isinstance(value, Mapping) or not value:
            yield path, value
        else:
            yield from leaves(value, stops, path)
