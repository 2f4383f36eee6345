"""`runai policy`: defaults and rules for submissions."""

from collections.abc import Callable, Mapping
from typing import IO, Any

import click

from runai_core.cli import columns
from runai_core.cli.context import App, app_of
from runai_core.cli.manifests import read_manifests
from runai_core.cli.output import Form, json_option, list_options, print_data, print_list
from runai_core.client.requests import POLICY_PATHS
from runai_core.model.errors import FieldError, InvalidRequest

SCOPES = ("tenant", "cluster", "department", "project")
KINDS: Mapping[str, str] = {
    "TrainingPolicy": "training",
    "InteractivePolicy": "workspace",
    "DistributedPolicy": "distributed",
    "InferencePolicy": "inference",
}
"""Kind of a `run.ai/v2alpha1` policy object -> the type of workload it is for."""

policy = click.Group("policy", help="Policies: defaults and rules for submissions.")
type_argument = click.argument("type_", metavar="TYPE", type=click.Choice(tuple(POLICY_PATHS)))


def _scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--department", help="The policy of this department."),
        click.option("-p", "--project", help="The policy of this project."),
        click.option("--scope", type=click.Choice(SCOPES), help="Whose policy; tenant is everybody's and the default."),
    ):
        command = option(command)
    return command


def scope_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the scope that the options name.

    Raises:
        InvalidRequest: they contradict each other, or a name is missing.
    """
    named = {kind: given[kind] for kind in ("project", "department") if given.get(kind)}
    if len(named) > 1:
        raise InvalidRequest.of(FieldError("--department", "a policy is of a project or of a department, not both"))
    kind = given.get("scope") or next(iter(named), "tenant")
    if (named and kind not in named) or (kind in ("project", "department") and not named):
        raise InvalidRequest.of(FieldError("--scope", f"{kind} does not go with the other options; give --{kind} NAME"))
    return {"scope": kind, "name": named.get(kind, "")}


@policy.command("list")
@list_options
@click.pass_context
def list_policies(ctx: click.Context, /, form: Form) -> None:
    """List all policies."""
    print_list(app_of(ctx).client.policies.list(), columns.POLICIES, form, empty="No policies.")


@policy.command("get")
@type_argument
@_scope_options
@json_option
@click.pass_context
def get_policy(ctx: click.Context, /, type_: str, as_json: bool, **given: Any) -> None:
    """Print the policy of one type of workload in one scope, in the form that `apply` takes."""
    found = app_of(ctx).client.policies.get(type_, **scope_of(given))
    print_data(found.raw if as_json else {"type": type_, **found.policy}, as_yaml=not as_json)


@policy.command("apply")
@click.option("-f", "--file", "file", type=click.File("r"), required=True, help="YAML or JSON; - is standard input.")
@click.option(
    "--type", "type_", type=click.Choice(tuple(POLICY_PATHS)), help="Type of workload, where the file does not say it."
)
@_scope_options
@click.pass_context
def apply_policy(ctx: click.Context, /, file: IO[str], type_: str | None, **given: Any) -> None:
    """Put a policy in the place of the one of its type and scope.

    The file holds defaults, rules and imposedAssets, and may say its type.
    """
    app = app_of(ctx)
    for kind, document in read_policies(file, type_):
        app.client.policies.apply(kind, document, **scope_of(given))
        app.say(f"Policy for {kind} applied to {_scope_text(given)}.")


@policy.command("validate")
@click.option("-f", "--file", "file", type=click.File("r"), required=True, help="YAML or JSON; - is standard input.")
@click.option(
    "--type", "type_", type=click.Choice(tuple(POLICY_PATHS)), help="Type of workload, where the file does not say it."
)
@_scope_options
@click.pass_context
def validate_policy(ctx: click.Context, /, file: IO[str], type_: str | None, **given: Any) -> None:
    """Check a policy without keeping it; each wrong field is named."""
    app = app_of(ctx)
    for kind, document in read_policies(file, type_):
        _raise_errors(app.client.policies.validate(kind, document, **scope_of(given)))
        app.say(f"The policy for {kind} is valid.")


@policy.command("delete")
@type_argument
@_scope_options
@click.pass_context
def delete_policy(ctx: click.Context, /, type_: str, **given: Any) -> None:
    """Delete the policy of one type of workload in one scope."""
    app: App = app_of(ctx)
    app.client.policies.delete(type_, **scope_of(given))
    app.say(f"Policy for {type_} deleted from {_scope_text(given)}.")


def read_policies(file: IO[str], type_: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the policies of a file, each with the type of workload it is for.

    Raises:
        InvalidRequest: the file is no policy, or its type is not said.
    """
    found = []
    for item in read_manifests(file):
        kind = KINDS.get(str(item.get("kind")), "") or type_ or str(item.get("type") or "")
        if kind not in POLICY_PATHS:
            message = f"say which workloads it is for with --type: one of {', '.join(POLICY_PATHS)}"
            raise InvalidRequest.of(FieldError("type", message, kind or None))
        document = (
            dict(item) if "apiVersion" in item else {key: item[key] for key in item if key not in ("type", "meta")}
        )
        found.append((kind, document.get("policy", document)))
    return found


def _raise_errors(answer: Any) -> None:
    errors = answer.get("errors", []) if isinstance(answer, Mapping) else answer or []
    if errors:
        fields = [
            FieldError(str(e.get("field", "")), str(e.get("message", "")), e.get("given"), e.get("policy"))
            for e in errors
        ]
        raise InvalidRequest("the policy is not valid", fields)


def _scope_text(given: Mapping[str, Any]) -> str:
    scope = scope_of(given)
    return f"{scope['scope']} {scope['name']}".strip()
