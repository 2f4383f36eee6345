"""`runai simulate --trace philly`: jobs by hand, figures that can be worked out, and wrong files."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runai_core.simulation.measures import Replayed, entitled, jain, percentile
from runai_core.simulation.philly import Job, enough_nodes, pods_of, read_jobs
from runai_core.simulation.queueing import POLICIES, replay_jobs

Simulate = Callable[..., tuple[int, str, str]]


def outcome(jobs: list[Job], policy: str, nodes: int = 1, gpus: int = 2) -> Replayed:
    found = list(replay_jobs(jobs, policy, nodes, gpus))[-1]
    assert isinstance(found, Replayed)
    return found


def job(name: str, gpus: int, arrival: float, duration: float, queue: str = "q") -> Job:
    return Job(name, queue, gpus, arrival, duration)


def test_a_job_lasts_its_steps_at_the_speed_of_the_nearest_number_of_gpus(folder: Path) -> None:
    jobs = read_jobs([folder / "jobs.trace"])

    assert [(item.queue, item.gpus, item.arrival, item.duration) for item in jobs] == [
        ("LM", 1, 0.0, 100.0),
        ("LM", 2, 0.0, 62.5),
        ("ResNet-18", 1, 10.0, 100.0),
        ("ResNet-18", 1, 20.0, 10.0),
    ]


def test_several_files_are_several_queues(folder: Path) -> None:
    (folder / "other.trace").write_text((folder / "jobs.trace").read_text())

    jobs = read_jobs([folder / "jobs.trace", folder / "other.trace"])

    assert {item.queue for item in jobs} == {"jobs", "other"}
    assert len({item.name for item in jobs}) == 8


def test_fifo_lets_the_first_hold_back_all_others() -> None:
    """Two GPUs: `b` needs both and waits for `a`; `c` would fit beside `a` but waits for `b`."""
    found = outcome([job("a", 1, 0, 100), job("b", 2, 0, 50), job("c", 1, 10, 10)], "fifo")

    assert list(found.waits) == [0, 100, 140]
    assert list(found.completions) == [100, 150, 150]
    assert (found.makespan, found.preemptions) == (160, 0)


def test_the_engine_lets_a_small_job_past_one_that_does_not_fit() -> None:
    found = outcome([job("a", 1, 0, 100), job("b", 2, 0, 50), job("c", 1, 10, 10)], "engine")

    assert list(found.waits) == [0, 100, 0]
    assert list(found.completions) == [100, 150, 10]


def test_the_engine_takes_back_what_a_queue_borrowed_and_the_job_goes_on_where_it_was() -> None:
    """`x` borrows a GPU of `y`, gives it back after 10 of 100 seconds, waits 50, and runs its last 90."""
    jobs = [job("a", 1, 0, 100, "x"), job("b", 1, 0, 100, "x"), job("c", 1, 10, 50, "y")]

    found = outcome(jobs, "engine")

    assert found.preemptions == 1
    assert list(found.waits) == [0, 0, 0]
    assert sorted(found.completions) == [50, 100, 150]
    assert found.makespan == 150
    assert found.jain_index == 1.0


def test_fifo_is_unfair_where_the_engine_is_fair() -> None:
    jobs = [job("a", 2, 0, 100, "x"), job("b", 2, 0, 100, "x"), job("c", 1, 10, 50, "y")]

    assert outcome(jobs, "fifo").shares == {"x": pytest.approx(400 / (1 * 190 + 20)), "y": 0.0}
    assert outcome(jobs, "fifo").jain_index == pytest.approx(0.5)


def test_gpus_in_use_are_kept_by_queue_over_time() -> None:
    found = outcome([job("a", 1, 0, 100, "x"), job("b", 1, 20, 50, "y")], "fifo")

    assert found.queues == ("x", "y")
    assert found.use == ((0, (1, 0)), (20, (1, 1)), (70, (1, 0)), (100, (0, 0)))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_replay_can_be_repeated(folder: Path, policy: str) -> None:
    jobs = read_jobs([folder / "jobs.trace"])

    assert outcome(jobs, policy) == outcome(jobs, policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_larger_than_a_node_takes_several(policy: str) -> None:
    found = outcome([job("wide", 5, 0, 10), job("next", 4, 1, 10)], policy, nodes=3, gpus=2)

    assert list(found.completions) == [10, 19]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param((10, 10), [4, 4], id="equal shares"),
        pytest.param((1, 10), [1, 7], id="what one does not want goes to the other"),
        pytest.param((0, 2), [0, 2], id="nobody is entitled to more than is wanted"),
    ],
)
def test_entitlement_is_max_min_fair(wanted: tuple[int, ...], expected: list[float]) -> None:
    assert entitled(8, wanted) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [((1, 1, 1), 1.0), ((3, 0, 0), 1 / 3), ((2, 1), 0.9), ((0, 0), 1.0), ((), 1.0)]
)
def test_jain_index(values: tuple[float, ...], expected: float) -> None:
    assert jain(values) == pytest.approx(expected)


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (100, 10), (1, 1)])
def test_percentile_is_a_value_of_the_list(percent: float, expected: int) -> None:
    assert percentile(list(range(10, 0, -1)), percent) == expected


def test_default_size_keeps_the_nodes_busy_and_fits_the_largest_job() -> None:
    assert enough_nodes([job("a", 2, 0, 90), job("b", 2, 100, 90)], 2) == 2
    assert enough_nodes([job("a", 16, 0, 1), job("b", 1, 1000, 1)], 8) == 2
    assert pods_of(19, 8) == [8, 8, 3]


def run_json(simulate: Simulate, *arguments: object) -> Any:
    code, out, err = simulate("--trace", "philly", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_json_has_both_policies_side_by_side(folder: Path, simulate: Simulate) -> None:
    found = run_json(simulate, folder / "jobs.trace", "--nodes", 1, "--gpus-per-node", 2)

    assert [item["policy"] for item in found["policies"]] == ["fifo", "engine"]
    assert list(found["policies"][0]) == [
        "policy",
        "jobs",
        "waiting_seconds",
        "completion_seconds",
        "preemptions_per_job",
        "jain_index",
        "share_of_entitlement",
        "makespan_seconds",
    ]
    assert (found["nodes"], found["gpus_per_node"]) == (1, 2)


def test_a_picture_is_written_whole(folder: Path, simulate: Simulate) -> None:
    pytest.importorskip("matplotlib")
    picture = folder / "use.png"

    run_json(simulate, folder / "jobs.trace", "--plot", picture)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in folder.glob("*use.png*")] == ["use.png"]


WITHOUT_MATPLOTLIB = """
import sys
from importlib import machinery
found = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = lambda name, *more: None if name.startswith("matplotlib") else found(name, *more)
from runai_core.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def test_a_picture_without_matplotlib_says_what_to_install_before_anything_runs(folder: Path) -> None:
    picture = folder / "use.png"
    command = [sys.executable, "-c", WITHOUT_MATPLOTLIB, "simulate", "--trace", "philly", str(folder / "jobs.trace")]

    done = subprocess.run([*command, "--plot", str(picture)], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "pip install 'runai-core[plot]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout, picture.exists()) == ("", False)


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command whose errors go to a pseudo-terminal; return its exit code and what was shown there."""
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed when the command ends
            while piece := os.read(mine, 65536):
                shown += piece
    os.close(mine)
    return process.returncode, shown.decode(errors="replace")


def test_a_bar_shows_on_a_terminal_how_far_it_is(folder: Path) -> None:
    command = [sys.executable, "-m", "runai_core.cli.main", "simulate", "--trace", "philly", str(folder / "jobs.trace")]

    code, shown = on_a_terminal(command)

    assert code == 0
    assert "fifo, 4 jobs on" in shown
    assert "engine, 4 jobs on" in shown
    assert "%" in shown
    assert "\x1b[2K" in shown  # and is removed at the end


def test_no_bar_is_written_to_a_file(folder: Path, simulate: Simulate) -> None:
    _, _, err = simulate("--trace", "philly", folder / "jobs.trace")
    assert "%" not in err


LINE = "LM (batch size 5)\tc\t-step\t1\t1000\t0.0\t1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(LINE + LINE.replace("1000", "-5"), "line 2, column total_steps", id="negative steps"),
        pytest.param(LINE.replace("0.0", "-1"), "line 1, column arrival", id="negative arrival"),
        pytest.param(LINE.replace("0.0", "nan"), "line 1, column arrival", id="arrival that is no number"),
        pytest.param(LINE.replace("\t1\n", "\t0\n"), "line 1, column gpus", id="no GPUs"),
        pytest.param(LINE.replace("LM", "XY"), "line 1, column job_type", id="unknown kind of job"),
        pytest.param(LINE.replace("\t", ","), "line 1, column 2", id="wrong separator"),
        pytest.param("", "at least one line", id="empty file"),
    ],
)
def test_a_wrong_trace_is_named_with_line_and_column(
    folder: Path, simulate: Simulate, text: str, expected: str
) -> None:
    (folder / "wrong.trace").write_text(text)
    plot = folder / "use.png"

    code, out, err = simulate("--trace", "philly", folder / "wrong.trace", "--plot", plot)

    assert (code, out) == (2, "")
    assert expected in err
    assert not plot.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((), "FILE", id="no file"),
        pytest.param(("missing.trace", "--speeds", "none.csv"), "none.csv", id="missing file"),
        pytest.param(("{}/jobs.trace", "--nodes", "x"), "--nodes", id="nodes that are no number"),
        pytest.param(("{}/jobs.trace", "--nodes", "0"), "--nodes", id="no nodes"),
        pytest.param(
            ("{}/jobs.trace", "--nodes", "1", "--gpus-per-node", "1"), "largest job", id="a job larger than all nodes"
        ),
        pytest.param(("{}/jobs.trace", "--policy", "fgd"), "--policy", id="policy of the other trace"),
        pytest.param(("{}/jobs.trace", "--pods", "x"), "--pods", id="option of the other trace"),
        pytest.param(("{}/jobs.trace", "--plot", "{}/no/use.png"), "--plot", id="no such folder"),
    ],
)
def test_wrong_options_are_named(folder: Path, simulate: Simulate, arguments: tuple[str, ...], expected: str) -> None:
    code, out, err = simulate("--trace", "philly", *(text.replace("{}", str(folder)) for text in arguments))

    assert (code, out) == (2, "")
    assert expected in err
