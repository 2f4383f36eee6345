"""Microsoft's Philly jobs, in the form of the gavel repository: arrival, number of GPUs, length of the work.

A line is separated by tabs: kind of job, command, name of its steps argument, a
flag, total steps, arrival in seconds, GPUs. How long a job runs follows from
the steps per second of its kind; where its number of GPUs was not measured,
the nearest number counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.simulation.tables import Row, read_plain, read_table

COLUMNS = ("job_type", "command", "steps_argument", "flag", "total_steps", "arrival", "gpus")
SPEED_COLUMNS = ("job_type", "gpus", "steps_per_second")
SPEED_FILE = "v100_steps_per_second.csv"
"""Looked for beside the trace where no file of speeds is given."""

MOST_GPUS = 10_000
BUSY = 0.9
"""Part of the GPUs that the jobs keep busy on average, where the number of nodes is not given."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the trace. Times in seconds."""

    name: str
    queue: str
    gpus: int
    arrival: float
    duration: float


def read_jobs(files: Sequence[Path], speeds: Path | None = None) -> list[Job]:
    """Read jobs, oldest first. With several files each is a queue; with one, each family of models.

    Raises:
        InvalidRequest: a file cannot be read or has a wrong cell; names file, line and column.
    """
    measured = _speeds(files[0].parent / SPEED_FILE if speeds is None else speeds)
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise InvalidRequest.of(FieldError("FILE", "must be files of different names: each is a queue", names))
    jobs = []
    for file in files:
        for row in read_plain(file, COLUMNS, separator="\t"):
            queue = file.stem if len(files) > 1 else row.text("job_type").partition(" (")[0]
            jobs.append(_job(row, queue, measured))
    return sorted(jobs, key=lambda job: (job.arrival, job.name))


def _speeds(file: Path) -> Mapping[str, Mapping[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in read_table(file, SPEED_COLUMNS):
        speed = row.number("steps_per_second")
        if not speed:
            raise row.wrong("steps_per_second", "must be more than 0")
        found.setdefault(row.text("job_type"), {})[row.whole("gpus", least=1, most=MOST_GPUS)] = speed
    return found


def _job(row: Row, queue: str, measured: Mapping[str, Mapping[int, float]]) -> Job:
    kind = row.text("job_type")
    if kind not in measured:
        raise row.wrong("job_type", "must be a kind whose steps per second are known; see --speeds")
    gpus = row.whole("gpus", least=1, most=MOST_GPUS)
    nearest = min(measured[kind], key=lambda count: (abs(count - gpus), count))
    duration = row.whole("total_steps", least=1) / measured[kind][nearest]
    return Job(f"{row.file.stem}-{row.line:06}", queue, gpus, row.number("arrival"), duration)


def enough_nodes(jobs: Sequence[Job], gpus_per_node: int) -> int:
    """Return how many nodes the jobs keep nine tenths busy between the first arrival and the last; all jobs fit."""
    work = sum(job.gpus * job.duration for job in jobs)
    span = max(jobs[-1].arrival - jobs[0].arrival, 1.0)
    largest = max(ceil(job.gpus / gpus_per_node) for job in jobs)
    return max(largest, ceil(work / span / BUSY / gpus_per_node), 1) if len(jobs) > 1 else largest


def pods_of(gpus: int, gpus_per_node: int) -> list[int]:
    """Return the GPUs of each pod of a job: whole nodes, and one with the rest."""
    full, rest = divmod(gpus, gpus_per_node)
    return [gpus_per_node] * full + ([rest] if rest else [])
