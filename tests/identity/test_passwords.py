"""Passwords: guessing them, choosing them, changing them."""

from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest, TooManyRequests
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


async def rules(house: House, **given: int) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue("root", made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {token}") as root:
        answer = await root.put("/api/v1/security/settings/passwordRules", json=given)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"minLength": 12, "characterKinds": 1, "history": 0, "validDays": 0} | given


CHANGES: dict[str, tuple[dict[str, int], str, str]] = {
    "shorter than is asked for": ({"minLength": 24}, "tr0ub4dor and three", "24 to 1024"),
    "of too few kinds": ({"characterKinds": 3}, "only small letters here", "3 kinds"),
    "one of the last": ({"history": 2}, "the very first one", "none of the last 3"),
}


@pytest.mark.parametrize(("given", "new", "why"), CHANGES.values(), ids=CHANGES.keys())
async def test_rules_of_the_tenant_hold_for_new_passwords(
    house: House, given: dict[str, int], new: str, why: str
) -> None:
    await house.user(password="the very first one")
    await house.door.sign_in.with_password("jane@example.com", "the very first one", new="Something 2 begin with")
    await rules(house, **given)
    async with house.visitor() as visitor:
        page = await house.sign_in(visitor, "Something 2 begin with", new_password=new)
        assert page.status_code == 400
        assert page.text.count(why) == 2, "told at the field, and as what is wrong"
        assert (await house.sign_in(visitor, "Something 2 begin with")).status_code == 200, "it is still the old one"


async def test_an_earlier_password_is_taken_again_once_enough_others_were_in_between(house: House) -> None:
    await house.user(password="the very first one")
    await rules(house, history=1)
    change = house.door.sign_in.with_password
    await change("jane@example.com", "the very first one", new="the second of them")
    with pytest.raises(InvalidRequest):
        await change("jane@example.com", "the second of them", new="the very first one")
    await change("jane@example.com", "the second of them", new="the third of them all")
    await change("jane@example.com", "the third of them all", new="the very first one")


async def test_a_password_that_is_too_old_is_good_for_nothing_but_to_be_changed(house: House) -> None:
    user = await house.user()
    await rules(house, validDays=30)
    house.clock.time = user.meta.created_at + 30 * 86400
    async with house.visitor() as visitor:
        await house.password_token(visitor)
        house.clock.time += 60
        refused = await house.password_token(visitor, expect=403)
        assert "too old" in refused["message"]
        body: dict[str, Any] = {"grantType": "password", "username": "jane@example.com", "password": PASSWORD}
        await house.token(visitor, **body, newPassword="another good password")
        await house.password_token(visitor, "another good password")


async def test_a_drawn_password_is_not_measured(house: House) -> None:
    await rules(house, minLength=128, characterKinds=4)
    _, password = await house.door.users.create(ADMIN, "ann@example.com")
    _, again = await house.door.users.reset_password(ADMIN, "ann@example.com")
    assert password != again
    with pytest.raises(InvalidRequest):
        await house.door.users.create(ADMIN, "joe@example.com", "correct horse battery staple")


async def test_the_audit_log_tells_how_the_rules_were_changed(house: House) -> None:
    await rules(house, minLength=20)
    (change,) = next(entry for entry in reversed(await house.log()) if entry.changes).changes
    assert '"passLength": 20' in change.after


@pytest.mark.parametrize(
    "wrong", [{"minLength": 7}, {"minLength": 129}, {"characterKinds": 5}, {"history": 13}, {"validDays": -1}]
)
async def test_rules_have_limits(house: House, wrong: dict[str, int]) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue("root", made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {token}") as root:
        refused = await root.put("/api/v1/security/settings/passwordRules", json=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, next(iter(wrong)))
