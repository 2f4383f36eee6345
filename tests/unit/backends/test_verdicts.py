"""What a pod's status is after its run has ended."""

import pytest

from runai_core.backends.local.journal import Run
from runai_core.backends.local.verdicts import after, released
from runai_core.model.meta import Meta
from runai_core.model.snapshot import PodState
from runai_core.model.spec import RestartPolicy
from runai_core.model.workload import Pod, PodSpec, PodStatus

NEVER, ON_FAILURE, ALWAYS = RestartPolicy.NEVER, RestartPolicy.ON_FAILURE, RestartPolicy.ALWAYS


def a_pod(policy: RestartPolicy, restarts: int = 0, state: PodState = PodState.RUNNING) -> Pod:
    spec = PodSpec(restart_policy=policy, backoff_limit=2)
    status = PodStatus(state=state, node="n", restarts=restarts, started_at=100.0, reason="Evicted", message="Taken.")
    return Pod(meta=Meta(name="p"), workload="w", pod_group="g", spec=spec, status=status)


def a_run(code: int | None, *, run: int = 0, lasted: float = 1.0, begun: bool = True, stopped: bool = False) -> Run:
    return Run(
        "u", run, 1, "s", 100.0, running=False, code=code, begun=begun, finished_at=100.0 + lasted, stopped=stopped
    )


@pytest.mark.parametrize(
    ("policy", "restarts", "run", "state", "reason"),
    [
        pytest.param(NEVER, 0, a_run(0), "Succeeded", "Completed", id="Never, 0: succeeded"),
        pytest.param(NEVER, 0, a_run(3), "Failed", "Error", id="Never, 3: failed"),
        pytest.param(NEVER, 0, a_run(None), "Failed", "NodeLost", id="Never, unknown: lost"),
        pytest.param(NEVER, 0, None, "Failed", "NodeLost", id="Never, no run: lost"),
        pytest.param(ON_FAILURE, 0, a_run(0), "Succeeded", "Completed", id="OnFailure, 0: succeeded"),
        pytest.param(ON_FAILURE, 0, a_run(1), "Running", "CrashLoopBackOff", id="OnFailure, 1: again"),
        pytest.param(ON_FAILURE, 0, None, "Running", "CrashLoopBackOff", id="OnFailure, lost: again"),
        pytest.param(ON_FAILURE, 2, a_run(1), "Failed", "Error", id="OnFailure at its limit: failed"),
        pytest.param(ON_FAILURE, 2, a_run(1, lasted=700), "Running", "CrashLoopBackOff", id="a steady run is no loop"),
        pytest.param(ALWAYS, 0, a_run(0), "Running", "CrashLoopBackOff", id="Always, 0: again"),
        pytest.param(ALWAYS, 0, a_run(127, begun=False), "Failed", "Error", id="what cannot start is not tried again"),
        pytest.param(ALWAYS, 0, a_run(127), "Running", "CrashLoopBackOff", id="a program that returns 127 is"),
        pytest.param(ALWAYS, 0, a_run(143, stopped=True), "Failed", "Shutdown", id="shut down: not its fault"),
    ],
)
def test_after(policy: RestartPolicy, restarts: int, run: Run | None, state: str, reason: str) -> None:
    status = after(a_pod(policy, restarts), run, 105.0)
    assert (status.state.value, status.reason, status.ready) == (state, reason, False)
    assert status.restarts == restarts + (state == "Running")


def test_a_program_that_could_not_be_run_was_never_started() -> None:
    status = after(a_pod(NEVER), a_run(127, begun=False), 105.0)
    assert (status.exit_code, status.started_at) == (127, None)


@pytest.mark.parametrize(
    ("run", "state", "reason"),
    [
        pytest.param(None, "Failed", "Evicted", id="it never began"),
        pytest.param(a_run(143, stopped=True), "Failed", "Evicted", id="it ended as asked"),
        pytest.param(a_run(0, stopped=True), "Failed", "Evicted", id="it saved its work and ended well when asked"),
        pytest.param(a_run(0), "Succeeded", "Completed", id="it had succeeded before it was asked"),
        pytest.param(a_run(5), "Failed", "Error", id="it had failed before it was asked"),
        pytest.param(a_run(None), "Failed", "Evicted", id="nobody knows how it ended"),
    ],
)
def test_released(run: Run | None, state: str, reason: str) -> None:
    status = released(a_pod(NEVER, state=PodState.RELEASING), run, 105.0)
    assert (status.state.value, status.reason) == (state, reason)
