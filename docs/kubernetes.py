"""Write the tables of docs/kubernetes.md: ``python docs/kubernetes.py``."""

# ruff: noqa: INP001  docs is a folder of pages, not a package

from pathlib import Path

from runai_core.operator.install.tables import with_current_tables

PAGE = Path(__file__).with_name("kubernetes.md")

if __name__ == "__main__":
    PAGE.write_text(with_current_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
