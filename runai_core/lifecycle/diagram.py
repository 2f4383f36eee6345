"""The transition table as people read it: a mermaid diagram and a table, for docs/lifecycle.md."""

from collections.abc import Mapping

from runai_core.lifecycle.phases import CLAIMS_QUOTA, SUBMITTED, TRANSITIONS, Signal
from runai_core.model.workload import TERMINAL, Phase

BEGIN, END = "<!-- begin {name} -->", "<!-- end {name} -->"

NOT_DRAWN = frozenset(
    {Signal.DELETE_ASKED, Signal.STOP_ASKED, Signal.CONTACT_LOST, Signal.UPDATE_ASKED, Signal.ROLL_ASKED}
)
"""Signals that most phases know: the text names them, the diagram would drown in their arrows."""


def mermaid() -> str:
    """Return the state diagram; arrows that lead back to their phase are left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {SUBMITTED[0]}"]
    for phase, row in TRANSITIONS.items():
        targets: dict[Phase, list[str]] = {}
        for signal, (target, _) in row.items():
            if target != phase and signal not in NOT_DRAWN:
                targets.setdefault(target, []).append(signal)
        lines += [f"    {phase} --> {target}: {', '.join(signals)}" for target, signals in targets.items()]
    lines += [f"    {Phase.RUNNING} --> {Phase.STOPPING}: {Signal.STOP_ASKED}"]
    lines += [f"    {Phase.RUNNING} --> {Phase.UPDATING}: {Signal.UPDATE_ASKED}"]
    lines += [f"    {Phase.RUNNING} --> {Phase.UNKNOWN}: {Signal.CONTACT_LOST}"]
    lines += [f"    {phase} --> {Phase.DELETING}: {Signal.DELETE_ASKED}" for phase in TRANSITIONS if phase in TERMINAL]
    lines += [f"    {Phase.DELETING} --> [*]"]
    return "\n".join(["```mermaid", *lines, "```"])


def table() -> str:
    """Return every transition, one a line, with its effects in the order in which they are carried out."""
    lines = ["| Phase | Claims quota | Signal | Next phase | Effects |", "| --- | --- | --- | --- | --- |"]
    for phase, row in TRANSITIONS.items():
        claims = "yes" if phase in CLAIMS_QUOTA else "no"
        lines += [
            f"| {phase} | {claims} | {signal} | {target} | {', '.join(effects) or '-'} |"
            for signal, (target, effects) in row.items()
        ]
    return "\n".join(lines)


def with_current_parts(text: str) -> str:
    """Return a document whose generated parts, between their markers, are made anew.

    Raises:
        ValueError: a marker is missing.
    """
    parts: Mapping[str, str] = {"diagram": mermaid(), "table": table()}
    for name, content in parts.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the markers {begin} and {end} must both be there")
        text = f"{head}{begin}\n{content}\n{end}{tail}"
    return text
