"""Merge policies into a specification, check it, and say which policy did what.

Pure and idempotent: what was evaluated can be evaluated again, at preview, at
submission and at admission, and stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runai_core.model.errors import FieldError
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.document import DefaultFrom, FieldRules
from runai_core.policy.effective import Effective, effective_of
from runai_core.policy.fields import ALIASES, Field, fields_of
from runai_core.policy.items import merge_items
from runai_core.policy.literals import literal_of, number_of, shown
from runai_core.policy.rules import broken_rule, same
from runai_core.policy.scopes import NEAREST_FIRST, authority_of, name_of
from runai_core.policy.tree import camel_keys, copied, drop_at, get_at, set_at


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A specification after the policies: completed, judged, and explained."""

    spec: dict[str, Any]
    violations: tuple[FieldError, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)  # path -> policy that set the value
    imposed_assets: Mapping[str, str] = field(default_factory=dict)  # id -> name of the policy


def evaluate(
    workload: PolicyType, spec: Mapping[str, Any], policies: Sequence[Policy], *, part: str = "worker"
) -> Evaluation:
    """Return the specification completed by the policies' defaults, and what their rules forbid.

    `spec` is the wire form, in camelCase; it is not changed. `policies` are all
    that apply, in any order; the product's own one is added. With ``part="master"``
    the specification is that of a distributed workload's master.
    """
    effective = effective_of(workload, policies, part=part)
    catalogue = fields_of(workload)
    completed = _with_usual_names(spec)
    origins = _fill(completed, effective) | _fill_from_others(completed, catalogue, effective)
    violations = _violations(completed, catalogue, effective)
    for path in sorted({*effective.item_defaults, *effective.item_rules}):
        given = get_at(completed, path)
        merged = merge_items(
            catalogue[path], given, effective.item_defaults.get(path, ()), effective.item_rules.get(path)
        )
        if merged.instances:
            set_at(completed, path, merged.instances)
        origins |= merged.origins
        violations += merged.violations
    prefix = "masterSpec." if part == "master" else ""
    found = tuple(FieldError(prefix + error.field, error.message, error.given, error.policy) for error in violations)
    return Evaluation(completed, found, origins, effective.imposed_assets)


def _with_usual_names(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in the catalogue's spelling: a field must not slip past its rules under another name."""
    completed: dict[str, Any] = camel_keys(spec)
    for alias, path in ALIASES.items():
        value = get_at(completed, alias)
        if value is not None and get_at(completed, path) is None:
            set_at(completed, path, value)
            drop_at(completed, alias)
    return completed


_PORTIONS = ("compute.gpuPortionRequest", "compute.gpuPortionLimit")
_MEMORIES = ("compute.gpuMemoryRequest", "compute.gpuMemoryLimit")
_MIG = ("compute.migProfile",)

_EXCLUDED_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_PORTIONS, _MEMORIES + _MIG),
    **dict.fromkeys(_MEMORIES, _PORTIONS + _MIG),
    "compute.migProfile": _PORTIONS + _MEMORIES,
}
"""Forms of asking for a part of a GPU: a default of one gives way to what is there of another."""

_TYPE_OF = {**dict.fromkeys(_PORTIONS, "portion"), **dict.fromkeys(_MEMORIES, "memory")}


def _gives_way(spec: Mapping[str, Any], path: str, value: object) -> bool:
    """Return whether a default would contradict what the specification has already."""
    asked = get_at(spec, "compute.gpuRequestType")
    if path in _TYPE_OF and asked is not None and asked != _TYPE_OF[path]:
        return True
    rivals = _EXCLUDED_BY.get(path, ())
    if path == "compute.gpuRequestType":
        rivals = tuple(rival for rival, kind in _TYPE_OF.items() if kind != value) + _MIG
    return any(get_at(spec, rival) is not None for rival in rivals)


def _fill(spec: dict[str, Any], effective: Effective) -> dict[str, str]:
    """Complete the specification, the nearest scope first; return where the values come from."""
    origins = {}
    ordered = sorted(
        effective.defaults.items(), key=lambda item: (NEAREST_FIRST.index(item[1].policy.scope_type), item[0])
    )
    for path, held in ordered:
        if path not in effective.fills or get_at(spec, path) is not None or _gives_way(spec, path, held.value):
            continue
        set_at(spec, path, copied(held.value))
        origins[path] = name_of(held.policy)
    return origins


def _fill_from_others(spec: dict[str, Any], catalogue: Mapping[str, Field], effective: Effective) -> dict[str, str]:
    """Fill the fields that take their value from another one; such fields may follow each other."""
    origins: dict[str, str] = {}
    sources = {path: held for path, held in sorted(effective.rules.items()) if held.value.default_from is not None}
    for _ in sources:
        for path, held in sources.items():
            source = held.value.default_from
            if source is None or get_at(spec, path) is not None:
                continue
            value = _derived(spec, catalogue, path, source)
            if value is not None and not _gives_way(spec, path, value):
                set_at(spec, path, value)
                origins[path] = name_of(held.policy)
    return origins


def _derived(spec: Mapping[str, Any], catalogue: Mapping[str, Field], path: str, source: DefaultFrom) -> Any:
    number = number_of(catalogue[source.field].type, get_at(spec, source.field))
    if number is None:
        return None
    return literal_of(catalogue[path].type, number * Decimal(repr(source.factor)))


def _violations(spec: Mapping[str, Any], catalogue: Mapping[str, Field], effective: Effective) -> list[FieldError]:
    found = []
    for path, held in sorted(effective.rules.items()):
        value = get_at(spec, path)
        default = effective.defaults[path].value if path in effective.defaults else None
        if default is None and held.value.default_from is not None:
            default = _derived(spec, catalogue, path, held.value.default_from)
        message = _broken(catalogue[path], held.value, value, default)
        if message is not None:
            found.append(FieldError(path, message, value, authority_of(held.policy)))
    return found


def _broken(entry: Field, rules: FieldRules, value: Any, default: Any) -> str | None:
    if value is None:
        return "is required: give a value" if rules.required else None
    if rules.blocked:
        return "may not be given: leave it out"
    if not rules.can_edit and (default is None or not same(entry.type, value, default)):
        return "cannot be set: leave it out" if default is None else f"cannot be changed: it is {shown(default)}"
    return broken_rule(rules, entry.type, value)
