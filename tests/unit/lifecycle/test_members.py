"""Workers that come and go on demand."""

from dataclasses import replace

import pytest

from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.members import scaled
from runai_core.lifecycle.observe import counts
from runai_core.lifecycle.own_rules import WORKERS_ON_DEMAND
from runai_core.lifecycle.rendezvous import meeting_point
from runai_core.lifecycle.vacancies import left_over
from runai_core.model.errors import InvalidRequest, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.spec import NamedValue, WorkloadSpec
from runai_core.model.workload import Phase, Pod, Workload, WorkloadType


def a_workload(at_start: str = "2", most: int = 4, **spec: object) -> Workload:
    annotations = (NamedValue(name=WORKERS_ON_DEMAND, value=at_start),) if at_start else ()
    return Workload(
        meta=Meta(name="ray", project="p", uid="u"),
        type=WorkloadType.DISTRIBUTED,
        spec=WorkloadSpec(command="true", max_replicas=most, annotations=annotations, **spec),  # type: ignore[arg-type]
        attempt=1,
        phase=Phase.RUNNING,
    )


def pods_of(workload: Workload, existing: tuple[Pod, ...] = ()) -> tuple[Pod, ...]:
    return gang_of(workload, run_context=RunContext(), existing=existing).pods


def test_the_gang_is_the_master_and_the_workers_at_the_start() -> None:
    gang = gang_of(a_workload(), run_context=RunContext())

    assert [pod.name for pod in gang.pods] == ["ray-1-0", "ray-1-1", "ray-1-2"]
    assert gang.group.min_members == 3


def test_a_gang_may_start_with_its_master_alone() -> None:
    gang = gang_of(a_workload("0"), run_context=RunContext())

    assert [(pod.name, pod.spec.role) for pod in gang.pods] == [("ray-1-0", "master")]
    assert gang.group.min_members == 1


def test_who_joins_is_made_beside_those_that_exist_and_does_not_change_the_minimum() -> None:
    before = pods_of(a_workload())

    gang = gang_of(scaled(a_workload(), add=1), run_context=RunContext(), existing=before)

    assert [pod.name for pod in gang.pods] == ["ray-1-0", "ray-1-1", "ray-1-2", "ray-1-3"]
    assert gang.pods[:3] == before
    assert gang.group.min_members == 3


def test_who_leaves_is_left_over_and_its_rank_is_never_given_again() -> None:
    grown = scaled(a_workload(), add=1)
    pods = pods_of(grown)

    smaller = scaled(grown, remove=[3])
    again = scaled(smaller, add=1)

    assert [pod.name for pod in left_over(smaller, pods)] == ["ray-1-3"]
    assert (counts(smaller, pods).requested, [pod.name for pod in pods_of(again)][-1]) == (3, "ray-1-4")


def test_one_of_the_first_workers_can_be_replaced_in_one_call() -> None:
    replaced = scaled(a_workload(), add=1, remove=[1])

    assert [pod.name for pod in pods_of(replaced)] == ["ray-1-0", "ray-1-2", "ray-1-3"]


def test_who_is_gone_already_is_no_error() -> None:
    assert scaled(a_workload(), remove=[7]).members == scaled(a_workload()).members


LIMITS = {
    "more than the most": ({"add": 3}, "add"),
    "fewer than at the start": ({"remove": [2]}, "remove"),
}


@pytest.mark.parametrize(("change", "field"), LIMITS.values(), ids=LIMITS)
def test_the_limits_hold(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scaled(a_workload(), **change)  # type: ignore[arg-type]

    assert [error.field for error in caught.value.errors] == [field]


def test_a_fixed_gang_cannot_grow() -> None:
    with pytest.raises(Unsupported, match=WORKERS_ON_DEMAND):
        scaled(a_workload(""), add=1)


def test_who_joins_meets_the_others_where_they_met() -> None:
    first = gang_of(a_workload(), run_context=RunContext(master_address="10.0.0.1", master_port=4711)).pods

    assert meeting_point(a_workload(), first) == ("10.0.0.1", 4711)
    assert meeting_point(replace(a_workload(), attempt=2), first) is None


WRONG = {
    "not a number": a_workload("two"),
    "above the most": a_workload("5"),
    "without a master": replace(a_workload(), has_master=False),
    "together with another minimum": a_workload("2", min_replicas=1),
}


@pytest.mark.parametrize("workload", WRONG.values(), ids=WRONG)
def test_an_annotation_that_makes_no_sense_is_refused(workload: Workload) -> None:
    with pytest.raises(InvalidRequest):
        pods_of(workload)
