"""A real orchestrator, and a real Chromium that looks at its pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browsers import DESKTOP, FLAGS, Visitor
from tests.orchestrators import OrchestratorProcess, an_orchestrator

NODES = [
    {"name": "node-a", "gpus": 4, "cpu": 16, "memory": "64Gi"},
    {"name": "node-b", "gpus": 4, "cpu": 16, "memory": "64Gi"},
]

expect.set_options(timeout=60_000)  # a busy machine may take long; what is there is seen at once


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """Return an orchestrator with eight simulated GPUs, for the tests of one file."""
    with an_orchestrator(tmp_path_factory.mktemp("browser"), NODES) as orchestrator:
        yield orchestrator


# Not for the session: Playwright keeps an event loop running in this thread, and no asynchronous test could follow.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Return the machine's Chromium; tests are skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: tools/debian install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser, server: OrchestratorProcess) -> Iterator[Visitor]:
    """Return somebody who has just signed in."""
    context = chromium.new_context(viewport=DESKTOP, reduced_motion="reduce")
    visitor = Visitor(context, server)
    visitor.sign_in()
    yield visitor
    context.close()
    assert visitor.complaints == []


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark every test here: they need a browser."""
    for item in items:
        if Path(__file__).parent in Path(str(item.fspath)).parents:
            item.add_marker(pytest.mark.browser)
