"""Write the generated parts of docs/lifecycle.md: ``python docs/lifecycle.py``."""

# ruff: noqa: INP001  docs is a folder of pages, not a package

from pathlib import Path

from runai_core.lifecycle.diagram import with_current_parts

PAGE = Path(__file__).with_name("lifecycle.md")

if __name__ == "__main__":
    PAGE.write_text(with_current_parts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
