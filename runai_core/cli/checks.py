"""What `runai doctor` looks at: one function for each check, each with advice."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from runai_core.cli.running import find_running
from runai_core.client.environment import read_credentials
from runai_core.client.sync.client import Client
from runai_core.model.errors import RunaiError
from runai_core.settings import Settings

ENOUGH_DISK = 1024**3
"""Bytes free below which logs and checkpoints are soon in trouble."""

ENOUGH_MEMORY = 512 * 1024**2


class Level(Enum):
    """How a check ended; the value is its word for programs."""

    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"

    @property
    def mark(self) -> str:
        """The word at the start of the line."""
        return {"good": "ok", "warning": "warning", "problem": "PROBLEM"}[self.value]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and what to do about it."""

    name: str
    level: Level
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the check for a program."""
        return {"name": self.name, "level": self.level.value, "found": self.found, "advice": self.advice}


def all_checks(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """Look at everything."""
    checks: list[Callable[[Settings], Check]] = [python, data_directory, disk, memory, gpus, orchestrator]
    found = [check(settings) for check in checks]
    if found[-1].level is Level.GOOD:
        found += inside(settings)
    return [*found, *environment(environ)]


def python(_settings: Settings) -> Check:
    """The interpreter that runs us."""
    return Check("Python", Level.GOOD, f"{sys.version.split()[0]} at {sys.executable}")


def data_directory(settings: Settings) -> Check:
    """Whether the data directory can be used."""
    folder = settings.data_dir
    there = nearest(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = "make it writable, or set RUNAI_DATA_DIR to another directory"
        return Check("Data directory", Level.PROBLEM, f"{there} cannot be written", advice)
    if folder.exists() and folder.stat().st_mode & stat.S_IWOTH:
        advice = f"every user of this machine can run programs as you: chmod o-w {folder}"
        return Check("Data directory", Level.WARNING, f"{folder} can be written by anybody", advice)
    return Check("Data directory", Level.GOOD, str(folder) if folder.exists() else f"{folder} (not there yet)")


def disk(settings: Settings) -> Check:
    """Room for the database and the logs."""
    folder = settings.data_dir
    free = shutil.disk_usage(nearest(folder)).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < ENOUGH_DISK:
        return Check("Disk", Level.WARNING, found, "make room: logs and the database need some")
    return Check("Disk", Level.GOOD, found)


def memory(_settings: Settings) -> Check:
    """Memory that workloads can have."""
    free = psutil.virtual_memory().available
    found = f"{free / 1024**3:.1f} GiB available, {psutil.cpu_count()} CPU cores"
    if free < ENOUGH_MEMORY:
        return Check("Memory", Level.WARNING, found, "end other programs: workloads will have little room")
    return Check("Memory", Level.GOOD, found)


def gpus(_settings: Settings) -> Check:
    """GPUs that NVIDIA's driver knows."""
    try:
        # Imported here: no driver, no library.
        import pynvml

        pynvml.nvmlInit()
        try:
            count = pynvml.nvmlDeviceGetCount()
            names = sorted(
                {_name(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)}
            )
        finally:
            pynvml.nvmlShutdown()
    except Exception as error:  # noqa: BLE001 - NVML raises classes of its own, and loading it may raise anything
        advice = (
            "without GPUs, `runai up --simulated-gpus 8` pretends to have some; for real ones install NVIDIA's driver"
        )
        return Check("GPUs", Level.WARNING, f"none found ({error})", advice)
    return Check("GPUs", Level.GOOD, f"{count}: {', '.join(names)}")


def _name(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def orchestrator(settings: Settings) -> Check:
    """Whether one runs here and answers."""
    running = find_running(settings.data_dir)
    if running is None:
        return Check("Orchestrator", Level.WARNING, "not running", "start it with `runai up`")
    try:
        with Client.connect_to(read_credentials(settings.data_dir)) as client:
            version = client.status().get("version")
    except RunaiError as error:
        advice = "look into its log (orchestrator.log in the data directory); `runai down` and `runai up` start it anew"
        return Check("Orchestrator", Level.PROBLEM, f"process {running.pid} does not answer: {error.message}", advice)
    return Check("Orchestrator", Level.GOOD, f"version {version} at {running.url} (process {running.pid})")


def inside(settings: Settings) -> list[Check]:
    """What the running orchestrator knows of itself: nodes, plug-ins, quota larger than the hardware."""
    with Client.connect_to(read_credentials(settings.data_dir)) as client:
        status, nodes, projects = client.status(), client.nodes(), client.projects.list()
    down = [node.name for node in nodes if node.status != "Ready"]
    total = sum(node.gpu_count for node in nodes)
    found = [Check("Nodes", Level.GOOD, f"{len(nodes)} with {total} GPUs")]
    if down:
        found = [Check("Nodes", Level.WARNING, f"not ready: {', '.join(down)}", "look at them with `runai node list`")]
    if failed := status.get("failedPlugins"):
        found.append(
            Check("Plug-ins", Level.WARNING, f"failed: {', '.join(failed)}", "`runai plugins` shows the errors")
        )
    deserved = sum(pool.gpu.deserved or 0 for project in projects for pool in project.resources)
    if deserved > total:
        advice = "not everybody can have what is deserved at once: lower it with `runai project update`"
        found.append(Check("Quota", Level.WARNING, f"projects deserve {deserved:g} GPUs, there are {total}", advice))
    return found


def environment(environ: Mapping[str, str]) -> list[Check]:
    """Variables that make commands talk to another orchestrator than this machine's."""
    if url := environ.get("RUNAI_URL"):
        advice = "commands talk to that orchestrator, not to this machine's; unset RUNAI_URL to change it"
        return [Check("RUNAI_URL", Level.WARNING, url, advice)]
    return []


def nearest(path: Path) -> Path:
    """Return the nearest directory above a path that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
