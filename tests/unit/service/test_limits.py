"""Scheduling rules stop what is over a limit, warn at half time, and bind only what was submitted after them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runai_core.backends.local.backend import open_local
from runai_core.backends.local.simulated import SimulatedExecutor, VirtualClock
from runai_core.bootstrap import Orchestrator, build
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, SchedulingRules
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import HistoryRecord, Limit, Limits, Phase, Workload, WorkloadType
from runai_core.plugins.manager import load_plugins
from runai_core.ports import Query
from runai_core.service.limits import Action, judge
from runai_core.service.meters import SIMULATED_UTILIZATION
from runai_core.service.own_identity import Identity
from runai_core.service.submissions import Submission
from runai_core.settings import Settings

START = 1_000_000.0
GPU: dict[str, Any] = {"compute": {"gpuDevicesRequest": 1}}

TIME = Limit(rule="trainingJobTimeLimitSeconds", seconds=100, origin="project/default")
IDLE = Limit(rule="trainingJobMaxIdleDurationSeconds", seconds=60, origin="department/default")


def a_workload(limits: Limits | None, *, ran: float = 0.0, phase: Phase = Phase.RUNNING, gpus: int = 1) -> Workload:
    """A workload that was running for so long when its present phase began, at time 0."""
    spec = WorkloadSpec(compute=Compute(gpu_devices_request=gpus))
    return Workload(meta=Meta(name="w", project="p"), phase=phase, spec=spec, limits=limits, running_seconds=ran)


@pytest.mark.parametrize(
    ("workload", "now", "idle", "expected"),
    [
        (a_workload(None), 1e9, 1e9, None),
        (a_workload(Limits(time=TIME)), 49, None, None),
        (a_workload(Limits(time=TIME)), 50, None, Action.WARN),
        (a_workload(Limits(time=replace(TIME, warned=True))), 99, None, None),
        (a_workload(Limits(time=replace(TIME, warned=True))), 100, None, Action.STOP),
        (a_workload(Limits(time=TIME), ran=90), 10, None, Action.STOP),
        (a_workload(Limits(time=TIME, counted_from=90), ran=90), 10, None, None),
        (a_workload(Limits(time=TIME), ran=49), -5000, None, None),
        (a_workload(Limits(time=TIME), phase=Phase.PENDING), 1e9, None, None),
        (a_workload(Limits(time=TIME), phase=Phase.DEGRADED), 100, None, Action.STOP),
        (a_workload(Limits(idle=IDLE)), 1000, 29, None),
        (a_workload(Limits(idle=IDLE)), 1000, 30, Action.WARN),
        (a_workload(Limits(idle=replace(IDLE, warned=True))), 1000, 0, Action.CALM),
        (a_workload(Limits(idle=replace(IDLE, warned=True))), 1000, 60, Action.STOP),
        (a_workload(Limits(idle=IDLE)), 30, None, None),
        (a_workload(Limits(idle=IDLE)), 60, None, Action.TELL),
        (a_workload(Limits(idle=IDLE, unmeasured_told=True)), 1e9, None, None),
        (a_workload(Limits(idle=IDLE), gpus=0), 1e9, None, None),
    ],
    ids=[
        "no limit",
        "before half time",
        "at half time",
        "warned once",
        "over the limit",
        "time before an eviction counts",
        "a run after a stop by rule counts anew",
        "a clock that was set back counts nothing",
        "waiting does not count",
        "a degraded run counts",
        "a short break",
        "idle for half of the limit",
        "used again",
        "idle for too long",
        "not measured yet",
        "not measured at all",
        "not measured, and told",
        "no GPU to be idle",
    ],
)
def test_what_a_limit_asks_for(workload: Workload, now: float, idle: float | None, expected: Action | None) -> None:
    found = judge(workload, now, idle)

    assert (found.action if found else None) == expected


@dataclass
class Product:
    """A whole orchestrator on this machine, without processes, on a virtual clock."""

    orchestrator: Orchestrator
    clock: VirtualClock

    async def rules(self, unit: str = "project", **rules: int) -> None:
        organization = self.orchestrator.organization
        if unit == "project":
            project = await organization.get_project(SYSTEM, "default")
            await organization.update_project(SYSTEM, replace(project, scheduling_rules=SchedulingRules(**rules)))
        else:
            department = await organization.get_department(SYSTEM, "default")
            await organization.update_department(SYSTEM, replace(department, scheduling_rules=SchedulingRules(**rules)))

    async def submit(
        self, name: str = "w", kind: WorkloadType = WorkloadType.TRAINING, use: str | None = None, **spec: Any
    ) -> str:
        variables = [] if use is None else [{"name": SIMULATED_UTILIZATION, "value": use}]
        given = {"command": "true", "environmentVariables": variables, **spec}
        made = await self.orchestrator.workloads.submit(
            SYSTEM, Submission(name=name, project="default", type=kind, spec=given)
        )
        await self.until(made.meta.uid, lambda item: item.phase is Phase.RUNNING, step=0.1)
        return made.meta.uid

    async def get(self, uid: str) -> Workload:
        return await self.orchestrator.workloads.get(SYSTEM, uid)

    async def until(self, uid: str, holds: Callable[[Workload], bool], *, step: float = 0.0) -> Workload:
        """Wait until the workload is so; time passes in steps, and what happens meanwhile has its turn."""
        for _ in range(3000):
            found = await self.get(uid)
            if holds(found):
                return found
            await self.turn(step)
        raise AssertionError(f"{found.key} is {found.phase} at {self.clock.now()}: {await self.story(uid)}")

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.turn(1.0)

    async def turn(self, seconds: float) -> None:
        """Move time on; whoever waits for the database, which works in threads, gets its answers."""
        await self.clock.advance(seconds)
        for _ in range(5):
            await self.orchestrator.backend.store.version()

    async def story(self, uid: str) -> list[tuple[str, str]]:
        page = await self.orchestrator.backend.store.list(HistoryRecord, Query(owner=uid, sort_by="meta.version"))
        return [(record.signal or record.reason, record.cause or record.message) for record in page.items]


@asynccontextmanager
async def a_product(folder: Path) -> AsyncIterator[Product]:
    nodes = folder / "nodes.yaml"
    nodes.write_text("[{name: a, gpus: 4, cpu: 8, memory: 8Gi}]")
    clock = VirtualClock(START)
    async with open_local(
        data_dir=folder / "data", nodes_file=nodes, clock=clock, executor=SimulatedExecutor(clock)
    ) as backend:
        settings = Settings(data_dir=folder / "data", nodes_file=nodes, plugins=("builtin",))
        identity = Identity(cluster_id="c", signing_key="k" * 64)
        orchestrator, reconciler = build(settings, backend, identity, load_plugins(settings.plugins))
        await orchestrator.organization.ensure_defaults()
        loops = [reconciler.run(), orchestrator.scheduling.run(), orchestrator.sampler.run(), orchestrator.limits.run()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield Product(orchestrator, clock)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


@pytest.mark.asyncio
async def test_a_training_is_stopped_at_its_time_limit_with_a_warning_before(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        await product.rules("department", training_job_time_limit_seconds=120)
        uid = await product.submit()
        began = product.clock.now()
        stopped = await product.until(uid, lambda item: item.phase is Phase.STOPPED, step=1.0)
        took = product.clock.now() - began
        story = await product.story(uid)

    assert 120 <= took <= 135
    assert stopped.stop_requested
    assert (
        "stopped by the rule trainingJobTimeLimitSeconds of department default: ran for 120 s" in stopped.phase_message
    )
    assert [signal for signal, _ in story if signal in ("LimitHalfTime", "StoppedByRule")] == [
        "LimitHalfTime",
        "StoppedByRule",
    ]
    (warning,) = (text for signal, text in story if signal == "LimitHalfTime")
    assert warning.startswith("half of 120 s has passed in which it ran for")


@pytest.mark.asyncio
async def test_after_a_stop_by_a_rule_it_can_run_again_for_the_whole_time(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        await product.rules(training_job_time_limit_seconds=40)
        uid = await product.submit()
        await product.until(uid, lambda item: item.phase is Phase.STOPPED, step=1.0)
        await product.orchestrator.workloads.resume(SYSTEM, uid)
        await product.until(uid, lambda item: item.phase is Phase.RUNNING, step=0.1)
        again = product.clock.now()
        await product.until(uid, lambda item: item.phase is Phase.STOPPED, step=1.0)
        took = product.clock.now() - again

    assert 40 <= took <= 55


@pytest.mark.asyncio
async def test_only_what_is_submitted_after_a_rule_is_bound_by_it(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        before = await product.submit("before")
        await product.rules(training_job_time_limit_seconds=20)
        after = await product.submit("after")
        await product.rules()  # and taking the rule away sets nobody free
        await product.until(after, lambda item: item.phase is Phase.STOPPED, step=1.0)
        await product.passes(20)

        assert (await product.get(before)).phase is Phase.RUNNING


@pytest.mark.asyncio
async def test_an_idle_workspace_is_stopped_and_a_busy_one_is_not(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        await product.rules(interactive_job_max_idle_duration_seconds=60)
        idle = await product.submit("idle", WorkloadType.WORKSPACE, use="0", **GPU)
        busy = await product.submit("busy", WorkloadType.WORKSPACE, use="7", **GPU)
        began = product.clock.now()
        stopped = await product.until(idle, lambda item: item.phase is Phase.STOPPED, step=1.0)
        took = product.clock.now() - began

        assert 60 <= took <= 110  # what is measured every ten seconds is known a moment later
        assert "interactiveJobMaxIdleDurationSeconds of project default: did not use its GPUs" in stopped.phase_message
        assert (await product.get(busy)).phase is Phase.RUNNING
        assert [signal for signal, _ in await product.story(busy) if signal.startswith("Limit")] == []


@pytest.mark.asyncio
async def test_where_nothing_measures_gpus_nobody_is_idle_and_that_is_told_once(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        await product.rules(interactive_job_max_idle_duration_seconds=60)
        uid = await product.submit("w", WorkloadType.WORKSPACE, **GPU)
        await product.passes(200)
        story = await product.story(uid)

        assert (await product.get(uid)).phase is Phase.RUNNING
    (told,) = (text for signal, text in story if signal == "GpusNotMeasured")
    assert told.startswith("nothing measures the GPUs of this workload")


@pytest.mark.asyncio
async def test_each_type_has_its_own_limits(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        await product.rules(
            interactive_job_time_limit_seconds=1000,
            interactive_job_max_idle_duration_seconds=10,
            interactive_job_preempt_idle_duration_seconds=20,
            training_job_time_limit_seconds=2000,
            training_job_max_idle_duration_seconds=30,
        )
        found = {
            name: (await product.get(await product.submit(name, kind, **spec))).limits
            for name, kind, spec in (
                ("workspace", WorkloadType.WORKSPACE, {}),
                ("preemptible", WorkloadType.WORKSPACE, {"preemptibility": "preemptible"}),
                ("training", WorkloadType.TRAINING, {}),
                ("inference", WorkloadType.INFERENCE, {"servingPort": {"container": 8080}}),
            )
        }

    limits = {
        name: limits and (limits.time and limits.time.seconds, limits.idle and limits.idle.seconds)
        for name, limits in found.items()
    }
    assert limits == {
        "workspace": (1000, 10),
        "preemptible": (1000, 20),
        "training": (2000, 30),
        "inference": None,
    }


@pytest.mark.asyncio
async def test_a_submission_names_one_of_the_node_types(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        organization = product.orchestrator.organization
        department = await organization.get_department(SYSTEM, "default")
        await organization.update_department(SYSTEM, replace(department, node_types_training=("dgx", "a100")))
        project = await organization.get_project(SYSTEM, "default")
        with pytest.raises(InvalidRequest, match="must be among dgx, a100, the department's"):
            await organization.update_project(SYSTEM, replace(project, node_types_training=("h100",)))
        await organization.update_project(SYSTEM, replace(project, node_types_training=("a100",)))

        tries: list[dict[str, Any]] = [{}, {"nodeType": "dgx"}]
        for given in tries:
            with pytest.raises(
                InvalidRequest, match="nodeType: must be one of a100: the node types of trainings in project default"
            ):
                await product.submit("t", **given)
        workspace = await product.submit("ws", WorkloadType.WORKSPACE)

        assert (await product.get(workspace)).phase is Phase.RUNNING


@pytest.mark.asyncio
async def test_the_departments_default_node_pools_are_inherited(tmp_path: Path) -> None:
    async with a_product(tmp_path) as product:
        organization = product.orchestrator.organization
        department = await organization.get_department(SYSTEM, "default")
        with pytest.raises(InvalidRequest, match="no such node pool; there are: default"):
            await organization.update_department(SYSTEM, replace(department, default_node_pools=("gold",)))
        await organization.update_department(SYSTEM, replace(department, default_node_pools=("default",)))
        uid = await product.submit()

        assert (await product.get(uid)).node_pools == ("default",)
