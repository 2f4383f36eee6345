"""New Workload in a browser: what policies say stands at each field, and nothing that was typed is lost."""

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.browsers import Visitor, assert_accessible, assert_fits
from tests.orchestrators import OrchestratorProcess

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&"

POLICY = {
    "defaults": {"compute": {"cpuCoreRequest": 0.5}, "priorityClass": "medium", "workingDir": "/tmp"},
    "rules": {
        "workingDir": {"canEdit": False},
        "compute": {"gpuDevicesRequest": {"max": 2}, "gpuMemoryLimit": {"blocked": True}},
        "category": {"options": [{"value": "Train"}, {"value": "Build"}]},
    },
}


@pytest.fixture(scope="module")
def strict(server: OrchestratorProcess) -> str:
    """Return a project with a policy for trainings."""
    server.post("/api/v1/org-unit/projects", {"name": "strict", "parentId": "default"}).raise_for_status()
    body = {"meta": {"scope": "project", "projectId": "strict", "name": "strict"}, "policy": POLICY}
    server.client.put("/api/v2/policy/trainings", json=body).raise_for_status()
    return "strict"


def unfold(page: Page) -> None:
    """Open all sections, so that the whole form is looked at."""
    page.evaluate("document.querySelectorAll('details.fold').forEach(part => part.open = true)")


def test_a_newcomer_chooses_what_to_run(visitor: Visitor) -> None:
    page = visitor.go("/workloads/new")
    assert_accessible(page)
    assert_fits(page)

    page.get_by_role("link", name=re.compile("Distributed training")).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("New distributed training")


@pytest.mark.parametrize(
    "kind", ["workspace", "training", "distributed", "inference", "distributed-inference", "framework"]
)
def test_each_form_is_accessible_with_all_of_its_fields(visitor: Visitor, kind: str) -> None:
    page = visitor.go(f"/workloads/new/{kind}")
    assert_fits(page)
    unfold(page)

    assert_accessible(page)
    assert_fits(page)


def test_policies_fill_in_limit_and_lock_fields(visitor: Visitor, strict: str) -> None:
    page = visitor.go(f"/workloads/new/training?project={strict}")
    unfold(page)
    folder, memory = page.get_by_label("Working directory"), page.get_by_label("GPU memory limit")

    expect(page.get_by_label(re.compile("^CPU cores"))).to_have_value("0.5")
    expect(page.locator("#f-compute-cpuCoreRequest-note")).to_contain_text("training of project strict")
    expect(folder).to_have_value("/tmp")
    expect(folder).not_to_be_editable()
    expect(page.locator("#f-workingDir-note")).to_contain_text("ask the administrator of project strict")
    expect(memory).not_to_be_editable()
    assert page.get_by_label("Category").locator("option").all_text_contents() == ["—", "Train", "Build"]


def test_wrong_input_is_told_at_its_field_and_nothing_is_lost(visitor: Visitor, strict: str) -> None:
    page = visitor.go(f"/workloads/new/training?project={strict}")
    page.get_by_label("Name required").fill("try-it")
    page.get_by_label("Command").fill("sleep 600")
    page.get_by_label(re.compile("^GPU devices")).fill("three")
    page.get_by_role("button", name="Submit").click()
    gpus = page.get_by_label(re.compile("^GPU devices"))
    expect(page.get_by_role("alert")).to_contain_text("One thing is not right yet")
    expect(gpus).to_have_attribute("aria-invalid", "true")
    expect(gpus).to_have_value("three")
    assert_accessible(page)
    assert_fits(page)

    gpus.fill("3")
    page.get_by_role("button", name=re.compile("Check")).click()
    expect(page.locator("#check-result")).to_contain_text("must be no greater than 2")
    gpus.fill("1")
    page.get_by_role("button", name=re.compile("Check")).click()
    expect(page.locator("#check-result")).to_contain_text("It would start now.")
    page.get_by_role("button", name="Submit").click()

    page.wait_for_url(re.compile(r"/workloads/[0-9a-f-]{36}"))
    expect(page.locator("main")).to_contain_text("try-it")


def test_another_project_brings_its_own_defaults_and_keeps_what_was_written(visitor: Visitor, strict: str) -> None:
    page = visitor.go("/workloads/new/training?project=default")
    page.get_by_label("Name required").fill("moved")
    page.get_by_label("Command").fill("echo hello")
    page.get_by_label("Project required").select_option(strict)

    expect(page.get_by_label(re.compile("^CPU cores"))).to_have_value("0.5")
    expect(page.get_by_label("Command")).to_have_value("echo hello")
    expect(page.get_by_label("Name required")).to_have_value("moved")


def test_rows_are_added_and_a_copy_has_them(visitor: Visitor, server: OrchestratorProcess) -> None:
    page = visitor.go("/workloads/new/training?project=default")
    page.get_by_label("Name required").fill(f"rows-{uuid.uuid4().hex[:6]}")
    page.get_by_label("Command").fill("sleep 600")
    variables = page.get_by_role("group", name="Environment variables")
    variables.get_by_label("Name").fill("FIRST")
    variables.get_by_label("Value").fill(SCRIPT)
    variables.get_by_role("button", name="Add a row").click()
    variables.get_by_label("Name").nth(1).fill("SECOND")
    variables.get_by_label("Value").nth(1).fill("2")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/workloads/[0-9a-f-]{36}"))
    uid = page.url.split("?")[0].rsplit("/")[-1]

    page = visitor.go(f"/workloads/new/training?clone={uid}")

    values = page.get_by_role("group", name="Environment variables").get_by_label("Value")
    assert [values.nth(index).input_value() for index in range(2)] == [SCRIPT, "2"]
    assert page.title().startswith("New training")
    expect(page.get_by_label("Name required")).to_have_value(re.compile("-copy$"))
    server.client.delete(f"/api/v1/workloads/{uid}")


def test_a_workload_is_submitted_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.go("/workloads/new/training?project=default")
    page.get_by_label("Name required").focus()
    page.keyboard.type(f"keys-{uuid.uuid4().hex[:6]}")
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile(r"/workloads/[0-9a-f-]{36}"))


def test_a_form_from_elsewhere_is_refused_and_what_was_typed_stays(visitor: Visitor) -> None:
    page = visitor.go("/workloads/new/training?project=default")
    page.evaluate("document.body.removeAttribute('hx-headers')")
    page.evaluate("document.querySelector('#new-workload input[name=csrf_token]').value = 'forged'")
    page.get_by_label("Name required").fill("forged")
    with page.expect_response(re.compile("/workloads/new/training")) as answer:
        page.get_by_role("button", name="Submit").click()

    assert answer.value.status == 403
    expect(page.locator("#notices")).to_contain_text("send it again", timeout=60_000)
    expect(page.get_by_label("Name required")).to_have_value("forged")
    assert all("403" in each for each in visitor.complaints)  # htmx writes of it to the console
    visitor.complaints.clear()
