"""The Workloads view as people use it."""

import csv
import io
import shlex

import pytest
from playwright.sync_api import Page, expect

from tests.browsers import Visitor, assert_accessible, assert_fits
from tests.orchestrators import OrchestratorProcess

SLEEP = ["sleep", "600"]


def row(page: Page, name: str) -> str:
    return f"#list tr:has(a:text-is('{name}'))"


def choose(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_label(f"Choose {name}", exact=True).check()


def confirm(page: Page, action: str) -> None:
    """Press an action and then what the question offers."""
    page.get_by_role("toolbar").get_by_role("button", name=action, exact=True).click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name=action, exact=True).click()
    expect(page.locator("#notices .notice")).to_be_visible()


def test_a_newcomer_submits_watches_stops_and_deletes(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_role("heading", name="Run your first workload")).to_be_visible()
    assert_fits(page)
    assert_accessible(page)

    page.get_by_role("link", name="New workspace").click()
    page.get_by_label("Name required").fill("first")
    page.get_by_label("Command").fill("sleep 600")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#notices")).to_have_text("default/first is submitted.")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workloads").click()

    expect(page.locator(row(page, "first")).locator(".badge")).to_have_text("Running")

    choose(page, "first")
    confirm(page, "Stop")
    expect(page.locator(row(page, "first")).locator(".badge")).to_have_text("Stopped")

    choose(page, "first")
    confirm(page, "Delete")
    expect(page.locator("#total")).to_have_text("0 workloads")


@pytest.fixture(scope="module")
def crowd(server: OrchestratorProcess) -> OrchestratorProcess:
    """Return the orchestrator with workloads of several kinds and states."""
    for index in range(3):
        server.submit(f"train-{index}", SLEEP, compute={"gpuDevicesRequest": 2})
    server.submit("giant", SLEEP, compute={"gpuDevicesRequest": 64})
    server.submit("lab", SLEEP, kind="workspaces", ports=[{"container": 8888, "toolType": "jupyter-notebook"}])
    server.submit("gang", SLEEP, kind="distributed", numWorkers=2, distributedFramework="PyTorch")
    done = server.submit("quick", ["true"])
    server.wait(done)
    server.wait(server.submit("broken", ["false"], backoffLimit=0))
    return server


def names(page: Page) -> list[str]:
    return page.locator("#list tbody td:nth-child(2) a").all_inner_texts()


def test_the_table_is_filtered_searched_and_sorted_and_its_address_says_so(
    visitor: Visitor, crowd: OrchestratorProcess
) -> None:
    page = visitor.go("/workloads")

    page.locator("#filters [name=phase]").select_option("Pending")
    expect(page.locator("#total")).to_have_text("1 workload")
    assert names(page) == ["giant"]
    assert "phase=Pending" in page.url

    page.get_by_role("link", name="Clear").click()
    page.get_by_label("Search by name").fill("train")
    expect(page.locator("#total")).to_have_text("3 workloads")
    page.wait_for_url("**search=train*")
    page.locator("#sort-name").click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Workload")
    assert names(page) == ["train-0", "train-1", "train-2"]
    page.locator("#sort-name").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Workload")
    assert names(page) == ["train-2", "train-1", "train-0"]

    page.reload()
    assert names(page) == ["train-2", "train-1", "train-0"]
    page.locator("#filters [name=type]").select_option("Workspace")
    expect(page.get_by_role("heading", name="No workload matches")).to_be_visible()


def turn_columns(page: Page, *titles: str) -> None:
    """Choose the columns that are not shown, and leave those that are, in the open menu."""
    menu = page.locator(".sheet.columns")
    for title in titles:
        menu.get_by_label(title, exact=True).click()
    menu.get_by_role("button", name="Keep").click()


