"""`runai login sso` end to end: the command, a server, a real identity provider, and a browser between them."""

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.identity.house import csrf
from tests.oidc_provider import CLIENT, SECRET, Provider, a_provider
from tests.orchestrators import OrchestratorProcess, an_orchestrator

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "runai_core.cli.main"]
PATIENCE = 120


@dataclass
class World:
    """A server whose people sign in at a provider."""

    server: OrchestratorProcess
    provider: Provider
    url: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        a_provider(tmp_path_factory.mktemp("provider")) as provider,
        an_orchestrator(tmp_path_factory.mktemp("server")) as server,
    ):
        url = str(server.client.base_url).rstrip("/")
        provider.add_client(CLIENT, f"{url}/login/callback")
        provider.add_person("jane", ["vision"])
        data = {"clientId": CLIENT, "clientSecret": SECRET, "discoverDocumentUrl": provider.discovery}
        made = server.post("/api/v1/idps", {"name": "work", "type": "oidc", "oidcData": data})
        assert made.status_code == 201, made.text
        rule = {"subjectId": "vision", "subjectType": "group", "roleId": 9, "scopeType": "tenant", "scopeId": "1"}
        given = server.post("/api/v1/authorization/access-rules", rule)
        assert given.status_code == 201, given.text
        yield World(server, provider, url)


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of somebody who has a home of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNAI_", "XDG_"))}
    return {**kept, "HOME": str(tmp_path)}


def runai(environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def onward(answer: httpx.Response) -> str:
    """Return where a page leads that goes on by itself."""
    assert answer.status_code == 200, answer.text
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


def sign_in(world: World, browser: httpx.Client, address: str) -> httpx.Response:
    """Go the way of a person who opens the printed address; return the answer of the command's own door."""
    asked = browser.get(address, headers={"Accept": "text/html"})
    assert asked.status_code == 303
    form = browser.get(asked.headers["location"])
    link = re.search(r'href="(/login/sso/work[^"]*)"', form.text)
    assert link is not None, form.text
    leaving = browser.get(html.unescape(link[1]))
    back = world.provider.authorize("jane", leaving.headers["location"])
    question = browser.get(onward(browser.get(str(back))))
    assert "jane@example.com" in question.text
    fields = dict(re.findall(r'name="(redirect_uri|code_challenge|state)" value="([^"]*)"', question.text))
    fields = {name: html.unescape(value) for name, value in fields.items()}
    handed = browser.post("/authorize", data={**fields, "csrf_token": csrf(question.text)})
    return httpx.get(onward(handed), timeout=PATIENCE)


def test_a_person_logs_in_through_the_provider_and_out_again(world: World, environ: Mapping[str, str]) -> None:
    command = [*COMMAND, "login", "sso", "--url", world.url, "--no-browser"]
    login = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert login.stdout is not None
        address = login.stdout.readline().partition("Sign in in the browser: ")[2].strip()
        assert urlsplit(address).path == "/authorize"
        with httpx.Client(base_url=world.url, timeout=PATIENCE) as browser:
            assert "Go back to the terminal" in sign_in(world, browser, address).text
        said, _ = login.communicate(timeout=PATIENCE)
    finally:
        login.kill()
        login.wait()
    assert login.returncode == 0, said
    assert f"Logged in to {world.url}" in said

    me = json.loads(runai(environ, "whoami", "--json").stdout)
    assert (me["user"], me["kind"], me["roles"]) == ("jane@example.com", "user", "L1 researcher")
    listed = runai(environ, "workload", "list")
    assert listed.returncode == 0, listed.stderr

    assert len(world.server.get("/api/v1/administration/access-keys")["accessKeys"]) == 1
    assert runai(environ, "logout").returncode == 0
    assert not world.server.get("/api/v1/administration/access-keys")["accessKeys"]
    assert runai(environ, "workload", "list").returncode != 0


def test_another_program_cannot_answer_for_the_browser(world: World, environ: Mapping[str, str]) -> None:
    command = [*COMMAND, "login", "sso", "--url", world.url, "--no-browser"]
    login = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert login.stdout is not None
        address = login.stdout.readline().partition("Sign in in the browser: ")[2].strip()
        door = httpx.URL(address).params["redirect_uri"]
        assert httpx.get(door, params={"code": "made-up", "state": "made-up"}, timeout=PATIENCE).status_code == 404
        assert login.poll() is None, "it still waits for the browser"
        state = httpx.URL(address).params["state"]
        assert httpx.get(door, params={"code": "made-up", "state": state}, timeout=PATIENCE).status_code == 200
        said, _ = login.communicate(timeout=PATIENCE)
    finally:
        login.kill()
        login.wait()
    assert login.returncode != 0
    assert "the code has expired or was used before" in said
