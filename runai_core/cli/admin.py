"""`runai admin`: install the orchestrator on a Kubernetes cluster, and take it away again."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runai_core.cli.output import json_option, print_data
from runai_core.cli.secret_values import secret_text
from runai_core.model.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from runai_core.backends.kubernetes.api import Api
    from runai_core.operator.install.apply import Step
    from runai_core.operator.install.options import Options
    from runai_core.plugins.types import WorkloadKind

Steps = Callable[["Api"], AsyncIterator["Step"]]

kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="RUNAI_KUBECONFIG",
    help="File that says where the cluster is; as kubectl finds it when left out.",
)
context_option = click.option("--context", default="", help="Its context; the current one when left out.")


RECORDS_OPTIONS = (
    click.option("--storage-class", default="", help="Of the volume of the records; the cluster's own if left out."),
    click.option("--storage-size", default="5Gi", show_default=True, help="Of the volume of the records."),
    click.option(
        "--database-secret",
        default="",
        help="Secret with the URL of a PostgreSQL database as `url`; without a database, records are on a volume.",
    ),
    click.option("--database-url", default="", help="That URL, or @FILE, or @- for standard input: kept in a Secret."),
)
"""Where the records are kept."""


KINDS_HELP = "Rights on a kind that is taught through the API, as those of plug-ins have; repeatable."


def install_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is installed."""
    for option in (
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"),
        click.option("--allowed-host", multiple=True, help="Name under which the web pages are reached; repeatable."),
        click.option("--webhook-url", default="", help="Base URL of webhooks served outside the cluster."),
        click.option("--no-webhooks", is_flag=True, help="Leave the admission webhooks out."),
        click.option(
            "--no-workloads", is_flag=True, help="Only kinds, rights and classes: the processes run elsewhere."
        ),
        click.option("--kind", "kinds", multiple=True, metavar="GROUP/VERSION/KIND[/PLURAL]", help=KINDS_HELP),
        click.option("--crds-only", is_flag=True, help="Only the kinds."),
        click.option("--node-selector", multiple=True, metavar="KEY=VALUE", help="Nodes for our pods; repeatable."),
        *RECORDS_OPTIONS,
        click.option("--control-plane-url", default="", help="https://... of a control plane to link the cluster to."),
        click.option(
            "--join-token-file",
            type=click.Path(path_type=Path),
            help="Token that it gave for this cluster; needed for the first connection.",
        ),
        click.option(
            "--control-plane-ca", type=click.Path(path_type=Path), help="Authorities that may sign its certificate."
        ),
        click.option("--api-replicas", type=click.IntRange(1, 100), default=1, show_default=True),
        click.option(
            "--replicas",
            type=click.IntRange(1, 10),
            default=1,
            show_default=True,
            help="Of scheduler and operator: one leads.",
        ),
        click.option("--image-pull-secret", multiple=True, help="Secret for the image registry; repeatable."),
        click.option(
            "--image-pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), default="IfNotPresent"
        ),
        click.option("--image", default="", help="Container image; that of this version when left out."),
        click.option("--namespace", default="runai", show_default=True, help="Namespace of our own processes."),
    ):
        command = option(command)
    return command


@click.group("admin", short_help="Install on Kubernetes, upgrade, uninstall.")
def admin() -> None:
    """Install the orchestrator on a Kubernetes cluster, upgrade it, and take it away."""


