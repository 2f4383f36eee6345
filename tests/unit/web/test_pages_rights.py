"""What each person is offered: every link opens, no button of others is drawn, and a refusal loses nothing."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.model.organization import SYSTEM
from runai_core.service.rules import NewRule

PEOPLE: Mapping[str, tuple[str, str, str]] = {
    "viewer": ("Viewer", "project", "default"),
    "researcher": ("L1 researcher", "project", "default"),
    "administrator": ("System administrator", "tenant", ""),
}

LINK = re.compile(r'<a [^>]*href="(/[^"#]*)"')
FORM = re.compile(r'<form (?=[^>]*method="post")(?:[^>]*action="([^"]*)")?')
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

NOT_PAGES = ("/api/", "/proxy/")
OWN = frozenset({"/logout", "/workloads/columns", "/workloads/confirm", "/settings/password"})
"""What everybody may post: one's own things, and questions."""


@dataclass
class Walk:
    """Everything that one person reaches by following links from the first page."""

    pages: dict[str, httpx.Response] = field(default_factory=dict)

    @property
    def offered(self) -> set[str]:
        """Forms and questions that a link leads to, and buttons; without ids and without what everybody has."""
        posts = {
            UID.sub("{id}", found or path) for path, page in self.pages.items() for found in FORM.findall(page.text)
        }
        return {path.partition("?")[0] for path in posts} - OWN


async def walked(client: httpx.AsyncClient) -> Walk:
    walk, left = Walk(), ["/workloads"]
    while left:
        path = left.pop()
        if path in walk.pages:
            continue
        walk.pages[path] = answer = await client.get(path)
        links = (found.replace("&amp;", "&") for found in LINK.findall(answer.text))
        left += [link for link in links if not link.startswith(NOT_PAGES) and not _is_only_a_choice(link)]
    return walk


def _is_only_a_choice(link: str) -> bool:
    """Say whether the link sorts, pages or saves a table that is looked at anyway, or starts a copy."""
    return bool(re.search(r"[?&](sort|order|format|page|search|tab|clone|size)=", link)) or ".csv" in link


@pytest_asyncio.fixture
async def people(api: Any) -> AsyncIterator[Mapping[str, httpx.AsyncClient]]:
    """Return a client for each of three people, in an organization with a bit of everything."""
    door = api.orchestrator
    await api.run((await api.submit("running"))["workloadId"])
    await api.submit("waiting", "workspaces")
    for kind, name in (("environment", "ours"), ("password", "secret")):
        data = {"scope": "project/default", "meta.name": name, "image": "i", "user": "u", "password": "p" * 12}
        assert (await api.client.post(f"/assets/new/{kind}", data=data)).status_code == 303
    template = {"scope": "project/default", "meta.name": "start", "type": "Training", "spec": "image: i"}
    assert (await api.client.post("/templates/new", data=template)).status_code == 303
    policy = {"isNew": "true", "type": "training", "scope": "project/default", "policy": "defaults: {image: i}"}
    assert (await api.client.post("/policies/edit", data=policy)).status_code == 303
    await door.users.create(SYSTEM, "ann@example.com")
    clients = {}
    for name, (role, scope_type, scope) in PEOPLE.items():
        account, secret = await door.accounts.create(SYSTEM, "service-account", name)
        rule = NewRule(
            subject=account.client_id, subject_type="service-account", role=role, scope_type=scope_type, scope=scope
        )
        await door.rules.create(SYSTEM, rule)
        token = (await door.access.issue(account.client_id, secret)).access_token
        headers = {"Authorization": f"Bearer {token}"}
        clients[name] = httpx.AsyncClient(
            transport=httpx.ASGITransport(api.app), base_url="http://localhost", headers=headers
        )
    yield clients
    for client in clients.values():
        await client.aclose()


CREDENTIALS = ("accessKey", "dockerRegistry", "genericSecret", "ngcApiKey", "password")
SOURCES = ("config-map", "git", "hostPath", "nfs", "pvc", "s3", "secret-volume")

