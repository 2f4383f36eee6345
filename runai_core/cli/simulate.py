"""`runai simulate`: replay a trace with virtual time, through the engine that schedules for real."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import click

from runai_core.cli.output import duration, json_option, print_data, print_table
from runai_core.model.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from runai_core.simulation.measures import Replayed
    from runai_core.simulation.packing import Packed

Advance = Callable[[float], None]
"""Shows how much is done, from 0 to 1."""

POLICY_NAMES = ("fragmentation", "binpack", "spread", "fgd", "bestfit", "random")
PHILLY_POLICIES = ("engine", "fifo")
MOST_SEEDS = 1000
MOST_NODES = 100_000
MOST_GPUS = 1024
MOST_ARRIVAL = 10.0


@click.command("simulate", short_help="Replay a trace of jobs through the engine.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--trace", required=True, type=click.Choice(["openb", "philly"]), help="Format of the trace.")
@click.option("--nodes", help="openb: the node file. philly: number of nodes.")
@click.option("--pods", type=click.Path(path_type=Path), help="openb: the pod file.")
@click.option(
    "--arrival", type=float, default=1.3, show_default=True, help="openb: GPUs requested, of those there are."
)
@click.option("--seeds", type=int, default=10, show_default=True, help="openb: replays, with the seeds 1, 2 and so on.")
@click.option("--policy", help=f"openb: {', '.join(POLICY_NAMES)}. philly: {' or '.join(PHILLY_POLICIES)}, else both.")
@click.option("--gpus-per-node", type=int, default=8, show_default=True, help="philly: GPUs of each node.")
@click.option("--speeds", type=click.Path(path_type=Path), help="philly: steps per second of the kinds of jobs.")
@click.option("--plot", type=click.Path(path_type=Path), help="philly: write GPUs in use over time to this PNG file.")
@json_option
def simulate(  # noqa: PLR0913 - click passes each option by name
    files: tuple[Path, ...],
    *,
    trace: str,
    nodes: str | None,
    pods: Path | None,
    arrival: float,
    seeds: int,
    policy: str | None,
    gpus_per_node: int,
    speeds: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replay a trace of jobs through the engine, with virtual time.

    openb draws pods at random, lets none of them leave, and tells how much of the
    GPUs each replay could give away. philly replays jobs with durations, FIFO
    and through the engine, and tells how long they waited.
    """
    if trace == "openb":
        _refuse({"FILE": files, "--speeds": speeds, "--plot": plot}, "only the philly trace takes it")
        _openb(nodes, pods, arrival, seeds, policy or POLICY_NAMES[0], as_json)
    else:
        _refuse({"--pods": pods}, "only the openb trace takes it")
        if not files:
            raise InvalidRequest.of(FieldError("FILE", "give at least one file of the trace"))
        size = (_count("--nodes", nodes) if nodes is not None else None, gpus_per_node)
        _philly(files, size, speeds, policy, plot, as_json)


def _refuse(options: dict[str, object], why: str) -> None:
    for name, value in options.items():
        if value:
            raise InvalidRequest.of(FieldError(name, why, value))


def _openb(nodes: str | None, pods: Path | None, arrival: float, seeds: int, policy: str, as_json: bool) -> None:
    if nodes is None or pods is None:
        name = "--nodes" if nodes is None else "--pods"
        raise InvalidRequest.of(FieldError(name, "name the file; the openb trace has one of nodes and one of pods"))
    if not 0 < arrival <= MOST_ARRIVAL:
        raise InvalidRequest.of(FieldError("--arrival", f"must be more than 0 and at most {MOST_ARRIVAL:g}", arrival))
    _within("--seeds", seeds, MOST_SEEDS)
    _one_of("--policy", policy, POLICY_NAMES)
    # Imported here: the engine is not needed for help.
    from runai_core.simulation.openb import read_trace
    from runai_core.simulation.packing import Packed, replay

    trace = read_trace(Path(nodes), pods)
    found: list[Packed] = []
    with _progress(f"{policy}, {seeds} seeds") as advance:
        for seed in range(1, seeds + 1):
            for step in replay(trace, policy, arrival, seed):
                if isinstance(step, Packed):
                    found.append(step)
                else:
                    advance((seed - 1 + step) / seeds)
    if as_json:
        _packed_json(found, policy, arrival)
    else:
        _packed_table(found, arrival)


