"""Commands beside a node's process, through the orchestrator: no SSH, no keys. Needs Ray."""

# ruff: noqa: TID253 - Ray itself loads this module

import io
import json
import shlex
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler._private.subprocess_output_util import ProcessRunnerError
from ray.autoscaler.command_runner import CommandRunnerInterface

from runai_core.client import Client
from runai_core.model.errors import RunaiError

PIECE = 64 * 1024


class ExecRunner(CommandRunnerInterface):
    """Runs commands in a pod."""

    def __init__(self, client: Client, workload: str, pod: str, python: str) -> None:
        self._client = client
        self._workload = workload
        self._pod = pod
        self._python = python

    def run(  # noqa: PLR0913 - Ray's own signature
        self,
        cmd: str | None = None,
        timeout: int = 120,  # noqa: ARG002
        exit_on_fail: bool = False,  # noqa: FBT001, FBT002
        port_forward: Any = None,
        with_output: bool = False,  # noqa: FBT001, FBT002
        environment_variables: Mapping[str, object] | None = None,
        run_env: str = "auto",  # noqa: ARG002
        ssh_options_override_ssh_key: str = "",  # noqa: ARG002
        shutdown_after_run: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> str:
        """Run a command and return its output, if that is asked for."""
        if port_forward:
            raise click.ClickException("ports are reached with `runai workload port-forward`, not through Ray")
        if cmd is None:
            raise click.ClickException(f"a shell on the node: {self.remote_shell_command_str()}")
        # A node answers or it does not; images without `uptime` are not worse for it.
        words = "true" if cmd == "uptime" else _exports(environment_variables) + cmd
        output, code = self._exec(words, show=not with_output)
        if code and exit_on_fail:
            raise click.ClickException(f"the command failed with exit code {code}: {cmd}")
        if code:
            raise ProcessRunnerError("the command failed", "ssh_command_failed", code=code, command=cmd)
        return output if with_output else ""

    def run_rsync_up(self, source: str, target: str, options: Mapping[str, Any] | None = None) -> None:
        """Copy a file or a directory to the node."""
        excluded = tuple((options or {}).get("rsync_exclude") or ())
        path = Path(source)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            if path.is_dir():
                archive.add(path, arcname=".", filter=lambda item: None if _matches(item.name, excluded) else item)
            else:
                archive.add(path, arcname=Path(target).name)
        folder = target if path.is_dir() else str(Path(target).parent)
        folder = _for_shell(folder)
        self._checked(f"mkdir -p {folder} && tar -xf - -C {folder}", buffer.getvalue(), f"copying {source}")

    def run_rsync_down(self, source: str, target: str, options: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Copy a file or a directory from the node."""
        inside = _for_shell(source.rstrip("/"))
        command = f"if [ -d {inside} ]; then tar -cf - -C {inside} .; else cat {inside}; fi"
        content = self._checked(command, b"", f"copying {source}")
        if source.endswith("/"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(target, filter="data")
        else:
            Path(target).write_bytes(content)

    def remote_shell_command_str(self) -> str:
        """Return the command that opens a shell on the node."""
        return f"runai workload bash {self._workload} --pod {self._pod}"

    def run_init(self, *, as_head: bool, file_mounts: Mapping[str, str], sync_run_yet: bool) -> bool | None:  # noqa: ARG002
        """Return that nothing is to be prepared."""
        return None

    def _argv(self, command: str) -> list[str]:
        return [self._python, "-m", "runai_ray.inside", "shell", command]

    def _exec(self, command: str, *, show: bool) -> tuple[str, int]:
        """Run a command; its output is shown as it comes, or returned."""
        kept = io.BytesIO()
        try:
            with self._client.exec(self._workload, self._argv(command), pod=self._pod) as session:
                while (piece := session.read()) is not None:
                    kept.write(piece[1])
                    if show:
                        sys.stdout.write(piece[1].decode(errors="replace"))
                        sys.stdout.flush()
                return kept.getvalue().decode(errors="replace"), session.wait()
        except RunaiError as error:
            cli_logger.error("{}", error.message)
            raise ProcessRunnerError(error.message, "ssh_command_failed", code=255, command=command) from None

    def _checked(self, command: str, content: bytes, doing: str) -> bytes:
        """Run a command with this on its standard input; return what it wrote."""
        try:
            with self._client.exec(self._workload, self._argv(command), pod=self._pod, stdin=True) as session:
                for start in range(0, len(content), PIECE):
                    session.write(content[start : start + PIECE])
                session.write(b"")
                said = {"stdout": b"", "stderr": b""}
                while (piece := session.read()) is not None:
                    said[piece[0]] += piece[1]
                code = session.wait()
        except RunaiError as error:
            raise click.ClickException(f"{doing} failed: {error.message}") from None
        if code:
            raise click.ClickException(f"{doing} failed: {said['stderr'].decode(errors='replace').strip()}")
        return said["stdout"]


def _exports(variables: Mapping[str, object] | None) -> str:
    """Return the commands that set the variables; values as Ray writes them, in JSON."""
    pairs = ((name, json.dumps(value, separators=(",", ":"))) for name, value in (variables or {}).items())
    return "".join(f"export {name}={shlex.quote(text)};" for name, text in pairs)


def _for_shell(path: str) -> str:
    """Return the path quoted, but for the home directory at its beginning."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else "~" if path == "~" else shlex.quote(path)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(Path(name).match(pattern.rstrip("/")) for pattern in patterns)
