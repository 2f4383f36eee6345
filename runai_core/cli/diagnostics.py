"""`runai diagnostics`: what somebody who is asked for help wants to see, in one file without secrets."""

import asyncio
import json
import os
import platform
import re
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from runai_core import __version__
from runai_core.cli.account import SECRETS
from runai_core.cli.admin import context_option, kubeconfig_option
from runai_core.cli.context import app_of
from runai_core.cli.local import SECRET_VARIABLES, data_dir_option
from runai_core.cli.running import LOG_FILE
from runai_core.client.environment import read_config, read_credentials
from runai_core.model.errors import NotFound, RunaiError, Unavailable
from runai_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from runai_core.backends.kubernetes.api import Api, Object

Files = dict[str, str]
"""What is collected: name in the archive -> text."""

LOGS = (LOG_FILE, f"{LOG_FILE}.1", "supervisor.log")
"""Files of the data directory that are taken."""

HIDDEN = "(hidden)"
CALLED = r"((?:ticket|token|password|passwd|secret|api[_-]?key)[\"']?\s*[=:]\s*"
PATTERNS = (
    (re.compile(r"(://)[^\s/@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(Bearer\s+)[^\s\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(rf"{CALLED}([\"']))[^\"'\n]+(?=\2)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"{CALLED})[^\s\"'&,;{{}}\[\]]+", re.IGNORECASE), rf"\1{HIDDEN}"),
)
"""What looks like a secret, and what is written instead: the user of a URL, tokens, values called so."""

LAST_LINES, MOST_BYTES = "20000", str(10 * 1024**2)
"""How much of each container's log is taken."""

RECENT = 20
"""Workloads whose events are taken, newest first."""


@click.group("diagnostics")
def diagnostics() -> None:
    """Collect what is needed to find out what went wrong."""


@diagnostics.command("collect-logs")
@data_dir_option
@click.option(
    "--output-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=".",
    help="Where the archive is written; here when left out.",
)
@click.option("--namespaces", help="On Kubernetes: those whose pods' logs are taken, separated by commas.")
@click.option("--no-previous", is_flag=True, help="Without the logs of runs before the last restart.")
@kubeconfig_option
@context_option
@click.pass_context
def collect_logs(ctx: click.Context, /, output_dir: Path, data_dir: str | None, **given: Any) -> None:
    """Write logs, settings, versions, recent events and what `doctor` finds into one archive, without secrets.

    With --namespaces or --kubeconfig also the logs and events of a cluster.
    Only you can read the archive; look into it before you hand it on: programs may write secrets to their logs.
    """
    app = app_of(ctx)
    settings = load_settings(app.environ, data_dir=data_dir)
    found = of_machine(settings, app.environ)
    if given["namespaces"] or given["kubeconfig"]:
        namespaces = [name.strip() for name in (given["namespaces"] or settings.namespace).split(",") if name.strip()]
        found |= asyncio.run(_of_cluster(given["kubeconfig"], given["context"], namespaces, not given["no_previous"]))
    hidden = secrets_of(settings, app.environ)
    path = output_dir / f"runai-diagnostics-{time.strftime('%Y%m%d-%H%M%S')}.zip"
    write_archive(path, {name: without_secrets(text, hidden) for name, text in found.items()})
    app.say(f"{path} holds {len(found)} files. Look into it before you hand it on.")


def of_machine(settings: Settings, environ: Mapping[str, str]) -> Files:
    """Return what this machine knows: logs, settings, versions, what `doctor` finds, what has happened lately."""
    # Imported here: it opens a client.
    from runai_core.cli.checks import all_checks

    facts = {"runai-core": __version__, "python": platform.python_version(), "platform": platform.platform()}
    files = {
        "versions.json": _json(facts),
        "settings.json": _json({item.name: getattr(settings, item.name) for item in fields(settings)}),
        "doctor.json": _json([check.as_dict() for check in all_checks(settings, environ)]),
    }
    for name in LOGS:
        log = settings.data_dir / name
        if log.is_file():
            files[name] = log.read_text(errors="replace")
    return files | _happened(settings)


def _happened(settings: Settings) -> Files:
    """Return the state of the orchestrator and recent events, where it answers; specifications may hold secrets."""
    from runai_core.client.sync.client import Client

    try:
        with Client.connect_to(read_credentials(settings.data_dir)) as client:
            found = client.list(limit=RECENT)
            events = {f"{item.project_name}/{item.name}": [e.raw for e in client.events(item)] for item in found}
            return {"status.json": _json(client.status()), "events.json": _json(events)}
    except RunaiError as error:
        return {"status.json": _json({"running": False, "message": error.message})}


async def _of_cluster(kubeconfig: Path | None, context: str, namespaces: Sequence[str], previous: bool) -> Files:
    from runai_core.backends.kubernetes.api import connect

    async with connect(kubeconfig, context) as api:
        return await of_namespaces(api, namespaces, previous=previous)


async def of_namespaces(api: "Api", namespaces: Sequence[str], *, previous: bool) -> Files:
    """Return the events of namespaces and the logs of their pods, each below the name of its namespace.

    Raises:
        NotFound: there is no pod in any of them.
    """
    # Imported here: it belongs to what needs the Kubernetes extra.
    from runai_core.backends.kubernetes.resources import EVENTS, PODS

    files: Files = {}
    for namespace in namespaces:
        pods, _ = await api.list(PODS, namespace)
        for pod in pods:
            files |= await _logs_of(api, PODS.path(namespace, pod["metadata"]["name"], "log"), pod, previous=previous)
        if pods:
            events, _ = await api.list(EVENTS, namespace)
            files[f"{namespace}/events.json"] = _json([_told(event) for event in events])
    if not files:
        raise NotFound(f"there are no pods in {', '.join(namespaces)}: name the namespaces with --namespaces")
    return files


async def _logs_of(api: "Api", path: str, pod: "Object", *, previous: bool) -> Files:
    meta, status = pod["metadata"], pod.get("status") or {}
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    files = {f"{meta['namespace']}/{meta['name']}/status.json": _json(status)}
    for state in states:
        name = f"{meta['namespace']}/{meta['name']}/{state['name']}"
        files[f"{name}.log"] = await _log(api, path, container=state["name"])
        if previous and state.get("restartCount"):
            files[f"{name}.previous.log"] = await _log(api, path, container=state["name"], previous="true")
    return files


async def _log(api: "Api", path: str, **query: str) -> str:
    """Return a log, or why there is none: one that is missing keeps no other from being read."""
    try:
        pieces = [piece async for piece in api.stream(path, tailLines=LAST_LINES, limitBytes=MOST_BYTES, **query)]
    except RunaiError as error:
        return f"(no log: {error.message})\n"
    return b"".join(pieces).decode(errors="replace")


def _told(event: "Object") -> dict[str, Any]:
    about = event.get("involvedObject") or {}
    when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    said = {name: event.get(name) for name in ("type", "reason", "message", "count")}
    return {"time": when, "object": f"{about.get('kind')}/{about.get('name')}", **said}


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets that this machine keeps for the orchestrator: none of them may be in the archive."""
    found = [environ.get(name, "") for name in SECRET_VARIABLES]
    found.append(urlsplit(settings.database_url or "").password or "")
    found += [str(value) for name, value in read_config(environ).items() if name in SECRETS]
    try:
        kept = read_credentials(settings.data_dir)
    except RunaiError:
        kept = None
    found += [kept.token, kept.client_secret] if kept else []
    return frozenset(found) - {""}


def without_secrets(text: str, secrets: frozenset[str]) -> str:
    """Return a text without these secrets and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, HIDDEN)
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


def write_archive(path: Path, files: Files) -> None:
    """Write an archive that only its owner can read; all of it or nothing.

    Raises:
        Unavailable: it cannot be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from None


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n"
