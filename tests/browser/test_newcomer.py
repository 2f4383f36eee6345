"""The first minute: from the link that `runai up` prints to a workload that was submitted, stopped and deleted."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browsers import DESKTOP, PHONE
from tests.waiting import PATIENCE

LINK = re.compile(r"http://\S+/login\?ticket=\S+")
MILLISECONDS = PATIENCE * 1000

SUBMITTED = re.compile(r"/workloads/[0-9a-f-]{36}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the data directory of an orchestrator that was started, and is ended, with the commands of users."""
    folder = tmp_path_factory.mktemp("newcomer") / "data"
    yield folder
    runai(folder, "down")


def runai(data: Path, *words: str) -> str:
    """Return what a command prints."""
    command = [sys.executable, "-m", "runai_core.cli.main", *words]
    environment = {**os.environ, "RUNAI_DATA_DIR": str(data)}
    done = subprocess.run(command, env=environment, check=True, timeout=240, capture_output=True, text=True)
    return done.stdout + done.stderr


def from_link(chromium: Browser, data: Path) -> Page:
    """Return a page that was opened with the printed link."""
    found = LINK.search(runai(data, "up", "--simulated-gpus", "2"))
    assert found is not None, "runai up prints a link"
    page = chromium.new_context(viewport=DESKTOP, reduced_motion="reduce").new_page()
    page.set_default_timeout(MILLISECONDS)
    page.goto(found[0])
    page.wait_for_url("**/workloads")
    return page


def test_a_newcomer_submits_watches_stops_and_deletes_a_workload(chromium: Browser, data: Path) -> None:
    page = from_link(chromium, data)
    page.get_by_role("link", name="New workspace").click()
    page.get_by_label("Name required").fill("Hello World")
    page.get_by_label("Command", exact=True).fill("sleep 600")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("lower-case letters")
    expect(page.get_by_label("Command", exact=True)).to_have_value("sleep 600")
    page.get_by_label("Name required").fill("hello")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(SUBMITTED)
    expect(page.locator("#state .badge")).to_have_text("Running")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workloads").click()
    tools = page.get_by_role("toolbar")
    for action, left in (("Stop", "Stopped"), ("Delete", "")):
        page.get_by_label("Choose hello").check()
        tools.get_by_role("button", name=action).click()
        page.get_by_role("dialog").get_by_role("button", name=action).click()
        if left:
            expect(page.locator("tbody .badge")).to_have_text(left)
    expect(page.get_by_role("heading", name="Run your first workload")).to_be_visible()


def test_a_form_survives_a_session_that_is_another_one_or_gone(chromium: Browser, data: Path) -> None:
    page = from_link(chromium, data)
    base = page.url.removesuffix("/workloads")
    page.goto(f"{base}/projects/new")
    page.get_by_label("Name required").fill("precious")
    again = LINK.search(runai(data, "up"))
    assert again is not None
    other = page.context.new_page()
    other.goto(again[0])
    other.wait_for_url("**/workloads")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#notices")).to_contain_text("send it again")
    expect(page.get_by_label("Name required")).to_have_value("precious")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#notices")).to_contain_text("precious is there")

    page.goto(f"{base}/departments/new")
    page.get_by_label("Name required").fill("kept-too")
    page.context.clear_cookies()
    page.get_by_role("button", name="Create").click()

    expect(page.locator("#notices")).to_contain_text("Your session has ended")
    expect(page.get_by_label("Name required")).to_have_value("kept-too")


def test_on_a_phone_each_row_is_a_card_that_shows_what_matters(chromium: Browser, data: Path) -> None:
    runai(data, "up")
    runai(data, "training", "submit", "on-a-phone", "-p", "default", "--", "sleep", "600")
    page = from_link(chromium, data)
    page.set_viewport_size(PHONE)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="on-a-phone"))
    expect(row.locator(".badge")).to_have_text("Running")
    for cell in (row.get_by_role("link", name="on-a-phone"), row.locator(".badge"), row.locator("time")):
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()

    page.get_by_label("Choose on-a-phone").check()

    expect(page.get_by_role("button", name="Stop")).to_be_visible()
