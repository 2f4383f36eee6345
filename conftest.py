"""What all tests share: Ctrl-C, failures that are told at once, and an end for tests that hang."""

import faulthandler
import hashlib
import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

HANGS = 60.0
"""Seconds after a test's own time limit: pytest-timeout has raised in it by then, and it neither failed nor ended."""

STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C be tested: a shell that starts us in the background makes us, and all we start, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.stash[STDERR] = os.dup(2)
    config.pluginmanager.register(_TellsAtOnce(config), "tells-failures-at-once")


class _TellsAtOnce:
    """A run that is cut off has said what failed until then."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.write_line(f"\nFAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)")
            reporter.write_line(report.longreprtext[-4000:])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process of a test that cannot even be interrupted; with several processes the others go on."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker and marker.args else item.config.getini("timeout") or 0)
    if limit:
        faulthandler.dump_traceback_later(limit + HANGS, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        if (note := _note_of(item)) is not None:
            note.unlink(missing_ok=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test in which a process was ended before: pytest-xdist gives it to the next process."""
    note = _note_of(item)
    if note is None:
        return
    if note.exists():
        pytest.fail("a process was ended because this test hung: its stacks are above", pytrace=False)
    note.touch()


def _note_of(item: pytest.Item) -> Path | None:
    """Return the file that is there while the test runs in one of several processes."""
    worker = getattr(item.config, "workerinput", None)
    if worker is None:
        return None
    name = hashlib.sha256(item.nodeid.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"runai-test-{worker['testrunuid']}-{name}"
