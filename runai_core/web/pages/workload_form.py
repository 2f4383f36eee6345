"""The New Workload forms: specification -> inputs, posted inputs -> specification.

What a policy would fill in is shown in its input, with the policy's name. A
value that is posted back unchanged is left out again, so that it stays the
policy's; a value that may not be changed is shown and never posted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from runai_core.model.errors import FieldError
from runai_core.model.workload import PolicyType
from runai_core.policy.document import FieldRules
from runai_core.policy.effective import Effective, Held
from runai_core.policy.evaluate import Evaluation
from runai_core.policy.fields import ValueType
from runai_core.policy.literals import shown
from runai_core.policy.scopes import authority_of, name_of
from runai_core.policy.tree import copied, drop_at, get_at, set_at
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, rows_of, text_of, with_rows
from runai_core.web.pages.workload_fields import (
    OPEN,
    OTHER,
    SECTIONS,
    FormField,
    rows_for,
    said_of,
    types_of_members,
)

MORE = "more"
"""Name of the input for the fields that have no input of their own, as YAML."""

MASTER = "masterSpec"

MAX_YAML = 100_000
"""Characters of YAML that are read."""

YES_NO = (Option("true", "yes"), Option("false", "no"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a form knows besides its fields: what policies say, and which values exist."""

    effective: Effective = field(default_factory=Effective)
    filled: Evaluation = field(default_factory=lambda: Evaluation({}))  # what an empty specification would become
    proposals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # path -> values that exist
    only: frozenset[str] = frozenset()  # fields that take nothing but their proposals


