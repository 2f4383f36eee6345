"""Tables of a few thousand rows at most: searched, sorted, paged and written as CSV in memory.

What a person chose is in the address, so that it can be kept and sent on.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from runai_core.web.pages.quotas import Quota

PAGE_ROWS = 50
MOST_CSV_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell. Texts are plain: the template escapes them."""

    text: str = ""
    value: float | None = None  # what it is sorted by; None: its text
    time: float | None = None  # seconds since the epoch, shown instead of the text
    link: str = ""
    badge: str = ""  # good | busy | wait | bad | off
    note: str = ""  # a second, smaller line
    quota: Quota | None = None  # drawn above the text


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in the address and in rows, and its heading."""

    key: str
    title: str
    number: bool = False
    wrap: bool = False
    hidden: bool = False  # only in the CSV file


Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a person chose to see of a table."""

    search: str = ""
    sort: str = ""
    descending: bool = False
    page: int = 1
    as_csv: bool = False
    others: tuple[tuple[str, str], ...] = ()  # what else the address says

    def address(self, **changes: str | int | bool) -> str:
        """Return the query part of the address for this choice with some of it changed."""
        new = replace(self, **changes)  # type: ignore[arg-type]
        pairs = [
            *self.others,
            ("search", new.search),
            ("sort", new.sort),
            ("order", "desc" if new.descending else ""),
            ("page", str(new.page) if new.page > 1 else ""),
            ("format", "csv" if new.as_csv else ""),
        ]
        return "?" + urlencode([(name, value) for name, value in pairs if value])


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A part of a table, ready to be drawn."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    choice: Choice
    found: int  # rows that match the search
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(math.ceil(self.found / PAGE_ROWS), 1)

    @property
    def sorted_by(self) -> str:
        """The key of the column that the rows are sorted by."""
        return _sort_key(self.columns, self.choice)


_OWN = ("search", "sort", "order", "page", "format")


def choice_of(query: Mapping[str, str]) -> Choice:
    """Return what the address says; what cannot be read says nothing."""
    page = query.get("page", "1")
    return Choice(
        search=query.get("search", "").strip()[:253],
        sort=query.get("sort", ""),
        descending=query.get("order") == "desc",
        page=int(page) if page.isdecimal() and 0 < int(page[:9]) < 10**6 else 1,
        as_csv=query.get("format") == "csv",
        others=tuple((name, value) for name, value in query.items() if name not in _OWN),
    )


def arranged(title: str, columns: Sequence[Column], rows: Sequence[Row], choice: Choice) -> Table:
    """Return the rows that match, in the order and on the page that were chosen; all of them for a CSV file."""
    wanted = choice.search.casefold()
    found = [row for row in rows if not wanted or any(wanted in _said(cell).casefold() for cell in row.values())]
    key = _sort_key(columns, choice)
    found.sort(key=lambda row: _order(row[key]), reverse=choice.descending)
    last = max(math.ceil(len(found) / PAGE_ROWS), 1)
    choice = replace(choice, page=min(choice.page, last))
    start, count = (0, MOST_CSV_ROWS) if choice.as_csv else ((choice.page - 1) * PAGE_ROWS, PAGE_ROWS)
    return Table(
        title=title,
        columns=tuple(columns),
        rows=tuple(found[start : start + count]),
        choice=choice,
        found=len(found),
        total=len(rows),
    )


def csv_of(table: Table) -> str:
    """Return the rows as CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([column.title for column in table.columns])
    for row in table.rows:
        writer.writerow([_plain(row[column.key]) for column in table.columns])
    return file.getvalue()


def _sort_key(columns: Sequence[Column], choice: Choice) -> str:
    known = [column.key for column in columns]
    return choice.sort if choice.sort in known else known[0]


def _order(cell: Cell) -> tuple[int, float, str]:
    value = cell.value if cell.value is not None else cell.time
    return (1, 0.0, cell.text.casefold()) if value is None else (0, value, cell.text.casefold())


def _said(cell: Cell) -> str:
    return f"{cell.text} {cell.note}"


FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _plain(cell: Cell) -> str | float:
    if cell.time is not None:
        return datetime.fromtimestamp(cell.time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if cell.value is not None and not cell.text:
        return cell.value
    return f"'{cell.text}" if cell.text.startswith(FORMULA) else cell.text