def test_columns_are_chosen_and_kept(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads?sort=name&order=asc")
    page.locator("summary", has_text="Columns").click()
    turn_columns(page, "Image", "Nodes", "CPU used", "User")

    expect(page.locator("#list th", has_text="Image")).to_have_count(1)
    heads = page.locator("#list th").all_inner_texts()
    assert {"Image", "Nodes", "CPU used"} <= set(heads)
    assert "User" not in heads
    assert "sort=name" in page.url

    visitor.context.clear_cookies()  # as in another browser
    visitor.sign_in()
    page = visitor.go("/workloads")
    expect(page.locator("#list th", has_text="Image")).to_have_count(1)
    page.locator("summary", has_text="Columns").click()
    turn_columns(page, "Image", "Nodes", "CPU used", "User")
    expect(page.locator("#list th", has_text="Image")).to_have_count(0)


def test_the_page_follows_what_happens_and_keeps_what_is_chosen(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads")
    choose(page, "lab")

    crowd.submit("newcomer", SLEEP)

    expect(page.locator(row(page, "newcomer")).locator(".badge")).to_have_text("Running")
    expect(page.get_by_label("Choose lab", exact=True)).to_be_checked()
    expect(page.locator("#picked")).to_have_text("1 chosen")


def test_the_csv_has_what_the_filters_leave(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads?search=train")
    page.locator("summary", has_text="More").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()

    assert download.value.suggested_filename == "workloads.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert [row["Workload"] for row in rows] == ["train-2", "train-1", "train-0"]
    assert {row["GPU requested"] for row in rows} == {"2"}


def test_an_action_on_several_says_first_what_will_happen(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads")
    choose(page, "train-0", "quick")
    page.get_by_role("toolbar").get_by_role("button", name="Stop", exact=True).click()

    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("Stop 1 workload?")
    expect(dialog).to_contain_text("It ends its 1 running pod")
    expect(dialog).to_contain_text("Left as they are")
    assert_accessible(page)
    assert_fits(page)
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    assert crowd.get("/api/v1/workloads", filterBy="name==train-0")["workloads"][0]["phase"] == "Running"

    page.get_by_role("toolbar").get_by_role("button", name="Stop", exact=True).click()
    page.locator("dialog[open]").get_by_role("button", name="Stop").click()
    expect(page.locator("#notices .notice")).to_have_text("1 workload is asked to stop.")
    expect(page.locator(row(page, "train-0")).locator(".badge")).to_have_text("Stopped")
    choose(page, "train-0")
    confirm(page, "Run")
    expect(page.locator(row(page, "train-0")).locator(".badge")).to_have_text("Running")


def test_a_clone_is_a_form_filled_in_as_the_workload_was(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads")
    choose(page, "lab")
    page.get_by_role("toolbar").get_by_role("button", name="Clone").click()
    page.wait_for_url("**/workloads/new/workspace?clone=*")

    assert "sleep 600" in page.content()


def test_everything_can_be_done_with_the_keyboard(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads?search=lab")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    reach(page, "Choose lab")
    page.keyboard.press("Space")
    expect(page.locator("#picked")).to_have_text("1 chosen")

    page.keyboard.press("Shift+Tab")
    page.locator("button[data-action=stop]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def reach(page: Page, label: str) -> None:
    """Press Tab until what is called so has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == label:
            return
    raise AssertionError(f"{label} cannot be reached with the keyboard")


HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\"'`${7*7}{{7*7}}"


def test_what_people_type_stays_text(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    uid = crowd.submit(
        "hostile",
        ["sh", "-c", f"echo {shlex.quote(HOSTILE)}; sleep 600"],
        kind="workspaces",
        image=HOSTILE.replace(" ", "/"),
        environmentVariables=[{"name": "A", "value": HOSTILE}],
        ports=[{"container": 8080, "name": HOSTILE, "toolName": HOSTILE}],
        relatedUrls=[{"url": "https://x.invalid/", "name": HOSTILE}],
    )
    crowd.wait(uid, frozenset({"Running"}))
    for path in (
        "/workloads",
        f"/workloads?search={HOSTILE}&user={HOSTILE}&project={HOSTILE}&type={HOSTILE}&pool={HOSTILE}&sort={HOSTILE}",
        f"/workloads/{HOSTILE.replace('/', '%2F')}",
        *(f"/workloads/{uid}?tab={tab}&search={HOSTILE}&pod={HOSTILE}&range={HOSTILE}&start={HOSTILE}" for tab in TABS),
    ):
        page = visitor.go(path)
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None, path
        assert page.locator("main img").count() == 0, path
        assert page.locator("a[href^='javascript']").count() == 0, path


TABS = ("events", "metrics", "logs", "pods", "connect", "copy")


def test_anybody_can_read_it(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads?sort=name&order=asc")

    assert_accessible(page)
    assert_fits(page)


def test_menus_can_be_read_by_anybody(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads")
    for menu in ("Columns", "More", "New workload"):
        page.locator("summary", has_text=menu).click()
        expect(page.locator("details.drop[open] .sheet")).to_be_visible()
        assert_accessible(page)
        page.keyboard.press("Escape")
        expect(page.locator("details.drop[open]")).to_have_count(0)


def test_a_long_reason_is_opened_with_the_keyboard_and_stays_open(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads?search=giant&sort=name&order=asc")
    why = page.locator("#list details.why").first
    expect(why).not_to_have_attribute("open", "")
    why.locator("summary").press("Enter")
    expect(why).to_have_attribute("open", "")

    other = crowd.submit("giant-too", SLEEP, compute={"gpuDevicesRequest": 64})

    expect(page.locator("#total")).to_have_text("2 workloads")
    expect(why).to_have_attribute("open", "")
    crowd.client.delete(f"/api/v1/workloads/{other}")


def test_the_theme_is_switched_and_kept(visitor: Visitor, crowd: OrchestratorProcess) -> None:
    page = visitor.go("/workloads")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 27)"
