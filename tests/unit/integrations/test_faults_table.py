"""The table of faults in the documents names tests that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("airflow", "mlflow", "kubeflow", "ray", "spark", "kubevirt", "seldon")


def rows() -> Iterator[tuple[str, str, str]]:
    """Return each fault, tool and what the table says of them."""
    text = (ROOT / "docs" / "integrations.md").read_text()
    table = text.partition("## What can go wrong")[2].partition("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(TOOLS) + 1 and cells[0] and not cells[0].startswith("---"):
            for tool, cell in zip(TOOLS, cells[1:], strict=True):
                yield cells[0], tool, cell


def names_for(tool: str) -> str:
    """Return the text of the tests in which the table's words are looked for."""
    folders = [ROOT / "integrations" / tool / "tests"]
    if tool == "seldon":
        folders.append(ROOT / "tests" / "cluster")
    files = (file for folder in folders for file in folder.rglob("test_*.py"))
    return "\n".join(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in files)))


@pytest.mark.parametrize(("fault", "tool", "cell"), list(rows()), ids=lambda value: value[:40])
def test_every_fault_has_a_test_with_every_tool_or_a_reason(fault: str, tool: str, cell: str) -> None:
    words = re.findall(r"`(\w+)`", cell)

    assert cell, f"{fault}: nothing is said of {tool}"
    assert [word for word in words if word not in names_for(tool)] == []


def test_the_table_is_found() -> None:
    assert len(list(rows())) >= 11 * len(TOOLS)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_first_example_of_each_readme_is_run_as_a_test(tool: str) -> None:
    assert "example_of_the_readme_runs" in names_for(tool)
