"""How answers are printed: tables for people, JSON and YAML for programs."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from runai_core.model.errors import FieldError, InvalidRequest


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, how a cell is read from an object, and whether it is shown unasked."""

    title: str
    cell: Callable[[Any], object]
    shown: bool = True
    right: bool = False
    narrow: str = ""  # its title on a terminal, on two lines, where it is wider than its cells


@dataclass(frozen=True, slots=True)
class Form:
    """How a list is to be printed."""

    as_json: bool = False
    as_yaml: bool = False
    headers: bool = True
    columns: str = ""  # titles, separated by commas; empty: those that are shown unasked


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every list has; the command gets them as one `form`."""

    def formed(*args: Any, as_json: bool, as_yaml: bool, no_headers: bool, columns: str, **kwargs: Any) -> Any:
        form = Form(as_json, as_yaml, not no_headers, columns)
        return command(*args, form=form, **kwargs)

    formed.__name__, formed.__doc__ = command.__name__, command.__doc__
    formed.__dict__.update(command.__dict__)
    for option in (
        click.option("--columns", default="", help="Columns to show, by title, separated by commas."),
        click.option("--no-headers", is_flag=True, help="Leave out the titles."),
        click.option("--table", "_table", is_flag=True, expose_value=False, help="Print a table (the default)."),
        click.option("--yaml", "as_yaml", is_flag=True, help="Print YAML."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON: the API's own fields."),
    ):
        formed = option(formed)
    return formed


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: the API's own fields.")


def print_list(items: Sequence[Any], columns: Sequence[Column], form: Form, *, empty: str = "") -> None:
    """Print objects of the client as the user wants them."""
    if form.as_json or form.as_yaml:
        print_data([raw(item) for item in items], as_yaml=form.as_yaml)
        return
    chosen = choose(columns, form.columns)
    if not items and empty:
        click.echo(empty, err=True)
        return
    print_table([column.title for column in chosen], rows_of(items, chosen), headers=form.headers, columns=chosen)


def raw(item: Any) -> Any:
    """Return an object as the API gave it."""
    return item.raw if hasattr(item, "raw") else item


def print_data(data: Any, *, as_yaml: bool = False) -> None:
    """Print data as JSON, or as YAML."""
    if as_yaml:
        # Imported here: it takes longer to load than JSON to print.
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def choose(columns: Sequence[Column], wanted: str) -> Sequence[Column]:
    """Return the columns that were asked for by title.

    Raises:
        InvalidRequest: there is no column of that title.
    """
    if not wanted:
        return [column for column in columns if column.shown]
    known = {_plain(column.title): column for column in columns}
    titles = [title.strip() for title in wanted.split(",") if title.strip()]
    for title in titles:
        if _plain(title) not in known:
            names = ", ".join(column.title for column in columns)
            raise InvalidRequest.of(FieldError("--columns", f"must be some of: {names}", title))
    return [known[_plain(title)] for title in titles]


def rows_of(items: Iterable[Any], columns: Sequence[Column]) -> list[list[str]]:
    """Return the cells of a table."""
    return [[text(column.cell(item)) for column in columns] for item in items]


def print_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, headers: bool = True, columns: Sequence[Column] = ()
) -> None:
    """Print a table; on a terminal in colour and cut to its width, elsewhere whole, as aligned text."""
    if not sys.stdout.isatty():
        for line in aligned([titles, *rows] if headers else rows, {c.title for c in columns if c.right}, titles):
            click.echo(line)
        return
    # Imported here: rich takes longer to load than all else, and only a terminal needs it.
    from rich.console import Console

    Console(highlight=False).print(drawn(titles, rows, headers=headers, columns=columns))


def aligned(rows: Sequence[Sequence[str]], right: Collection[str], titles: Sequence[str]) -> list[str]:
    """Return the rows as lines whose columns begin at the same place."""
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(len(titles))]
    return [
        "  ".join(
            cell.rjust(width) if title in right else cell.ljust(width)
            for cell, width, title in zip(row, widths, titles, strict=True)
        ).rstrip()
        for row in rows
    ]


def drawn(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, headers: bool = True, columns: Sequence[Column] = ()
) -> Any:
    """Return a table for a terminal in our one style: no frame, two blanks between columns, the widest cut first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=headers, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    right = {column.title for column in columns if column.right}
    narrow = {column.title: column.narrow for column in columns if column.narrow}
    for title in titles:
        # What may wrap is made narrower first, and no cell does: it is cut.
        header = Text(narrow.get(title, title), no_wrap=True, overflow="ellipsis")
        justify: Any = "right" if title in right else "left"
        table.add_column(header, no_wrap=title in narrow, justify=justify, vertical="bottom")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, ""), no_wrap=True, overflow="ellipsis") for cell in row))
    return table


STYLES: Mapping[str, str] = {
    "Running": "green",
    "Completed": "blue",
    "Failed": "red",
    "Degraded": "yellow",
    "Pending": "yellow",
    "Stopped": "dim",
    "Ready": "green",
    "NotReady": "red",
}
"""Colour of a cell on a terminal."""


def text(value: object) -> str:
    """Return a cell as text: nothing is ``-``, numbers have no needless decimals, control characters are gone."""
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ",".join(text(item) for item in value)
    return printable(str(value))


def printable(text: str, keeps: str = "") -> str:
    """Return a text without what would move the cursor, colour the terminal or name its window: others wrote it."""
    return "".join(character if character.isprintable() or character in keeps else " " for character in text)


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: ``42s``, ``3m12s``, ``2h5m``, ``3d4h``."""
    if seconds is None:
        return "-"
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def age(since: datetime | None) -> str:
    """Return how long ago a time was."""
    return duration(None if since is None else (datetime.now(UTC) - since).total_seconds())  # noqa: TID251 - a clock on the wall


def _plain(title: str) -> str:
    return "".join(character for character in title.lower() if character.isalnum())
