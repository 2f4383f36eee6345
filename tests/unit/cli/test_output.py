"""Tables on a terminal."""

import io

from rich.console import Console

from runai_core.cli.columns import WORKLOADS
from runai_core.cli.output import drawn, rows_of
from runai_core.client.results import Workload, parse

ROW = {
    "id": "1",
    "name": "bert-finetune-01",
    "type": "Training",
    "phase": "Initializing",
    "projectName": "default",
    "preemptible": True,
    "runningPods": 1,
    "requestedPods": {"number": 1},
    "allocatedResources": {"gpu": 8},
}


def shown_on_a_terminal(row: dict[str, object]) -> list[str]:
    """Return the list with one workload as a terminal of 80 columns shows it."""
    shown = [column for column in WORKLOADS if column.shown]
    titles = [column.title for column in shown]
    table = drawn(titles, rows_of([parse(Workload, row)], shown), columns=shown)
    said = io.StringIO()
    Console(width=80, file=said).print(table)
    return said.getvalue().splitlines()


def test_a_list_of_workloads_fits_a_terminal_of_80_columns() -> None:
    lines = shown_on_a_terminal(ROW)

    assert lines[-1].split() == ["bert-finetune-01", "Training", "Initializing", "default", "Yes", "1/1", "8.00"]
    assert " ".join(lines[0].split()) == "Preempt- Running/ GPU"
    assert " ".join(lines[1].split()) == "Workload Type Status Project ible Req.Pods Alloc."


def test_a_long_name_is_cut_before_a_title_is() -> None:
    lines = shown_on_a_terminal({**ROW, "name": "a" * 63})

    assert "…" in lines[-1]
    assert " ".join(lines[0].split()) == "Preempt- Running/ GPU"
    assert lines[-1].split()[-3:] == ["Yes", "1/1", "8.00"]
