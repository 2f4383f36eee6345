"""`runai simulate --trace openb`: the draw, the policies, the figures, and wrong files."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runai_core.engine.arrivals import Arrivals
from runai_core.model.resources import MILLI
from runai_core.simulation.best_fit import BestFit, score
from runai_core.simulation.openb import draw, read_trace, snapshot_of
from runai_core.simulation.packing import POLICIES, Packed, replay

Simulate = Callable[..., tuple[int, str, str]]
SHARED = Path(os.environ.get("RUNAI_SHARED_DIR") or Path(__file__).parents[4] / "shared") / "traces"


def data(shown: tuple[int, str, str]) -> Any:
    code, out, err = shown
    assert code == 0, err
    return json.loads(out)


def files(folder: Path) -> tuple[object, ...]:
    return "--trace", "openb", "--nodes", folder / "nodes.csv", "--pods", folder / "pods.csv"


def test_the_trace_is_read_as_it_is_written(folder: Path) -> None:
    trace = read_trace(folder / "nodes.csv", folder / "pods.csv")

    assert trace.capacity == 5 * MILLI
    assert [pod.gpu for pod in trace.pods] == [1000, 500, 0, 1000]
    assert trace.pods[3].models == ("V100", "A10")
    assert trace.nodes[0].memory == 8192 * 1024**2


def test_pods_are_drawn_until_requests_reach_the_multiple(folder: Path) -> None:
    trace = read_trace(folder / "nodes.csv", folder / "pods.csv")
    drawn = draw(trace, 1.3, 7)
    requested = [pod.gpu for pod in drawn]

    assert sum(requested) >= 6500 > sum(requested[:-1])
    assert drawn == draw(trace, 1.3, 7)
    assert drawn != draw(trace, 1.3, 8)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_gives_away_more_than_there_is_or_places_what_does_not_fit(folder: Path, policy: str) -> None:
    """A cluster of 5 GPUs where every draw offers 13: all of them but a rest of fractions can be given away."""
    trace = read_trace(folder / "nodes.csv", folder / "pods.csv")
    packed = list(replay(trace, policy, 2.6, 3))[-1]

    assert isinstance(packed, Packed)
    assert 4000 <= packed.allocated <= packed.capacity == 5000
    assert packed.allocated_at_full <= packed.allocated
    assert packed.dropped > 0
    assert packed.idle_gpus == (5000 - packed.allocated) / 1000


def test_a_pod_bound_to_models_goes_nowhere_else(folder: Path) -> None:
    (folder / "pods.csv").write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1,1,1,1000,V100\n")
    trace = read_trace(folder / "nodes.csv", folder / "pods.csv")

    assert [list(replay(trace, policy, 1.0, 1))[-1].allocated for policy in POLICIES] == [2000] * len(POLICIES)  # type: ignore[union-attr]


def test_the_json_has_the_published_shape(folder: Path, simulate: Simulate) -> None:
    found = data(simulate(*files(folder), "--seeds", 2, "--arrival", 1.0, "--policy", "fgd", "--json"))

    assert list(found) == ["policy", "arrival", "seeds", "mean_allocated_percent"]
    assert (found["policy"], found["arrival"]) == ("fgd", 1.0)
    assert [list(seed) for seed in found["seeds"]] == [["seed", "allocated_percent", "idle_gpus"]] * 2
    percents = [seed["allocated_percent"] for seed in found["seeds"]]
    assert found["mean_allocated_percent"] == pytest.approx(sum(percents) / 2, abs=0.002)
    assert [seed["idle_gpus"] for seed in found["seeds"]] == pytest.approx([5 - 0.05 * item for item in percents])


def test_the_same_seeds_give_the_same_figures(folder: Path, simulate: Simulate) -> None:
    once, again = (simulate(*files(folder), "--seeds", 3, "--json") for _ in range(2))

    assert data(once) == data(again)
    assert data(once)["policy"] == "fragmentation"


def test_people_get_a_table_with_a_mean(folder: Path, simulate: Simulate) -> None:
    code, out, err = simulate(*files(folder), "--seeds", 2)

    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("SEED")
    assert out.splitlines()[-1].startswith("mean")


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        pytest.param(
            "pods.csv", lambda t: t.replace("p2,2000", "p2,-1"), "pods.csv, line 3, column cpu_milli", id="negative"
        ),
        pytest.param(
            "pods.csv", lambda t: t.replace("p1,4000", "p1,x"), "pods.csv, line 2, column cpu_milli", id="no number"
        ),
        pytest.param(
            "pods.csv", lambda t: t.replace("1,500", "1,5000"), "pods.csv, line 3, column gpu_milli", id="too much"
        ),
        pytest.param(
            "pods.csv", lambda t: t.replace("1,500", "2,500"), "line 3, column gpu_milli", id="parts of several"
        ),
        pytest.param(
            "pods.csv", lambda t: t.replace("1,500", "0,500"), "line 3, column gpu_milli", id="a part of none"
        ),
        pytest.param("pods.csv", lambda t: t + "p5,1,1\n", "pods.csv, line 6, column 4", id="short line"),
        pytest.param("pods.csv", lambda t: t + "p5,1,1,1,1,,,\n", "pods.csv, line 6, column 7", id="long line"),
        pytest.param("pods.csv", lambda t: t.replace("num_gpu", "gpus"), "pods.csv, line 1", id="wrong title"),
        pytest.param("pods.csv", lambda t: t.splitlines()[0], "at least one line", id="no pods"),
        pytest.param("pods.csv", lambda t: "", "pods.csv, line 1", id="empty file"),
        pytest.param("pods.csv", lambda t: t.splitlines()[0] + "\np,1,1,0,0,\n", "column num_gpu", id="no GPU wanted"),
        pytest.param(
            "nodes.csv", lambda t: t.replace("n3,16000", "n3,nan"), "nodes.csv, line 4, column cpu_milli", id="nan"
        ),
        pytest.param(
            "nodes.csv", lambda t: t.replace("n3,", "n1,"), "nodes.csv, line 4, column sn", id="same name twice"
        ),
        pytest.param("nodes.csv", lambda t: t.replace("n3,", ","), "nodes.csv, line 4, column sn", id="no name"),
        pytest.param("nodes.csv", lambda t: t.splitlines()[0] + "\nn1,1,1,0,\n", "column gpu", id="no GPU there"),
        pytest.param(
            "nodes.csv", lambda t: t.replace("8192,1,", f"8192,{10**18},"), "line 2, column gpu", id="too many"
        ),
    ],
)
def test_a_wrong_file_is_named_with_line_and_column(
    folder: Path, simulate: Simulate, name: str, change: Callable[[str], str], expected: str
) -> None:
    (folder / name).write_text(change((folder / name).read_text()))

    code, out, err = simulate(*files(folder), "--json")

    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("--nodes", "missing.csv"), "missing.csv", id="missing file"),
        pytest.param(("--nodes", "."), "cannot be read", id="folder"),
        pytest.param(("--arrival", "0"), "--arrival", id="no arrivals"),
        pytest.param(("--arrival", "nan"), "--arrival", id="arrivals that are no number"),
        pytest.param(("--seeds", "0"), "--seeds", id="no seeds"),
        pytest.param(("--policy", "best"), "--policy: must be one of", id="unknown policy"),
        pytest.param(("--plot", "x.png"), "--plot: only the philly trace", id="option of the other trace"),
        pytest.param(("more.csv",), "FILE: only the philly trace", id="file of the other trace"),
    ],
)
def test_wrong_options_are_named(folder: Path, simulate: Simulate, arguments: tuple[str, ...], expected: str) -> None:
    code, out, err = simulate(*files(folder), *arguments)

    assert (code, out) == (2, "")
    assert expected in err


def test_both_files_are_needed(folder: Path, simulate: Simulate) -> None:
    code, _, err = simulate("--trace", "openb", "--nodes", folder / "nodes.csv")

    assert code == 2
    assert "--pods" in err


def test_a_file_that_is_no_text_is_refused(folder: Path, simulate: Simulate) -> None:
    (folder / "pods.csv").write_bytes(b"\xff\xfe\x00name")

    code, _, err = simulate(*files(folder))

    assert code == 2
    assert "UTF-8" in err


@pytest.mark.skipif(
    not (SHARED / "openb").is_dir(), reason="the real traces are not on this machine (RUNAI_SHARED_DIR)"
)
def test_on_the_real_trace_ours_beats_the_best_published_policy() -> None:
    """One seed: published means are 95.4 % for FGD and 87.5 % for random."""
    openb = SHARED / "openb"
    trace = read_trace(openb / "openb_node_list_gpu_node.csv", openb / "openb_pod_list_default.csv")
    before = time.process_time()

    percent = {}
    for policy in ("fragmentation", "fgd", "random"):
        packed = list(replay(trace, policy, 1.3, 1))[-1]
        assert isinstance(packed, Packed)
        percent[policy] = packed.allocated_percent

    assert percent["fragmentation"] >= 95.9
    assert 94.6 <= percent["fgd"] <= 95.9
    assert 86.5 <= percent["random"] <= 88.5
    assert time.process_time() - before < 60


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param((0, 0), 100, id="nothing is left"),
        pytest.param((128_000, 8000), 0, id="the largest machine is empty"),
        pytest.param((64_000, 0), 75, id="half of the CPU counts a quarter"),
        pytest.param((0, 100), 99, id="whole numbers, rounded down"),
    ],
)
def test_best_fit_scores_what_is_left_over(left: tuple[int, int], expected: int) -> None:
    assert score(*left) == expected


def test_best_fit_fills_the_node_on_which_least_is_left_over(folder: Path) -> None:
    trace = read_trace(folder / "nodes.csv", folder / "pods.csv")
    half, whole = trace.pods[1], trace.pods[0]
    arrivals = Arrivals(snapshot_of(trace, [half, whole, half, whole], "binpack"))
    policy = BestFit(arrivals)

    assert all(policy.place(number, pod) for number, pod in enumerate([half, whole, half, whole]))

    names = [arrivals.session.nodes[node].name for node in arrivals.session.pod_node]
    assert names == ["n1", "n2", "n1", "n2"]
