"""What passes between a browser and a tool: nothing of ours, nothing of other hosts."""

import pytest

from runai_core.service.reaching import Place
from runai_core.settings import Settings
from runai_core.web import proxy

UID = "3f0e2c1a-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ([("Cookie", "runai_session=a; own=1; runai_tool=b")], [("cookie", "own=1")]),
        ([("Cookie", "runai_session=a")], []),
        ([("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "for=x"), ("X-Real-IP", "1")], []),
        ([("Connection", "close, X-Secret"), ("X-Secret", "1"), ("Accept", "*/*")], [("accept", "*/*")]),
        ([("Transfer-Encoding", "chunked"), ("Proxy-Authorization", "x"), ("Upgrade", "h2c"), ("TE", "x")], []),
        ([("Authorization", "token of-the-tool")], [("authorization", "token of-the-tool")]),
    ],
    ids=[
        "our cookies stay here",
        "a header with nothing but our cookies goes",
        "what a client says of where it comes from is not believed",
        "headers that Connection names are for the neighbour",
        "hop-by-hop headers are for the neighbour",
        "a tool's own token is its own",
    ],
)
def test_what_a_tool_sees(given: list[tuple[str, str]], seen: list[tuple[str, str]]) -> None:
    assert proxy.passed_on(given) == seen


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("own=1; Path=/", True),
        ("runai_session=evil; Path=/", False),
        ("RUNAI_tool=evil", False),
        ("own=1; Domain=localhost", False),
        ("own=1; domain = .example.com; Secure", False),
        ("domain=1; Path=/", True),
    ],
)
def test_a_tool_sets_cookies_for_its_own_host_only_and_none_of_ours(cookie: str, *, kept: bool) -> None:
    assert bool(proxy.brought_back([("Set-Cookie", cookie)])) is kept


@pytest.mark.parametrize(
    ("host", "domain", "found"),
    [
        ("127.0.0.1", "", "localhost"),
        ("::1", "", "localhost"),
        ("0.0.0.0", "", ""),
        ("0.0.0.0", "Tools.Example.com.", "tools.example.com"),
    ],
)
def test_where_tools_live(tmp_path_factory: pytest.TempPathFactory, host: str, domain: str, found: str) -> None:
    settings = Settings(data_dir=tmp_path_factory.getbasetemp(), host=host, tools_domain=domain)

    assert proxy.tools_domain(settings) == found


def test_the_address_of_a_tool_keeps_port_and_path() -> None:
    url = proxy.tool_url(Place(UID, 8888), "localhost", "http://127.0.0.1:4000/", "t&1", "lab/tree?x=1&y=2")

    assert url == (f"http://t-8888-{UID}.localhost:4000/_runai/enter?ticket=t%261&to=%2Flab%2Ftree%3Fx%3D1%26y%3D2")
