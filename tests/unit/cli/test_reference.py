"""docs/cli.md: its reference is generated from the commands, so that it cannot be out of date.

``python tests/unit/cli/test_reference.py`` writes it anew.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from runai_core.cli.main import COMMANDS, cli, load

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"
MARK = "<!-- generated: below this line -->\n"


def reference() -> str:
    """Return the reference: a section for each group of commands, a table for each command."""
    lines = ["", "## Reference", ""]
    section = ""
    for name, entry in COMMANDS.items():
        if entry.section != section:
            section = entry.section
            lines += [f"### {section}", ""]
        for path, command in walk((name,), load(entry.home)):
            lines += block(path, command)
    return "\n".join(lines).rstrip() + "\n"


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the commands below a command, without repeating what is the same elsewhere."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, below in command.commands.items():
        if not below.hidden:
            yield from walk((*path, name), below)


def block(path: tuple[str, ...], command: click.Command) -> list[str]:
    """Return the part of the document about one command."""
    context = click.Context(command, info_name="runai " + " ".join(path), parent=None)
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = (command.help or "").replace("\b\n", "").strip()
    rows = [option.get_help_record(context) for option in command.params if isinstance(option, click.Option)]
    table = [f"| `{cell(row[0])}` | {cell(row[1])} |" for row in rows if row]
    head = ["| Option | Meaning |", "| --- | --- |"] if table else []
    return [f"#### `{' '.join(usage.split())}`", "", text, "", *head, *table, ""]


def cell(text: str) -> str:
    """Return text that may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def test_the_reference_is_that_of_the_commands() -> None:
    written = DOCUMENT.read_text().partition(MARK)[2]

    assert written == reference(), f"run python {__file__}"


def examples() -> list[str]:
    """Return the command lines in the examples of the document."""
    text = DOCUMENT.read_text().partition(MARK)[0]
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("runai ")]


@pytest.mark.parametrize("line", examples())
def test_each_example_names_commands_and_options_that_exist(line: str) -> None:
    words = shlex.split(line.partition(" #")[0])[1:]
    words = words[: words.index("--")] if "--" in words else words
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no {name}"
        command = found
    known = {name for option in command.params if isinstance(option, click.Option) for name in option.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


if __name__ == "__main__":
    DOCUMENT.write_text(DOCUMENT.read_text().partition(MARK)[0] + MARK + reference())
