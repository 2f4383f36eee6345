"""Run scheduling scenarios through the engine's public door and compare with what must come out.

    python -m runai_core.testing.conformance PATH... [--json] [--id ID] [--verbose]

PATH is a scenario file or a folder of them. The last line is ``N passed, M
failed``; the exit status is 1 if a scenario failed and 2 if a path is wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runai_core.engine.cycle import open_cycle, run_actions
from runai_core.engine.rules import DEFAULT_RULES
from runai_core.model.decision import CycleResult, Reason
from runai_core.model.errors import InvalidRequest, InvalidSnapshot, RunaiError
from runai_core.model.snapshot_check import check_snapshot
from runai_core.testing.scenarios import Json, World, load_world

LIMITS = {"bind": "binds", "evict": "evictions", "pipeline": "pipelines"}


ERRORS: Mapping[str, frozenset[Reason]] = {
    "PodSchedulingErrors": frozenset(
        {
            Reason.POD_SCHEDULING_ERRORS,
            Reason.TOPOLOGY_PLACEMENT_FAILED,
            Reason.NEVER_FITS,
            Reason.INSUFFICIENT_CAPACITY,
        }
    ),
    "NonPreemptibleOverQuota": frozenset({Reason.NON_PREEMPTIBLE_OVER_QUOTA}),
    "OverLimit": frozenset({Reason.OVER_LIMIT}),
}
"""KAI's code at the head of an error text -> our reasons that stand for it; the words after it are its own."""


@dataclass(slots=True)
class Report:
    """What became of one scenario. Seconds are of all its rounds together."""

    id: str
    passed: bool = True
    differences: list[str] = field(default_factory=list)
    rounds: int = 0
    engine_seconds: float = 0.0
    action_seconds: float = 0.0
    decisions: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[str, Reason] = field(default_factory=dict)  # of the newest round: why jobs wait
    skipped: str = ""  # the reason, where it was not run


def run_scenario(scenario: Json) -> Report:
    """Run one scenario and return what differed from its expectations."""
    report = Report(scenario["id"])
    if scenario.get("unsupported_fields"):
        report.skipped = "; ".join(scenario["unsupported_fields"])
        return report
    try:
        world = load_world(scenario)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        report.passed = False
        report.differences.append(f"not a scenario: {type(problem).__name__} {problem}")
        return report
    run = scenario["run"]
    if run["mode"] == "single_action":
        world.observe(_cycle(world, report))
        _check(world, scenario, report, report.decisions[-1]["counts"])
    else:
        for _ in range(run["rounds_until_match"]):
            result = _cycle(world, report)
            world.observe(result)
            world.transfer(result)
        world.observe(None)
        _check(world, scenario, report, {})
        for _ in range(run["rounds_after_match"]):
            result = _cycle(world, report)
            world.observe(result)
            _check(world, scenario, report, report.decisions[-1]["counts"])
            world.transfer(result)
    report.passed = not report.differences
    return report


def _cycle(world: World, report: Report) -> CycleResult:
    snapshot = world.snapshot()
    check_snapshot(snapshot)
    start = time.perf_counter()
    session = open_cycle(snapshot, DEFAULT_RULES)
    opened = time.perf_counter()
    result = run_actions(session)
    end = time.perf_counter()
    report.engine_seconds += end - start
    report.action_seconds += end - opened
    report.rounds += 1
    report.decisions.append(_decisions(result))
    report.reasons = {verdict.pod_group: verdict.reason for verdict in result.verdicts}
    return result


def _decisions(result: CycleResult) -> dict[str, Any]:
    calls: list[dict[str, str]] = [
        {
            "call": "evict",
            "task": eviction.pod,
            "action": eviction.action,
            "for_job": eviction.for_group,
        }
        for eviction in result.evictions
    ]
    calls += [{"call": "bind", "task": bind.pod, "node": bind.node} for bind in result.binds]
    calls += [{"call": "pipeline", "task": item.pod, "node": item.node} for item in result.pipelines]
    counts = {call: len(getattr(result, name)) for call, name in LIMITS.items()}
    return {"calls": calls, "counts": counts}


