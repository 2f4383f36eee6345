"""Passwords: guessing them, choosing them, changing them."""

from typing import Any

import pytest

from runai_core.model.errors import TooManyRequests
from runai_core.service.passwords import Passwords
from runai_core.service.sign_in import PATIENCE, SignInService
from tests.identity.house import ADMIN, PASSWORD, House

pytestmark = pytest.mark.asyncio


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


async def test_many_guesses_at_once_are_told_no_more_than_a_few(house: House) -> None:
    await house.user()
    sign_in = house.door.sign_in

    class Busy(Passwords):
        """While a password is checked, as many guesses of others fail as lock the name."""

        async def is_right(self, password: str, hash_: str) -> bool:
            for _ in range(PATIENCE["account"].free):
                await sign_in.note_failure("account", "jane@example.com")
            return await super().is_right(password, hash_)

    guessing = SignInService(house.door.backend, house.door.access, Busy())
    with pytest.raises(TooManyRequests):  # right as it is: who guesses all at once does not learn it
        await guessing.with_password("jane@example.com", PASSWORD)