def _packed_json(found: "list[Packed]", policy: str, arrival: float) -> None:
    outcomes = [
        {
            "seed": item.seed,
            "allocated_percent": round(item.allocated_percent, 3),
            "idle_gpus": round(item.idle_gpus, 3),
        }
        for item in found
    ]
    mean = fmean(item.allocated_percent for item in found)
    print_data({"policy": policy, "arrival": arrival, "seeds": outcomes, "mean_allocated_percent": round(mean, 3)})


def _packed_table(found: "list[Packed]", arrival: float) -> None:
    titles = ["SEED", "PODS", "DROPPED", "IDLE GPUS", "ALLOCATED AT 100 %", f"AT {100 * arrival:g} %"]
    rows = [
        [
            str(item.seed),
            str(item.arrived),
            str(item.dropped),
            f"{item.idle_gpus:.1f}",
            f"{item.allocated_percent_at_full:.2f} %",
            f"{item.allocated_percent:.2f} %",
        ]
        for item in found
    ]
    idle = fmean(item.idle_gpus for item in found)
    at_full = fmean(item.allocated_percent_at_full for item in found)
    mean = fmean(item.allocated_percent for item in found)
    print_table(titles, [*rows, ["mean", "", "", f"{idle:.1f}", f"{at_full:.2f} %", f"{mean:.2f} %"]])


def _philly(
    files: tuple[Path, ...],
    size: tuple[int | None, int],
    speeds: Path | None,
    policy: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    nodes, gpus = size
    _within("--gpus-per-node", gpus, MOST_GPUS)
    if policy is not None:
        _one_of("--policy", policy, PHILLY_POLICIES)
    from runai_core.simulation.measures import Replayed
    from runai_core.simulation.philly import enough_nodes, read_jobs
    from runai_core.simulation.plot import draw_use, require_matplotlib
    from runai_core.simulation.queueing import POLICIES, replay_jobs

    if plot is not None:
        require_matplotlib()
        if not plot.absolute().parent.is_dir():
            raise InvalidRequest.of(FieldError("--plot", "must be a file in a folder that exists", plot))
    jobs = read_jobs(files, speeds)
    nodes = enough_nodes(jobs, gpus) if nodes is None else nodes
    names = tuple(POLICIES) if policy is None else (policy,)
    found: list[Replayed] = []
    for name in names:
        with _progress(f"{name}, {len(jobs)} jobs on {nodes} nodes") as advance:
            for step in replay_jobs(jobs, name, nodes, gpus):
                if isinstance(step, Replayed):
                    found.append(step)
                else:
                    advance(step)
    if plot is not None:
        draw_use(found, plot)
    if as_json:
        head = {"trace": "philly", "files": [str(file) for file in files], "nodes": nodes, "gpus_per_node": gpus}
        print_data({**head, "policies": [item.summary() for item in found]})
        return
    _print_replayed(found, nodes, gpus)


def _print_replayed(found: "list[Replayed]", nodes: int, gpus: int) -> None:
    rows = [
        [
            item.policy,
            str(len(item.waits)),
            duration(item.wait(50)),
            duration(item.wait(95)),
            duration(item.completion(50)),
            duration(item.completion(95)),
            f"{item.preemptions_per_job:.3f}",
            f"{item.jain_index:.4f}",
            duration(item.makespan),
        ]
        for item in found
    ]
    titles = ["POLICY", "JOBS", "WAIT P50", "WAIT P95", "DONE P50", "DONE P95", "PREEMPTIONS/JOB", "JAIN", "ALL DONE"]
    click.echo(f"{nodes} nodes with {gpus} GPUs each", err=True)
    print_table(titles, rows)


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidRequest.of(FieldError(name, f"must be from 1 to {most}", value))


def _count(name: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise InvalidRequest.of(FieldError(name, "must be a number of nodes for the philly trace", text)) from None
    _within(name, value, MOST_NODES)
    return value


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidRequest.of(FieldError(name, f"must be one of {', '.join(known)}", value))


@contextmanager
def _progress(title: str) -> Iterator[Advance]:
    """Show a bar on a terminal; say nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _part: None
        return
    # Imported here: only a terminal needs it.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda part: bar.update(task, completed=part)
