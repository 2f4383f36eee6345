"""docs/rest-api.md lists the operations that the application has."""

from pathlib import Path
from typing import Any

import pytest

from runai_core.web.openapi import table

PAGE = Path(__file__).parents[3] / "docs" / "rest-api.md"
BEGIN = "<!-- operations: begin (made from the application; a test compares) -->\n"
END = "<!-- operations: end -->"


@pytest.mark.asyncio
async def test_the_table_of_operations_is_current(api: Any) -> None:
    written = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]

    assert written == table(api.app), f"put the new table between the markers of {PAGE.name}"
