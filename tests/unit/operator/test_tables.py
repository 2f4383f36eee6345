"""The administrator's page shows what is installed."""

from pathlib import Path

from runai_core.operator.install.tables import with_current_tables

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "kubernetes.md"


def test_the_tables_are_those_of_the_manifests() -> None:
    text = PAGE.read_text()

    assert with_current_tables(text) == text, "run python docs/kubernetes.py"
