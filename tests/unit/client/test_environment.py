import json
from pathlib import Path

import pytest

from runai_core.client.environment import find_connection
from runai_core.model.errors import InvalidRequest, Unavailable


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "RUNAI_DATA_DIR": str(tmp_path / "data")}


def credentials(environ: dict[str, str], text: str | None = None) -> None:
    folder = Path(environ["RUNAI_DATA_DIR"])
    folder.mkdir()
    content = {"url": "http://127.0.0.1:1234/", "token": "t", "client_id": "c", "client_secret": "s"}
    (folder / "credentials.json").write_text(json.dumps(content) if text is None else text)


def test_the_credentials_file_of_the_data_directory_is_found_without_configuration(environ: dict[str, str]) -> None:
    credentials(environ)

    found = find_connection(environ)

    assert (found.url, found.token, found.client_id, found.project) == ("http://127.0.0.1:1234", "t", "c", "default")


def test_the_data_directory_is_found_under_home(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "RUNAI_DATA_DIR": str(tmp_path / ".local" / "share" / "runai")}
    Path(environ["RUNAI_DATA_DIR"]).parent.mkdir(parents=True)
    credentials(environ)
    del environ["RUNAI_DATA_DIR"]

    assert find_connection(environ).token == "t"


def test_a_url_wins_over_the_data_directory(environ: dict[str, str]) -> None:
    credentials(environ)

    found = find_connection({**environ, "RUNAI_URL": "https://far/", "RUNAI_TOKEN": "x", "RUNAI_PROJECT": "vision"})

    assert (found.url, found.token, found.project) == ("https://far", "x", "vision")


def test_what_login_kept_is_used_where_no_data_directory_is_named(environ: dict[str, str]) -> None:
    (Path(environ["HOME"]) / "c.json").write_text(json.dumps({"url": "http://near", "token": "y", "project": "p"}))
    del environ["RUNAI_DATA_DIR"]

    found = find_connection({**environ, "RUNAI_CLI_CONFIG_PATH": environ["HOME"], "RUNAI_CLI_CONFIG_FILE": "c.json"})

    assert (found.url, found.token, found.project) == ("http://near", "y", "p")


def test_without_an_orchestrator_the_message_says_how_to_start_one(environ: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match=r"no orchestrator is running: start one with `runai up`"):
        find_connection(environ)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://x"}', "null"])
def test_a_damaged_credentials_file_is_named(environ: dict[str, str], text: str) -> None:
    credentials(environ, text)

    with pytest.raises(Unavailable, match=r"credentials\.json is damaged"):
        find_connection(environ)


def test_a_url_without_a_scheme_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=r"RUNAI_URL: must begin with http"):
        find_connection({**environ, "RUNAI_URL": "localhost:80"})


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_corrupt_configuration_is_named(environ: dict[str, str], text: str) -> None:
    path = Path(environ["HOME"]) / "config.json"
    path.write_text(text)

    with pytest.raises(InvalidRequest, match=r"config\.json"):
        find_connection({**environ, "RUNAI_CLI_CONFIG_PATH": environ["HOME"]})