def posted_spec(kind: PolicyType, spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a browser would post for this specification: how a clone or a template is filled in."""
    left = copied(spec)
    posted: dict[str, list[str]] = {}
    for row in rows_for(kind):
        value = get_at(spec, row.path)
        if value is None:
            continue
        rest: list[Any] = []
        if row.widget is Widget.ROWS:
            rest = _post_rows(posted, row, value)
        else:
            posted[row.path] = [text_of_value(value)]
        drop_at(left, row.path)
        if rest:
            set_at(left, row.path, rest)
    left = pruned(left)
    if left:
        posted[MORE] = [yaml_text(left)]
    return posted


def spec_of(kind: PolicyType, posted: Posted, around: Surroundings) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the specification that was written, and what could not be read."""
    spec, errors = yaml_of(posted, MORE)
    for row in rows_for(kind):
        rules = around.effective.rules.get(row.path)
        if rules is not None and _locks(rules.value):
            continue
        if row.widget is Widget.ROWS:
            _add_rows(spec, row, posted, errors)
            continue
        text = text_of(posted, row.path)
        if text and text != text_of_value(get_at(around.filled.spec, row.path)):
            try:
                set_at(spec, row.path, read_value(row.entry.type, text))
            except ValueError as error:
                errors.append(FieldError(row.path, str(error), text[:80]))
    return spec, errors


def yaml_of(posted: Posted, name: str) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the mapping that is written as YAML in an input, empty where nothing is; and what is wrong with it."""
    text = text_of(posted, name)
    if len(text) > MAX_YAML:
        return {}, [FieldError(name, f"must be at most {MAX_YAML} characters")]
    try:
        value = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        return {}, [FieldError(name, f"is not YAML: {_yaml_problem(error)}")]
    if not isinstance(value, Mapping):
        return {}, [FieldError(name, "must be fields with values, for example `replicas: 2`")]
    return copied(value), []


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return " ".join(str(error).split())[:200]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def yaml_text(value: Mapping[str, Any]) -> str:
    """Return a mapping as an input for YAML shows it."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def sections_of(kind: PolicyType, posted: Posted, around: Surroundings) -> tuple[Section, ...]:
    """Return the sections of the form with what was posted in them; errors are added by `with_errors`."""
    inputs: dict[str, list[Input]] = {}
    for row in rows_for(kind):
        inputs.setdefault(row.section, []).append(_input(row, posted, around))
    inputs.setdefault(OTHER, []).append(_more(posted))
    return tuple(
        Section(title=title, inputs=tuple(inputs[title]), is_open=title in OPEN or _is_used(inputs[title]))
        for title in SECTIONS
        if title in inputs
    )


def started(kind: PolicyType, spec: Mapping[str, Any], around: Surroundings) -> dict[str, list[str]]:
    """Return what a new form shows: the given specification, and the policies' defaults where it says nothing."""
    given = posted_spec(kind, spec)
    for row in rows_for(kind):
        default = get_at(around.filled.spec, row.path)
        if row.widget is not Widget.ROWS and row.path not in given and row.path in around.filled.origins:
            given[row.path] = [text_of_value(default)]
    return given


def without_policies(spec: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """Return a workload's specification without what policies had filled in: its copy gets that anew."""
    result: dict[str, Any] = copied(spec)
    for path in origins:
        if isinstance(get_at(result, path), Mapping | list) or get_at(result, path) is None:
            continue
        drop_at(result, path)
    for row in (row for kind in PolicyType for row in rows_for(kind) if row.widget is Widget.ROWS):
        items = get_at(result, row.path)
        if isinstance(items, list):
            key = row.entry.key
            kept = [item for item in items if f"{row.path}.{item.get(key)}" not in origins]
            set_at(result, row.path, kept)
    return pruned(result)


def text_of_value(value: Any) -> str:
    """Return a value as an input shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _input(row: FormField, posted: Posted, around: Surroundings) -> Input:
    rules = around.effective.rules.get(row.path)
    if row.widget is Widget.ROWS:
        return _table(row, posted, around)
    said = said_of(row.path)
    proposals = around.proposals.get(row.path, ())
    shape = Input(
        name=row.path,
        label=row.label,
        widget=row.widget or _WIDGETS.get(row.entry.type, Widget.TEXT),
        value=text_of(posted, row.path),
        options=_options(row, proposals),
        help=row.help or said.get("description", ""),
        unit=row.unit,
        min=text_of_value(said.get("ge")),
        max=text_of_value(said.get("le")),
        step={ValueType.INTEGER: "1", ValueType.NUMBER: "any"}.get(row.entry.type, ""),
        note=_origin(row.path, text_of(posted, row.path), around.filled),
    )
    if shape.options and (row.entry.type is ValueType.BOOLEAN or row.entry.choices or row.options):
        shape = replace(shape, widget=Widget.SELECT)
    if row.path in around.only:
        shape = replace(shape, widget=Widget.SELECT)
    return shape if rules is None else _ruled(shape, rules, around.effective)


_WIDGETS: Mapping[ValueType, Widget] = {ValueType.INTEGER: Widget.NUMBER, ValueType.NUMBER: Widget.NUMBER}


def _options(row: FormField, proposals: Sequence[str]) -> tuple[Option, ...]:
    if row.entry.type is ValueType.BOOLEAN:
        return YES_NO
    return tuple(Option(value) for value in (row.entry.choices or row.options or proposals))


def _origin(path: str, text: str, filled: Evaluation) -> str:
    if not text or path not in filled.origins or text != text_of_value(get_at(filled.spec, path)):
        return ""
    return f"Default of the policy {filled.origins[path]}."


def _ruled(shape: Input, held: Held[FieldRules], effective: Effective) -> Input:
    """Return the input as a policy's rules leave it: locked, limited, or with a choice of values."""
    rules, policy = held.value, authority_of(held.policy)
    default = effective.defaults.get(shape.name)
    if rules.blocked:
        return replace(shape, locked=True, value="", note=f"Not allowed by the policy {policy}.")
    if not rules.can_edit:
        value = "" if default is None else text_of_value(default.value)
        return replace(shape, locked=True, value=value, note=f"Set by the policy {policy}.")
    limits = [
        f"{word} {shown(limit)}"
        for word, limit in (("at least", rules.min), ("at most", rules.max), ("in steps of", rules.step))
        if limit is not None
    ]
    said = [f"{', '.join(limits).capitalize()} (policy {name_of(held.policy)})."] if limits else []
    if rules.options is not None:
        said.append(f"Values of the policy {name_of(held.policy)}.")
        options = tuple(Option(text_of_value(option)) for option in rules.options)
        shape = replace(shape, widget=Widget.SELECT, options=options)
    if rules.default_from is not None:
        said.append(f"Left empty, it follows {rules.default_from.field} times {rules.default_from.factor:g}.")
    numeric = shape.widget is Widget.NUMBER
    return replace(
        shape,
        required=rules.required and default is None and rules.default_from is None,
        min=text_of_value(rules.min) if numeric and rules.min is not None else shape.min,
        max=text_of_value(rules.max) if numeric and rules.max is not None else shape.max,
        note=" ".join(part for part in (shape.note, *said) if part),
    )


def _locks(rules: FieldRules) -> bool:
    return rules.blocked or not rules.can_edit


def table_of(row: FormField) -> Input:
    """Return the empty table of a field that takes several entries."""
    kinds = types_of_members(row)
    columns = tuple(
        Input(
            name=f"{row.path}:{member}",
            label=heading,
            widget=Widget.SELECT if kinds[member] is ValueType.BOOLEAN else Widget.TEXT,
            options=YES_NO if kinds[member] is ValueType.BOOLEAN else (),
        )
        for member, heading in row.members
    )
    return Input(
        name=row.path,
        label=row.label,
        widget=Widget.ROWS,
        columns=columns,
        help=row.help or said_of(row.path).get("description", ""),
    )


def _table(row: FormField, posted: Posted, around: Surroundings) -> Input:
    rules = around.effective.item_rules.get(row.path)
    closed = rules is not None and not rules.value.can_add
    table = replace(table_of(row), note=" ".join(_items_of_policies(row, around)), locked=closed)
    if closed and rules is not None:
        return replace(
            table, note=f"{table.note} Takes no further entries: policy {authority_of(rules.policy)}.".strip()
        )
    return with_rows(table, rows_of(posted, row.path, [name for name, _ in row.members]))


def _items_of_policies(row: FormField, around: Surroundings) -> list[str]:
    return [
        f"The policy {name_of(held.policy)} adds {', '.join(_item_text(row, item) for item in held.value.instances)}."
        for held in around.effective.item_defaults.get(row.path, ())
        if held.value.instances
    ]


def _item_text(row: FormField, item: Mapping[str, Any]) -> str:
    value = item.get("value")
    key = text_of_value(item.get(row.entry.key))
    return key if value is None else f"{key}={text_of_value(value)}"


def _more(posted: Posted) -> Input:
    return Input(
        name=MORE,
        label="More fields",
        widget=Widget.CODE,
        value=text_of(posted, MORE),
        help="Fields of the API that have no input here, as YAML, for example `nodeAffinityRequired: {...}`.",
    )


def _is_used(inputs: Sequence[Input]) -> bool:
    return any((item.value and not item.note) or len(item.rows) > 1 for item in inputs)


def _post_rows(posted: dict[str, list[str]], row: FormField, items: Any) -> list[Any]:
    """Put the items that fit the table's columns into it; return the others."""
    rest = []
    members = [name for name, _ in row.members]
    for item in items:
        shown_members = {name: get_at(item, name) for name in members}
        if _flat_count(item) != sum(value is not None for value in shown_members.values()):
            rest.append(item)
            continue
        for name in members:
            posted.setdefault(f"{row.path}:{name}", []).append(text_of_value(shown_members[name]))
    return rest


def _flat_count(item: Any) -> int:
    if not isinstance(item, Mapping):
        return 1
    return sum(_flat_count(value) for value in item.values() if value is not None)


def _add_rows(spec: dict[str, Any], row: FormField, posted: Posted, errors: list[FieldError]) -> None:
    kinds = types_of_members(row)
    items = []
    for index, cells in enumerate(rows_of(posted, row.path, [name for name, _ in row.members])):
        item: dict[str, Any] = {}
        for member, text in cells.items():
            try:
                set_at(item, member, read_value(kinds[member], text))
            except ValueError as error:
                errors.append(FieldError(f"{row.path}.{index}.{member}", str(error), text[:80]))
        items.append(item)
    if items:
        more = get_at(spec, row.path)
        set_at(spec, row.path, [*items, *(more if isinstance(more, list) else [])])


def pruned(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree without empty mappings and lists."""
    inner = {key: pruned(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    return {key: value for key, value in inner.items() if value not in ({}, [])}


def read_value(kind: ValueType, text: str) -> Any:
    """Return the value that a text stands for.

    Raises:
        ValueError: it stands for none of this type; the message says what is allowed.
    """
    return _READERS.get(kind, str)(text)


def _whole(text: str) -> int:
    number = _number(text)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _number(text: str) -> float:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not value.is_finite() or abs(value) > 10**15:
        raise ValueError("must be a number below 1000000000000000")
    return float(value)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_READERS: Mapping[ValueType, Callable[[str], Any]] = {
    ValueType.INTEGER: _whole,
    ValueType.NUMBER: _number,
    ValueType.BOOLEAN: _truth,
    ValueType.ARRAY: _list,
}
