"""Break a rule, and see that the tests of the engine fail."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("mutations", ROOT / "tests" / "mutations.py")
assert _spec is not None
assert _spec.loader is not None
mutations = importlib.util.module_from_spec(_spec)
sys.modules["mutations"] = mutations
_spec.loader.exec_module(mutations)

SUITE = ("tests/unit/engine/test_behaviour.py", "tests/unit/engine", "tests/test_invariants.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.rule)
def test_the_suite_notices_a_broken_rule(mutation, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(ROOT / "runai_core", tmp_path / "runai_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "runai_core" / "engine" / mutation.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.text) == 1, f"{mutation.file} has changed: bring the mutation up to date"
    file.write_text(text.replace(mutation.text, mutation.broken), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *SUITE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CI": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )

    assert done.returncode == 1, done.stdout[-2000:]
    assert "failed" in done.stdout
