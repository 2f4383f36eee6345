"""YAML that others wrote: what it stands for in JSON, and nothing that could harm who reads it."""

from typing import Any

import pytest

from runai_core import wire
from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.groups import top_owner
from runai_core.web.pages.values import yaml_of

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine lines that stand for 400 million words."""

READ: list[Any] = [
    ("a: 1\nb: [x, {c: null}]", {"a": 1, "b": ["x", {"c": None}]}),
    ("a: 2026-01-31", {"a": "2026-01-31"}),
    ("a: 'é😀'", {"a": "é😀"}),
    ("", None),
]
REFUSED: list[Any] = [
    pytest.param(BOMB, "aliases", id="a bomb"),
    pytest.param("a: &a {b: *a}", "aliases", id="a circle"),
    pytest.param("[" * 50_000, "deeper than 100", id="deep lists"),
    pytest.param("- " * 50_000, "deeper than 100", id="deep lists in blocks"),
    pytest.param("{a: " * 50_000, "deeper than 100", id="deep objects"),
    pytest.param("x" * 10**6, "longer than", id="a book"),
    pytest.param("a:\tb\n\tc: d", "line ", id="tabs"),
    pytest.param("a: 1\n---\nb: 2", "another document", id="two documents"),
    pytest.param("? [a]\n: b", "line 1", id="a name that is a list"),
    pytest.param("a: !!python/object/apply:os.system [x]", "constructor", id="an object of Python"),
    pytest.param('a: "\\0"', "NUL", id="NUL"),
    pytest.param(b"\xff", "invalid", id="bytes that are no text"),
]


@pytest.mark.parametrize(("text", "means"), READ)
def test_yaml_is_read_as_json_would_say_it(text: str, means: Any) -> None:
    assert wire.read_yaml(text) == means


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_is_no_plain_document_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wire.read_yaml(text)


@pytest.mark.parametrize("text", [BOMB, "[" * 50_000, "a: b: c"], ids=["a bomb", "deep", "wrong"])
def test_a_form_names_the_field(text: str) -> None:
    value, (error,) = yaml_of({"spec": [text]}, "spec")

    assert (value, error.field, error.message.startswith("is not YAML: ")) == ({}, "spec", True)


def test_an_annotation_of_somebody_s_pod_group_cannot_fill_the_memory_of_the_scheduler() -> None:
    assert top_owner({"metadata": {"annotations": {names.TOP_OWNER_ANNOTATION: BOMB}}}) == {}
