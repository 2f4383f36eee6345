"""Pages of projects and departments: what they show, and what their forms change."""

import re
from dataclasses import replace
from typing import Any

import pytest

from runai_core import __version__
from runai_core.model.decision import QueueShare
from runai_core.model.meta import Meta
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota, SchedulingRules
from runai_core.model.resources import Resources
from runai_core.service.organization import UnitStatus
from runai_core.web.pages.quotas import quotas_of
from runai_core.web.pages.tables import PAGE_ROWS, Cell, Choice, Column, arranged, choice_of, csv_of
from runai_core.web.pages.unit_form import body_of, length_text, posted_unit

QUOTA = QueueResources(
    gpu=ResourceQuota(deserved=1500, limit=4000, over_quota_weight=2.0),
    memory=ResourceQuota(deserved=10_000_000_001),
    priority=150,
)
PROJECT = Project(
    meta=Meta(name="vision"),
    resources={"default": QUOTA},
    scheduling_rules=SchedulingRules(training_job_time_limit_seconds=9000),
)
POOLS = ("default", "other")


def test_a_unit_that_is_sent_back_as_it_is_changes_nothing() -> None:
    posted = posted_unit(PROJECT, POOLS)

    assert body_of(posted, posted, POOLS) == ({}, [])
    assert posted["resources.default.gpu.deserved"] == ["1.5"]
    assert posted["resources.default.memory.deserved"] == ["9.31323"], "rounded, and therefore never sent back"
    assert posted["resources.default.priority"] == ["High"]
    assert posted["schedulingRules.trainingJobTimeLimitSeconds"] == ["2h30m"]


def test_only_what_was_changed_is_sent_in_the_api_s_units() -> None:
    before = posted_unit(PROJECT, POOLS)
    after = {
        **before,
        "resources.default.gpu.limit": [""],
        "resources.default.cpu.deserved": ["2.5"],
        "resources.other.memory.limit": ["1.5"],
        "description": ["new"],
        "defaultNodePools": ["other, default"],
    }
    body, errors = body_of(after, before, POOLS)

    assert errors == []
    assert body == {
        "description": "new",
        "defaultNodePools": ["other", "default"],
        "resources": [
            {"nodePool": {"name": "default"}, "gpu": {"limit": None}, "cpu": {"deserved": 2500.0}},
            {"nodePool": {"name": "other"}, "memory": {"limit": 1536.0, "units": "Mib"}},
        ],
    }


def test_a_changed_rule_sends_all_rules_because_the_api_replaces_them() -> None:
    before = posted_unit(PROJECT, POOLS)
    body, _ = body_of({**before, "schedulingRules.interactiveJobTimeLimitSeconds": ["1d"]}, before, POOLS)

    assert body == {"schedulingRules": {"interactiveJobTimeLimitSeconds": 86400, "trainingJobTimeLimitSeconds": 9000}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("resources.default.gpu.deserved", "many", "must be a number from 0"),
        ("resources.default.gpu.deserved", "-1", "must be a number from 0"),
        ("resources.default.gpu.deserved", "inf", "must be a number from 0"),
        ("resources.default.gpu.deserved", "", "is required; 0: nothing is guaranteed"),
        ("schedulingRules.trainingJobTimeLimitSeconds", "soon", "must be a time such as"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_field(name: str, text: str, message: str) -> None:
    before = posted_unit(PROJECT, POOLS)
    _, errors = body_of({**before, name: [text]}, before, POOLS)

    assert [(error.field, error.message.startswith(message)) for error in errors] == [(name, True)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0s"), (59, "59s"), (9000, "2h30m"), (90_061, "1d1h1m1s")]
)
def test_lengths_of_time_are_written_as_they_are_read(seconds: int | None, text: str) -> None:
    assert length_text(seconds) == text


def test_bars_show_what_is_held_within_and_over_quota_and_the_fair_share() -> None:
    statuses = {
        "default": UnitStatus(allocated=Resources(gpu=2000), requested=Resources(gpu=3000)),
        "other": UnitStatus(allocated=Resources(gpu=500), requested=Resources(gpu=500)),
    }
    shares = {"default": (QueueShare("vision", "gpu", 1500, None, 2000, 2000),)}
    quota = quotas_of(PROJECT, statuses, shares)["gpu"]

    assert (quota.allocated, quota.deserved, quota.fair, quota.within, quota.over) == (2.5, 1.5, 2.0, 1.5, 1.0)
    assert quota.width(quota.within) == "42.86"
    assert quota.sentence == "2.5 of 1.5 GPUs, fair share 2, 1 waiting"


def test_one_unlimited_pool_makes_the_whole_unlimited() -> None:
    unlimited = replace(QUOTA, cpu=ResourceQuota(deserved=None))
    unit = Department(meta=Meta(name="d"), resources={"a": unlimited, "b": QueueResources()})

    assert quotas_of(unit, {}, {})["cpu"].sentence == "0 cores (no quota)"


COLUMNS = (Column("name", "Name"), Column("count", "Count", number=True), Column("only", "Only in files", hidden=True))


def rows(count: int) -> list[dict[str, Cell]]:
    return [
        {"name": Cell(text=f"row {index:03}"), "count": Cell(text=str(-index), value=-index), "only": Cell(text="x")}
        for index in range(count)
    ]


def test_tables_are_searched_sorted_and_paged() -> None:
    everything = arranged("Rows", COLUMNS, rows(120), Choice(sort="count", page=2))
    found = arranged("Rows", COLUMNS, rows(120), Choice(search="ROW 01"))

    assert (everything.pages, len(everything.rows)) == (3, PAGE_ROWS)
    assert everything.rows[0]["count"].text == "-69", "numbers are sorted as numbers"
    assert (found.found, found.total) == (10, 120)
    assert arranged("Rows", COLUMNS, rows(3), Choice(page=9)).choice.page == 1


def test_addresses_keep_what_was_chosen() -> None:
    choice = choice_of({"search": " a&b ", "sort": "count", "order": "desc", "page": "-3", "kind": "x"})

    assert choice.page == 1
    assert choice.address(page=2) == "?kind=x&search=a%26b&sort=count&order=desc&page=2"


def test_files_hold_no_formulas() -> None:
    texts = ["=1+1", "+1", "-1", "@x", "plain, with comma"]
    table = arranged("T", COLUMNS[:1], [{"name": Cell(text=text)} for text in texts], Choice(as_csv=True))

    assert sorted(csv_of(table).split()) == sorted(["Name", "'=1+1", "'+1", "'-1", "'@x", '"plain,', "with", 'comma"'])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "/projects",
        "/projects/new",
        "/projects/default",
        "/projects/default/edit",
        "/projects/default/delete",
        "/departments",
        "/departments/new",
        "/departments/default",
        "/departments/default/edit",
    ],
)
async def test_each_page_opens_in_html_that_runs_nothing(api: Any, path: str) -> None:
    answer = await api.client.get(path)

    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert re.findall(r"<script(?! src=)|\son\w+=|\sstyle=", answer.text) == []


