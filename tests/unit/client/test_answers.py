import json

import pytest

from runai_core.client.answers import read_change, read_error, read_json
from runai_core.client.results import ChangeType
from runai_core.client.streams import EventLines, is_uid
from runai_core.model import errors


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (400, "InvalidRequest", errors.InvalidRequest),
        (400, "PolicyViolation", errors.PolicyViolation),
        (401, "Unauthenticated", errors.Unauthenticated),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "IllegalTransition", errors.IllegalTransition),
        (409, "SomethingNew", errors.Conflict),
        (410, "WatchExpired", errors.WatchExpired),
        (413, "TooLarge", errors.TooLarge),
        (422, "Unsupported", errors.Unsupported),
        (503, "Unavailable", errors.Unavailable),
        (500, "InternalError", errors.RunaiError),
    ],
)
def test_an_error_comes_back_as_the_class_that_it_left_as(
    status: int, reason: str, expected: type[errors.RunaiError]
) -> None:
    body = json.dumps({"code": status, "message": "what, and what to do", "details": None, "reason": reason}).encode()

    error = read_error(status, body)

    assert (type(error), error.message) == (expected, "what, and what to do")


def test_each_wrong_field_comes_back() -> None:
    field = {"field": "compute.gpuDevicesRequest", "message": "must be at most 5", "given": 6, "policy": "tenant"}
    body = json.dumps({"code": 400, "message": "m", "reason": "PolicyViolation", "errors": [field]}).encode()

    error = read_error(400, body)

    assert isinstance(error, errors.PolicyViolation)
    assert str(error.errors[0]) == "compute.gpuDevicesRequest: must be at most 5 (given: 6) [policy tenant]"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": "x"}'])
def test_an_error_of_another_server_says_so(body: bytes) -> None:
    error = read_error(404, body)

    assert isinstance(error, errors.NotFound)
    assert "address of an orchestrator" in error.message


def test_what_is_not_json_is_not_ours() -> None:
    assert read_json(b"") is None
    assert read_json(b"null") is None
    with pytest.raises(errors.Unavailable, match="not JSON"):
        read_json(b"<html>hello</html>")


STREAM = (
    b": alive\n\n"
    b'id: 7\nevent: ADDED\ndata: {"id":"u","name":"a"}\n\n'
    b'id: 8\r\nevent: DELETED\r\ndata: {"id":"u","name":"a"}\r\n\r\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_changes_are_read_however_the_stream_is_cut(size: int) -> None:
    lines = EventLines()

    found = [change for i in range(0, len(STREAM), size) for change in lines.feed(STREAM[i : i + size])]

    assert [(change.type, change.version) for change in found] == [(ChangeType.ADDED, 7), (ChangeType.DELETED, 8)]
    assert found[0].workload.name == "a"


def test_a_heartbeat_is_no_change() -> None:
    assert read_change([": alive"]) is None


def test_an_error_in_the_stream_is_raised() -> None:
    with pytest.raises(errors.WatchExpired, match="list again"):
        read_change(["event: ERROR", 'data: {"code":410,"message":"list again","reason":"WatchExpired"}'])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a", True),
        ("mnist", False),
        ("0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a/../x", False),
        ("", False),
    ],
)
def test_an_id_is_told_from_a_name(text: str, expected: bool) -> None:
    assert is_uid(text) is expected
