"""What rules ask of values, and whether a policy makes sense in itself and beside others."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from runai_core.model.errors import FieldError
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.document import Document, FieldRules, ItemDefaults, ItemRules, Part, read
from runai_core.policy.fields import ValueType, fields_of, higher_scope_wins
from runai_core.policy.literals import literal_error, number_of, shown
from runai_core.policy.scopes import name_of


def broken_rule(rules: FieldRules, kind: ValueType, value: Any) -> str | None:
    """Return what the value rules ask of a value that does not have it; None: the value is allowed."""
    error = literal_error(kind, value)
    if error is not None:
        return error
    return _out_of_range(rules, kind, value) or _off_step(rules, kind, value) or _no_option(rules, kind, value)


def _out_of_range(rules: FieldRules, kind: ValueType, value: Any) -> str | None:
    number = number_of(kind, value)
    most, fewest = number_of(kind, rules.max), number_of(kind, rules.min)
    if number is not None and most is not None and number > most:
        return f"must be no greater than {rules.max}"
    if number is not None and fewest is not None and number < fewest:
        return f"must be no less than {rules.min}"
    return None


def _off_step(rules: FieldRules, kind: ValueType, value: Any) -> str | None:
    number, step = number_of(kind, value), number_of(kind, rules.step)
    if number is None or not step:
        return None
    start = number_of(kind, rules.min) or Decimal(0)
    return None if (number - start) % step == 0 else f"must be {start:f} plus a multiple of {rules.step}"


def _no_option(rules: FieldRules, kind: ValueType, value: Any) -> str | None:
    if rules.options is None or any(same(kind, value, option) for option in rules.options):
        return None
    return f"must be one of {', '.join(map(shown, rules.options))}"


def same(kind: ValueType, left: Any, right: Any) -> bool:
    """Return whether two values of a field mean the same: ``1Gi`` and ``1024Mi`` do."""
    numbers = number_of(kind, left), number_of(kind, right)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return list(left) == list(right)
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def validate_document(workload: PolicyType, document: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Return what is wrong with a policy in itself: unknown fields, wrong literals, contradictions."""
    policy = read(workload, document)
    errors = list(policy.errors)
    for name, part in policy.parts.items():
        errors += _contradictions(workload, f".{name}" if name else "", part)
    return tuple(errors)


def validate_against(policy: Policy, others: Sequence[Policy]) -> tuple[FieldError, ...]:
    """Return the rules of a policy that policies of other scopes hold already.

    Compute and security fields have the rules of one scope only. The rules of
    all other fields may be set again, nearer to the workload.
    """
    errors = []
    ours = _ruled(read(policy.type, policy.document))
    for other in others:
        if other.type != policy.type or (other.scope_type, other.scope) == (policy.scope_type, policy.scope):
            continue
        held = _ruled(read(other.type, other.document))
        for path in ours:
            if path in held and higher_scope_wins(path.rpartition(":")[2]):
                message = (
                    f"already has rules, set by the policy {name_of(other)}: leave it out here, or remove it there"
                )
                errors.append(FieldError("rules." + path.replace(":", ""), message))
    return tuple(errors)


def _ruled(document: Document) -> list[str]:
    """Return the paths that have rules; those of a sub-tree as ``worker.:compute...``."""
    return [
        f"{name}.:{path}" if name else path
        for name, part in document.parts.items()
        for path in (*part.rules, *part.item_rules)
    ]


def _contradictions(workload: PolicyType, at: str, part: Part) -> list[FieldError]:
    catalogue = fields_of(workload)
    errors = []
    for path, rules in part.rules.items():
        kind = catalogue[path].type
        errors += _contradiction(f"rules{at}.{path}", kind, rules, path, part.defaults.get(path))
        default = part.defaults.get(path)
        wrong = None if default is None or rules.blocked else broken_rule(rules, kind, default)
        if wrong is not None:
            errors.append(FieldError(f"defaults{at}.{path}", f"breaks the policy's own rule: it {wrong}", default))
    for path, items in part.item_rules.items():
        defaults = part.item_defaults.get(path, ItemDefaults())
        errors += _item_contradictions(f"rules{at}.{path}", catalogue[path].key, items, defaults)
        for name, rules in items.attributes.items():
            kind = catalogue[path].attributes[name]
            rule_path = f"rules{at}.{path}.attributes.{name}"
            errors += _contradiction(rule_path, kind, rules, name, defaults.attributes.get(name))
    return errors


def _contradiction(at: str, kind: ValueType, rules: FieldRules, path: str, default: Any) -> list[FieldError]:
    most, fewest, step = (number_of(kind, limit) for limit in (rules.max, rules.min, rules.step))
    checks = (
        (
            most is not None and fewest is not None and fewest > most,
            ".min",
            f"is above max, which is {rules.max}",
            rules.min,
        ),
        (step is not None and step <= 0, ".step", "must be above 0", rules.step),
        (rules.blocked and rules.required, ".blocked", "contradicts required: keep one of them", None),
        (
            rules.blocked and default is not None,
            ".blocked",
            "contradicts the default of the field: remove one",
            default,
        ),
        (
            not rules.can_edit and rules.required and default is None and rules.default_from is None,
            ".canEdit",
            "forbids every value, and required asks for one: add a default",
            None,
        ),
        (
            rules.default_from is not None and rules.default_from.field == path,
            ".defaultFrom.field",
            "names the field itself",
            path,
        ),
    )
    return [FieldError(at + part, message, given) for wrong, part, message, given in checks if wrong]


def _item_contradictions(at: str, key: str, rules: ItemRules, defaults: ItemDefaults) -> list[FieldError]:
    known = {str(instance[key]) for instance in defaults.instances}
    return [
        FieldError(f"{at}.instances.locked", "there is no default instance of this name to lock", name)
        for name in rules.locked
        if name not in known
    ]
