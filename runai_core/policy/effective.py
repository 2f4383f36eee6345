"""Which default and which rule of many policies applies to each field.

Defaults come from the nearest scope. So do rules, but those of compute and
security fields, which the highest scope keeps. A value that may not be edited
is the one of the policy that says so, whatever nearer policies would like.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from runai_core.model.meta import Meta
from runai_core.model.workload import GRACE_PERIOD, Policy, PolicyType
from runai_core.policy.document import Document, FieldRules, ItemDefaults, ItemRules, Part, read
from runai_core.policy.fields import fields_of, higher_scope_wins
from runai_core.policy.scopes import name_of, nearest_first

T = TypeVar("T")

MAX_GRACE_PERIOD = 300
"""Longest termination grace period in seconds (Run:ai system policy)."""


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A default or a rule, and the policy that it comes from."""

    value: T
    policy: Policy


@dataclass(frozen=True, slots=True)
class Effective:
    """What applies to a workload, by path."""

    defaults: Mapping[str, Held[object]] = field(default_factory=dict)
    fills: frozenset[str] = frozenset()  # the defaults that complete a specification; the others only fix a value
    item_defaults: Mapping[str, tuple[Held[ItemDefaults], ...]] = field(default_factory=dict)  # nearest scope first
    rules: Mapping[str, Held[FieldRules]] = field(default_factory=dict)
    item_rules: Mapping[str, Held[ItemRules]] = field(default_factory=dict)
    imposed_assets: Mapping[str, str] = field(default_factory=dict)  # id -> name of the policy, nearest first


def effective_of(workload: PolicyType, policies: Sequence[Policy], *, part: str = "worker") -> Effective:
    """Return what applies when these policies do, in any order, and the product's own one.

    `part` is ``worker`` or ``master``; it matters to distributed workloads only.
    """
    documents = [
        (policy, read(workload, policy.document)) for policy in nearest_first([*policies, system_policy(workload)])
    ]
    parts = [(policy, _flat(document, part)) for policy, document in documents]
    rules = _by_scope(parts, lambda of: of.rules)
    defaults = _nearest(parts, lambda of: of.defaults)
    for path, held in rules.items():
        if not held.value.can_edit:
            fixed = next(of.defaults.get(path) for policy, of in parts if policy is held.policy)
            defaults |= {} if fixed is None else {path: Held(fixed, held.policy)}
    item_paths = dict.fromkeys(path for _, of in parts for path in of.item_defaults)
    own = {path for _, document in documents for path in document.parts.get(part, Part()).defaults}
    return Effective(
        defaults=defaults,
        fills=frozenset(own if part == "master" else defaults),
        item_defaults={
            path: tuple(Held(of.item_defaults[path], policy) for policy, of in parts if path in of.item_defaults)
            for path in item_paths
        },
        rules=rules,
        item_rules=_by_scope(parts, lambda of: of.item_rules),
        imposed_assets={
            asset: name_of(policy) for policy, document in reversed(documents) for asset in document.imposed_assets
        },
    )


def system_policy(workload: PolicyType) -> Policy:
    """Return the policy that comes with the product (Run:ai: system policies)."""
    defaults: dict[str, object] = {"security": {"privileged": False}}
    rules: dict[str, object] = {"security": {"privileged": {"canEdit": False}}}
    if "terminationGracePeriodSeconds" in fields_of(workload):
        defaults["terminationGracePeriodSeconds"] = GRACE_PERIOD
        rules["terminationGracePeriodSeconds"] = {"max": MAX_GRACE_PERIOD}
    return Policy(
        meta=Meta(name="system"),
        type=workload,
        scope_type="system",
        document={"defaults": defaults, "rules": rules},
    )


Parts = Sequence[tuple[Policy, Part]]


def _flat(document: Document, part: str) -> Part:
    """Return the document's common fields with those of one sub-tree over them.

    A master takes from the workers what it does not say: nothing common is
    required of it, and common instances are not added to it.
    """
    top, own = document.parts[""], document.parts.get(part, Part())
    rules, item_rules, item_defaults = top.rules, top.item_rules, top.item_defaults
    if part == "master":
        rules = {path: replace(rule, required=False, default_from=None) for path, rule in rules.items()}
        item_rules = {path: replace(rule, required=False, locked=()) for path, rule in item_rules.items()}
        item_defaults = {}
    return Part(
        defaults={**top.defaults, **own.defaults},
        item_defaults={**item_defaults, **own.item_defaults},
        rules={**rules, **own.rules},
        item_rules={**item_rules, **own.item_rules},
    )


def _nearest(parts: Parts, table: Callable[[Part], Mapping[str, T]]) -> dict[str, Held[T]]:
    found: dict[str, Held[T]] = {}
    for policy, part in parts:
        for path, value in table(part).items():
            found.setdefault(path, Held(value, policy))
    return found


def _by_scope(parts: Parts, table: Callable[[Part], Mapping[str, T]]) -> dict[str, Held[T]]:
    nearest, highest = _nearest(parts, table), _nearest(list(reversed(parts)), table)
    return {path: highest[path] if higher_scope_wins(path) else held for path, held in nearest.items()}
