"""The story of a workload as a table: changes of phase and events, filtered and searched."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runai_core.model.workload import HistoryRecord, RecordType
from runai_core.web.pages.phases import KINDS
from runai_core.web.pages.shown import in_words

WHICH: Mapping[str, str] = {
    "": "Everything",
    "phases": "Changes of phase",
    "events": "Events",
    "warnings": "Warnings",
}
"""Choice -> what it is called."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the story. `time` is in seconds since the epoch, UTC."""

    time: float
    what: str
    kind: str  # of its badge
    text: str
    about: str
    actor: str
    is_phase: bool
    is_warning: bool


def entry_of(record: HistoryRecord) -> Entry:
    """Return a record as a line."""
    is_phase = record.type is RecordType.PHASE_UPDATE and record.to_phase is not None
    warns = record.severity == "Warning"
    if is_phase and record.to_phase is not None:
        what, kind = record.to_phase.value, KINDS[record.to_phase]
        text = " ".join(dict.fromkeys(part for part in (record.cause, record.message) if part))
    else:
        what, kind, text = in_words(record.reason), "wait" if warns else "off", record.message or record.cause
    return Entry(
        time=record.meta.created_at,
        what=what,
        kind=kind,
        text=text,
        about=about_whom(record.involved),
        actor=record.actor,
        is_phase=is_phase,
        is_warning=warns,
    )


def about_whom(involved: str) -> str:
    """Return what an event is about, in words; the workload's own name stands above its story already."""
    kind, _, name = involved.partition("/")
    return kind if kind == "workload" else f"{kind} {name}".strip()


def chosen(records: Iterable[HistoryRecord], which: str, search: str) -> list[Entry]:
    """Return the lines that fit the filter and hold the text somewhere, ignoring case."""
    wanted = search.casefold()
    entries = (entry_of(record) for record in records)
    return [
        entry
        for entry in entries
        if _is_of(entry, which) and wanted in f"{entry.what}\n{entry.text}\n{entry.about}\n{entry.actor}".casefold()
    ]


def _is_of(entry: Entry, which: str) -> bool:
    return {"phases": entry.is_phase, "events": not entry.is_phase, "warnings": entry.is_warning}.get(which, True)
