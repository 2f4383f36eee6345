"""A list that is kept up to date: a live table on a terminal, a line for each change elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from runai_core.cli.output import Column, Form, choose, drawn, rows_of
from runai_core.client.sync.client import Client
from runai_core.model.errors import RunaiError

LOOK_ANYWAY = 2.0
"""Seconds without a change after which the list is looked at all the same."""

REFRESH = 0.5
"""Shortest time between two looks at the list, in seconds: a burst of changes is one look."""


def watch_table(client: Client, look: Callable[[], Sequence[Any]], columns: Sequence[Column], form: Form) -> None:
    """Show the list again after each change, until Ctrl-C."""
    shown = choose(columns, form.columns)
    show = _live if sys.stdout.isatty() else _lines
    show(client, look, shown, form)


def _live(client: Client, look: Callable[[], Sequence[Any]], columns: Sequence[Column], form: Form) -> None:
    from rich.live import Live

    def table() -> Any:
        titles = [column.title for column in columns]
        return drawn(titles, rows_of(look(), columns), headers=form.headers, columns=columns)

    with Live(table(), auto_refresh=False) as live:
        for _ in _changes(client):
            live.update(table(), refresh=True)


def _lines(client: Client, look: Callable[[], Sequence[Any]], columns: Sequence[Column], form: Form) -> None:
    if form.headers:
        click.echo("  ".join(column.title for column in columns))
    seen: dict[str, list[str]] = {}
    for _ in _changes(client):
        items = look()
        for item, row in zip(items, rows_of(items, columns), strict=True):
            if seen.get(item.id) != row:
                click.echo("  ".join(row))
                seen[item.id] = row
        for uid in seen.keys() - {item.id for item in items}:
            click.echo("  ".join([seen.pop(uid)[0], "(deleted)"]))


def _changes(client: Client) -> Iterator[None]:
    """Yield at once, and then after changes, not more often than `REFRESH`; a burst of changes is one.

    Raises:
        RunaiError: what ended the watch.
    """
    changed, ended = threading.Event(), []

    def follow() -> None:
        try:
            for _ in client.watch():
                changed.set()
        except RunaiError as error:
            ended.append(error)
        changed.set()

    threading.Thread(target=follow, daemon=True).start()
    while not ended:
        yield None
        time.sleep(REFRESH)
        # Not for ever: what changed before the watch had begun is not told, and ages grow.
        changed.wait(LOOK_ANYWAY)
        changed.clear()
    raise ended[0]
