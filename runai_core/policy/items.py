"""Merging and checking of itemized fields: lists whose instances have a key.

Default instances come first, in the order of their policies from the tenant
inwards; what the user gives under the same key is laid over them member by
member, and what is left follows as it was given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.errors import FieldError
from runai_core.policy.document import FieldRules, ItemDefaults, ItemRules
from runai_core.policy.effective import Held
from runai_core.policy.fields import Field
from runai_core.policy.literals import shown
from runai_core.policy.rules import broken_rule, same
from runai_core.policy.scopes import authority_of, name_of
from runai_core.policy.tree import copied, get_at, set_at

EITHER: Mapping[str, tuple[str, ...]] = {
    "environmentVariables": ("value", "secret", "configMap", "podFieldRef", "userCredential"),
}
"""Members of an instance of which only one is given."""


@dataclass(slots=True)
class Merged:
    """The instances after the policies, where they come from, and what is wrong with them."""

    instances: list[Any] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)  # <path>.<key> -> policy
    violations: list[FieldError] = field(default_factory=list)


def merge_items(
    entry: Field, given: Any, defaults: Sequence[Held[ItemDefaults]], rules: Held[ItemRules] | None
) -> Merged:
    """Return the instances of one field; `defaults` are in the order of the nearest scope first."""
    merged = Merged()
    if given is not None and not isinstance(given, list | tuple):
        merged.violations.append(FieldError(entry.path, "must be a list", given))
        return merged
    base = _instances(entry, defaults, rules)
    rest = []
    mentioned: dict[str, Mapping[str, Any]] = {}
    for item in given or ():
        key = item.get(entry.key) if isinstance(item, Mapping) else None
        if isinstance(key, str) and key in base and key not in mentioned:
            mentioned[key] = item
        else:
            rest.append(copied(item))
    for key, held in base.items():
        _lay_over(entry, merged, held, mentioned.get(key))
    merged.instances += rest
    _fill_members(entry, merged, defaults)
    if rules is not None:
        _check(entry, merged, rules, base, mentioned, rest)
    return merged


def _instances(
    entry: Field, defaults: Sequence[Held[ItemDefaults]], rules: Held[ItemRules] | None
) -> dict[str, Held[Mapping[str, Any]]]:
    """Return the default instances by key; a locked one is that of the policy that locks it."""
    locked = frozenset() if rules is None else frozenset(rules.value.locked)
    found: dict[str, Held[Mapping[str, Any]]] = {}
    for held in reversed(defaults):
        for instance in held.value.instances:
            key = str(instance[entry.key])
            if key in found and rules is not None and key in locked and held.policy is not rules.policy:
                continue
            found[key] = Held(instance, held.policy)
    return {key: Held(_with_members(entry, held.value, defaults)[0], held.policy) for key, held in found.items()}


def _lay_over(entry: Field, merged: Merged, held: Held[Mapping[str, Any]], given: Mapping[str, Any] | None) -> None:
    key = str(held.value[entry.key])
    if given is not None and given.get("exclude"):
        merged.instances.append(copied(given))
        return
    instance = _under(entry, held.value, given or {})
    merged.instances.append(instance)
    if instance == copied(held.value):
        merged.origins[f"{entry.path}.{key}"] = name_of(held.policy)


def _under(entry: Field, default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given members, and the default's where they are missing and do not contradict them."""
    either = EITHER.get(entry.path, ())
    chosen = any(given.get(name) is not None for name in either)
    result: dict[str, Any] = copied(given)
    for name, value in default.items():
        if result.get(name) is None and not (chosen and name in either):
            result[name] = copied(value)
        elif isinstance(value, Mapping) and isinstance(result.get(name), dict):
            result[name] = {**copied(value), **result[name]}
    return result


def _fill_members(entry: Field, merged: Merged, defaults: Sequence[Held[ItemDefaults]]) -> None:
    for index, instance in enumerate(merged.instances):
        if isinstance(instance, dict) and not instance.get("exclude"):
            merged.instances[index], origins = _with_members(entry, instance, defaults)
            label = instance.get(entry.key)
            merged.origins |= {f"{entry.path}.{label}.{name}": policy for name, policy in origins.items()}


def _with_members(
    entry: Field, instance: Mapping[str, Any], defaults: Sequence[Held[ItemDefaults]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the instance with the members that it leaves out, and where each of those comes from."""
    either = EITHER.get(entry.path, ())
    filled: dict[str, Any] = copied(instance)
    origins = {}
    for held in defaults:
        for name, value in held.value.attributes.items():
            contradicts = name.partition(".")[0] in either and any(filled.get(other) is not None for other in either)
            if get_at(filled, name) is None and not contradicts:
                set_at(filled, name, copied(value))
                origins[name] = name_of(held.policy)
    return filled, origins


def _check(
    entry: Field,
    merged: Merged,
    rules: Held[ItemRules],
    base: Mapping[str, Held[Mapping[str, Any]]],
    mentioned: Mapping[str, Mapping[str, Any]],
    rest: Sequence[Any],
) -> None:
    authority = authority_of(rules.policy)
    broken: list[tuple[str, str, Any]] = [
        (f".{key}", "is locked: it can be neither changed nor excluded", None)
        for key in rules.value.locked
        if key in base and key in mentioned and _changes(base[key].value, mentioned[key])
    ]
    if not rules.value.can_add:
        added = (item.get(entry.key) or "(no name)" for item in rest if _is_active(item))
        broken += [("", "takes no further instances: leave it out", name) for name in added]
    active = [(index, item) for index, item in enumerate(merged.instances) if _is_active(item)]
    if rules.value.required and not active:
        broken.append(("", "is required: give at least one instance", None))
    for index, item in active:
        broken += _broken_members(entry, rules.value, str(item.get(entry.key) or index), item, base)
    merged.violations += [FieldError(entry.path + path, message, given, authority) for path, message, given in broken]


def _is_active(item: Any) -> bool:
    return isinstance(item, Mapping) and not item.get("exclude")


def _broken_members(
    entry: Field,
    rules: ItemRules,
    label: str,
    item: Mapping[str, Any],
    base: Mapping[str, Held[Mapping[str, Any]]],
) -> list[tuple[str, str, Any]]:
    default = base[label].value if label in base else {}
    found = ((name, _broken(entry, rule, name, item, default)) for name, rule in rules.attributes.items())
    return [(f".{label}.{name}", message, get_at(item, name)) for name, message in found if message is not None]


def _changes(default: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return bool(given.get("exclude")) or any(
        copied(value) != copied(default.get(name)) for name, value in given.items() if value is not None
    )


def _broken(
    entry: Field, rule: FieldRules, name: str, item: Mapping[str, Any], default: Mapping[str, Any]
) -> str | None:
    value, kind, fixed = get_at(item, name), entry.attributes[name], get_at(default, name)
    if value is None:
        return "is required" if rule.required else None
    if rule.blocked:
        return "may not be given: leave it out"
    if not rule.can_edit and not same(kind, value, fixed):
        return "cannot be changed: leave it out" if fixed is None else f"cannot be changed: it is {shown(fixed)}"
    return broken_rule(rule, kind, value)
