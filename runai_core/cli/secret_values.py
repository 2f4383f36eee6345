"""Secrets in options: what is on a command line can be seen by others of the machine, so files can be named instead."""

import sys
from pathlib import Path

from runai_core.model.errors import FieldError, InvalidRequest


def secret_text(option: str, value: str) -> str:
    """Return the value of an option, or what the file holds that ``@FILE`` names; ``@-`` is standard input.

    Raises:
        InvalidRequest: the file cannot be read; names the option.
    """
    if not value.startswith("@"):
        return value
    try:
        text = sys.stdin.read() if value == "@-" else Path(value[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidRequest.of(FieldError(option, f"cannot be read: {why}", value)) from None
    return text.rstrip("\n")
