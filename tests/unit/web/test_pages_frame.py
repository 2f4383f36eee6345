"""The frame of pages: headers, files, errors in words, and who may look."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import NotFound, Unauthenticated
from runai_core.web.pages import files, frame, shown


def test_static_files_may_be_kept_for_ever_under_the_hash_of_their_content() -> None:
    path = files.url("runai.css")

    assert path == f"/static/{files.files()['runai.css'].digest}/runai.css"
    assert files.serve(path.split("/")[2], "runai.css").headers["cache-control"] == files.FOREVER


def test_an_old_hash_gives_the_present_file_and_is_not_kept() -> None:
    answer = files.serve("0" * 16, "runai.css")

    assert answer.body == files.files()["runai.css"].content
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["../app.py", "..", "", "base.html", "runai.css/..", "/etc/passwd"])
def test_nothing_but_the_static_files_can_be_asked_for(name: str) -> None:
    with pytest.raises(NotFound):
        files.serve("x", name)


def test_every_vendored_file_has_its_licence_beside_it() -> None:
    names = files.files().keys()
    vendored = {name.split("-")[0] for name in names if ".min." in name}

    assert vendored == {"htmx", "uplot"}
    assert all(any(name.startswith(f"{each}-") and name.endswith("LICENSE") for name in names) for each in vendored)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (None, ""), (-5, "0 s")],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert shown.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(1024**3, "1 GiB"), (1536 * 1024**2, "1.5 GiB"), (1024**2, "0.00098 GiB"), (0, "0 GiB"), (None, "")],
)
def test_memory_is_in_gib(amount: int | None, text: str) -> None:
    assert shown.gib(amount) == text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WaitingForQuota", "Waiting for quota"),
        ("NeverFits", "Never fits"),
        ("OOMKilled", "OOM killed"),
        ("ngcApiKey", "ngc api key"),
        ("already words", "already words"),
        ("", ""),
    ],
)
def test_names_of_the_api_as_words(name: str, words: str) -> None:
    assert shown.in_words(name) == words


def test_a_long_name_may_be_broken_where_it_is_joined_and_stays_text() -> None:
    assert shown.breakable("ann@example.com/<b>") == "ann@<wbr>example.com/&lt;b&gt;"


def test_a_number_keeps_its_unit() -> None:
    assert shown.glued("1 h 5 min ago") == "1\u00a0h 5\u00a0min ago"


def a_request(path: str = "/workloads", headers: dict[str, str] | None = None, method: str = "GET") -> Request:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request(
        {"type": "http", "method": method, "path": path, "query_string": b"a=1", "headers": raw, "state": {}}
    )


def test_who_is_not_logged_in_is_sent_to_log_in_and_comes_back() -> None:
    answer = frame.error_page(a_request(), Unauthenticated("log in first"))

    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fworkloads%3Fa%3D1")


def test_a_partial_update_without_a_session_sends_the_whole_page_to_log_in() -> None:
    answer = frame.error_page(a_request(headers={"hx-request": "true"}), Unauthenticated("log in first"))

    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login?next=%2Fworkloads%3Fa%3D1")


@pytest.mark.parametrize(("headers", "status"), [({}, 303), ({"hx-request": "true"}, 204)])
def test_after_a_change_the_browser_goes_on_with_a_notice(headers: dict[str, str], status: int) -> None:
    answer: Response = frame.go_to(a_request(headers=headers), "/projects", "made <b>x</b>; y")

    assert answer.status_code == status
    assert "runai_notice=made%20%3Cb%3Ex%3C%2Fb%3E%3B%20y;" in answer.headers["set-cookie"]
    assert "HttpOnly" in answer.headers["set-cookie"]


def test_pages_run_no_script_but_our_own_files() -> None:
    rules = dict(part.strip().split(" ", 1) for part in frame.POLICY.split(";"))

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == rules["form-action"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"


def test_no_template_writes_scripts_or_styles_into_a_page_or_switches_escaping_off() -> None:
    for template in frame.TEMPLATES.glob("*.html"):
        if template.name == "docs.html":  # no page of the frame: it has a policy of its own, and loads nothing
            continue
        text = template.read_text()
        assert "| safe" not in text, template.name
        assert "autoescape false" not in text, template.name
        assert " style=" not in text, template.name
        assert " onclick=" not in text, template.name
        assert "<style" not in text, template.name
        assert "<script>" not in text, template.name


@pytest.mark.parametrize(
    ("path", "accept", "page"),
    [("/nowhere", "text/html", True), ("/nowhere", "application/json", False), ("/api/v1/nowhere", "text/html", False)],
)
@pytest.mark.asyncio
async def test_a_page_that_is_not_there_is_told_in_the_form_that_was_asked_for(
    api: Any, path: str, accept: str, *, page: bool
) -> None:
    answer = await api.client.get(path, headers={"Accept": accept})

    assert answer.status_code == 404
    assert ("<h1>That is not here</h1>" in answer.text) is page
