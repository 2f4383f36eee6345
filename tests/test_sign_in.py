"""Who gets in, who does not, and for how long: browsers, passwords, tokens, keys; and what the audit log says of it."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from runai_core.backends.local.store import open_store
from runai_core.bootstrap import Orchestrator, build
from runai_core.model.audit import AuditEntry
from runai_core.model.errors import Forbidden
from runai_core.model.identity import User
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Actor, Grant, Project
from runai_core.plugins.manager import load_plugins
from runai_core.ports import Backend, Query
from runai_core.service.own_identity import Identity
from runai_core.service.passwords import Passwords
from runai_core.service.rules import NewRule
from runai_core.settings import Settings
from runai_core.web.app import create_app

pytestmark = pytest.mark.asyncio

NOW = 1_800_000_000.0
PASSWORD = "correct horse battery"
ADMIN = Actor(name="root", grants=(Grant("System administrator"),))


class Clock:
    """Stands still until a test moves it."""

    time = NOW

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class NoCluster:
    """There are no nodes and no pods."""

    async def nodes(self) -> list[Any]:
        return []

    async def pods(self, workload: Any) -> list[Any]:
        return []

    def logs(self, pod: Any, options: Any) -> Any:
        raise AssertionError("nobody may read a log here")


@dataclass
class House:
    """An orchestrator with a user, and browsers and programs that want in."""

    door: Orchestrator
    app: Any
    clock: Clock

    def visitor(self, address: str = "192.0.2.1", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def user(self, name: str = "jane@example.com", password: str = PASSWORD) -> User:
        user, _ = await self.door.users.create(ADMIN, name, password, must_change=False)
        return user

    async def grant(self, name: str, role: str, scope_type: str = "tenant", scope: str = "") -> Any:
        kind = "user" if "@" in name else "service-account"
        given = NewRule(subject=name, subject_type=kind, role=role, scope_type=scope_type, scope=scope)
        return await self.door.rules.create(ADMIN, given)

    async def token(self, visitor: httpx.AsyncClient, expect: int = 200, **body: Any) -> Any:
        answer = await visitor.post("/api/v1/token", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def password_token(self, visitor: httpx.AsyncClient, password: str = PASSWORD, expect: int = 200) -> Any:
        return await self.token(visitor, expect, grantType="password", username="jane@example.com", password=password)

    async def me(self, token: str) -> httpx.Response:
        async with self.visitor() as visitor:
            return await visitor.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})

    async def sign_in(self, visitor: httpx.AsyncClient, password: str = PASSWORD, **more: str) -> httpx.Response:
        form = await visitor.get("/login")
        fields = {"csrf_token": csrf(form.text), "username": "jane@example.com", "password": password, **more}
        return await visitor.post("/login", data=fields)

    async def log(self) -> list[AuditEntry]:
        page = await self.door.audit.list(ADMIN, Query(sort_by="meta.created_at"))
        return list(page.items)


def csrf(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = Clock()
    async with open_store("sqlite://", clock) as store:
        cluster: Any = NoCluster()
        backend = Backend(store=store, cluster=cluster, runtime=cluster, lease=cluster, clock=clock)
        settings = Settings(data_dir=tmp_path, plugins=("builtin",))
        identity = Identity(cluster_id="3f0e2c1a-1111-4222-8333-444455556666", signing_key="k" * 64)
        door, _ = build(settings, backend, identity, load_plugins(settings.plugins))
        await door.organization.ensure_defaults()
        fast = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        door.users._passwords = door.sign_in._passwords = fast  # the real parameters take time on purpose
        yield House(door, create_app(door), clock)


# -- browsers


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


# -- passwords


async def test_guessing_locks_the_name_for_longer_and_longer(house: House) -> None:
    await house.user()
    waits = []
    async with house.visitor() as visitor:
        for number in range(16):
            await house.password_token(visitor, "wrong" * 4, expect=401)
            await house.door.sign_in.forget_failures("address", "192.0.2.1")
            if number < 4:
                continue
            locked = await visitor.post(
                "/api/v1/token", json={"grantType": "password", "username": "jane@example.com", "password": PASSWORD}
            )
            assert locked.status_code == 429
            waits.append(int(locked.headers["retry-after"]))
            house.clock.time += waits[-1] + 0.5

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


async def test_a_lock_ends_and_the_right_password_forgives(house: House) -> None:
    await house.user()
    async with house.visitor() as visitor:
        for _ in range(5):
            await house.password_token(visitor, "wrong" * 4, expect=401)
        refused = await house.password_token(visitor, expect=429)
        assert refused["reason"] == "TooManyRequests"
        house.clock.time += 2
        await house.password_token(visitor)
        await house.password_token(visitor, "wrong" * 4, expect=401)
        await house.password_token(visitor)


async def test_guessing_many_names_locks_the_address(house: House) -> None:
    await house.user()
    async with house.visitor("198.51.100.7") as attacker, house.visitor("192.0.2.1") as jane:
        for number in range(20):
            await house.token(
                attacker, 401, grantType="password", username=f"u{number}@example.com", password="wrong" * 4
            )
        await house.password_token(attacker, expect=429)
        await house.password_token(jane)


async def test_unknown_users_and_wrong_passwords_are_answered_alike(house: House) -> None:
    await house.user()
    async with house.visitor() as visitor:
        wrong = await house.password_token(visitor, "wrong" * 4, expect=401)
        nobody = await house.token(
            visitor, 401, grantType="password", username="nobody@example.com", password="wrong" * 4
        )
    assert wrong["message"] == nobody["message"]


async def test_a_drawn_password_must_be_changed_before_anything_else(house: House) -> None:
    _, drawn = await house.door.users.create(ADMIN, "jane@example.com")
    async with house.visitor() as visitor:
        refused = await house.password_token(visitor, drawn, expect=403)
        assert "changed" in refused["message"]
        weak: dict[str, Any] = {
            "grantType": "password",
            "username": "jane@example.com",
            "password": drawn,
            "newPassword": "short",
        }
        assert (await house.token(visitor, 400, **weak))["errors"][0]["field"] == "newPassword"
        await house.token(visitor, **{**weak, "newPassword": PASSWORD})
        await house.password_token(visitor)
        await house.password_token(visitor, drawn, expect=401)


async def test_a_browser_asks_for_the_new_password(house: House) -> None:
    _, drawn = await house.door.users.create(ADMIN, "jane@example.com")
    async with house.visitor() as browser:
        asked = await house.sign_in(browser, drawn)
        assert asked.status_code == 403
        assert 'name="new_password"' in asked.text
        done = await house.sign_in(browser, drawn, new_password=PASSWORD)
        assert done.status_code == 200
        assert (await browser.get("/api/v1/me")).json()["name"] == "jane@example.com"


@pytest.mark.parametrize("password", ["short", "a" * 2000, "aaaaaaaaaaaaaaaa", "jane-is-my-name"])
async def test_passwords_that_are_easily_guessed_are_refused(house: House, password: str) -> None:
    async with house.visitor() as visitor:
        made = await house.door.access.create_service_account("root")
        token = await house.door.access.issue(made.client_id, made.client_secret)
        answer = await visitor.post(
            "/api/v1/users",
            json={"email": "jane@example.com", "password": password},
            headers={"Authorization": f"Bearer {token.access_token}"},
        )
    assert answer.status_code == 400
    assert password not in answer.text


# -- tokens


async def test_a_refresh_token_renews_once_and_stolen_ends_the_session(house: House) -> None:
    await house.user()
    async with house.visitor() as visitor:
        first = await house.password_token(visitor)
        second = await house.token(visitor, grantType="refresh_token", refreshToken=first["refreshToken"])
        assert second["refreshToken"] != first["refreshToken"]
        assert (await house.me(second["accessToken"])).status_code == 200
        stolen = await house.token(visitor, 401, grantType="refresh_token", refreshToken=first["refreshToken"])
        assert "used before" in stolen["message"]
        assert (await house.me(second["accessToken"])).status_code == 401
        await house.token(visitor, 401, grantType="refresh_token", refreshToken=second["refreshToken"])


async def test_a_user_who_signs_out_takes_the_token_along(house: House) -> None:
    user = await house.user()
    async with house.visitor() as visitor:
        one, other = await house.password_token(visitor), await house.password_token(visitor)
        bearer = {"Authorization": f"Bearer {one['accessToken']}"}
        assert (await visitor.post("/api/v1/me/logout", headers=bearer)).status_code == 204
    assert (await house.me(one["accessToken"])).status_code == 401
    assert (await house.me(other["accessToken"])).status_code == 200
    await house.door.users.sign_out(ADMIN, user.meta.uid)
    assert (await house.me(other["accessToken"])).status_code == 401


@pytest.mark.parametrize("what", ["delete", "disable", "new password"])
async def test_a_user_who_may_no_longer_is_out_at_once(house: House, what: str) -> None:
    await house.user()
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    users = house.door.users
    match what:
        case "delete":
            await users.delete(ADMIN, "jane@example.com")
        case "disable":
            await users.enable(ADMIN, "jane@example.com", enabled=False)
        case _:
            await users.reset_password(ADMIN, "jane@example.com")
    assert (await house.me(token)).status_code == 401


async def test_a_new_secret_revokes_the_old_one_and_its_tokens(house: House) -> None:
    account, secret = await house.door.accounts.create(ADMIN, "service-account", "robot")
    token = (await house.door.access.issue("robot", secret)).access_token
    assert (await house.me(token)).status_code == 200
    _, fresh = await house.door.accounts.new_secret(ADMIN, "service-account", account.meta.uid)
    assert (await house.me(token)).status_code == 401
    async with house.visitor() as visitor:
        await house.token(visitor, 401, clientID="robot", clientSecret=secret)
        await house.token(visitor, clientID="robot", clientSecret=fresh)
    await house.door.accounts.enable(ADMIN, "service-account", "robot", enabled=False)
    async with house.visitor() as visitor:
        await house.token(visitor, 401, clientID="robot", clientSecret=fresh)


async def test_an_access_key_acts_as_its_holder_until_it_is_gone(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "Viewer")
    jane = await house.door.access.actor("user", "jane@example.com")
    key, secret = await house.door.accounts.create_key(jane, "laptop", seconds=600)
    token = (await house.door.access.issue(key.client_id, secret)).access_token
    assert (await house.me(token)).json()["name"] == "jane@example.com"
    house.clock.time += 601
    assert (await house.me(token)).status_code == 401
    key, secret = await house.door.accounts.create_key(jane, "desktop")
    token = (await house.door.access.issue(key.client_id, secret)).access_token
    await house.door.accounts.delete_key(jane, "desktop")
    assert (await house.me(token)).status_code == 401


async def test_clocks_may_differ_by_a_minute_not_by_an_hour(house: House) -> None:
    made = await house.door.access.create_service_account("root")
    house.clock.time += 30
    near = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    house.clock.time += 3600
    far = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    house.clock.time = NOW
    assert (await house.me(near)).status_code == 200
    assert (await house.me(far)).status_code == 401


async def test_tokens_of_earlier_versions_go_on_working(house: House) -> None:
    await house.door.access.create_service_account("old")
    claims = {"sub": "old", "roles": [["System administrator", "tenant"]], "iat": int(NOW), "exp": int(NOW) + 60}
    old = jwt.encode(claims, "k" * 64, algorithm="HS256")
    assert (await house.me(old)).json()["grants"][0]["role"] == "System administrator"


async def test_nobody_makes_a_token_for_a_user_without_a_session(house: House) -> None:
    await house.user()
    claims = {"sub": "jane@example.com", "typ": "user", "iat": int(NOW), "exp": int(NOW) + 60}
    assert (await house.me(jwt.encode(claims, "k" * 64, algorithm="HS256"))).status_code == 401


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_that_was_changed_is_refused(house: House, part: int) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    parts = token.split(".")
    if part == 2:
        parts[2] = parts[2][::-1]
    else:
        content = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
        content |= {"alg": "none"} if part == 0 else {"exp": int(NOW) + 10**9}
        parts[part] = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    assert (await house.me(".".join(parts))).status_code == 401


async def test_a_program_is_let_in_by_the_browser_and_no_other_program(house: House) -> None:
    await house.user()
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {"redirect_uri": "http://127.0.0.1:4711/callback", "code_challenge": challenge, "state": "s"}
    async with house.visitor() as browser, house.visitor() as program:
        away = await browser.get("/authorize", params=asked, headers={"Accept": "text/html"})
        assert away.headers["location"].startswith("/login?next=%2Fauthorize")
        await house.sign_in(browser)
        token = csrf((await browser.get("/authorize", params=asked)).text)
        codes = []
        for _ in range(2):
            answer = await browser.post("/authorize", data={**asked, "csrf_token": token})
            codes.extend(re.findall(r"url=http://127.0.0.1:4711/callback\?code=([^&]+)&amp;state=s", answer.text))
        form: dict[str, Any] = {"grantType": "authorization_code", "redirectUri": asked["redirect_uri"]}
        await house.token(program, 401, **form, code=codes[0], codeVerifier="w" * 43)
        found = await house.token(program, **form, code=codes[1], codeVerifier=verifier)
        await house.token(program, 401, **form, code=codes[1], codeVerifier=verifier)
        for elsewhere in ("https://evil.example/callback", "http://evil.example:80/", "http://127.0.0.1/x"):
            wrong = {**asked, "redirect_uri": elsewhere, "csrf_token": token}
            assert (await browser.post("/authorize", data=wrong)).status_code == 400
    assert (await house.me(found["accessToken"])).json()["name"] == "jane@example.com"


# -- rights in scopes


async def project(house: House, name: str) -> Project:
    made = Project(meta=Meta(name=name), department="default", resources={})
    return await house.door.organization.create_project(ADMIN, made)


async def test_somebody_of_one_project_sees_nothing_of_another(house: House) -> None:
    await house.user()
    one, other = await project(house, "one"), await project(house, "other")
    await house.grant("jane@example.com", "L1 researcher", "project", one.meta.uid)
    jane = await house.door.access.actor("user", "jane@example.com")
    seen = await house.door.organization.list_projects(jane, Query())
    assert [item.name for item in seen.items] == ["one"]
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        assert (await me.get(f"/api/v1/org-unit/projects/{one.meta.uid}")).status_code == 200
        hidden = await me.get(f"/api/v1/org-unit/projects/{other.meta.uid}")
        nowhere = await me.get("/api/v1/org-unit/projects/00000000-0000-4000-8000-000000000000")
        assert (hidden.status_code, nowhere.status_code) == (404, 404)
        assert "other" not in hidden.text.replace(other.meta.uid, "")
        body = {"name": "a", "projectId": other.meta.uid, "spec": {"command": "true"}}
        assert (await me.post("/api/v1/workloads/trainings", json=body)).status_code == 404
        body["projectId"] = one.meta.uid
        made = await me.post("/api/v1/workloads/trainings", json=body)
        assert made.status_code == 202, made.text


async def test_workloads_of_others_are_as_if_they_were_not_there(house: House) -> None:
    await house.user()
    one, other = await project(house, "one"), await project(house, "other")
    await house.grant("jane@example.com", "L1 researcher", "project", one.meta.uid)
    made = await house.door.access.create_service_account("root")
    root = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {root}") as admin:
        body = {"name": "secret-work", "projectId": other.meta.uid, "spec": {"command": "true"}}
        uid = (await admin.post("/api/v1/workloads/trainings", json=body)).json()["workloadId"]
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        listed = (await me.get("/api/v1/workloads")).json()
        assert listed["workloads"] == []
        for path in (f"/api/v1/workloads/{uid}", f"/api/v1/workloads/{uid}/logs", f"/api/v1/workloads/{uid}/why"):
            assert (await me.get(path)).status_code == 404, path
        assert (await me.delete(f"/api/v1/workloads/{uid}")).status_code == 404
        assert (await me.get("/api/v1/workloads/count")).json() == {"count": 0}


async def test_a_department_administrator_rules_what_lies_below_and_no_more(house: House) -> None:
    await house.user()
    inside = await project(house, "inside")
    departments = await house.door.organization.list_departments(ADMIN, Query())
    await house.grant("jane@example.com", "Department administrator", "department", departments.items[0].meta.uid)
    jane = await house.door.access.actor("user", "jane@example.com")
    await house.user("joe@example.com")
    below = NewRule(
        subject="joe@example.com", subject_type="user", role="L1 researcher", scope_type="project", scope=inside.name
    )
    await house.door.rules.create(jane, below)
    larger = replace(below, role="System administrator")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.rules.create(jane, larger)
    above = replace(below, scope_type="tenant", scope="")
    with pytest.raises(Forbidden, match="may not"):
        await house.door.rules.create(jane, above)


async def test_nobody_takes_over_an_account_that_has_more_rights(house: House) -> None:
    await house.user()
    await house.user("boss@example.com")
    await house.grant("boss@example.com", "System administrator")
    await house.grant("jane@example.com", "Department administrator")
    jane = await house.door.access.actor("user", "jane@example.com")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.users.reset_password(jane, "boss@example.com")
    await house.door.access.create_service_account("runai-cli")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.accounts.new_secret(jane, "service-account", "runai-cli")


async def test_a_rule_that_is_deleted_no_longer_holds_for_the_next_request(house: House) -> None:
    await house.user()
    rule = await house.grant("jane@example.com", "Viewer")
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        assert (await me.get("/api/v1/workloads")).status_code == 200
        await house.door.rules.delete(ADMIN, str(rule.number))
        assert (await me.get("/api/v1/workloads")).status_code == 403


async def test_a_project_of_the_same_name_made_later_has_none_of_the_old_rules(house: House) -> None:
    await house.user()
    first = await project(house, "one")
    await house.grant("jane@example.com", "L1 researcher", "project", "one")
    await house.door.organization.delete_project(ADMIN, first.meta.uid)
    await project(house, "one")
    jane = await house.door.access.actor("user", "jane@example.com")
    assert (await house.door.organization.list_projects(jane, Query())).items == ()


# -- the audit log


async def test_every_change_is_in_the_audit_log_with_before_and_after(house: House) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor("203.0.113.9", Authorization=f"Bearer {token}") as root:
        created = (await root.post("/api/v1/org-unit/projects", json={"name": "p", "description": "old"})).json()
        await root.put(f"/api/v1/org-unit/projects/{created['id']}", json={"description": "new"})
        await root.delete(f"/api/v1/org-unit/projects/{created['id']}")
        await root.get("/api/v1/org-unit/projects")
        refused = await root.post("/api/v1/org-unit/projects", json={"name": "NOT A NAME"})
        assert refused.status_code == 400
        found = (await root.get("/api/v1/audit/log", params={"sortBy": "timestamp"})).json()
    entries = found["audit_logs"]
    assert sorted((e["action"], e["result"], e["http_method"], e["http_status_code"]) for e in entries) == [
        ("create", "Failed", "POST", 400),
        ("create", "Succeeded", "POST", 201),
        ("delete", "Succeeded", "DELETE", 200),
        ("update", "Succeeded", "PUT", 200),
    ]
    assert {e["source_ip"] for e in entries} == {"203.0.113.9"}
    assert {e["subject"] for e in entries} == {"root"}
    (update,) = [e for e in entries if e["action"] == "update"]
    assert update["entity_type"] == "Project"
    assert update["entity_id"] == created["id"]
    assert update["changes"][0]["before"]["description"] == "old"
    assert update["changes"][0]["after"]["description"] == "new"


async def test_sign_ins_are_in_the_audit_log_and_no_secret_is(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "System administrator")
    secrets = [PASSWORD, "wrong" * 4]
    async with house.visitor() as visitor:
        await house.password_token(visitor, "wrong" * 4, expect=401)
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as jane:
        account = (await jane.post("/api/v1/service-accounts", json={"name": "robot"})).json()
        drawn = (await jane.post("/api/v1/users", json={"email": "x@example.com"})).json()["tempPassword"]
        key = (await jane.post("/api/v1/access-keys", json={"name": "laptop"})).json()
        reset = (await jane.post("/api/v1/users/x@example.com/password")).json()["tempPassword"]
        secrets += [account["clientSecret"], drawn, key["clientSecret"], reset, token]
        text = (await jane.get("/api/v1/audit/log", params={"numberOfSamples": 100})).text
        table = await jane.get("/api/v1/audit/log/file", params={"fileType": "CSV"})
    assert table.headers["content-type"].startswith("text/csv")
    for secret in secrets:
        assert secret not in text
        assert secret not in table.text
    entries = {(e.action, e.result) for e in await house.log()}
    assert {("sign-in", "Failed"), ("sign-in", "Succeeded"), ("reset-password", "Succeeded")} <= entries
    hashes = [user.password_hash for user in (await house.door.users.list(ADMIN, Query())).items]
    assert all(item and item not in text for item in hashes)


async def test_the_audit_log_can_be_filtered_and_is_kept_within_limits(house: House) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {token}") as root:
        for name in ("a1", "a2"):
            await root.post("/api/v1/service-accounts", json={"name": name})
        query = {"filterBy": "entity_name==a2", "start": "2020-01-01T00:00:00Z"}
        found = await root.get("/api/v1/audit/log", params=query)
        assert found.json().get("total") == 1, found.text
        assert (await root.get("/api/v1/audit/log", params={"filterBy": "colour==red"})).status_code == 400
        house.clock.time += 91 * 86400
        assert await house.door.audit.trim() == 2
    assert await house.log() == []
