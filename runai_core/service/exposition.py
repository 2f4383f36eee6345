"""Measurements as Prometheus reads them (text format 0.0.4). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from runai_core.model.resources import MIB

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = tuple[tuple[Mapping[str, str], float], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric: labels and value of each."""

    name: str
    help: str
    samples: Samples
    type: str = "gauge"


OLDER_NAMES: Mapping[str, tuple[str, float]] = {
    "runai_requested_gpus_per_workload": ("runai_job_requested_gpus", 1),
    "runai_requested_gpu_memory_mb_per_workload": ("runai_job_requested_gpu_memory", 1),
    "runai_run_time_seconds_per_workload": ("runai_job_total_runtime", 1),
    "runai_wait_time_seconds_per_workload": ("runai_job_total_wait_time", 1),
    "runai_gpu_idle_seconds_per_workload": ("runai_gpu_idle_time_per_workload", 1),
    "runai_cpu_limits_per_active_workload": ("runai_active_job_cpu_limits", 1),
    "runai_gpu_memory_used_mebibytes_per_node": ("runai_node_gpu_used_memory_bytes", MIB),
}
"""Name -> the name before Run:ai 2.17, and how many of its units are in one of today's."""


def with_older_names(families: Iterable[Family]) -> list[Family]:
    """Return the families, and again under the name that each had before, for dashboards that know only that."""
    found = list(families)
    for family in tuple(found):
        if family.name in OLDER_NAMES:
            name, factor = OLDER_NAMES[family.name]
            samples = tuple((labels, value * factor) for labels, value in family.samples)
            found.append(replace(family, name=name, help=f"Older name of {family.name}.", samples=samples))
    return found


def exposition(families: Iterable[Family]) -> str:
    """Return the text of the metrics; a family without samples still says what it is."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {family.type}"]
        lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