@pytest.mark.asyncio
async def test_a_project_is_created_changed_and_deleted(api: Any) -> None:
    data = {
        "name": "vision",
        "parentId": "default",
        "description": "<i>",
        "resources.default.gpu.deserved": "1.5",
        "schedulingRules.trainingJobTimeLimitSeconds": "2h",
    }
    assert (await api.client.post("/projects/new", data=data)).status_code == 303
    created = await api.get("/api/v1/org-unit/projects/vision")
    page = await api.client.get("/projects/vision")

    assert created["resources"][0]["gpu"]["deserved"] == 1.5
    assert created["schedulingRules"]["trainingJobTimeLimitSeconds"] == 7200
    assert "&lt;i&gt;" in page.text
    assert "set by project vision" in page.text

    changed = await api.client.post("/projects/vision/edit", data={"resources.default.gpu.limit": "2"})
    assert changed.status_code == 303
    kept = (await api.get("/api/v1/org-unit/projects/vision"))["resources"][0]["gpu"]
    assert (kept["deserved"], kept["limit"]) == (1.5, 2)
    assert (await api.client.post("/projects/vision/delete")).status_code == 303
    await api.get("/api/v1/org-unit/projects/vision", expect=404)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": "Capital"}, "f-name"),
        ({"name": "default"}, "f-name"),
        ({}, "f-name"),
        (
            {"name": "a", "resources.default.gpu.deserved": "3", "resources.default.gpu.limit": "1"},
            "f-resources-default-gpu-deserved",
        ),
        ({"name": "a", "resources.default.gpu.deserved": "1e13"}, "f-resources-default-gpu-deserved"),
        ({"name": "a", "resources.default.priority": "Highest"}, "f-resources-default-priority"),
    ],
    ids=["a wrong name", "a taken name", "no name", "more than its limit", "too large a number", "an unknown rank"],
)
async def test_what_is_wrong_is_told_at_its_field_and_nothing_is_created(
    api: Any, data: dict[str, str], field: str
) -> None:
    answer = await api.client.post("/projects/new", data={"parentId": "default", "description": "kept", **data})

    assert answer.status_code == (409 if data.get("name") == "default" else 422)
    assert f'id="{field}-error"' in answer.text
    assert 'value="kept"' in answer.text
    assert (await api.get("/api/v1/org-unit/projects/count"))["count"] == 1


@pytest.mark.asyncio
async def test_a_department_with_projects_says_what_it_has_and_stays(api: Any) -> None:
    answer = await api.client.post("/departments/default/delete")

    assert answer.status_code == 409
    assert "project default" in answer.text


@pytest.mark.asyncio
async def test_the_list_is_also_a_file_with_the_numbers_of_the_bars(api: Any) -> None:
    answer = await api.client.get("/projects", params={"format": "csv"})
    head, row = answer.text.splitlines()

    assert answer.headers["content-disposition"] == 'attachment; filename="projects.csv"'
    assert dict(zip(head.split(","), row.split(","), strict=True))["GPU deserved (GPUs)"] == "4.0"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("form", "field", "api_path", "body"),
    [
        ("/projects/default/edit", "description", "/api/v1/org-unit/projects/default", {"description": "theirs"}),
        (
            "/node-pools/default/edit",
            "placementStrategy.gpu",
            "/api/v1/node-pools/default",
            {"placementStrategy": {"gpu": "spread", "cpu": "binpack"}},
        ),
    ],
    ids=["a project", "a node pool"],
)
async def test_what_somebody_else_changed_meanwhile_is_not_undone_unseen(
    api: Any, form: str, field: str, api_path: str, body: dict[str, Any]
) -> None:
    opened = (await api.client.get(form)).text
    version = re.findall(r'name="version" value="(\d+)"', opened)[0]
    assert f"runai-core {__version__}" in opened, "the version of the software is not that of the object"
    await api.send("PATCH", api_path, body)
    mine = {"version": version, field: "fragmentation"}

    refused = await api.client.post(form, data=mine)
    again = re.findall(r'name="version" value="(\d+)"', refused.text)[0]

    assert refused.status_code == 422
    assert "It was changed by tester since you opened it" in refused.text
    assert "fragmentation" in refused.text
    assert (await api.client.post(form, data={**mine, "version": again})).status_code == 303
