"""The New Workload forms: specification -> inputs, posted inputs -> specification.

What a policy would fill in is shown in its input, with the policy's name. A
value that is posted back unchanged is left out again, so that it stays the
policy's; a value that may not be changed is shown and never posted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from runai_core.web.pages.values import pruned, read_value, text_of_value, yaml_of, yaml_text
from runai_core.web.pages.workload_fields import (
    OPEN,
    OTHER,
    SECTIONS,
    FormField,
    master_rows,
    rows_for,
    said_of,
    types_of_members,
)

MORE = "more"
"""Name of the input for what has no input of its own, as YAML."""

MORE_LABEL = "More fields"

MASTER = "masterSpec"
"""Beginning of the names of inputs that say where a master or leader differs from the workers."""

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
            rest = _post_rows(posted, row, row.entries(value))
        else:
            posted[row.path] = [text_of_value(value)]
        drop_at(left, row.path)
        if rest:
            set_at(left, row.path, row.value(rest))
    left = pruned(left)
    if left:
        posted[MORE] = [yaml_text(left)]
    return posted


def spec_of(
    kind: PolicyType, posted: Posted, around: Surroundings, rows: Sequence[FormField] | None = None
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the specification that was written, and what could not be read; without `rows` it has all of the type."""
    spec, errors = yaml_of(posted, MORE)
    for row in rows_for(kind) if rows is None else rows:
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


def posted_master(kind: PolicyType, spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a browser would post for where a master differs."""
    return {f"{MASTER}.{name}": values for name, values in posted_spec(kind, spec).items()}


def master_of(kind: PolicyType, posted: Posted) -> tuple[dict[str, Any], list[FieldError]]:
    """Return where the master was said to differ, and what could not be read."""
    spec, errors = spec_of(kind, _of_master(posted), Surroundings(), master_rows(kind))
    return spec, [replace(error, field=f"{MASTER}.{error.field}") for error in errors]


def master_section(kind: PolicyType, posted: Posted, title: str) -> Section:
    """Return the inputs for where the master differs: what is left empty is as with the workers."""
    inner = _of_master(posted)
    inputs = [_input(row, inner, Surroundings()) for row in master_rows(kind)]
    named = tuple(of_master(item) for item in (*inputs, _more(inner)))
    return Section(
        title=title, inputs=named, is_open=_is_used(named), help="What is left empty is as with the workers."
    )


def of_master(item: Input) -> Input:
    """Return an input or table with the names of the master's."""
    return replace(
        item,
        name=f"{MASTER}.{item.name}",
        columns=tuple(of_master(cell) for cell in item.columns),
        rows=tuple(tuple(of_master(cell) for cell in cells) for cells in item.rows),
    )


def _of_master(posted: Posted) -> dict[str, Sequence[str]]:
    beginning = f"{MASTER}."
    return {name.removeprefix(beginning): values for name, values in posted.items() if name.startswith(beginning)}


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
        help=_help_of(row),
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


def _help_of(row: FormField) -> str:
    """Return what the form or the model says of a field; nothing where that is the label again."""
    text: str = row.help or said_of(row.path).get("description", "")
    return "" if text.rstrip(".").casefold() == row.label.casefold() else text


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
    choices = {name: tuple(map(Option, options)) for name, options in row.choices.items()}
    choices |= {name: YES_NO for name, kind in types_of_members(row).items() if kind is ValueType.BOOLEAN}
    columns = tuple(
        Input(
            name=f"{row.path}:{member}",
            label=heading,
            widget=Widget.SELECT if member in choices else Widget.TEXT,
            options=choices.get(member, ()),
        )
        for member, heading in row.members
    )
    return Input(
        name=row.path,
        label=row.label,
        widget=Widget.ROWS,
        columns=columns,
        help=_help_of(row),
    )


def _table(row: FormField, posted: Posted, around: Surroundings) -> Input:
    rules = around.effective.item_rules.get(row.path)
    whole = around.effective.rules.get(row.path)
    if whole is not None and _locks(whole.value):
        return _ruled(table_of(row), whole, around.effective)
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
        label=MORE_LABEL,
        widget=Widget.CODE,
        value=text_of(posted, MORE),
        help="What has no input here, as YAML with the API's field names.",
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
    if not items:
        return
    set_at(spec, row.path, row.value([*items, *row.entries(get_at(spec, row.path))]))
