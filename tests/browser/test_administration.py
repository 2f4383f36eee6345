"""The pages of administrators: organization, nodes, policies, assets; each looked at, and used."""

import re

import pytest
from playwright.sync_api import expect

from tests.browsers import Visitor, assert_accessible, assert_fits
from tests.orchestrators import OrchestratorProcess

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&"
SECRET = "correct-horse-battery"

PAGES = {
    "overview": "/overview",
    "projects": "/projects",
    "project": "/projects/vision",
    "project-edit": "/projects/vision/edit",
    "project-new": "/projects/new",
    "departments": "/departments",
    "department": "/departments/research",
    "department-edit": "/departments/research/edit",
    "node-pools": "/node-pools",
    "node-pool-edit": "/node-pools/default/edit",
    "nodes": "/nodes",
    "node": "/nodes/node-a",
    "policies": "/policies",
    "policy-edit": "/policies/edit?type=training&scope=tenant",
    "policy-effective": "/policies/effective?project=vision&type=training",
    "assets": "/assets",
    "asset-new": "/assets/new/environment",
    "templates": "/templates",
    "template-new": "/templates/new",
    "topologies": "/topologies",
    "topology-new": "/topologies/new",
    "clusters": "/clusters",
    "cluster": "/clusters/default",
    "delete": "/departments/research/delete",
    "access-rules": "/access-rules",
    "access-rule-new": "/access-rules/new",
    "users": "/users",
    "user": "/users/ann@example.com",
    "roles": "/roles",
    "service-accounts": "/service-accounts",
    "access-keys": "/access-keys",
    "audit": "/audit",
    "reports": "/reports",
    "report-new": "/reports/new",
    "settings": "/settings",
}


@pytest.fixture(scope="module", autouse=True)
def furnished(server: OrchestratorProcess) -> None:
    """Make an organization with names that are scripts wherever a text is free, and workloads that share devices."""
    server.post(
        "/api/v1/org-unit/departments",
        {
            "name": "research",
            "description": SCRIPT,
            "resources": [{"nodePool": {"name": "default"}, "gpu": {"deserved": 6}}],
            "schedulingRules": {"trainingJobTimeLimitSeconds": 86400},
        },
    ).raise_for_status()
    for name, gpus in (("vision", 4), ("speech", 2)):
        quota = [{"nodePool": {"name": "default"}, "gpu": {"deserved": gpus, "overQuotaWeight": 2}}]
        body = {"name": name, "parentId": "research", "description": SCRIPT, "resources": quota}
        server.post("/api/v1/org-unit/projects", body).raise_for_status()
    document = {
        "defaults": {"image": SCRIPT.replace(" ", "/")},
        "rules": {"compute": {"gpuDevicesRequest": {"max": 8}}},
    }
    policy = {"meta": {"scope": "tenant", "name": SCRIPT}, "policy": document}
    server.client.put("/api/v2/policy/trainings", json=policy).raise_for_status()
    server.post("/api/v1/users", {"email": "ann@example.com"}).raise_for_status()
    half = {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": 0.5}
    running = [
        server.submit("half-a", ["sleep", "900"], project="vision", compute=half),
        server.submit("half-b", ["sleep", "900"], project="speech", compute=half),
        server.submit("four", ["sleep", "900"], project="vision", compute={"gpuDevicesRequest": 3}),
    ]
    for uid in running:
        server.wait(uid, frozenset({"Running"}))
    server.wait(
        server.submit("too-large", ["sleep", "900"], project="vision", compute={"gpuDevicesRequest": 8}),
        frozenset({"Pending"}),
    )


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_accessible_and_runs_no_script_of_its_data(visitor: Visitor, name: str) -> None:
    page = visitor.go(PAGES[name])

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert "owned" not in page.title()
    assert page.locator("main script, main img").count() == 0
    assert_accessible(page)
    assert_fits(page)


def test_a_project_is_made_changed_and_deleted(visitor: Visitor) -> None:
    page = visitor.go("/projects")
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name required").fill("Wrong Name")
    page.get_by_label("Department required").select_option("research")
    page.get_by_label("GPU quota GPUs").first.fill("1")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_label("Name required")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("GPU quota GPUs").first).to_have_value("1")
    assert_accessible(page)
    assert_fits(page)

    page.get_by_label("Name required").fill("short-lived")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#notices")).to_contain_text("short-lived is there")
    page.get_by_role("link", name="Edit").click()
    page.locator("summary", has_text="Scheduling rules").click()
    page.get_by_label("Trainings may run for").fill("2d")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("must be at most 86400 seconds, the department's limit")
    page.get_by_label("Trainings may run for").fill("2h")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("main")).to_contain_text("set by project short-lived")
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("main")).to_contain_text("cannot be undone")
    page.get_by_role("button", name="Delete").click()

    expect(page.locator("#notices")).to_contain_text("short-lived is deleted")


def test_a_project_with_work_is_not_deleted(visitor: Visitor) -> None:
    page = visitor.go("/projects/vision/delete")
    expect(page.locator("main")).to_contain_text("training too-large (Pending)")
    page.get_by_role("button", name="Delete").click()

    expect(page.get_by_role("alert")).to_contain_text("project vision has workloads")


