"""Time limits are inherited, and only ever tightened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.model.organization import SchedulingRules
from runai_core.policy.scheduling_rules import NAMES, check, effective

LIMITS = st.none() | st.integers(1, 10_000)
ANY_RULES = st.builds(SchedulingRules, **dict.fromkeys(NAMES, LIMITS))


@pytest.mark.parametrize(
    ("department", "project", "expected"),
    [(None, None, None), (60, None, 60), (None, 60, 60), (60, 30, 30), (30, 60, 30)],
    ids=["no limit", "inherited", "its own", "tightened", "loosened in vain"],
)
def test_the_shorter_limit_holds(department: int | None, project: int | None, expected: int | None) -> None:
    result = effective(
        SchedulingRules(training_job_time_limit_seconds=department),
        SchedulingRules(training_job_time_limit_seconds=project),
    )
    assert result == SchedulingRules(training_job_time_limit_seconds=expected)


def test_a_longer_limit_is_refused_with_the_departments() -> None:
    (error,) = check(
        SchedulingRules(interactive_job_time_limit_seconds=60), SchedulingRules(interactive_job_time_limit_seconds=61)
    )
    assert str(error) == (
        "schedulingRules.interactiveJobTimeLimitSeconds: must be at most 60 seconds, the department's limit: "
        "a project may only tighten it (given: 61)"
    )


@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_refused(value: int) -> None:
    (error,) = check(SchedulingRules(), SchedulingRules(training_job_max_idle_duration_seconds=value))
    assert "at least 1 second" in error.message


@given(department=ANY_RULES, project=ANY_RULES)
def test_no_project_has_a_longer_limit_than_its_department(
    department: SchedulingRules, project: SchedulingRules
) -> None:
    """And merging again changes nothing."""
    merged = effective(department, project)
    assert check(department, merged) == ()
    assert effective(department, merged) == merged
