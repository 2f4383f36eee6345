"""What the demo shows: a table that updates in place on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from runai_core.client.results import HistoryRecord, Node, Project, Workload

PHASE_STYLES = {
    "Running": "green",
    "Completed": "bold green",
    "Pending": "yellow",
    "Failed": "bold red",
    "Degraded": "magenta",
}

PLAIN_WIDTH = 118
"""Columns of a table that is written to a file or a pipe."""


class Board:
    """Shows lines of the story, and the table of workloads as it is now."""

    def __init__(self, *, plain: bool = False) -> None:
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self._started = time.monotonic()
        self._phases: dict[str, str] = {}
        self._workloads: tuple[Workload, ...] = ()
        self._live = (
            Live(console=self._console, refresh_per_second=4) if self._console.is_terminal and not plain else None
        )

    def __enter__(self) -> Self:
        """Start to update in place, on a terminal."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture as it is."""
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line of the story."""
        self._console.print(f"[dim]{self._clock()}[/dim]  {escape(text)}", soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print a heading."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def raw(self, text: str) -> None:
        """Print text as it is."""
        self._console.print(escape(text))

    def update(self, workloads: Sequence[Workload]) -> None:
        """Show the workloads; away from a terminal, only what changed."""
        self._workloads = tuple(sorted(workloads, key=lambda workload: (workload.project_name, workload.name)))
        if self._live:
            self._live.update(workload_table(self._workloads))
            return
        for workload in self._workloads:
            before = self._phases.get(workload.id)
            if before != workload.phase:
                self._phases[workload.id] = workload.phase
                pods = f"{workload.running_pods}/{workload.requested_pods} pods"
                self.say(f"{key_of(workload)}: {before or 'new'} -> {workload.phase}, {pods}")

    def show(self, *parts: RenderableType) -> None:
        """Print tables."""
        self._console.print(Group(*parts))

    def finish(self) -> None:
        """Stop updating in place, and print the table for good away from a terminal."""
        if self._live:
            self._live.stop()
            self._live = None
        else:
            self.show(workload_table(self._workloads))

    @property
    def seconds(self) -> float:
        """How long the demo has been running."""
        return time.monotonic() - self._started

    def _clock(self) -> str:
        return f"{self.seconds:5.1f} s"


def key_of(workload: Workload) -> str:
    """Return what people call a workload: project/name."""
    return f"{workload.project_name}/{workload.name}"


def workload_table(workloads: Iterable[Workload]) -> Table:
    """Return the table of workloads."""
    table = _table("Project", "Workload", "Type", "Phase", "Pods", "GPUs (simulated)", title="Workloads")
    for workload in workloads:
        table.add_row(
            workload.project_name,
            workload.name,
            workload.type,
            Text(workload.phase, style=PHASE_STYLES.get(workload.phase, "")),
            f"{workload.running_pods}/{workload.requested_pods}",
            f"{workload.gpu_allocated:g} of {workload.gpu_request:g}",
        )
    return table


def node_table(nodes: Iterable[Node]) -> Table:
    """Return the table of nodes, which says where GPUs are not real."""
    table = _table("Node", "Pool", "GPUs", "Kind", title="Inventory")
    for node in nodes:
        table.add_row(
            node.name,
            node.node_pool,
            str(node.gpu_count),
            f"{node.gpu_type} (simulated)" if node.simulated else node.gpu_type,
        )
    return table


def project_table(projects: Iterable[Project]) -> Table:
    """Return the table of projects with their quota."""
    table = _table("Department", "Project", "GPU quota", "Over-quota weight", title="Projects")
    for project in projects:
        for pool in project.resources:
            quota, weight = pool.gpu.deserved, pool.gpu.over_quota_weight
            table.add_row(
                project.department_name,
                project.name,
                "unlimited" if quota is None or quota < 0 else f"{quota:g}",
                "" if weight is None else f"{weight:g}",
            )
    return table


def story_table(name: str, records: Iterable[HistoryRecord]) -> Table:
    """Return the story of a workload: when it came into which phase, and why."""
    table = _table("Time (UTC)", "Phase", "Cause", title=f"The story of {name}")
    for record in records:
        if record.phase:
            when = record.time.strftime("%H:%M:%S") if record.time else ""
            table.add_row(when, record.phase, Text(record.cause or record.phase_message))
    return table


def _table(*columns: str, title: str) -> Table:
    return Table(*columns, title=f"\n{title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
