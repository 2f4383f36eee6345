"""docs/api-coverage.md says of every operation of runapy whether it is there; no reason is missing."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tool() -> Any:
    """Return tools/api_coverage.py as a module."""
    found = importlib.util.spec_from_file_location("api_coverage", ROOT / "tools" / "api_coverage.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["api_coverage"] = module
    found.loader.exec_module(module)
    return module


def test_the_table_is_up_to_date(tool: Any) -> None:
    assert tool.PAGE.read_text() == tool.current(), "run python tools/api_coverage.py"


def test_every_operation_that_is_not_there_has_its_reason(tool: Any) -> None:
    missing = [line for line in tool.current().splitlines() if line.endswith("no: not done yet |")]

    assert missing == []


def test_a_parameter_of_certain_words_stands_for_each_of_them(tool: Any) -> None:
    lines = tool.current().splitlines()

    assert "| `get_training_policy_v2` | `GET /api/v2/policy/trainings` | yes |" in lines
    assert any(line.startswith("| `get_nim_service_policy` |") and "| no:" in line for line in lines)
