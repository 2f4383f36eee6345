"""docs/lifecycle.md shows the table that the code runs on."""

from pathlib import Path

import pytest

from runai_core.lifecycle.diagram import table, with_current_parts
from runai_core.lifecycle.phases import TRANSITIONS
from runai_core.model.workload import Phase

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_current_parts(text), "run: python docs/lifecycle.py"


def test_the_table_has_a_line_for_each_transition() -> None:
    assert len(table().splitlines()) == 2 + sum(map(len, TRANSITIONS.values()))


@pytest.mark.parametrize("phase", list(Phase))
def test_each_phase_is_explained_in_words(phase: Phase) -> None:
    by_hand = PAGE.read_text(encoding="utf-8").split("## When a phase begins and ends")[1].split("##")[0]
    assert str(phase) in by_hand


def test_a_missing_marker_is_named() -> None:
    with pytest.raises(ValueError, match="begin diagram"):
        with_current_parts("# nothing here")