@admin.command("install")
@kubeconfig_option
@context_option
@install_options
@click.option("--dry-run", is_flag=True, help="Ask the API server what would happen; change nothing.")
@json_option
def install_(kubeconfig: Path | None, context: str, *, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Install on a cluster, repair what is there, or upgrade it: the same command.

    Everything is applied to the API server in an order that works, and what is
    right already is left alone. Workloads, projects and policies are not touched.
    """
    options = None if given["crds_only"] else _options(given)

    async def steps(api: "Api") -> AsyncIterator["Step"]:
        from runai_core.operator.install.apply import install
        from runai_core.operator.install.records import with_known_database

        objects = _objects(await with_known_database(api, options) if options else None)
        async with aclosing(install(api, objects, dry_run=dry_run)) as running:  # type: ignore[type-var]
            async for step in running:
                yield step

    found = _run(kubeconfig, context, steps, quiet=as_json)
    if as_json:
        print_data({"dryRun": dry_run, "objects": [asdict(step) for step in found], "counts": _counts(found)})
        return
    did = "would be " if dry_run else ""
    click.echo(f"{'Nothing was changed; ' if dry_run else ''}{_summary(found, did)}.")
    if not dry_run and not given["crds_only"]:
        click.echo(_what_next(given))


@admin.command("uninstall")
@kubeconfig_option
@context_option
@click.option("--with-user-objects", is_flag=True, help="Also all workloads, projects, policies, and the kinds.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def uninstall_(kubeconfig: Path | None, context: str, *, with_user_objects: bool, yes: bool, as_json: bool) -> None:
    """Take the processes, rights, webhooks and classes away.

    Workloads, projects, policies and queues stay as objects, their pods stay,
    and installing again finds them; --with-user-objects deletes them too.
    """
    if not yes:
        what = "and ALL workloads, projects, policies and queues with their pods" if with_user_objects else ""
        click.confirm(
            f"Remove the orchestrator {what} from {_where(kubeconfig, context)}?".replace("  ", " "), abort=True
        )

    def steps(api: "Api") -> AsyncIterator["Step"]:
        from runai_core.operator.install.apply import uninstall

        return uninstall(api, with_user_objects=with_user_objects)

    found = _run(kubeconfig, context, steps, quiet=as_json)
    if as_json:
        print_data({"objects": [asdict(step) for step in found], "counts": _counts(found)})
        return
    click.echo(f"{_summary(found, '')}.")
    if not with_user_objects:
        click.echo(
            "Kinds, workloads, projects, namespaces, records and keys were kept: `runai admin install` finds them."
        )


@admin.command("manifests")
@install_options
def manifests_(**given: Any) -> None:
    """Print what `install` applies as YAML, in an order that works for `kubectl apply --server-side -f -`."""
    from runai_core.operator.install.manifests import to_yaml

    click.echo(to_yaml(_objects(None if given["crds_only"] else _options(given))), nl=False)


def _objects(options: "Options | None") -> list[dict[str, Any]]:
    """Return what is installed; without options only the kinds."""
    from runai_core.operator.install.crds import crds
    from runai_core.operator.install.manifests import manifests
    from runai_core.plugins.manager import load_plugins

    if options is None:
        return crds()
    registry = load_plugins()
    for plugin in registry.failures:
        click.echo(f"Warning: plug-in {plugin.name} is left out: {plugin.error}", err=True)
    return manifests(options, (*registry.kinds.values(), *options.kinds))


def _kind(text: str) -> "WorkloadKind":
    """Return the kind that is named as ``group/version/Kind`` or ``group/version/Kind/plural``."""
    from runai_core.plugins.grouping import Gangs, one_gang
    from runai_core.plugins.types import WorkloadKind

    parts = text.split("/")
    if len(parts) not in (3, 4) or not all(parts):
        raise InvalidRequest.of(FieldError("--kind", "must be GROUP/VERSION/KIND or GROUP/VERSION/KIND/PLURAL", text))
    group, version, name, *plural = parts
    return WorkloadKind(api_version=f"{group}/{version}", kind=name, plural="".join(plural), adapter=Gangs(one_gang))


def _options(given: dict[str, Any]) -> "Options":
    from runai_core.operator.install.options import Options, default_image

    url = given["webhook_url"]
    if url and not url.startswith("https://"):
        raise InvalidRequest.of(FieldError("--webhook-url", "must begin with https://", url))
    return Options(
        image=given["image"] or default_image(),
        namespace=given["namespace"],
        pull_policy=given["image_pull_policy"],
        pull_secrets=tuple(given["image_pull_secret"]),
        replicas=given["replicas"],
        api_replicas=given["api_replicas"],
        node_selector=_pairs("--node-selector", given["node_selector"]),
        webhooks=not given["no_webhooks"],
        webhook_url=url,
        workloads=not given["no_workloads"],
        allowed_hosts=tuple(given["allowed_host"]),
        kinds=tuple(map(_kind, given["kinds"])),
        log_level=given["log_level"],
        **_database(given),
        **_link(given),
    )


def _link(given: dict[str, Any]) -> dict[str, Any]:
    """Return which control plane the cluster is to be linked to."""
    url = given["control_plane_url"]
    if url and not url.startswith("https://"):
        raise InvalidRequest.of(FieldError("--control-plane-url", "must begin with https://", url))
    for option, name in (("--join-token-file", "join_token_file"), ("--control-plane-ca", "control_plane_ca")):
        if given[name] and not url:
            raise InvalidRequest.of(FieldError(option, "is given together with --control-plane-url"))
    return {
        "control_plane_url": url,
        "join_token": _text("--join-token-file", given["join_token_file"]).strip(),
        "control_plane_ca": _text("--control-plane-ca", given["control_plane_ca"]),
    }


def _text(option: str, path: Path | None) -> str:
    try:
        return path.read_text() if path else ""
    except (OSError, ValueError) as error:
        raise InvalidRequest.of(FieldError(option, f"cannot be read: {error}", str(path))) from None


_QUANTITY = re.compile(r"\d+(\.\d+)?([KMGTP]i?|k)?")


def _database(given: dict[str, Any]) -> dict[str, Any]:
    """Return where the records are to be kept."""
    url, size = secret_text("--database-url", given["database_url"]).strip(), given["storage_size"]
    if url and given["database_secret"]:
        raise InvalidRequest.of(FieldError("--database-url", "cannot be given together with --database-secret"))
    if url and not url.startswith("postgresql"):
        message = (
            "must begin with postgresql:// (or postgresql+psycopg://); SQLite on a volume is what you get without it"
        )
        raise InvalidRequest.of(FieldError("--database-url", message, url.partition(":")[0]))
    if not _QUANTITY.fullmatch(size):
        raise InvalidRequest.of(FieldError("--storage-size", "must be an amount such as 5Gi", size))
    return {
        "database_url": url,
        "database_secret": given["database_secret"],
        "storage_size": size,
        "storage_class": given["storage_class"],
    }


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InvalidRequest.of(FieldError(option, "must be like key=value", word))
        found[key] = value
    return found


def _run(kubeconfig: Path | None, context: str, steps: Steps, *, quiet: bool) -> list["Step"]:
    async def all_steps() -> list["Step"]:
        from runai_core.backends.kubernetes.api import connect

        found = []
        async with connect(kubeconfig, context) as api, aclosing(steps(api)) as running:  # type: ignore[type-var]
            async for step in running:
                found.append(step)
                if not quiet and step.result != "unchanged":
                    click.echo(_line(step))
        return found

    return asyncio.run(all_steps())


def _line(step: "Step") -> str:
    where = f" in {step.namespace}" if step.namespace else ""
    return f"{step.label}{where} {step.result}{f': {step.note}' if step.note else ''}"


def _counts(found: Sequence["Step"]) -> dict[str, int]:
    return dict(Counter(step.result for step in found))


def _summary(found: Sequence["Step"], did: str) -> str:
    counts = _counts(found)
    order = ("created", "configured", "unchanged", "kept", "deleted")
    words = [f"{counts[name]} {did if name != 'unchanged' else ''}{name}" for name in order if name in counts]
    return f"{len(found)} objects: {', '.join(words)}" if words else "There was nothing to do"


def _what_next(given: dict[str, Any]) -> str:
    if given["no_workloads"]:
        return "Kinds and rights are there; start `runai scheduler` and `runai operator` with this kubeconfig."
    return (
        f"Installed in namespace {given['namespace']}. "
        f"See `kubectl -n {given['namespace']} get pods`; then `kubectl get projects.run.ai`."
    )


def _where(kubeconfig: Path | None, context: str) -> str:
    place = f"the cluster of {kubeconfig}" if kubeconfig else "the current cluster"
    return f"{place} (context {context})" if context else place
