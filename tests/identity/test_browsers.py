"""Browsers: who is signed in, for how long, and what another site cannot do in their name."""

import pytest

from runai_core.model.organization import SYSTEM
from tests.identity.house import PASSWORD, House, csrf

pytestmark = pytest.mark.asyncio


async def test_a_browser_signs_in_with_a_password_and_out_again(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "Viewer")
    async with house.visitor() as browser:
        answer = await house.sign_in(browser)
        assert answer.status_code == 200
        cookie = next(item for item in answer.headers.get_list("set-cookie") if item.startswith("runai_session="))
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert (await browser.get("/api/v1/workloads")).status_code == 200

        page = await browser.get("/workloads", headers={"Accept": "text/html"})
        kept = dict(browser.cookies)
        await browser.post("/logout", data={"csrf_token": csrf(page.text)})
        assert (await browser.get("/api/v1/workloads")).status_code == 401
    async with house.visitor() as thief:
        thief.cookies.update(kept)
        assert (await thief.get("/api/v1/workloads")).status_code == 401


async def test_a_session_ends(house: House) -> None:
    await house.user()
    async with house.visitor() as browser:
        await house.sign_in(browser)
        assert (await browser.get("/api/v1/me")).status_code == 200
        house.clock.time += 13 * 3600
        assert (await browser.get("/api/v1/me")).status_code == 401


async def test_a_link_signs_in_once(house: House) -> None:
    made = await house.door.access.create_service_account("runai-cli")
    token = await house.door.access.issue(made.client_id, made.client_secret)
    async with house.visitor(Authorization=f"Bearer {token.access_token}") as program:
        path = (await program.post("/api/v1/sessions/tickets")).json()["path"]
    async with house.visitor() as browser, house.visitor() as second:
        assert "runai_session" in (await browser.get(path)).headers["set-cookie"]
        assert (await browser.get("/api/v1/me")).json()["name"] == "runai-cli"
        again = await second.get(path)
        assert again.status_code == 401
        assert "runai_session=" not in str(again.headers.get_list("set-cookie"))


async def test_a_link_ends_after_minutes(house: House) -> None:
    ticket = await house.door.sessions.issue_ticket(SYSTEM)
    house.clock.time += 301
    async with house.visitor() as browser:
        assert (await browser.get(f"/login?ticket={ticket}")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, {}),
        ({"X-CSRF-Token": "0" * 64}, {}),
        ({}, {"csrf_token": "0" * 64}),
        ({"X-CSRF-Token": ""}, {}),
    ],
    ids=["none", "a wrong header", "a wrong field", "an empty header"],
)
async def test_a_change_by_cookie_needs_the_token_of_the_session(
    house: House, headers: dict[str, str], body: dict[str, str]
) -> None:
    await house.user()
    await house.grant("jane@example.com", "System administrator")
    async with house.visitor() as browser:
        await house.sign_in(browser)
        answer = await browser.post("/api/v1/users", json={"email": "x@example.com"}, headers=headers)
        assert answer.status_code == 403
        answer = await browser.post("/logout", data={"a": "b", **body}, headers=headers)
        assert answer.status_code == 403
        page = await browser.post("/logout", data=body, headers={"Accept": "text/html", **headers})
        assert (page.status_code, "<h1>You may not do that</h1>" in page.text) == (403, True)
        assert (await browser.get("/api/v1/me")).status_code == 200


async def test_the_token_of_the_session_lets_a_change_through(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "System administrator")
    async with house.visitor() as browser:
        await house.sign_in(browser)
        token = csrf((await browser.get("/workloads", headers={"Accept": "text/html"})).text)
        same = {"X-CSRF-Token": token, "Origin": "http://localhost"}
        other = {"X-CSRF-Token": token, "Origin": "http://evil.example"}
        body = {"email": "x@example.com"}
        assert (await browser.post("/api/v1/users", json=body, headers=other)).status_code == 403
        site = {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
        assert (await browser.post("/api/v1/users", json=body, headers=site)).status_code == 403
        assert (await browser.post("/api/v1/users", json=body, headers=same)).status_code == 201


async def test_a_forged_sign_in_form_is_refused(house: House) -> None:
    await house.user()
    async with house.visitor() as browser:
        fields = {"username": "jane@example.com", "password": PASSWORD, "csrf_token": "0" * 64}
        assert (await browser.post("/login", data=fields)).status_code == 401


async def test_who_wants_a_page_is_sent_to_sign_in_and_back(house: House) -> None:
    await house.user()
    async with house.visitor() as browser:
        answer = await browser.get("/workloads?project=a&x=1", headers={"Accept": "text/html"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=%2Fworkloads%3Fproject%3Da%26x%3D1"
        part = await browser.get(
            "/workloads", headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/nodes"}
        )
        assert part.headers["hx-redirect"] == "/login?next=%2Fnodes"
        back = await house.sign_in(browser, next="/workloads?project=a")
        assert 'url=/workloads?project=a"' in back.text


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "evil", "/a\nb", ""],
)
async def test_signing_in_leads_to_no_other_site(house: House, target: str) -> None:
    await house.user()
    async with house.visitor() as browser:
        assert 'url=/workloads"' in (await house.sign_in(browser, next=target)).text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/users", {"X-Forwarded-User": "root", "X-Remote-User": "root", "Remote-User": "root"}),
        ("/api/v1/users", {"X-Original-URL": "/login", "X-Rewrite-URL": "/healthz"}),
        ("//api/v1/users", {}),
        ("/api//v1/users", {}),
        ("/static/../api/v1/users", {}),
        ("/login/../api/v1/users", {}),
        ("/static/%2e%2e/api/v1/users", {}),
        ("/api/v1/users/", {}),
        ("/API/v1/users", {}),
        ("/api/v1/users%00", {}),
        ("/api/v1/token/../users", {}),
        ("/api/v1/users;x=/login", {}),
        ("/api/v1/users?path=/login", {}),
        ("/api/v1/users", {"Cookie": "runai_session=a; runai_session=b"}),
        ("/api/v1/users", {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJydW5haS1jbGkiLCJleHAiOjl9."}),
    ],
)
async def test_tricks_with_paths_and_headers_open_nothing(house: House, path: str, headers: dict[str, str]) -> None:
    async with house.visitor() as visitor:
        answer = await visitor.get(path, headers=headers)

    assert answer.status_code in (303, 307, 400, 401, 404), answer.text
    assert "username" not in answer.text or answer.headers["content-type"].startswith("text/html")


async def test_a_token_is_never_helped_out_by_a_cookie(house: House) -> None:
    await house.user()
    async with house.visitor() as browser:
        await house.sign_in(browser)
        assert (await browser.get("/api/v1/me", headers={"Authorization": "Bearer nonsense"})).status_code == 401
