"""What is told of a workload that is followed, and how far its logs were told; pure."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.client.results import Workload
from runai_core.model.workload import Phase


class NewsKind(StrEnum):
    """What a piece of news is about."""

    PHASE = "phase"  # the workload is in another phase
    WAITS = "waits"  # why it is there has changed: the verdict of a workload that waits
    LOG = "log"  # a line of a pod's log
    SILENT = "silent"  # the orchestrator does not answer; it is tried again
    END = "end"  # completed, failed or deleted; the last news


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Something that became known of a workload; `text` is a whole sentence, or a line of a log."""

    kind: NewsKind
    text: str
    workload: Workload
    pod: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the workload has completed."""
        return self.workload.phase is Phase.COMPLETED


@dataclass(slots=True)
class Cursors:
    """How far each pod's log was told: the time of the last line, and how many lines of that time.

    Plain values, so that a tool can keep them and go on after its own restart.
    """

    last: MutableMapping[str, tuple[str, int]] = field(default_factory=dict)

    def take(self, pod: str, text: str) -> list[str]:
        """Return the lines of a log with timestamps that were not told before, and remember them."""
        seen = ("", 0)
        fresh = []
        for line in text.split("\n")[: -1 if text.endswith("\n") else None]:
            stamp, _, rest = line.partition(" ")
            seen = (stamp, seen[1] + 1 if stamp == seen[0] else 1)
            last, count = self.last.get(pod, ("", 0))
            if (_sortable(stamp), seen[1]) > (_sortable(last), count):
                self.last[pod] = seen
                fresh.append(rest)
        return fresh

    def since(self, pod: str) -> str | None:
        """Return the time from which a log must be read again."""
        return self.last.get(pod, ("", 0))[0] or None


def _sortable(stamp: str) -> str:
    """Return an RFC 3339 time with a fraction of fixed length, so that text sorts as time does."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}" if stamp else ""
