"""Signing in through a real OpenID Connect provider, and everything that must not work."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.model.organization import Actor, Grant
from runai_core.ports import Query
from runai_core.service.rules import NewRule
from runai_core.settings import Settings
from runai_core.web.app import create_app
from tests.oidc_provider import CLIENT, SECRET, Provider, a_provider

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

ADMIN = Actor(name="root", grants=(Grant("System administrator"),))
CALLBACK = "http://localhost/login/callback"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with a_provider(tmp_path_factory.mktemp("provider")) as running:
        running.add_client(CLIENT, CALLBACK)
        running.add_client("another", CALLBACK)
        running.add_person("jane", ["vision", "staff"])
        running.add_person("joe", [])
        yield running


@dataclass
class Here:
    """An orchestrator that knows the provider."""

    door: Orchestrator
    app: Any
    token: str
    provider: Provider

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")

    async def add(self, expect: int = 201, **more: Any) -> Any:
        data = {"clientId": CLIENT, "clientSecret": SECRET, "discoverDocumentUrl": self.provider.discovery}
        body = {"name": "work", "type": "oidc", "oidcData": {**data, **more.pop("data", {})}, **more}
        async with self.browser() as admin:
            answer = await admin.post("/api/v1/idps", json=body, headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def leave(self, browser: httpx.AsyncClient) -> str:
        answer = await browser.get("/login/sso/work", params={"next": "/nodes"})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def sign_in(self, browser: httpx.AsyncClient, name: str = "jane") -> httpx.Response:
        back = self.provider.authorize(name, await self.leave(browser))
        return await browser.get(str(back))


@pytest_asyncio.fixture
async def here(tmp_path: Path, provider: Provider) -> AsyncIterator[Here]:
    settings = Settings(data_dir=tmp_path, plugins=("builtin",), simulated_gpus=1)
    async with open_orchestrator(settings) as door:
        made = await door.access.create_service_account("root")
        token = await door.access.issue(made.client_id, made.client_secret)
        yield Here(door, create_app(door), token.access_token, provider)


async def test_a_person_comes_in_and_has_the_rights_of_their_groups(here: Here) -> None:
    await here.add()
    rule = NewRule(subject="vision", subject_type="group", role="L1 researcher", scope_type="tenant")
    await here.door.rules.create(ADMIN, rule)
    async with here.browser() as browser:
        assert 'href="/login/sso/work' in (await browser.get("/login")).text
        arrived = await here.sign_in(browser)
        assert arrived.status_code == 200, arrived.text
        assert 'url=/nodes"' in arrived.text
        me = (await browser.get("/api/v1/me")).json()
        assert me["name"] == "jane@example.com"
        assert [item["role"] for item in me["grants"]] == ["L1 researcher"]
        assert (await browser.get("/api/v1/workloads")).status_code == 200
    (user,) = (await here.door.users.list(ADMIN, Query())).items
    assert user.provider == "work"
    assert set(user.groups) == {"vision", "staff"}


async def test_somebody_in_no_group_comes_in_and_may_do_nothing(here: Here) -> None:
    await here.add()
    async with here.browser() as browser:
        assert (await here.sign_in(browser, "joe")).status_code == 200
        assert (await browser.get("/api/v1/me")).json()["grants"] == []
        assert (await browser.get("/api/v1/workloads")).status_code == 403


async def test_coming_back_works_once_and_for_the_browser_that_left(here: Here) -> None:
    await here.add()
    async with here.browser() as browser, here.browser() as thief:
        back = str(here.provider.authorize("jane", await here.leave(browser)))
        assert (await thief.get(back)).status_code == 401, "a browser that never left"
        await here.leave(thief)
        assert (await thief.get(back)).status_code == 401, "one that left by itself"
        assert (await browser.get(back)).status_code == 401, "and now the way back is spent"
        back = str(here.provider.authorize("jane", await here.leave(browser)))
        assert (await browser.get(back)).status_code == 200
        assert (await browser.get(back)).status_code == 401


@pytest.mark.parametrize(
    "change", [{"state": "made-up"}, {"code": "made-up"}, {"code": ""}, {"error": "access_denied"}]
)
async def test_a_changed_way_back_is_refused(here: Here, change: dict[str, str]) -> None:
    await here.add()
    async with here.browser() as browser:
        back = here.provider.authorize("jane", await here.leave(browser))
        answer = await browser.get(str(back.copy_merge_params(change)))
        assert answer.status_code == 401
        assert "runai_session=" not in str(answer.headers.get_list("set-cookie"))
        assert (await browser.get("/api/v1/me")).status_code == 401


async def test_who_lacks_the_mandatory_claim_stays_out(here: Here) -> None:
    await here.add(data={"mandatoryClaim": {"claim": "groups", "values": ["vision"]}})
    async with here.browser() as browser:
        assert (await here.sign_in(browser, "joe")).status_code == 403
        assert (await here.sign_in(browser, "jane")).status_code == 200


async def test_a_local_user_of_the_same_name_is_not_taken_over(here: Here) -> None:
    await here.add()
    await here.door.users.create(ADMIN, "jane@example.com")
    async with here.browser() as browser:
        answer = await here.sign_in(browser)
        assert answer.status_code == 403
        assert "with a password" in answer.text


async def test_a_program_exchanges_an_id_token_and_no_forged_one(here: Here) -> None:
    await here.add()
    good = await id_token(here, CLIENT)
    other = await id_token(here, "another")
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"email": "root@example.com"}
    forged = ".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature))
    unsigned = ".".join((base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), body, ""))
    async with here.browser() as program:
        for token in (forged, unsigned, other, "nonsense"):
            answer = await program.post("/api/v1/token", json={"grantType": "exchange_token", "externalToken": token})
            assert answer.status_code == 401, answer.text
        answer = await program.post("/api/v1/token", json={"grantType": "exchange_token", "externalToken": good})
        token = answer.json()["accessToken"]
        me = await program.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["name"] == "jane@example.com"


async def test_a_wrong_client_secret_is_told_in_words(here: Here) -> None:
    await here.add(data={"clientSecret": "wrong"})
    async with here.browser() as browser:
        answer = await here.sign_in(browser)
        assert answer.status_code == 401
        assert "gives no token" in answer.text


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/nobody", "http://example.com/.well-known/openid-configuration", "{provider}/api/oidc/jwks"],
    ids=["nobody answers", "not encrypted", "no discovery document"],
)
async def test_an_address_that_is_no_provider_is_refused_at_once(here: Here, url: str) -> None:
    url = url.format(provider=here.provider.url)
    found = await here.add(400, data={"discoverDocumentUrl": url})
    assert found["errors"][0]["field"] == "oidcData.discoverDocumentUrl"


async def test_nobody_is_told_the_secret_of_a_client(here: Here) -> None:
    await here.add()
    async with here.browser() as admin:
        bearer = {"Authorization": f"Bearer {here.token}"}
        texts = [(await admin.get(path, headers=bearer)).text for path in ("/api/v1/idps", "/api/v1/audit/log")]
    (kept,) = await here.door.sso.list(ADMIN)
    assert all(SECRET not in text for text in (*texts, kept.client_secret))


async def id_token(here: Here, client: str) -> str:
    """Return an ID token that the provider issued to a client, as a program gets it."""
    verifier = "v" * 43
    found = httpx.get(here.provider.discovery, timeout=60).json()
    query = httpx.QueryParams(
        client_id=client, response_type="code", scope="openid", redirect_uri=CALLBACK, state="s", nonce="n",
        code_challenge=challenge_of(verifier), code_challenge_method="S256",
    )  # fmt: skip
    back = here.provider.authorize("jane", f"{found['authorization_endpoint']}?{query}")
    form = {
        "grant_type": "authorization_code",
        "code": back.params["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
    }
    answer = httpx.post(found["token_endpoint"], data=form, auth=(client, SECRET), timeout=60)
    return str(answer.json()["id_token"])


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
