"""The project backend: ``mlflow run . -b runai --backend-config '{"project": "team-a", "replicas": 4}'``."""

# ruff: noqa: TID253 - MLflow imports this module itself

import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.utils import (
    fetch_and_validate_project,
    get_entry_point_command,
    get_or_create_run,
    get_run_env_vars,
    load_project,
)

from runai_core.client import Client
from runai_core.client.environment import Connection
from runai_core.client.ownership import TIME_TO_LIVE, page_url
from runai_core.client.sync.owned import submit_owned
from runai_core.model.errors import RunaiError
from runai_mlflow.config import OF_PROJECTS, options_of, read_config
from runai_mlflow.marks import OWNER_SCHEME, RUN_ID, TAG_ID, TAG_MESSAGE, TAG_NAME, TAG_PROJECT, TAG_URL, TRACKING_URI
from runai_mlflow.places import connection_here, is_loopback
from runai_mlflow.submitted import RunaiSubmittedRun

_logger = logging.getLogger("mlflow.projects.runai")

WEEK = 7 * 24 * 3600
NAME_LENGTH = 63


class RunaiBackend(AbstractBackend):
    """Runs an entry point as a workload: one run, however many processes."""

    def run(  # noqa: PLR0913 - as MLflow calls it
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any],
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> RunaiSubmittedRun:
        """Submit the entry point, and wait for its end where the configuration asks for it.

        Raises:
            ExecutionException: something in the configuration is wrong, the orchestrator refuses the workload, or
                it was waited for and has failed. Until the workload is accepted, nothing is left behind.
        """
        try:
            config = read_config(backend_config, OF_PROJECTS, source="backend-config")
            connection = connection_here()
            check_places(config, connection, tracking_uri, backend_config.get("ENV_MANAGER"))
            work_dir = fetch_and_validate_project(project_uri, version, entry_point, params)
            project = load_project(work_dir)
            command = get_entry_point_command(project, entry_point, params, backend_config.get("STORAGE_DIR"))
            type_, options = submission(config, connection, " ".join(command), work_dir)
            with Client.connect_to(connection) as client:
                check_accepted(client, type_, options)
                run = get_or_create_run(None, project_uri, experiment_id, work_dir, version, entry_point, params)
                run_id = run.info.run_id
                variables = run_variables(run_id, run.info.experiment_id)
                options = {**options, "env": {**variables, **(config.get("env") or {})}}
                submitted = _submit(
                    client, type_, workload_name(project.name or Path(work_dir).name, run_id), options, run_id
                )
        except RunaiError as error:
            raise ExecutionException(f"{type(error).__name__}: {error.message}") from None
        period, raises = float(config.get("poll_interval", 2.0)), bool(backend_config.get("SYNCHRONOUS"))
        found = RunaiSubmittedRun(run_id, submitted, connection, period=period, raises=raises)
        if config.get("wait", _on_a_command_line(backend_config)) and not backend_config.get("SYNCHRONOUS"):
            found.wait_or_raise()
        return found


def check_places(config: Mapping[str, Any], connection: Connection, tracking_uri: str, env_manager: str | None) -> None:
    """Refuse what cannot work where the processes run.

    Raises:
        ExecutionException: says what is missing.
    """
    if env_manager not in (None, "local"):
        raise ExecutionException(
            f"--env-manager {env_manager} would make an environment on this machine only: "
            "leave it out, and name an image that has what the project needs (backend-config.image)"
        )
    if is_loopback(connection.url):
        return
    if not config.get("image"):
        raise ExecutionException(
            f"the orchestrator at {connection.url} is not on this machine, so it needs backend-config.image: "
            "an image with the project's code and what it needs"
        )
    if not tracking_uri.startswith(("http://", "https://", "databricks")):
        raise ExecutionException(
            f"processes on other machines cannot reach the tracking store {tracking_uri.split(':', 1)[0]}: "
            "start `mlflow server` and set MLFLOW_TRACKING_URI to its address"
        )


def submission(
    config: Mapping[str, Any], connection: Connection, command: str, work_dir: str
) -> tuple[str, dict[str, Any]]:
    """Return the type of the workload and its options, without what the run adds."""
    here = is_loopback(connection.url) and not config.get("image")
    options: dict[str, Any] = {
        **options_of(config),
        "command": ["sh", "-c", command],
        "backoff_limit": config.get("backoff_limit", 0),
        "annotations": {TIME_TO_LIVE: str(config.get("time_to_live", WEEK))},
        "working_dir": config.get("working_dir") or (str(Path(work_dir).absolute()) if here else None),
    }
    replicas = config.get("replicas", 1)
    if replicas == 1 and "min_replicas" not in config:
        return "Training", options
    gang = {"framework": config.get("framework", "PyTorch"), "min_replicas": config.get("min_replicas")}
    return "Distributed", {**options, **gang, "workers": replicas, "has_master": False}


def check_accepted(client: Client, type_: str, options: Mapping[str, Any]) -> None:
    """Ask whether the workload would be accepted, before a run is created for it.

    Raises:
        ExecutionException: a policy forbids it. RunaiError: the orchestrator refuses it.
    """
    preview = client.preview(type_, "preview", options)
    if preview.violations:
        told = "; ".join(f"{item.get('field')}: {item.get('message')}" for item in preview.violations)
        raise ExecutionException(f"PolicyViolation: {told}")
    if preview.starts_now is False and preview.verdict is not None:
        _logger.info("=== It will wait: %s ===", preview.verdict.message)


def run_variables(run_id: str, experiment_id: str) -> dict[str, str]:
    """Return what the processes are told: MLflow's variables, and the search path of this Python."""
    variables = dict(get_run_env_vars(run_id, experiment_id))
    variables[TRACKING_URI] = absolute_uri(variables[TRACKING_URI])
    variables[RUN_ID] = run_id
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**variables, "PATH": path} if is_loopback(connection_here().url) else variables


def absolute_uri(uri: str) -> str:
    """Return a tracking address that means the same in another working directory."""
    relative = re.match(r"^(sqlite:///)([^/].*)$", uri)
    return f"{relative[1]}{Path(relative[2]).absolute()}" if relative else uri


def workload_name(project: str, run_id: str) -> str:
    """Return the workload's name; the same for the same run."""
    words = re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-").lstrip("-0123456789")
    return f"{words[: NAME_LENGTH - 9].strip('-') or 'run'}-{run_id[:8]}"


def _submit(client: Client, type_: str, name: str, options: Mapping[str, Any], run_id: str) -> str:
    tracking = MlflowClient()
    try:
        workload = submit_owned(client, type_, name, options, owner=f"{OWNER_SCHEME}:{run_id}")
    except RunaiError as error:
        tracking.set_tag(run_id, TAG_MESSAGE, error.message)
        tracking.set_terminated(run_id, "FAILED")
        raise
    url = page_url(client.transport.connection.url, workload.id)
    tags = {TAG_ID: workload.id, TAG_NAME: workload.name, TAG_PROJECT: workload.project_name, TAG_URL: url}
    for tag, value in tags.items():
        tracking.set_tag(run_id, tag, value)
    _logger.info("=== Submitted workload %s to project %s: %s ===", workload.name, workload.project_name, url)
    return workload.id


def _on_a_command_line(backend_config: Mapping[str, Any]) -> bool:
    """Return whether `mlflow run` was typed: it does not wait for plug-ins by itself, and people expect it to."""
    import click

    return not backend_config.get("SYNCHRONOUS") and click.get_current_context(silent=True) is not None
