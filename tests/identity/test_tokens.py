"""Tokens, secrets and keys: what they are good for, and when no longer."""

import base64
import hashlib
import json
import re
from typing import Any

import jwt
import pytest

from runai_core.model.errors import Unauthenticated
from runai_core.model.meta import Meta
from runai_core.model.organization import ServiceAccount
from tests.identity.house import ADMIN, NOW, House, csrf

pytestmark = pytest.mark.asyncio


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
    kept = Meta(name="old", labels={"role": "System administrator"})  # as they kept it
    await house.door.backend.store.create(ServiceAccount(meta=kept, client_id="old", secret_hash="x"))
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


async def test_a_token_of_an_account_that_was_deleted_is_none_of_one_of_the_same_name(house: House) -> None:
    _, secret = await house.door.accounts.create(ADMIN, "service-account", "robot")
    await house.grant("robot", "Viewer")
    old = (await house.door.access.issue("robot", secret)).access_token
    assert (await house.me(old)).status_code == 200
    await house.door.accounts.delete(ADMIN, "service-account", "robot")
    assert (await house.me(old)).status_code == 401
    await house.door.accounts.create(ADMIN, "service-account", "robot")
    await house.grant("robot", "System administrator")
    assert (await house.me(old)).status_code == 401


@pytest.mark.parametrize("deed", ["new_secret", "disable", "delete"])
async def test_browsers_that_a_link_signed_in_as_an_account_end_with_its_secret(house: House, deed: str) -> None:
    await house.door.accounts.create(ADMIN, "service-account", "robot")
    robot = await house.door.access.actor("service-account", "robot")
    opened = await house.door.sessions.redeem(await house.door.sessions.issue_ticket(robot))
    accounts = house.door.accounts
    if deed == "disable":
        await accounts.enable(ADMIN, "service-account", "robot", enabled=False)
        await accounts.enable(ADMIN, "service-account", "robot", enabled=True)
    elif deed == "delete":
        await accounts.delete(ADMIN, "service-account", "robot")
        await accounts.create(ADMIN, "service-account", "robot")
    else:
        await accounts.new_secret(ADMIN, "service-account", "robot")
    with pytest.raises(Unauthenticated):
        await house.door.sessions.find(opened.cookie)
