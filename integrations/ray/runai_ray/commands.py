"""`runai ray up/submit/status/down`: Ray's cluster launcher with files that say only what matters."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from runai_core.client import Client
from runai_core.model.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from runai_ray.provider import NodeProvider

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group("ray", short_help="Ray clusters and jobs as workloads.")
def ray_group() -> None:
    """Start Ray clusters, run Ray jobs, and end them; each is one workload."""


@ray_group.command("up", short_help="Start or update a cluster.")
@FILE
@click.option("-p", "--project", help="Project, where the file names none.")
@click.option("--no-restart", is_flag=True, help="Leave Ray running when the cluster is updated.")
def up(file: Path, project: str | None, *, no_restart: bool) -> None:
    """Start the cluster that a file describes, or update it: `ray up` without its boilerplate."""
    with _filled(file, project) as path:
        _launcher().create_or_update_cluster(
            path,
            override_min_workers=None,
            override_max_workers=None,
            no_restart=no_restart,
            restart_only=False,
            yes=True,
            no_config_cache=True,
            use_login_shells=False,
        )


@ray_group.command("down", short_help="End a cluster.")
@FILE
@click.option("-p", "--project", help="Project, where the file names none.")
def down(file: Path, project: str | None) -> None:
    """End the cluster that a file describes; nothing of it is left. Repeating it does no harm."""
    provider = _provider(file, project)
    ended = provider.end_cluster()
    click.echo(f"{provider.cluster_name} {'was ended' if ended else 'does not run'}")


LAUNCH_FAILED = "LaunchFailed"
"""Ray's word, in `ray status`, for a node that it asked for in vain."""


@ray_group.command("status", short_help="Show a cluster as its autoscaler sees it.")
@FILE
@click.option("-p", "--project", help="Project, where the file names none.")
def status(file: Path, project: str | None) -> None:
    """Show nodes, resources and recent failures of a cluster."""
    provider = _provider(file, project)
    said = provider.on_head("ray status -v")
    click.echo(said, nl=False)
    if LAUNCH_FAILED in said:  # Ray does not show the reason of a failure that it shows
        click.echo(f"Last look: a further worker found no place: {provider.why_no_place(1)}")


@ray_group.command("submit", short_help="Run a job on a cluster of its own.")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...")
@click.option("--name", default="", help="Name of the workload.")
@click.option("-p", "--project", default="", help="Project.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Nodes besides the head.")
@click.option("--gpu", type=float, default=0, help="GPUs of each node.")
@click.option("--cpu", type=float, default=1, show_default=True, help="CPU cores of each node.")
@click.option("--memory", default="", help="Memory of each node, e.g. 4Gi.")
@click.option("--image", default="", help="Image with Ray and runai-ray; left out on one machine.")
@click.option("--priority", default="", help="Priority class.")
@click.option(
    "--time-to-live", type=click.IntRange(0), default=0, help="Seconds after which it is deleted in any case."
)
@click.option("--no-wait", is_flag=True, help="Return when it is submitted.")
@click.pass_context
def submit(ctx: click.Context, /, words: tuple[str, ...], *, no_wait: bool, **chosen: Any) -> None:
    """Run a job through Ray's job server on a cluster of its own: one workload, which ends with the job."""
    from runai_ray import launch

    client = Client.from_env(os.environ)
    workload = launch.submit(words, client=client, follows_me=not no_wait, **chosen)
    click.echo(f"submitted {workload.project_name}/{workload.name}", err=True)
    if not no_wait:
        ctx.exit(0 if launch.follow_to_end(client, workload, click.echo) else 1)


def _read(file: Path, project: str | None) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise InvalidRequest.of(FieldError(str(file), f"is not YAML: {error}")) from None
    if not isinstance(config, dict) or not isinstance(config.get("cluster_name"), str):
        raise InvalidRequest.of(FieldError("cluster_name", "must be the name of the cluster"))
    from runai_ray.config import with_defaults

    provider = config.get("provider") or {}
    if project and not provider.get("project"):
        provider = {**provider, "project": project}
    return with_defaults({**config, "provider": provider})


@contextmanager
def _filled(file: Path, project: str | None) -> Iterator[str]:
    """Yield the path of the file with all that Ray demands."""
    config = _read(file, project)
    with tempfile.TemporaryDirectory(prefix="runai-ray-") as folder:
        path = Path(folder) / file.name
        path.write_text(yaml.safe_dump(config))
        yield str(path)


def _launcher() -> Any:
    """Return Ray's launcher; it is what `ray up` calls."""
    try:
        from ray.autoscaler._private import commands
    except ImportError:
        raise click.ClickException("Ray is not installed here: pip install 'ray[default]'") from None
    return commands


def _provider(file: Path, project: str | None) -> "NodeProvider":
    _launcher()
    from runai_ray.provider import NodeProvider

    config = _read(file, project)
    return NodeProvider(NodeProvider.bootstrap_config(config)["provider"], config["cluster_name"])
