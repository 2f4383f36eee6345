"""Measurements as Prometheus reads them (text format 0.0.4). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = tuple[tuple[Mapping[str, str], float], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric: labels and value of each."""

    name: str
    help: str
    samples: Samples
    type: str = "gauge"


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
