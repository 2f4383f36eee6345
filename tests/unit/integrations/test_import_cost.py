"""Every command imports the module of every plug-in: each must cost next to nothing."""

import subprocess
import sys

import pytest

PLUGINS = ("airflow", "kubeflow", "kubevirt", "mlflow", "ray", "seldon", "spark")
LIMIT = 50.0
"""Milliseconds of processor time that a plug-in may add (issue: import cost of each ``plugin.py``)."""

TRIES = 3

PROGRAM = """
import importlib, sys, time
import runai_core.plugins.manager, runai_core.plugins.grouping, runai_core.plugins.types
began = time.process_time()
importlib.import_module(sys.argv[1])
print((time.process_time() - began) * 1000)
"""


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_is_imported_in_next_to_no_time(name: str) -> None:
    assert min(_milliseconds(name) for _ in range(TRIES)) < LIMIT


def _milliseconds(name: str) -> float:
    command = [sys.executable, "-c", PROGRAM, f"runai_{name}.plugin"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


if __name__ == "__main__":
    for plugin in PLUGINS:
        sys.stdout.write(f"{plugin:9} {min(_milliseconds(plugin) for _ in range(5)):6.1f} ms\n")