VIEWER = {"/access-keys/new", "/reports/new"}
RESEARCHER = {
    *VIEWER,
    *(f"/assets/new/{kind}" for kind in ("compute", "environment", *CREDENTIALS, *SOURCES)),
    *("/assets/{id}", "/assets/{id}/delete", "/templates/new", "/templates/{id}", "/templates/{id}/delete"),
    *(f"/workloads/new/{kind}" for kind in ("workspace", "training", "distributed", "framework")),
}
ADMINISTRATOR = {
    *RESEARCHER,
    *("/access-rules/new", "/access-rules/{id}/delete", "/assets/new/registry", "/workloads/new/inference"),
    "/workloads/new/distributed-inference",
    *(f"/{units}/{deed}" for units in ("projects", "departments") for deed in ("new", "{id}/edit", "{id}/delete")),
    *("/node-pools/new", "/node-pools/{id}/edit", "/policies/edit", "/policies/delete", "/users/new"),
    *(f"/users/{{id}}/{deed}" for deed in ("delete", "disable", "reset-password", "sign-out")),
    *("/service-accounts/new", "/roles/new", "/settings/logo", "/topologies/new"),
    *(f"/service-accounts/{{id}}/{deed}" for deed in ("delete", "disable", "secret")),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "forms"),
    [("viewer", VIEWER), ("researcher", RESEARCHER), ("administrator", ADMINISTRATOR)],
)
async def test_everybody_is_offered_what_their_role_allows_and_every_link_opens(
    people: Mapping[str, httpx.AsyncClient], name: str, forms: set[str]
) -> None:
    walk = await walked(people[name])

    refused = {path: page.status_code for path, page in walk.pages.items() if page.status_code not in (200, 303)}
    assert refused == {}
    assert walk.offered == forms


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "actions"),
    [("viewer", set()), ("researcher", {"stop", "delete"}), ("administrator", {"stop", "delete"})],
)
async def test_a_workload_offers_what_may_be_done_to_it(
    api: Any, people: Mapping[str, httpx.AsyncClient], name: str, actions: set[str]
) -> None:
    uid = next(item["id"] for item in (await api.get("/api/v1/workloads"))["workloads"] if item["name"] == "running")
    page = (await people[name].get(f"/workloads/{uid}")).text
    table = (await people[name].get("/workloads")).text

    assert set(re.findall(r'id="do-(\w+)"', page)) == actions
    assert ('id="clone"' in page) is bool(actions)
    assert (actions & set(re.findall(r'data-action="(\w+)"', table))) == actions
    asked = await people[name].post("/workloads/confirm", data={"action": "delete", "uid": uid})
    assert ("do not allow you to delete it" in asked.text) is not bool(actions)


TYPED = "typed-for-an-hour"

REFUSED = {
    "/projects/new": {"name": TYPED, "parentId": "default"},
    "/departments/new": {"name": TYPED},
    "/projects/default/edit": {"description": TYPED},
    "/node-pools/new": {"name": TYPED, "labelKey": "a", "labelValue": "b"},
    "/policies/edit": {
        "isNew": "true",
        "type": "workspace",
        "scope": "tenant",
        "policy": f"defaults: {{image: {TYPED}}}",
    },
    "/access-rules/new": {"subjectType": "user", "subjectId": TYPED, "roleId": "1", "scope": "tenant"},
    "/users/new": {"email": f"{TYPED}@example.com"},
    "/service-accounts/new": {"name": TYPED},
    "/assets/new/compute": {"meta.name": TYPED, "scope": "tenant"},
    "/templates/new": {"meta.name": TYPED, "scope": "tenant", "type": "Training"},
    "/workloads/new/training": {"name": TYPED, "project": "default", "command": "true"},
}
"""Forms, and what somebody wrote into them before their right was taken away."""


@pytest.mark.asyncio
@pytest.mark.parametrize("path", REFUSED)
async def test_a_right_that_is_lacking_costs_nobody_what_they_typed(
    people: Mapping[str, httpx.AsyncClient], path: str
) -> None:
    answer = await people["viewer"].post(path, data=REFUSED[path])

    assert answer.status_code == 403
    assert TYPED in answer.text
    assert "iewer may not" in answer.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/projects/new", {"name": "default", "parentId": "default", "description": TYPED}),
        ("/departments/new", {"name": "default", "description": TYPED}),
        ("/node-pools/new", {"name": "default", "labelKey": TYPED, "labelValue": "b"}),
        ("/assets/new/environment", {"meta.name": "ours", "scope": "project/default", "image": TYPED}),
        (
            "/templates/new",
            {"meta.name": "start", "scope": "project/default", "type": "Training", "description": TYPED},
        ),
        ("/workloads/new/training", {"name": "running", "project": "default", "command": TYPED}),
    ],
)
async def test_a_name_that_is_taken_costs_nobody_what_they_typed(
    people: Mapping[str, httpx.AsyncClient], path: str, data: dict[str, str]
) -> None:
    answer = await people["administrator"].post(path, data=data)

    assert answer.status_code == 409
    assert TYPED in answer.text
    assert 'aria-invalid="true"' in answer.text
