"""What a user sees of an error: a sentence on standard error and a code, never a traceback."""

from typing import Any

import click
import httpx
import pytest

from runai_core.cli.errors import EXIT_CODES, exit_code, lines_of, report
from runai_core.cli.main import COMMANDS, cli, load
from runai_core.model import errors

CODES: list[Any] = [
    (errors.InvalidRequest("x"), 2),
    (errors.PolicyViolation("x"), 2),
    (errors.InvalidSnapshot("x"), 2),
    (errors.TooLarge("x"), 2),
    (errors.Unsupported("x"), 2),
    (errors.Unauthenticated("x"), 3),
    (errors.Forbidden("x"), 3),
    (errors.NotFound("x"), 4),
    (errors.Conflict("x"), 5),
    (errors.AlreadyExists("x"), 5),
    (errors.StaleVersion("x"), 5),
    (errors.IllegalTransition("x"), 5),
    (errors.Unavailable("x"), 6),
    (errors.WatchExpired("x"), 1),
    (errors.RunaiError("x"), 1),
    (TimeoutError("x"), 7),
    (ValueError("x"), 1),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: type(value).__name__)
def test_each_error_has_the_code_of_its_branch(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_the_table_has_no_class_that_is_not_an_error() -> None:
    assert all(issubclass(kind, Exception) for kind in EXIT_CODES)


@pytest.mark.parametrize(
    ("status", "body", "code", "says"),
    [
        (401, {"message": "no valid token", "reason": "Unauthenticated"}, 3, "no valid token"),
        (403, {"message": "you may not", "reason": "Forbidden"}, 3, "you may not"),
        (404, {"message": "project x is not there", "reason": "NotFound"}, 4, "project x is not there"),
        (409, {"message": "the name is taken", "reason": "AlreadyExists"}, 5, "the name is taken"),
        (413, {"message": "too large", "reason": "TooLarge"}, 2, "too large"),
        (500, {"message": "look for 12 in the log", "reason": "InternalError"}, 1, "look for 12 in the log"),
    ],
)
def test_an_answer_of_the_api_becomes_a_sentence_and_a_code(
    runai: Any, api: Any, status: int, body: dict[str, Any], code: int, says: str
) -> None:
    api.answers["POST", "/api/v1/workloads/trainings"] = (status, body)

    result = runai("training", "submit", "mnist")

    assert (result.code, result.out, result.err) == (code, "", f"Error: {says}\n")


def test_several_wrong_fields_are_a_line_each(runai: Any, api: Any) -> None:
    fields = [{"field": "name", "message": "is too long"}, {"field": "spec.tty", "message": "must be true or false"}]
    api.answers["POST", "/api/v1/workloads/trainings"] = (
        400,
        {"message": "m", "reason": "InvalidRequest", "errors": fields},
    )

    assert runai("training", "submit", "mnist").err.splitlines() == [
        "Error: invalid request:",
        "  name: is too long",
        "  spec.tty: must be true or false",
    ]


def test_an_unknown_command_gets_a_suggestion(runai: Any) -> None:
    result = runai("trainig", "submit", "x")

    assert result.code == 2
    assert "there is no command 'trainig'. Did you mean training" in result.err


def test_an_unknown_option_gets_a_suggestion(runai: Any) -> None:
    result = runai("training", "submit", "x", "--gpu-device-request", "1")

    assert result.code == 2
    assert "--gpu-devices-request" in result.err


def test_ctrl_c_ends_with_130_and_no_traceback(runai: Any, api: Any) -> None:
    def interrupted(_request: httpx.Request) -> Any:
        raise KeyboardInterrupt

    api.answers["GET", "/api/v1/nodes"] = interrupted

    result = runai("node", "list")

    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


def test_a_fault_of_ours_is_told_without_a_traceback_unless_asked(
    runai: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_request: httpx.Request) -> Any:
        raise ZeroDivisionError("one by nothing")

    api.answers["GET", "/api/v1/nodes"] = broken
    result = runai("node", "list")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "RUNAI_DEBUG=1" in result.err

    result = runai("--debug", "node", "list")
    monkeypatch.delenv("RUNAI_DEBUG", raising=False)
    assert "Traceback" in result.err


def test_a_very_long_value_is_not_repeated_in_full() -> None:
    error = errors.InvalidRequest.of(errors.FieldError("name", "is too long", "x" * 10_000))

    assert all(len(line) < 300 for line in lines_of(error))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name: str) -> None:
    command = load(COMMANDS[name].home)

    assert command.help
    for path, leaf in _leaves(command):
        assert leaf.get_short_help_str(), path


def _leaves(command: click.Command, path: str = "") -> list[tuple[str, click.Command]]:
    here = f"{path} {command.name}"
    if not isinstance(command, click.Group):
        return [(here, command)]
    return [leaf for name in command.commands.values() for leaf in _leaves(name, here)]


def test_the_help_of_the_table_and_of_the_commands_name_the_same_commands() -> None:
    assert list(COMMANDS) == cli.list_commands(click.Context(cli))


def test_what_others_wrote_does_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    report(errors.Conflict("it failed:\n\x1b]0;title\x07\x1b[2J\x9b31m cannot run \x1b[31mred"))

    assert capfd.readouterr().err == "Error: it failed:\n ]0;title  [2J 31m cannot run  [31mred\n"
