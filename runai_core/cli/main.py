"""The `runai` command: a table of commands, each loaded when it is used, and one place where it ends.

Only click is imported here, so that help and completion answer at once.
"""

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

INTERRUPTED = 130


class Entry(NamedTuple):
    """Where a command is, and what help says of it before it is loaded."""

    home: str  # module:attribute
    help: str
    section: str


WORK, ORG, HOST, CLUSTER, SELF, V1 = (
    "Workloads",
    "Organization and resources",
    "This machine",
    "Kubernetes",
    "Account and settings",
    "As in CLI v1",
)

_NOUNS = "runai_core.cli.nouns"
_PARTS = "runai_core.cli.cluster_parts"
_ORG = "runai_core.cli.organization"
_WHO = "runai_core.cli.identity"
_ASSETS = "runai_core.cli.assets"
_LOCAL = "runai_core.cli.local"
_SELF = "runai_core.cli.account"
_V1 = "runai_core.cli.v1"

COMMANDS: Mapping[str, Entry] = {
    "training": Entry(f"{_NOUNS}:training", "Trainings, standard and distributed.", WORK),
    "workspace": Entry(f"{_NOUNS}:workspace", "Workspaces: interactive work.", WORK),
    "inference": Entry(f"{_NOUNS}:inference", "Inference servers.", WORK),
    "workload": Entry(f"{_NOUNS}:workload", "Workloads of every type.", WORK),
    "why": Entry("runai_core.cli.explain:why", "Why a workload waits, in one sentence, with the numbers.", WORK),
    "pytorch": Entry(f"{_NOUNS}:pytorch", "Short for `training pytorch`.", WORK),
    "tensorflow": Entry(f"{_NOUNS}:tensorflow", "Short for `training tensorflow`.", WORK),
    "mpi": Entry(f"{_NOUNS}:mpi", "Short for `training mpi`.", WORK),
    "xgboost": Entry(f"{_NOUNS}:xgboost", "Short for `training xgboost`.", WORK),
    "jax": Entry(f"{_NOUNS}:jax", "Short for `training jax`.", WORK),
    "project": Entry(f"{_ORG}:project", "Projects and their quota.", ORG),
    "department": Entry(f"{_ORG}:department", "Departments and their quota.", ORG),
    "node": Entry(f"{_ORG}:node", "Nodes and their GPUs.", ORG),
    "nodepool": Entry(f"{_ORG}:nodepool", "Node pools.", ORG),
    "cluster": Entry(f"{_ORG}:cluster", "Clusters.", ORG),
    "topology": Entry(f"{_PARTS}:topology", "Network topologies: how near nodes are.", ORG),
    "storage-class": Entry(f"{_PARTS}:storage_class", "Storage classes for new claims.", ORG),
    "pvc": Entry(f"{_PARTS}:pvc", "Claims that data sources give to workloads.", ORG),
    "policy": Entry("runai_core.cli.policies:policy", "Policies: defaults and rules for submissions.", ORG),
    "report": Entry("runai_core.cli.reports:report", "Consumption reports as CSV.", ORG),
    "workload-type": Entry(f"{_ORG}:workload_type", "Types of workloads that are understood.", ORG),
    "environment": Entry(f"{_ASSETS}:environment", "Environments: images, commands, tools.", ORG),
    "compute": Entry(f"{_ASSETS}:compute", "Compute resources.", ORG),
    "datasource": Entry(f"{_ASSETS}:datasource", "Data sources: NFS, PVC, git, S3, host paths and others.", ORG),
    "credential": Entry(f"{_ASSETS}:credential", "Credentials, kept encrypted.", ORG),
    "my-credential": Entry(f"{_ASSETS}:my_credential", "Credentials of your own, for your workloads only.", ORG),
    "template": Entry(f"{_ASSETS}:template", "Templates to start workloads from.", ORG),
    "user": Entry(f"{_WHO}:user", "Users.", ORG),
    "service-account": Entry(f"{_WHO}:service_account", "Service accounts: identities of programs.", ORG),
    "access-key": Entry(f"{_WHO}:access_key", "Your own access keys.", ORG),
    "access-rule": Entry(f"{_WHO}:access_rule", "Access rules: who has which role where.", ORG),
    "role": Entry("runai_core.cli.roles:role", "Roles: what access rules give.", ORG),
    "audit": Entry(f"{_WHO}:audit", "The audit log: who changed what.", ORG),
    "plugins": Entry(f"{_ORG}:plugins", "Plug-ins: what each brings, and which failed.", ORG),
    "up": Entry(f"{_LOCAL}:up", "Start the orchestrator on this machine.", HOST),
    "down": Entry(f"{_LOCAL}:down", "Stop it, with all its pods.", HOST),
    "status": Entry(f"{_LOCAL}:status", "What is running here.", HOST),
    "doctor": Entry(f"{_LOCAL}:doctor", "What is missing, and how to get it.", HOST),
    "simulate": Entry("runai_core.cli.simulate:simulate", "Replay a trace of jobs through the engine.", HOST),
    "serve": Entry("runai_core.cli.serve:serve", "Run the orchestrator in the foreground.", HOST),
    "control-plane": Entry("runai_core.cli.controlplane:control_plane", "Serve tenants and their clusters.", CLUSTER),
    "agent": Entry("runai_core.cli.controlplane:agent", "Connect a cluster to a control plane.", CLUSTER),
    "admin": Entry("runai_core.cli.admin:admin", "Install on Kubernetes, upgrade, uninstall.", CLUSTER),
    "connect": Entry("runai_core.cli.connect:connect", "Use the orchestrator that runs on a cluster.", CLUSTER),
    "operator": Entry("runai_core.cli.cluster:operator", "Run the operator of a cluster.", CLUSTER),
    "scheduler": Entry("runai_core.cli.scheduler:scheduler", "Run the scheduler of a cluster.", CLUSTER),
    "api": Entry("runai_core.cli.cluster:api", "Run the API server of a cluster.", CLUSTER),
    "login": Entry(f"{_SELF}:login", "Keep the address and token of an orchestrator.", SELF),
    "logout": Entry(f"{_SELF}:logout", "Forget them.", SELF),
    "whoami": Entry(f"{_SELF}:whoami", "Who you are, and where.", SELF),
    "config": Entry(f"{_SELF}:config", "Settings of this command.", SELF),
    "auth": Entry(f"{_SELF}:auth", "Tokens.", SELF),
    "diagnostics": Entry("runai_core.cli.diagnostics:diagnostics", "Logs and settings in one file, to get help.", SELF),
    "version": Entry(f"{_SELF}:version", "The version of this command, and of the orchestrator.", SELF),
    "upgrade": Entry(f"{_SELF}:upgrade", "How to get a newer version.", SELF),
    "completion": Entry(f"{_SELF}:completion", "Shell completion: bash, zsh or fish.", SELF),
    "submit": Entry(f"{_V1}:submit", "Submit a training, or with --interactive a workspace.", V1),
    "submit-dist": Entry(f"{_V1}:submit_dist", "Submit a distributed training: mpi, pytorch, tf, xgboost.", V1),
    "list": Entry(f"{_V1}:list_", "List jobs, projects, nodes or clusters.", V1),
    "describe": Entry(f"{_V1}:describe", "Describe a job or a node.", V1),
    "logs": Entry(f"{_V1}:logs", "Print the log of a job.", V1),
    "exec": Entry(f"{_V1}:exec_", "Run a command in a job.", V1),
    "bash": Entry(f"{_V1}:bash", "Open a shell in a job.", V1),
    "attach": Entry(f"{_V1}:attach", "Follow the output of a job.", V1),
    "port-forward": Entry(f"{_V1}:port_forward", "Reach a port of a job from this machine.", V1),
    "suspend": Entry(f"{_V1}:suspend", "Stop a job; it can be resumed.", V1),
    "resume": Entry(f"{_V1}:resume", "Let a stopped job run again.", V1),
    "delete": Entry(f"{_V1}:delete", "Delete a job.", V1),
    "update": Entry(f"{_SELF}:upgrade", "The same as `upgrade`.", V1),
    "top": Entry(f"{_V1}:top", "GPUs in use, by node or job.", V1),
}
"""Every command. `runai --help` shows them by section, in this order."""


