"""Settings of the tenant: each has an effect with the next request, and only administrators change them."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import httpx
import pytest

from runai_core.model.errors import Conflict
from runai_core.model.identity import IdentityProvider
from runai_core.model.meta import Meta
from runai_core.model.notices import ChannelType, NotificationChannel
from runai_core.model.organization import Project
from runai_core.model.workload import Phase, Workload
from tests.identity.house import ADMIN, House, csrf

pytestmark = pytest.mark.asyncio

SECURITY = "/api/v1/security/settings"
STATE = "/api/v1/notification-state"
PAGE = {"Accept": "text/html"}
POLL = {"Accept": "text/html", "HX-Request": "true"}


async def administrator(house: House) -> httpx.AsyncClient:
    """Return a program of an administrator."""
    made = await house.door.access.create_service_account("root")
    token = await house.door.access.issue(made.client_id, made.client_secret)
    return house.visitor(Authorization=f"Bearer {token.access_token}")


async def put(house: House, key: str, body: dict[str, Any], expect: int = 200) -> Any:
    async with await administrator(house) as root:
        answer = await root.put(f"{SECURITY}/{key}", json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def test_without_a_change_they_are_what_the_documents_say(house: House) -> None:
    async with await administrator(house) as root:
        found = (await root.get(SECURITY)).json()
        one = (await root.get(f"{SECURITY}/browserSessionTimeout")).json()
        state = (await root.get(STATE)).json()

    assert found == {
        "autoRedirectSSO": {"enabled": False, "idpAlias": None},
        "browserSessionTimeout": {"idleTimeout": 720},
        "logoutRedirectUri": {"uri": None},
        "passwordRules": {"minLength": 12, "characterKinds": 1, "history": 0, "validDays": 0},
        "workloadOwnershipProtection": {"enabled": False},
    }
    assert one == {"idleTimeout": 720}
    assert state == {"enabled": True, "email": {"enabled": True}}


@pytest.mark.parametrize(
    ("key", "body", "status", "says"),
    [
        ("colour", {}, 404, "there are: autoRedirectSSO"),
        ("browserSessionTimeout", {"idleTimeout": 0}, 400, "idleTimeout"),
        ("browserSessionTimeout", {"idleTimeout": 721}, 400, "idleTimeout"),
        ("browserSessionTimeout", {}, 400, "idleTimeout"),
        ("browserSessionTimeout", {"idleTimeout": 5, "x": 1}, 400, "unknown field"),
        ("logoutRedirectUri", {"uri": "javascript:alert(1)"}, 400, "must begin with http"),
        ("autoRedirectSSO", {"enabled": True, "idpAlias": "nobody"}, 400, "no such identity provider"),
    ],
)
async def test_what_cannot_be_is_refused(house: House, key: str, body: Any, status: int, says: str) -> None:
    assert says in str(await put(house, key, body, status))


async def test_others_may_read_and_not_change_them(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "Viewer")
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as jane:
        assert (await jane.get(SECURITY)).status_code == 200
        assert (await jane.put(f"{SECURITY}/logoutRedirectUri", json={"uri": None})).status_code == 403
        assert (await jane.patch(STATE, json={"enabled": False})).status_code == 403


async def test_a_browser_that_nobody_uses_is_signed_out(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "Viewer")
    await put(house, "browserSessionTimeout", {"idleTimeout": 10})
    async with house.visitor() as browser:
        await house.sign_in(browser)
        for _ in range(4):  # who looks at pages stays
            house.clock.time += 500
            assert (await browser.get("/workloads", headers=PAGE)).status_code == 200
        for _ in range(2):  # an open page asks for news of itself: nobody need be there
            house.clock.time += 290
            assert (await browser.get("/workloads", headers=POLL)).status_code == 200
        house.clock.time += 30
        assert (await browser.get("/workloads", headers=POLL)).status_code == 401
        assert "nobody used this browser for 10 minutes" in (await browser.get("/api/v1/me")).text


async def test_a_program_is_not_signed_out_for_being_quiet(house: House) -> None:
    await put(house, "browserSessionTimeout", {"idleTimeout": 1})
    async with await administrator(house) as root:
        house.clock.time += 3600
        assert (await root.get("/api/v1/me")).status_code == 200


async def test_who_signs_out_goes_where_administrators_say(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "Viewer")
    async with house.visitor() as browser:
        await house.sign_in(browser)
        await put(house, "logoutRedirectUri", {"uri": "https://example.com/bye"})
        page = await browser.get("/workloads", headers=PAGE)
        answer = await browser.post("/logout", data={"csrf_token": csrf(page.text)})
        assert 'url=https://example.com/bye"' in answer.text
        assert (await browser.get("/api/v1/me")).status_code == 401


async def provider(house: House, alias: str) -> None:
    made = IdentityProvider(meta=Meta(name=alias), client_id="us", discovery_url="https://idp.invalid/x")
    await house.door.backend.store.create(made)


async def test_the_sign_in_page_goes_straight_to_the_provider(house: House) -> None:
    async with house.visitor() as browser:
        await put(house, "autoRedirectSSO", {"enabled": True})
        assert (await browser.get("/login")).status_code == 200, "there is no provider"
        await provider(house, "work")
        answer = await browser.get("/login", params={"next": "/nodes"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login/sso/work?next=%2Fnodes")
        assert 'name="password"' in (await browser.get("/login?local=true")).text
        await provider(house, "home")
        assert (await browser.get("/login")).status_code == 200, "nobody said which one"
        await put(house, "autoRedirectSSO", {"enabled": True, "idpAlias": "home"})
        assert (await browser.get("/login")).headers["location"].startswith("/login/sso/home")
        await put(house, "autoRedirectSSO", {"enabled": False})
        assert (await browser.get("/login")).status_code == 200


# -- ownership


async def shared(house: House) -> tuple[str, Callable[[str], Awaitable[Any]]]:
    """Return a workload of somebody else in a project, and how to get the actor of a name."""
    made = await house.door.organization.create_project(ADMIN, Project(meta=Meta(name="one"), resources={}))
    kept = Workload(meta=Meta(name="w", project="one", created_by="joe@example.com"), phase=Phase.RUNNING)
    workload = await house.door.backend.store.create(replace(kept, department=made.department))

    async def actor(name: str) -> Any:
        return await house.door.access.actor("user", name)

    return workload.meta.uid, actor


@pytest.mark.parametrize(
    ("name", "scope", "is_protected", "status"),
    [
        pytest.param("jane@example.com", ("project", "one"), False, 202, id="a colleague, as long as it is off"),
        pytest.param("jane@example.com", ("project", "one"), True, 403, id="a colleague"),
        pytest.param("joe@example.com", ("project", "one"), True, 202, id="its author"),
        pytest.param("jane@example.com", ("department", "default"), True, 202, id="who works in the whole department"),
        pytest.param("jane@example.com", ("tenant", ""), True, 202, id="who works everywhere"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/suspend"), ("DELETE", "")], ids=["stops", "deletes"])
async def test_a_protected_workload_is_changed_by_its_author_and_from_above(
    house: House, name: str, scope: tuple[str, str], is_protected: bool, status: int, method: str, path: str
) -> None:
    uid, _ = await shared(house)
    await house.user(name)
    await house.grant(name, "L1 researcher", *scope)
    await put(house, "workloadOwnershipProtection", {"enabled": is_protected})
    async with house.visitor() as visitor:
        token = await house.token(visitor, grantType="password", username=name, password="correct horse battery")
    async with house.visitor(Authorization=f"Bearer {token['accessToken']}") as somebody:
        answer = await somebody.request(method, f"/api/v1/workloads/trainings/{uid}{path}")
        assert answer.status_code == status, answer.text
        assert (await somebody.get(f"/api/v1/workloads/{uid}")).status_code == 200, "all may look"


# -- notifications


@pytest.mark.parametrize(
    ("change", "kind", "is_sent"),
    [
        ({"enabled": False}, ChannelType.WEBHOOK, False),
        ({"enabled": False}, ChannelType.EMAIL, False),
        ({"email": {"enabled": False}}, ChannelType.WEBHOOK, True),
        ({"email": {"enabled": False}}, ChannelType.EMAIL, False),
        ({"slack": {"enabled": False}}, ChannelType.EMAIL, True),
    ],
)
async def test_what_is_turned_off_is_not_sent(
    house: House, change: dict[str, Any], kind: ChannelType, is_sent: bool
) -> None:
    async with await administrator(house) as root:
        assert (await root.patch(STATE, json=change)).status_code == 200
    channel = NotificationChannel(meta=Meta(name="c"), type=kind, config={})

    with nullcontext() if is_sent else pytest.raises(Conflict, match="turned off"):
        await house.door.notifications.require_on(channel)
    async with await administrator(house) as root:
        await root.patch(STATE, json={"enabled": True, "email": {"enabled": True}})
    await house.door.notifications.require_on(channel)


async def test_settings_in_the_older_form_are_the_same_ones(house: House) -> None:
    async with await administrator(house) as root:
        listed = {item["key"]: item["value"] for item in (await root.get("/v1/k8s/setting")).json()}
        assert (listed["department.use"], listed["browserSessionTimeout.idleTimeout"]) == ("true", "720.0")
        changed = {"key": "browserSessionTimeout.idleTimeout", "value": 30}
        assert (await root.put("/v1/k8s/setting", json=changed)).status_code == 200
        assert (await root.get(f"{SECURITY}/browserSessionTimeout")).json() == {"idleTimeout": 30}
        assert (await root.get("/v1/k8s/setting/browserSessionTimeout.idleTimeout")).json()["type"] == "Number"
        assert (
            await root.put("/v1/k8s/setting", json={"key": "notifications.enabled", "value": False})
        ).status_code == 200
        assert (await root.get(STATE)).json()["enabled"] is False
        for wrong in (
            {"key": "browserSessionTimeout.idleTimeout", "value": "long"},
            {"key": "department.use", "value": False},
        ):
            refused = await root.put("/v1/k8s/setting", json=wrong)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "value")
        assert (await root.get("/v1/k8s/setting/moon.phase")).status_code == 404


async def test_settings_in_the_older_form_show_no_more_than_may_be_read(house: House) -> None:
    made = await house.door.access.create_service_account("somebody", "AI practitioner")
    token = (await house.door.access.issue("somebody", made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {token}") as visitor:
        keys = [item["key"] for item in (await visitor.get("/v1/k8s/setting")).json()]
        assert keys == ["department.use", "notifications.enabled"]
        assert (await visitor.put("/v1/k8s/setting", json={"key": keys[1], "value": False})).status_code == 403
