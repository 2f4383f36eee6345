"""Trace files as rows of text, with errors that name file, line and column."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.resources import MAX_AMOUNT


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    file: Path
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """Return a cell; empty where the table does not have the column."""
        return self.cells.get(column, "").strip()

    def whole(self, column: str, *, least: int = 0, most: int = MAX_AMOUNT) -> int:
        """Return a cell as a whole number within bounds.

        Raises:
            InvalidRequest: it is not one.
        """
        try:
            value = int(self.text(column))
        except ValueError:
            raise self.wrong(column, "must be a whole number") from None
        if not least <= value <= most:
            raise self.wrong(column, f"must be from {least} to {most}")
        return value

    def number(self, column: str) -> float:
        """Return a cell as a finite number that is not negative.

        Raises:
            InvalidRequest: it is not one.
        """
        try:
            value = float(self.text(column))
        except ValueError:
            raise self.wrong(column, "must be a number") from None
        if not 0 <= value <= MAX_AMOUNT:
            raise self.wrong(column, f"must be from 0 to {MAX_AMOUNT}")
        return value

    def wrong(self, column: str, message: str) -> InvalidRequest:
        """Return the error that says what is wrong with a cell, and where it is."""
        return InvalidRequest.of(
            FieldError(f"{self.file}, line {self.line}, column {column}", message, self.text(column))
        )


def read_table(file: Path, required: Sequence[str]) -> list[Row]:
    """Return the rows of a file with comma-separated values and a line of titles.

    Raises:
        InvalidRequest: the file cannot be read, lacks a required column, or has no rows.
    """
    lines = _lines(file)
    titles = [title.strip() for title in next(lines, (1, []))[1]]
    missing = [column for column in required if column not in titles]
    if missing:
        raise InvalidRequest.of(
            FieldError(f"{file}, line 1", f"must have the columns {', '.join(required)}; {', '.join(missing)} missing")
        )
    return _rows(file, lines, titles)


def read_plain(file: Path, titles: Sequence[str], *, separator: str) -> list[Row]:
    """Return the rows of a file without a line of titles.

    Raises:
        InvalidRequest: the file cannot be read, has no rows, or one with another number of columns.
    """
    return _rows(file, _lines(file, separator), titles)


def _rows(file: Path, lines: Iterator[tuple[int, list[str]]], titles: Sequence[str]) -> list[Row]:
    rows = []
    for number, cells in lines:
        if len(cells) != len(titles):
            where = f"{file}, line {number}, column {min(len(cells), len(titles)) + 1}"
            raise InvalidRequest.of(FieldError(where, f"must have {len(titles)} columns", f"{len(cells)} columns"))
        rows.append(Row(file, number, dict(zip(titles, cells, strict=True))))
    if not rows:
        raise InvalidRequest.of(FieldError(str(file), "must have at least one line of data"))
    return rows


def _lines(file: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, with their numbers."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_MINIMAL)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except OSError as error:
        raise InvalidRequest.of(FieldError(str(file), f"cannot be read: {error.strerror or error}")) from None
    except UnicodeDecodeError:
        raise InvalidRequest.of(FieldError(str(file), "must be a text file in UTF-8")) from None
    except csv.Error as error:
        raise InvalidRequest.of(FieldError(str(file), f"cannot be read as a table: {error}")) from None
