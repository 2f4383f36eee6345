"""Forms as data: what a template draws, and what a browser posts, without HTML or HTTP.

An input's name is the path of its field in the API (``compute.gpuDevicesRequest``,
``resources.0.gpu.deserved``), so that an error of a service finds its input.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from runai_core.model.errors import FieldError
from runai_core.model.meta import Meta
from runai_core.web.pages.shown import sentence


class Widget(StrEnum):
    """How an input is drawn."""

    TEXT = "text"
    NUMBER = "number"
    PASSWORD = "password"  # noqa: S105  the name of a widget
    AREA = "area"
    CODE = "code"
    SELECT = "select"
    MANY = "many"  # any of a few options
    ROWS = "rows"  # a table: each row has one small input for each column


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select; without a label it is shown as it is."""

    value: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a form. Texts are plain: the template escapes them."""

    name: str
    label: str
    widget: Widget = Widget.TEXT
    value: str = ""
    chosen: tuple[str, ...] = ()  # MANY
    columns: tuple["Input", ...] = ()  # ROWS: one empty cell for each column
    rows: tuple[tuple["Input", ...], ...] = ()  # ROWS
    options: tuple[Option, ...] = ()  # SELECT and MANY; of others they are proposals
    help: str = ""
    note: str = ""  # where the value comes from, or why it cannot be changed
    errors: tuple[str, ...] = ()
    locked: bool = False  # shown, never posted
    required: bool = False
    min: str = ""
    max: str = ""
    step: str = ""
    unit: str = ""

    @property
    def id(self) -> str:
        """The name as an HTML id."""
        return "f-" + "".join(character if character.isalnum() else "-" for character in self.name)

    @property
    def label_of_value(self) -> str:
        """The value as people read it: of one of the options, its label."""
        labels = {option.value: option.label or option.value for option in self.options}
        return labels.get(self.value, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Inputs that belong together."""

    title: str
    inputs: tuple[Input, ...]
    is_open: bool = True
    help: str = ""

    @property
    def has_errors(self) -> bool:
        """Whether an input in it has a wrong value."""
        return any(item.errors for item in self.inputs)


Posted = Mapping[str, Sequence[str]]
"""What a browser posts: the values of each name, in order."""

Problem = tuple[str, str]
"""The id of the input that it is about, empty where there is none, and the message."""


def posted_of(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[str]]:
    """Return posted pairs by name; line ends are those of Unix, files and what no text may hold (NUL) are left out."""
    posted: dict[str, list[str]] = {}
    for name, value in pairs:
        if isinstance(value, str):
            posted.setdefault(name, []).append(value.replace("\r\n", "\n").replace("\0", ""))
    return posted


def text_of(posted: Posted, name: str) -> str:
    """Return the one value of a name, without blanks around it."""
    values = posted.get(name, ())
    return values[0].strip() if values else ""


def texts_of(posted: Posted, name: str) -> tuple[str, ...]:
    """Return the chosen values of a name, none of them empty."""
    return tuple(value for value in posted.get(name, ()) if value)


VERSION = "version"
"""Hidden input: the version of the object that the form was filled in from."""


def changed_meanwhile(posted: Posted, meta: Meta) -> list[FieldError]:
    """Return an error where somebody changed the object since the form was opened: saving would undo that unseen."""
    seen = text_of(posted, VERSION)
    if not seen or seen == str(meta.version):
        return []
    who = f" by {meta.updated_by}" if meta.updated_by else ""
    message = f"it was changed{who} since you opened it; these are your values: save again to put them in its place"
    return [FieldError("", message)]


def rows_of(posted: Posted, name: str, members: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table whose cells are posted as ``<name>:<member>``; rows without any text are left out."""
    columns = [posted.get(f"{name}:{member}", ()) for member in members]
    count = max((len(column) for column in columns), default=0)
    rows = [
        {
            member: column[index].strip()
            for member, column in zip(members, columns, strict=True)
            if index < len(column) and column[index].strip()
        }
        for index in range(count)
    ]
    return [row for row in rows if row]


def with_rows(item: Input, rows: Sequence[Mapping[str, str]], *, spare: int = 1) -> Input:
    """Return the table with these rows, and some empty ones to write in."""
    cells = tuple(
        tuple(replace(cell, value=row.get(cell.name.rpartition(":")[2], "")) for cell in item.columns) for row in rows
    )
    return replace(item, rows=cells + (item.columns,) * spare)


def with_errors(
    sections: Sequence[Section], errors: Sequence[FieldError], prefixes: Sequence[str] = ()
) -> tuple[tuple[Section, ...], tuple[Problem, ...]]:
    """Return the sections with each error at its input, and all of them as a list for the top of the form.

    `prefixes` are beginnings of paths that inputs do not have, for example ``spec.``.
    """
    inputs = {item.name: item for section in sections for item in section.inputs}
    found: dict[str, list[str]] = {}
    problems = []
    for error in errors:
        path = _without(error.field, prefixes)
        name = _nearest(path, inputs)
        policy = f" Policy: {error.policy}." if error.policy else ""
        if name is None:
            at = f"{error.field}: " if error.field else ""
            problems.append(("", f"{at}{sentence(error.message) if not at else error.message}.{policy}"))
            continue
        member = path[len(name) :].strip(".")
        said = f"{member}: {error.message}.{policy}" if member else f"{sentence(error.message)}.{policy}"
        found.setdefault(name, []).append(said)
        problems.append((inputs[name].id, f"{inputs[name].label}: {error.message}"))
    changed = tuple(_marked(section, found) for section in sections)
    return changed, tuple(problems)


def _marked(section: Section, found: Mapping[str, Sequence[str]]) -> Section:
    inputs = tuple(replace(item, errors=(*item.errors, *found.get(item.name, ()))) for item in section.inputs)
    marked = replace(section, inputs=inputs)
    return replace(marked, is_open=section.is_open or marked.has_errors)


def _without(path: str, prefixes: Sequence[str]) -> str:
    for prefix in prefixes:
        if path.startswith(prefix):
            return path[len(prefix) :]
    return path


def _nearest(path: str, names: Mapping[str, Input]) -> str | None:
    """Return the input whose path is the longest beginning of the path, or one below it."""
    at = path
    while at:
        if at in names:
            return at
        at = at.rpartition(".")[0]
    return next((name for name in names if name.startswith(f"{path}.")), None) if path else None
