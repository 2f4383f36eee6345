"""What is collected to get help: all that there is, in one file of its owner, and no secret."""

import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.resources import EVENTS, PODS, Resource
from runai_core.cli.diagnostics import of_namespaces, secrets_of, without_secrets, write_archive
from runai_core.model.errors import NotFound, Unavailable
from runai_core.settings import Settings

TOKEN, SECRET = "abc-of-ours", "s3cr3t-of-ours"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl"


@pytest.fixture
def collected(runai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Collect from a data directory with secrets in its files and its log; return the archive."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir(mode=0o700)
    out.mkdir()
    kept = {"url": "http://127.0.0.1:1", "token": TOKEN, "client_id": "cli", "client_secret": SECRET}
    (data / "credentials.json").write_text(json.dumps(kept))
    (data / "secrets.key").write_text(SECRET)
    log = f"begun\nrefused {TOKEN}\nGET /login?ticket=onetime-ticket HTTP/1.1\nAuthorization: Bearer {JWT}\n"
    (data / "orchestrator.log").write_text(log)
    (data / "orchestrator.log.1").write_text("before\n")

    result = runai("diagnostics", "collect-logs", "--output-dir", str(out), "--data-dir", str(data))

    assert (result.code, result.err) == (0, "")
    (archive,) = out.iterdir()
    assert f"{archive} holds" in result.out
    return archive


def test_an_archive_is_its_owners_and_holds_logs_settings_versions_and_checks(collected: Path) -> None:
    assert collected.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(collected) as archive:
        assert {*archive.namelist()} == {
            "orchestrator.log",
            "orchestrator.log.1",
            "settings.json",
            "versions.json",
            "doctor.json",
            "status.json",
        }
        assert archive.read("orchestrator.log").startswith(b"begun\nrefused (hidden)\n")
        assert json.loads(archive.read("settings.json"))["data_dir"] == str(collected.parents[1] / "data")
        assert json.loads(archive.read("versions.json")).keys() == {"runai-core", "python", "platform"}
        assert "Disk" in [check["name"] for check in json.loads(archive.read("doctor.json"))]
        assert json.loads(archive.read("status.json"))["running"] is False


def test_no_secret_is_in_an_archive(collected: Path) -> None:
    with zipfile.ZipFile(collected) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())

    assert not [secret for secret in (TOKEN, SECRET, JWT, "onetime-ticket") if secret in text]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("postgresql://runai:pw@db/x", "postgresql://(hidden)@db/x", id="the user of a URL"),
        pytest.param('{"password": "pw", "port": 1}', '{"password": "(hidden)", "port": 1}', id="a password in JSON"),
        pytest.param("password='two words' next", "password='(hidden)' next", id="a quoted one"),
        pytest.param('"secret": {"name": "a"}', '"secret": {"name": "a"}', id="a reference is none"),
        pytest.param("API_KEY=pw next", "API_KEY=(hidden) next", id="a variable"),
        pytest.param("client_secret=pw&b=1", "client_secret=(hidden)&b=1", id="a form"),
        pytest.param(f"x {JWT} y", "x (hidden) y", id="a token"),
        pytest.param("known-1 known", "(hidden) (hidden)", id="secrets of which one begins like another"),
        pytest.param('"join_token_file": "/a/b"', '"join_token_file": "/a/b"', id="the name of a file is none"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, left: str) -> None:
    assert without_secrets(text, frozenset({"known", "known-1"})) == left


def test_secrets_are_those_of_files_environment_and_database(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"token": "kept", "client_id": "name", "url": "http://x"}))
    environ = {"RUNAI_CLI_CONFIG_PATH": str(tmp_path), "RUNAI_TOKEN": "given"}
    settings = Settings(data_dir=tmp_path, database_url="postgresql://runai:pw@db/x")

    assert secrets_of(settings, environ) == {"kept", "given", "pw"}


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()  # it cannot be replaced by a file

    with pytest.raises(Unavailable, match=r"a\.zip cannot be written"):
        write_archive(tmp_path / "a.zip", {"a": "b"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


class Cluster:
    """One pod with a container that was restarted and one whose log is gone."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []

    async def list(self, resource: Resource, namespace: str) -> tuple[list[Any], str]:
        states = [{"name": "api", "restartCount": 1}, {"name": "gone", "restartCount": 0}]
        pod = {"metadata": {"name": "p", "namespace": namespace}, "status": {"containerStatuses": states}}
        event = {"metadata": {}, "reason": "Started", "involvedObject": {"kind": "Pod", "name": "p"}}
        found: dict[Resource, list[Any]] = {PODS: [pod], EVENTS: [event]}
        return found[resource] if namespace == "runai" else [], "1"

    async def stream(self, path: str, container: str, previous: str = "", **_limits: str) -> AsyncIterator[bytes]:
        self.asked.append((path, container, bool(previous)))
        if container == "gone":
            raise NotFound("it is gone")
        yield b"before" if previous else b"now"


@pytest.mark.asyncio
@pytest.mark.parametrize("previous", [True, False])
async def test_logs_of_namespaces_are_taken_container_by_container(previous: bool) -> None:
    found = await of_namespaces(cast("Any", Cluster()), ["runai", "empty"], previous=previous)

    before = {"runai/p/api.previous.log": "before"} if previous else {}
    logs = {name: text for name, text in found.items() if name.endswith(".log")}
    assert logs == {"runai/p/api.log": "now", **before, "runai/p/gone.log": "(no log: it is gone)\n"}
    assert json.loads(found["runai/events.json"])[0]["object"] == "Pod/p"


@pytest.mark.asyncio
async def test_namespaces_without_pods_are_told() -> None:
    with pytest.raises(NotFound, match="there are no pods in empty: name the namespaces"):
        await of_namespaces(cast("Any", Cluster()), ["empty"], previous=True)
