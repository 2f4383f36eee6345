"""Lists that are asked for in pages and go on where the one before ended."""

from typing import Any

import pytest

UID = "0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a"


def pages_of(api: Any, *names: str) -> None:
    """Let workloads of these names exist, given in the pages that are asked for."""

    def page(request: Any) -> Any:
        start, size = (int(request.url.params[name]) for name in ("offset", "limit"))
        made = {name: f"2026-01-{31 - index:02}T00:00:00Z" for index, name in enumerate(names)}
        kind = "".join(request.url.params.get_list("filterBy")).rpartition("type==")[2][:8]
        found = [name for name in names if not kind.startswith("Distrib")]
        items = [{"id": UID, "name": name, "phase": "Running", "createdAt": made[name]} for name in found]
        return {"workloads": items[start : start + size]}

    api.answers["GET", "/api/v1/workloads"] = page


@pytest.mark.parametrize("noun", ["workload", "training"])
def test_a_list_goes_on_where_the_one_before_ended(runai: Any, api: Any, noun: str) -> None:
    pages_of(api, "a", "b", "c", "d", "e")
    part = (noun, "list", "-A", "--columns", "workload", "--no-headers", "--max-items", "2")

    heard = [runai(*part), runai(*part, "--next-token", "2"), runai(*part, "--next-token", "4")]

    assert [result.out.split() for result in heard] == [["a", "b"], ["c", "d"], ["e"]]
    assert [result.err for result in heard] == [
        "There are more: --next-token 2 goes on.\n",
        "There are more: --next-token 4 goes on.\n",
        "",
    ]


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        pytest.param((), ["100"], id="a hundred"),
        pytest.param(("--page-size", "2"), ["2", "2"], id="two"),
        pytest.param(("--no-pagination",), ["500"], id="as many as there can be"),
    ],
)
def test_a_list_is_asked_for_in_pages(runai: Any, api: Any, words: tuple[str, ...], sizes: list[str]) -> None:
    pages_of(api, "a", "b", "c")

    assert runai("workload", "list", "-A", "--columns", "workload", "--no-headers", *words).out.split() == [*"abc"]
    assert [request.url.params["limit"] for request in api.requests] == sizes


def test_everything_and_a_part_are_not_asked_for_at_once(runai: Any, api: Any) -> None:
    result = runai("workload", "list", "--no-pagination", "--max-items", "5")

    assert (result.code, result.err) == (2, "Error: --no-pagination: goes without --max-items and --next-token\n")
    assert not api.requests
