"""Errors as the shell sees them: readable lines on standard error, and a code."""

import os
import traceback
from collections.abc import Mapping

import click

from runai_core.cli.output import printable
from runai_core.model import errors
from runai_core.model.errors import InvalidRequest, PolicyViolation, RunaiError

EXIT_CODES: Mapping[type[BaseException], int] = {
    errors.InvalidRequest: 2,
    errors.TooLarge: 2,
    errors.Unsupported: 2,
    errors.Unauthenticated: 3,
    errors.Forbidden: 3,
    errors.NotFound: 4,
    errors.Conflict: 5,
    errors.Unavailable: 6,
    errors.WatchExpired: 1,
    TimeoutError: 7,
}
"""Exit code of each branch of the exception tree (drawn in `model.errors`); a time-out of ours is 7."""

MAX_LINE = 500
"""Characters of one line of an error; names of 10,000 characters are not repeated in full."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error; 1 for one that the table does not know."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)


def report(error: BaseException) -> int:
    """Tell an error on standard error and return the exit code."""
    if os.environ.get("RUNAI_DEBUG"):
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 0  # the reader of our output had enough
    for said in lines_of(error):
        line = printable(said, keeps="\n")
        click.echo(line if len(line) <= MAX_LINE else line[:MAX_LINE] + "...", err=True)
    return exit_code(error)


def lines_of(error: BaseException) -> list[str]:
    """Return what is said of an error: one line, or one for each field that is wrong."""
    if isinstance(error, InvalidRequest) and error.errors:
        title = "not allowed by policy" if isinstance(error, PolicyViolation) else "invalid request"
        fields = [str(field) for field in error.errors]
        return [f"Error: {fields[0]}"] if len(fields) == 1 else [f"Error: {title}:", *(f"  {text}" for text in fields)]
    if isinstance(error, RunaiError):
        return [f"Error: {error.message}"]
    if isinstance(error, OSError):
        return [f"Error: {error.filename or ''}: {error.strerror or error}".replace(": : ", ": ")]
    if isinstance(error, TimeoutError):
        return [f"Error: {error}"]
    return [
        f"Error: something went wrong that should not have ({type(error).__name__}: {error})",
        "Run the command again with RUNAI_DEBUG=1 to see where, and tell the authors.",
    ]
