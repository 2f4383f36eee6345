"""docs/cli.md: its reference is generated from the commands, so that it cannot be out of date.

``python tests/unit/cli/test_reference.py`` writes it anew.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import pytest

from runai_core.cli.building import click_option
from runai_core.cli.main import COMMANDS, cli, load
from runai_core.cli.options import ALL, FLAGS, Flag
from runai_core.cli.submit import CommandLine
from runai_core.cli.v1_options import DIST_FLAGS, TRAINING_FLAGS
from runai_core.cli.v1_options import FLAGS as V1_FLAGS

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"
MARK = "<!-- generated: below this line -->\n"


def reference() -> str:
    """Return the reference: the flags of submit in one table, then each command; what is the same is told once."""
    told: dict[tuple[object, ...], str] = {}
    order = ["workload", *(name for name in COMMANDS if name != "workload")]
    blocks = {name: list(told_once(name, told)) for name in order}
    lines = ["", "## Reference", "", *flag_table("Flags of submit", FLAGS, ALL)]
    v1 = [replace(flag, on=frozenset({"submit", "submit-dist"})) for flag in V1_FLAGS]
    v1 += [replace(flag, on=frozenset({"submit"})) for flag in TRAINING_FLAGS]
    v1 += [replace(flag, on=frozenset({"submit-dist"})) for flag in DIST_FLAGS]
    lines += flag_table("Flags of submit and submit-dist in v1", v1, frozenset({"submit", "submit-dist"}))
    for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
        lines += [f"### {section}", ""]
        lines += [line for name, entry in COMMANDS.items() if entry.section == section for line in blocks[name]]
    return "\n".join(lines).rstrip() + "\n"


def flag_table(title: str, flags: Sequence[Flag], everything: frozenset[str]) -> list[str]:
    """Return a table of flags: how each is written, what it means, which commands have it."""
    rows = [f"### {title}", "", "| Flag | Meaning | Commands |", "| --- | --- | --- |"]
    for flag in flags:
        record = click_option(flag).get_help_record(click.Context(cli))
        assert record is not None
        on = "all" if flag.on == everything else ", ".join(sorted(flag.on))
        rows.append(f"| `{cell(record[0])}` | {cell(record[1])} | {on} |")
    return [*rows, ""]


def told_once(name: str, told: dict[tuple[object, ...], str]) -> Iterator[str]:
    """Yield what is new below a command; what another one does in the same way is only named."""
    same: dict[str, list[str]] = {}
    for path, command in walk((name,), load(COMMANDS[name].home)):
        options = tuple(option.opts[0] for option in command.params)
        other = told.setdefault((path[-1], options), " ".join(path))
        if other == " ".join(path):
            yield from block(path, command)
        else:
            same.setdefault(" ".join(other.split()[:-1]) or other, []).append(" ".join(path[1:]) or path[0])
    for other, names in same.items():
        yield from (f"`runai {name}` has these as `runai {other}`: {', '.join(names)}.", "")


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the commands below a command."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, below in command.commands.items():
        if not below.hidden:
            yield from walk((*path, name), below)


def block(path: tuple[str, ...], command: click.Command) -> list[str]:
    """Return the part of the document about one command; flags that become the request are in the table above."""
    context = click.Context(command, info_name="runai " + " ".join(path), parent=None)
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = (command.help or "").replace("\b\n", "").strip()
    options = [option for option in command.params if isinstance(option, click.Option)]
    if any(isinstance(command, CommandLine) and name in path for name in ("submit", "submit-dist", "update")):
        options = [option for option in options if option.opts[-1] not in IN_TABLE]
    rows = [record for option in options if (record := option.get_help_record(context))]
    table = [f"| `{cell(row[0])}` | {cell(row[1])} |" for row in rows]
    head = ["| Option | Meaning |", "| --- | --- |"] if table else []
    return [f"#### `{' '.join(usage.split())}`", "", text, "", *head, *table, ""]


IN_TABLE = {flag.names[-1] for flag in (*FLAGS, *V1_FLAGS, *TRAINING_FLAGS, *DIST_FLAGS)}


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
