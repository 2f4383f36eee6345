"""What every command needs: the environment, the project, and a client when it is asked for."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from runai_core.model.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from runai_core.client.sync.client import Client


@dataclass
class App:
    """One run of the command line. Tests give a `connect` of their own."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    project: str | None = None
    quiet: bool = False
    connect: "Callable[[Mapping[str, str]], Client] | None" = None
    _client: "Client | None" = None

    @property
    def client(self) -> "Client":
        """The client of the orchestrator that the environment means; opened at first use.

        Raises:
            Unavailable: there is none.
        """
        if self._client is None:
            # httpx would load its own command line, with all that it prints in colour: half of its 0.3 s.
            sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
            # Imported here: help and completion need no client.
            from runai_core.client.sync.client import Client

            self._client = (self.connect or Client.from_env)(self.environ)
            if self.project:
                self._client.project = self.project
        return self._client

    def project_or(self, given: str | None) -> str:
        """Return the project that a command is about.

        Raises:
            InvalidRequest: an empty one was given, as by a variable of a shell that is not set.
        """
        if "" in (given, self.project):
            raise InvalidRequest.of(FieldError("--project", "must not be empty; leave it out for the default"))
        return given or self.project or self.client.project

    def check_project(self, found: Collection[object], project: str) -> None:
        """Raise NotFound where nothing was found because there is no such project; it says which there are."""
        if not found and project:
            self.client.projects.get(project)

    def say(self, text: str) -> None:
        """Tell the user something that was not the answer itself."""
        if not self.quiet:
            click.echo(text)

    def close(self) -> None:
        """Close the client, if one was opened."""
        if self._client is not None:
            self._client.close()
            self._client = None


pass_app = click.make_pass_decorator(App)


def app_of(ctx: click.Context) -> App:
    """Return the `App` of a context, also during completion, when no command has run yet."""
    found: Any = ctx.find_object(App)
    return found if isinstance(found, App) else App()


project_option = click.option(
    "-p",
    "--project",
    "project",
    help="Project; the default is shown by `runai config describe`.",
    shell_complete=lambda ctx, _param, incomplete: complete_names(ctx, "projects", incomplete),
)


def complete_names(ctx: click.Context, what: str, incomplete: str) -> list[str]:
    """Return the names that begin like the word under the cursor; none when nobody answers in time."""
    from runai_core.model.errors import RunaiError

    app = app_of(ctx)
    try:
        client = app.client
        if what == "projects":
            names = [item.name for item in client.projects.list(limit=500)]
        else:
            project = ctx.params.get("project") or client.project
            names = [item.name for item in client.list(project=project, limit=500)]
    except (RunaiError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_workload(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a workload."""
    return complete_names(ctx, "workloads", incomplete)
