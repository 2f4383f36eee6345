"""When the Deployment of an inference server is written, brought to nothing, and deleted."""

from dataclasses import replace
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.rollouts import roll_out, scale_in, wind_down
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.model.errors import Conflict, NotFound
from runai_core.model.meta import Meta
from runai_core.model.network import ServingPort
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Phase, Workload, WorkloadType

Object = dict[str, Any]
PLACE = Place(namespace="runai-a", owner={"apiVersion": "v1", "kind": "InferenceWorkload", "name": "llm", "uid": "u-1"})
ROLLED: Object = {"metadata": {"name": "r", "ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}}
ENDED: Object = {**ROLLED, "status": {"phase": "Failed"}}
SINGLE: Object = {"metadata": {"name": "s"}}


class Deployments:
    """An API server that knows one Deployment, and what was asked of it."""

    def __init__(self, known: Object | None = None) -> None:
        self.known = known
        self.asked: list[str] = []

    async def get(self, _resource: object, name: str, _namespace: str) -> Object:
        if self.known is None:
            raise NotFound(f"there is no {name}")
        return self.known

    async def apply(self, _resource: object, body: Object) -> None:
        self.known = {**body, "metadata": {**body["metadata"], "uid": "d-1"}}
        self.asked.append("apply")

    async def patch(self, _resource: object, _name: str, body: Object, _namespace: str) -> None:
        self.asked.append(f"replicas {body['spec']['replicas']}")

    async def delete(self, _resource: object, _name: str, _namespace: str, *, uid: str) -> None:
        self.asked.append(f"delete {uid}")


def a_server(phase: Phase = Phase.RUNNING, attempt: int = 1) -> Workload:
    spec = WorkloadSpec(image="img", serving_port=ServingPort(container=8000))
    meta = Meta(name="llm", project="a", uid="u-1")
    return Workload(
        meta=meta, type=WorkloadType.INFERENCE, spec=spec, attempt=attempt, phase=phase, node_pool="default"
    )


def deployment(uid: str = "u-1", replicas: int = 1, attempt: int = 1) -> Object:
    template = {"metadata": {"labels": {"runai/attempt": str(attempt)}}}
    meta = {"uid": "d-1", "labels": {"runai/workload-uid": uid}}
    return {"metadata": meta, "spec": {"replicas": replicas, "template": template}}


async def rolled_out(server: Deployments, workload: Workload) -> list[str]:
    made = gang_of(workload, run_context=RunContext())
    await roll_out(cast("Api", server), workload, made, made.pods[0], PLACE)
    return server.asked


@pytest.mark.asyncio
async def test_it_is_written_once_and_again_for_a_new_version() -> None:
    server = Deployments()

    assert await rolled_out(server, a_server()) == ["apply"]
    assert await rolled_out(server, a_server()) == ["apply"], "it is as it should be"
    assert await rolled_out(server, a_server(attempt=2)) == ["apply", "apply"]


@pytest.mark.asyncio
async def test_only_the_number_of_its_replicas_is_written_where_they_are_of_the_attempt() -> None:
    assert await rolled_out(Deployments(deployment(replicas=3)), a_server()) == ["replicas 1"]


@pytest.mark.asyncio
async def test_a_server_that_was_scaled_in_leaves_it_to_the_deployment_which_replicas_end() -> None:
    running, stopping = Deployments(deployment(replicas=3)), Deployments(deployment(replicas=0))

    await scale_in(cast("Api", running), a_server(), PLACE)
    await scale_in(cast("Api", stopping), a_server(Phase.STOPPING), PLACE)

    assert running.asked == ["replicas 1"]
    assert stopping.asked == [], "it has no replicas any more, and gets none"


@pytest.mark.asyncio
async def test_somebody_elses_is_left_alone() -> None:
    server = Deployments(deployment(uid="other"))
    with pytest.raises(Conflict, match="deployment llm in runai-a belongs to somebody else"):
        await rolled_out(server, a_server())
    assert server.asked == []


CASES = [
    pytest.param(a_server(), deployment(), [SINGLE], [], id="while it runs, the rollout ends what is old"),
    pytest.param(a_server(Phase.STOPPING), deployment(), [SINGLE], ["replicas 0"], id="a stop leaves no replicas"),
    pytest.param(a_server(Phase.STOPPING), deployment(replicas=0), [SINGLE], [], id="a stop is asked for once"),
    pytest.param(a_server(Phase.DELETING), deployment(), [SINGLE], ["delete d-1"], id="the end takes it along"),
    pytest.param(a_server(Phase.STOPPING), None, [SINGLE, ROLLED], [], id="without it, its pods are ended one by one"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("workload", "known", "left", "asked"), CASES)
async def test_what_becomes_of_it(
    workload: Workload, known: Object | None, left: list[Object], asked: list[str]
) -> None:
    server = Deployments(known)

    assert await wind_down(cast("Api", server), workload, PLACE, [SINGLE, ROLLED]) == left
    assert server.asked == asked


@pytest.mark.asyncio
async def test_replicas_that_have_ended_are_removed_one_by_one() -> None:
    server = Deployments(deployment())
    stopped = replace(a_server(), phase=Phase.STOPPING)

    assert await wind_down(cast("Api", server), stopped, PLACE, [ROLLED, ENDED]) == [ENDED]