def test_a_table_is_searched_sorted_and_saved(visitor: Visitor) -> None:
    page = visitor.go("/projects")
    page.get_by_label("Search projects").fill("speech")
    page.get_by_role("button", name="Search").click()
    assert page.locator("tbody tr").count() == 1
    page.get_by_role("link", name="Show all").click()
    for order in ("descending", "ascending"):
        page.get_by_role("link", name="Project", exact=True).click()
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", order)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()

    assert download.value.suggested_filename == "projects.csv"
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("Project,Department,GPU")
    assert any(line.startswith("vision,research") for line in lines)


def test_the_devices_of_a_node_show_who_holds_which_part(visitor: Visitor) -> None:
    drawn = []
    for node in ("node-a", "node-b"):
        page = visitor.go(f"/nodes/{node}")
        images = page.locator("svg.device")
        drawn += [images.nth(index).get_attribute("aria-label") or "" for index in range(images.count())]

    assert len(drawn) == 8
    assert any("half-a-1-0, half-b-1-0" in text or "half-b-1-0, half-a-1-0" in text for text in drawn), drawn
    assert sum("1 held by four" in text for text in drawn) == 3, drawn


def test_the_overview_says_what_is_held_and_why_work_waits(visitor: Visitor) -> None:
    page = visitor.go("/overview")

    expect(page.locator(".figures")).to_contain_text("4 of 8")
    expect(page.get_by_role("region", name="Why workloads wait")).to_contain_text("vision/too-large")


def test_a_policy_is_checked_before_it_is_kept(visitor: Visitor) -> None:
    page = visitor.go("/policies/edit")
    page.get_by_label("For required").select_option("workspace")
    page.get_by_label("Scope required").select_option("project/speech")
    page.get_by_label("Policy", exact=True).fill("rules:\n  imagee:\n    canEdit: false\n")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check-result")).to_contain_text("unknown field")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown field")
    page.get_by_label("Policy", exact=True).fill("rules:\n  image:\n    canEdit: false\n")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notices")).to_contain_text("workspace of project speech holds from now on")

    page = visitor.go("/policies/effective?project=speech&type=workspace")

    expect(page.locator("main")).to_contain_text("cannot be changed")


def test_a_credential_is_kept_and_never_shown_again(visitor: Visitor) -> None:
    page = visitor.go("/assets/new/password")
    page.get_by_label("Name required").fill("registry-password")
    page.get_by_label("User").fill("somebody")
    page.get_by_label("Password").fill(SECRET)
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#notices")).to_contain_text("registry-password is there")
    assert SECRET not in page.content()
    page.get_by_role("link", name="registry-password").click()
    expect(page.get_by_label("User")).to_have_value("somebody")
    assert SECRET not in page.content()
    assert_accessible(page)
    assert_fits(page)

    page.get_by_label("Description").fill("of the registry")
    page.get_by_role("button", name="Save").click()

    expect(page.locator("#notices")).to_contain_text("is changed")


def test_an_environment_is_made_and_used(visitor: Visitor) -> None:
    page = visitor.go("/assets/new/environment")
    page.get_by_label("Name required").fill("our-image")
    page.get_by_label("Image", exact=True).fill("registry.example/ours:1")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#notices")).to_contain_text("our-image is there")

    page = visitor.go("/workloads/new/training?project=vision")
    page.get_by_label("Environment", exact=True).select_option(label="our-image")
    page.get_by_label("Name required").fill("with-environment")
    page.get_by_label("Command").fill("true")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/workloads/[0-9a-f-]{36}"))
    uid = page.url.split("?")[0].rsplit("/")[-1]

    assert visitor.server.get(f"/api/v1/workloads/{uid}")["images"] == ["registry.example/ours:1"]


def test_a_secret_is_shown_once(visitor: Visitor) -> None:
    page = visitor.go("/service-accounts/new")
    page.get_by_label("Name required").fill("pipeline")
    page.get_by_role("button", name="Create").click()
    secret = page.locator("#secret").inner_text()
    assert len(secret) >= 32
    assert_accessible(page)
    assert_fits(page)
    page.get_by_role("link", name="I have kept it").click()
    page.get_by_role("link", name="pipeline").first.click()

    assert secret not in page.content()


def test_a_role_is_given_and_the_log_says_by_whom(visitor: Visitor) -> None:
    page = visitor.go("/access-rules/new")
    page.get_by_label("Name required").fill("nobody@example.com")
    page.get_by_label("Role required").select_option(label="Viewer")
    page.get_by_label("Scope required").select_option("project/speech")
    page.get_by_role("button", name="Give the role").click()
    expect(page.get_by_role("alert")).to_contain_text("there is no such user")
    page.get_by_label("Name required").fill("ann@example.com")
    page.get_by_role("button", name="Give the role").click()
    expect(page.locator("#notices")).to_contain_text("ann@example.com is Viewer now")

    page = visitor.go("/audit?entity=AccessRule")

    expect(page.get_by_role("region", name="Audit log")).to_contain_text("create")
