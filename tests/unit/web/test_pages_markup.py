"""The markup of every page: what can be found out about a page's use for all people without a browser."""

from html.parser import HTMLParser
from typing import Any

import pytest

VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "rect", "wbr"})
CONTROLS = frozenset({"input", "select", "textarea"})

PATHS = (
    "/overview",
    "/projects",
    "/projects/new",
    "/projects/default",
    "/projects/default/edit",
    "/projects/default/delete",
    "/departments",
    "/departments/default/edit",
    "/node-pools",
    "/node-pools/new",
    "/node-pools/default/edit",
    "/nodes",
    "/nodes/node-a",
    "/policies",
    "/policies/edit",
    "/policies/effective",
    "/assets",
    "/assets/new/environment",
    "/assets/new/genericSecret",
    "/templates",
    "/templates/new",
    "/clusters",
    "/clusters/default",
    "/topologies",
    "/topologies/new",
    "/access-rules",
    "/access-rules/new",
    "/users",
    "/users/ann@example.com",
    "/roles",
    "/service-accounts",
    "/service-accounts/ci",
    "/access-keys",
    "/audit",
    "/reports",
    "/reports/new",
    "/settings",
    "/workloads/new",
    "/workloads/new/workspace",
    "/workloads/new/training",
    "/workloads/new/distributed",
    "/workloads/new/inference",
)


class Markup(HTMLParser):
    """Collects what is wrong with a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.named: set[str] = set()  # ids that a label is for
        self.controls: list[tuple[str, bool]] = []  # id, and whether it has a name without a label elsewhere
        self.references: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.posts, self.tokens = 0, 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        for name in ("aria-describedby", "aria-controls", "list", "for"):
            self.references += found.get(name, "").split()
        if tag == "label":
            self.named.add(found.get("for", ""))
        if tag in CONTROLS and found.get("type") != "hidden":
            self.controls.append((found.get("id", ""), "aria-label" in found or "label" in self.open))
        self.posts += tag == "form" and found.get("method") == "post"
        self.tokens += found.get("name") == "csrf_token"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.unbalanced.append(f"</{tag}> in {self.open[-2:]} at {self.getpos()}")
        while tag in self.open and self.open.pop() != tag:
            pass


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_well_formed_and_each_input_has_a_name(api: Any, path: str) -> None:
    await api.client.post("/users/new", data={"email": "ann@example.com"})
    await api.client.post("/service-accounts/new", data={"name": "ci"})
    found = Markup((await api.client.get(path)).text)

    assert found.unbalanced == []
    assert sorted({name for name in found.ids if found.ids.count(name) > 1}) == [], "ids that are there twice"
    assert [name for name, has_name in found.controls if not has_name and name not in found.named] == []
    assert set(found.references) <= set(found.ids)
    assert found.posts == found.tokens, "each form that changes something carries the session's token"