def _check(world: World, scenario: Json, report: Report, counts: Mapping[str, int]) -> None:
    expected = scenario["expected"]
    where = f"after round {report.rounds}"
    tasks_of = {job["name"]: job["tasks"] for job in scenario["jobs"]}
    started = {group.name for group in world.snapshot().pod_groups if group.last_start is not None}
    for name, wanted in expected["jobs"].items():
        for task in tasks_of.get(name, ()):
            _compare(world, report, where, task["id"], wanted)
        code = str(wanted.get("error_message") or "").strip().partition(".")[0]
        if code and report.reasons.get(name) not in ERRORS.get(code, frozenset()):
            found = report.reasons.get(name, "no reason at all")
            report.differences.append(f"{where}: job {name} waits for {found}, expected {code}")
        age = 60 if name in started else 0
        if age < (wanted.get("min_seconds_since_start") or 0) and not counts:
            report.differences.append(f"{where}: job {name} was started again")
    for name, wanted in expected["tasks"].items():
        _compare(world, report, where, name, wanted)
    for name, wanted in expected["nodes"].items():
        gpus = _node_gpus(world, name)
        if gpus != (wanted["idle_gpus"], wanted["releasing_gpus"]):
            report.differences.append(f"{where}: node {name} has {gpus} GPUs idle and releasing, expected {wanted}")
    for call, most in expected["max_calls_per_round"].items():
        if counts.get(call, 0) > most:
            report.differences.append(f"{where}: {counts[call]} {call} calls, at most {most} expected")


def _compare(world: World, report: Report, where: str, task: str, wanted: Mapping[str, Any]) -> None:
    status, node = world.statuses.get(task, ("absent", None))
    place = wanted.get("node")
    if status != wanted["status"] or (place is not None and node != place):
        report.differences.append(
            f"{where}: {task} is {status} on {node or '-'}, expected {wanted['status']} on {place or 'any'}"
        )


def _node_gpus(world: World, name: str) -> tuple[int, int]:
    """Return a node's whole devices that are idle, and those that only leaving pods hold."""
    total = next(node.gpus for node in world.base.nodes if node.name == name)
    held = releasing = 0
    devices: dict[str, list[str]] = {}
    for pod_name, (status, node) in world.statuses.items():
        pod = world.pods[pod_name]
        if node != name or status not in ("Running", "Binding", "Releasing"):
            continue
        if pod.request.gpu_portion or pod.request.gpu_memory_mib:
            for device in pod.gpu_groups or (pod_name,):
                devices.setdefault(device, []).append(status)
        else:
            held += pod.request.gpu_devices
            releasing += pod.request.gpu_devices if status == "Releasing" else 0
    for states in devices.values():
        held += 1
        releasing += all(status == "Releasing" for status in states)
    return total - held, releasing


def load_scenarios(paths: Iterable[Path]) -> Iterator[Json]:
    """Yield the scenarios of files and folders, in the order of their names.

    Raises:
        InvalidRequest: a path does not exist or is not a scenario file.
    """
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        for file in files:
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as problem:
                raise InvalidRequest(f"{file}: cannot be read as a list of scenarios ({problem})") from None
            if not isinstance(content, list) or any(not isinstance(item, dict) or "id" not in item for item in content):
                raise InvalidRequest(f"{file}: must be a JSON list of scenarios, each with an id")
            yield from content


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m runai_core.testing.conformance", description=main.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a scenario file, or a folder of them")
    parser.add_argument("--json", action="store_true", help="print a list with one object per scenario")
    parser.add_argument("--id", action="append", default=[], help="run only the scenario with this id")
    parser.add_argument("--verbose", action="store_true", help="print every scenario, and the decisions of failed ones")
    options = parser.parse_args(arguments)
    try:
        reports = [
            _run(scenario)
            for scenario in load_scenarios(options.paths)
            if not options.id or scenario["id"] in options.id
        ]
    except RunaiError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    failed = sum(1 for report in reports if not report.passed)
    if options.json:
        sys.stdout.write(json.dumps([_as_json(report) for report in reports], indent=1) + "\n")
    else:
        _print(reports, verbose=options.verbose)
    skipped = sum(1 for report in reports if report.skipped)
    summary = f"{len(reports) - failed - skipped} passed, {failed} failed"
    (sys.stderr if options.json else sys.stdout).write(summary + "\n")
    return 1 if failed else 0


def _run(scenario: Json) -> Report:
    """Run a scenario; one with an invalid snapshot fails with the reason as its difference."""
    try:
        return run_scenario(scenario)
    except InvalidSnapshot as problem:
        return Report(scenario["id"], passed=False, differences=[f"the snapshot is invalid: {problem}"])


def _as_json(report: Report) -> dict[str, Any]:
    made = asdict(report)
    if not report.skipped:
        del made["skipped"]
    return made


def _print(reports: Iterable[Report], *, verbose: bool) -> None:
    for report in reports:
        if report.skipped:
            sys.stdout.write(f"skipped {report.id}: {report.skipped}\n")
        elif not report.passed or verbose:
            sys.stdout.write(f"{'passed' if report.passed else 'FAILED'} {report.id}\n")
            for difference in report.differences:
                sys.stdout.write(f"    {difference}\n")
            if verbose and not report.passed:
                for number, made in enumerate(report.decisions, start=1):
                    sys.stdout.write(f"    round {number}: {json.dumps(made['calls'])}\n")


if __name__ == "__main__":
    raise SystemExit(main())
