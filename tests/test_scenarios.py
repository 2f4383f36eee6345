"""The engine against scenarios that another engine's own tests define (Apache-2.0, derived from KAI-Scheduler)."""

import json
import os
from pathlib import Path

import pytest

from runai_core.testing.conformance import load_scenarios, main, run_scenario

SHARED = Path(os.environ.get("RUNAI_SHARED_DIR", Path(__file__).resolve().parents[2] / "shared")) / "conformance"
ABSENT = not SHARED.is_dir()


def scenarios() -> list[object]:
    """Return one parameter for each scenario, or a single visible skip."""
    if ABSENT:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no scenarios at {SHARED}; set RUNAI_SHARED_DIR"))]
    return [pytest.param(scenario, id=scenario["id"]) for scenario in load_scenarios([SHARED])]


@pytest.mark.parametrize("scenario", scenarios())
def test_the_decisions_are_those_that_the_scenario_expects(scenario) -> None:  # type: ignore[no-untyped-def]
    report = run_scenario(scenario)
    if report.skipped:
        pytest.skip(report.skipped)
    assert report.differences == []


def tiny(**changes: object) -> dict[str, object]:
    """Return a scenario with one node of one GPU and one job that fits."""
    quota = {"quota": None, "limit": None, "over_quota_weight": 1}
    resources = {"gpus": quota, "cpu_millis": quota, "memory_mb": quota}
    task = {
        "id": "job-0",
        "state": "Pending",
        "node": None,
        "pod_set": "default",
        "request": {"kind": "whole_gpu", "gpus": 1, "cpu_millis": 1000, "memory_bytes": 10**9},
    }
    scenario: dict[str, object] = {
        "id": "tiny/one",
        "run": {"mode": "single_action", "actions": ["allocate"]},
        "settings": {
            "predicates_enabled": True,
            "default_plugins": True,
            "staleness_grace_seconds": 60,
            "max_consolidation_preemptees": None,
            "allow_consolidating_reclaim": True,
        },
        "nodes": [
            {
                "name": "n",
                "gpus": 1,
                "cpu_millis": 4000,
                "memory_bytes": 10**10,
                "gpu_memory_mib": 100,
                "max_pods": 110,
                "labels": {},
            }
        ],
        "topologies": [],
        "queues": [{"name": "q", "parent": None, "priority": 100, "creation_index": 0, "resources": resources}],
        "jobs": [
            {
                "name": "job",
                "queue": "q",
                "priority": 50,
                "preemptible": True,
                "age_minutes": 1,
                "min_member": 1,
                "pod_group": {
                    "topology_constraint": None,
                    "groups": [],
                    "pod_sets": [{"name": "default", "min_member": 1, "topology_constraint": None}],
                },
                "tasks": [task],
            }
        ],
        "expected": {
            "jobs": {"job": {"status": "Binding", "node": "n"}},
            "tasks": {},
            "nodes": {},
            "max_calls_per_round": {"bind": 1, "evict": 0, "pipeline": 0},
        },
    }
    return {**scenario, **changes}


def test_the_runner_reports_as_json_and_ends_with_the_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tiny(id="tiny/wrong")
    wrong["expected"] = {**tiny()["expected"], "jobs": {"job": {"status": "Pending", "node": None}}}  # type: ignore[dict-item]
    unknown = tiny(id="tiny/skipped", unsupported_fields=["written in another language"])
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps([tiny(), wrong, unknown]))

    status = main([str(file), "--json"])

    output = capsys.readouterr()
    reports = {report["id"]: report for report in json.loads(output.out)}
    assert status == 1
    assert [reports[name]["passed"] for name in ("tiny/one", "tiny/wrong")] == [True, False]
    assert "expected Pending" in reports["tiny/wrong"]["differences"][0]
    assert set(reports["tiny/one"]) >= {
        "id",
        "passed",
        "differences",
        "rounds",
        "engine_seconds",
        "action_seconds",
        "decisions",
    }
    assert output.err.splitlines()[-1] == "1 passed, 1 failed"
    main([str(file), "--id", "tiny/one"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"name": 3}]', "\x00"], ids=repr)
def test_a_file_that_holds_no_scenarios_is_an_error_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    assert main([str(file)]) == 2
    assert "broken.json" in capsys.readouterr().err


def test_a_scenario_with_an_absurd_amount_fails_with_the_object_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tiny()
    scenario["nodes"] = [{**scenario["nodes"][0], "gpus": -1}]  # type: ignore[index]
    file = tmp_path / "absurd.json"
    file.write_text(json.dumps([scenario, tiny(id="tiny/odd", jobs=[{}])]))
    assert main([str(file)]) == 1
    output = capsys.readouterr().out
    assert "node n.gpus" in output
    assert "not a scenario" in output


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        pytest.param("PodSchedulingErrors", True, id="the reason stands for the code"),
        pytest.param("OverLimit", False, id="another reason"),
        pytest.param("Unheard", False, id="an unknown code"),
    ],
)
def test_the_code_of_an_expected_error_is_compared(code: str, passed: bool) -> None:
    large = tiny()
    large["jobs"][0]["tasks"][0]["request"]["gpus"] = 2  # type: ignore[index]
    waits = {"status": "Pending", "node": None, "error_message": f"\n{code}.\nwords of another engine"}
    large["expected"] = {**tiny()["expected"], "jobs": {"job": waits}}  # type: ignore[dict-item]
    assert run_scenario(large).passed is passed
