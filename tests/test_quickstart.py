"""The quick start, run as it is written: every command, every line of output that it shows."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON_PRINTS = re.compile(r"^It prints `(.+)`\.$", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """Return the page's commands, each with the output that it shows; Python is run as a program."""
    text = PAGE.read_text()
    found: list[tuple[str, str]] = []
    for kind, body in BLOCK.findall(text):
        if kind == "python":
            found.append((f"python - <<'END'\n{body}END", PYTHON_PRINTS.findall(text)[0]))
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def matches(shown: str, printed: str) -> bool:
    """Return whether what was printed is what the page shows; `...` stands for anything."""
    pattern = ".*".join(re.escape(" ".join(piece.split())) for piece in shown.split("..."))
    return re.fullmatch(rf"\s*{pattern}\s*", " ".join(printed.split())) is not None


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine where nothing of ours runs, and nothing is left running."""
    programs = str(Path(sys.executable).parent)
    values = os.environ | {"RUNAI_DATA_DIR": str(tmp_path / "data"), "PATH": f"{programs}:{os.environ['PATH']}"}
    yield values
    subprocess.run(["runai", "down"], env=values, check=False, capture_output=True, timeout=150)


@pytest.mark.slow
def test_the_quick_start_works_as_it_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=150,
        )

        what = f"$ {command}\n{textwrap.indent(done.stdout + done.stderr, '  ')}\nshown: {shown!r}"
        assert done.returncode == 0, what
        assert matches(shown, done.stdout + done.stderr), what


def test_the_quick_start_has_commands_to_run() -> None:
    commands = [command for command, _ in steps()]

    assert commands[0].startswith("runai up")
    assert commands[-1] == "runai down"
    assert len(commands) > 12


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("hello", "hello\n", True),
        ("...default...", "NAME  STATUS\ndefault  Ready\n", True),
        ("...", "", True),
        ("hello", "hello there", False),
        ("...giant...", "nothing", False),
    ],
)
def test_dots_stand_for_anything_and_nothing_else_does(shown: str, printed: str, expected: bool) -> None:
    assert matches(shown, printed) is expected
