"""What tools said in tests, kept in the documents: ``RUNAI_TRANSCRIPTS=1`` renews the page between its marks."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "integrations.md"
KEEPS = bool(os.environ.get("RUNAI_TRANSCRIPTS"))
WIDTH = 150
"""Longest line that is kept."""


def runai(*words: str, environ: Mapping[str, str]) -> str:
    """Return a command and what it said, as a terminal shows them."""
    command = [sys.executable, "-m", "runai_core.cli.main", *words]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120, check=False
    )
    return f"$ runai {' '.join(words)}\n{done.stdout}{done.stderr}"


def keep(name: str, said: str) -> None:
    """Write what was said into the document, where transcripts are kept; long lines are cut."""
    if not KEEPS:
        return
    lines = (line if len(line) <= WIDTH else f"{line[:WIDTH]} ..." for line in said.rstrip().splitlines())
    block = f"<!-- transcript {name} -->\n```text\n" + "\n".join(lines) + "\n```\n<!-- end -->"
    text = DOCUMENT.read_text()
    changed, count = re.subn(
        rf"<!-- transcript {name} -->.*?<!-- end -->", lambda _: block, text, count=1, flags=re.DOTALL
    )
    assert count, f"{DOCUMENT} has no place for the transcript {name}"
    DOCUMENT.write_text(changed)
