"""What a changed server asks for: other pods, or only more or fewer of the same."""

from dataclasses import replace
from typing import Any, cast

import pytest

from runai_core import wire
from runai_core.lifecycle.phases import Signal
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling
from runai_core.model.spec import EnvironmentVariable, WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.ports import Cluster
from runai_core.service.changing import revision_of, signals_of_change


class Rolls:
    """A cluster that replaces the pods of servers one after the other."""

    def rolls_out(self, type_: WorkloadType) -> bool:
        return type_ is WorkloadType.INFERENCE


def a_server(type_: WorkloadType = WorkloadType.INFERENCE, **spec: Any) -> Workload:
    given = WorkloadSpec(image="img", environment_variables=(EnvironmentVariable(name="A", value="1"),))
    given = replace(given, **spec)
    return Workload(meta=Meta(name="llm", project="a"), type=type_, spec=given, revision=revision_of(type_, given))


MORE: dict[str, Any] = {"autoscaling": Autoscaling(min_replicas=3)}
ANEW = (Signal.UPDATE_ASKED, Signal.UPDATED)


@pytest.mark.parametrize(
    ("cluster", "before", "after", "signals"),
    [
        pytest.param(Rolls(), a_server(), a_server(**MORE), (Signal.SCALE_ASKED,), id="more replicas"),
        pytest.param(None, a_server(), a_server(**MORE), (Signal.SCALE_ASKED,), id="more replicas, without rollouts"),
        pytest.param(Rolls(), a_server(), a_server(image="new"), (Signal.ROLL_ASKED,), id="another image"),
        pytest.param(None, a_server(), a_server(image="new"), ANEW, id="another image, without rollouts"),
        pytest.param(Rolls(), a_server(), a_server(image="new", **MORE), (Signal.ROLL_ASKED,), id="both"),
        pytest.param(
            Rolls(),
            replace(a_server(), revision=""),
            a_server(**MORE),
            (Signal.ROLL_ASKED,),
            id="one of which is not known what its pods were made from",
        ),
        pytest.param(
            Rolls(),
            a_server(WorkloadType.DISTRIBUTED_INFERENCE),
            a_server(WorkloadType.DISTRIBUTED_INFERENCE, **MORE),
            ANEW,
            id="groups of pods that belong together",
        ),
    ],
)
def test_what_a_change_asks_for(cluster: object, before: Workload, after: Workload, signals: tuple[Signal]) -> None:
    assert signals_of_change(cast("Cluster", cluster), before, after) == signals


def test_the_revision_survives_being_stored() -> None:
    spec = a_server(**MORE).spec
    read = wire.decode(WorkloadSpec, wire.encode(spec))
    assert revision_of(WorkloadType.INFERENCE, read) == revision_of(WorkloadType.INFERENCE, spec)