class Root(click.Group):
    """A group whose commands are imported when they are used; plug-ins may add some."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading it."""
        if cmd_name in COMMANDS:
            return load(COMMANDS[cmd_name].home)
        return _from_plugin(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the words name; a wrong one gets a suggestion."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"there is no command {name[:80]!r}.{hint} See `runai --help`.", ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, without loading any."""
        for section in (WORK, ORG, HOST, CLUSTER, SELF, V1):
            rows = [(name, entry.help) for name, entry in COMMANDS.items() if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)


def load(home: str) -> click.Command:
    """Return the command at ``module:attribute``."""
    from importlib import import_module

    module, _, attribute = home.partition(":")
    command = getattr(import_module(module), attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{home} is not a command")
    return command


def _from_plugin(name: str) -> click.Command | None:
    from runai_core.cli.extensions import plugin_commands

    return plugin_commands().get(name)


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `runai up`, then `runai training submit NAME -g 1 -- python train.py`.",
)
@click.option("-p", "--project", help="Project, where a command does not say another.")
@click.option("--config-file", envvar="RUNAI_CLI_CONFIG_FILE", help="Name of the file with the settings.")
@click.option("--config-path", envvar="RUNAI_CLI_CONFIG_PATH", help="Folder of that file.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what was asked for.")
@click.option("-d", "--debug", is_flag=True, help="Show where an error came from (also RUNAI_DEBUG=1).")
@click.option("--verbose", is_flag=True, hidden=True)
@click.option("--loglevel", hidden=True, type=click.Choice(["debug", "info", "warn", "error"]))
@click.pass_context
def cli(ctx: click.Context, /, project: str | None, quiet: bool, debug: bool, **settings: Any) -> None:
    """Schedule and run AI workloads, on this machine or on a cluster."""
    from runai_core.cli.context import App

    places = {"RUNAI_CLI_CONFIG_FILE": settings["config_file"], "RUNAI_CLI_CONFIG_PATH": settings["config_path"]}
    environ = {**os.environ, **{name: value for name, value in places.items() if value}}
    if debug:
        os.environ["RUNAI_DEBUG"] = "1"
    ctx.obj = ctx.obj or App(environ=environ)
    ctx.obj.project = ctx.obj.project if project is None else project
    ctx.obj.quiet = quiet or ctx.obj.quiet
    ctx.call_on_close(ctx.obj.close)


def run(arguments: Sequence[str], app: Any = None) -> int:
    """Run one command and return its exit code; errors are told on standard error, never as a traceback."""
    try:
        code = cli.main(list(arguments), prog_name="runai", standalone_mode=False, obj=app)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the top of the program
        # Whatever it was, the user gets a sentence and a code.
        from runai_core.cli.errors import report

        return report(error)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command that the shell gave us."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
