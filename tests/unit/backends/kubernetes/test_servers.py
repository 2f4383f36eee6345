"""When the Knative Service of a server is made, changed and deleted, and how many replicas the workload has of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.backends.kubernetes.resources import DEPLOYMENTS, EVENTS, KNATIVE_SERVICES, SERVICES, Resource
from runai_core.backends.kubernetes.servers import (
    NOT_READY,
    NOT_SCALED,
    end,
    is_knatives,
    is_scaled,
    replicas,
    serve,
)
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.model.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling, ServingPort
from runai_core.model.snapshot import PodState
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Members, Phase, Pod, PodStatus, Workload, WorkloadType
from tests.kubernetes_world import StillWorld

pytestmark = pytest.mark.asyncio

Object = dict[str, Any]
PLACE = Place(
    namespace="runai-a",
    owner={"apiVersion": "run.ai/v2alpha1", "kind": "InferenceWorkload", "name": "llm", "uid": "u-1"},
)
SCALING = Autoscaling(min_replicas=0, max_replicas=5)
CONTEXT = RunContext(master_address="127.0.0.1", master_port=1, addresses=(), hostfile="", created_at=0.0)


class Server:
    """An API server that keeps what it is sent, with Knative or without."""

    def __init__(self, *, knative: bool = True) -> None:
        self.world = StillWorld()
        self.world.crd(KNATIVE_SERVICES)._synced.set()
        self._knative = knative

    @property
    def api(self) -> Api:
        return cast("Api", self)

    def kept(self, resource: Resource) -> list[Object]:
        return list(self.world.crd(resource).all())

    async def raw(self, path: str) -> Object:
        if not self._knative:
            raise NotFound(path)
        return {"resources": [{"name": "services"}, {"name": "revisions"}]}

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        found = self.world.crd(resource).get(name, namespace)
        if found is None:
            raise NotFound(name)
        return dict(found)

    async def create(self, resource: Resource, body: Object) -> Object:
        meta = body["metadata"]
        if self.world.crd(resource).get(meta["name"], meta["namespace"]) is not None:
            raise AlreadyExists(meta["name"])
        return self.world.put(resource, body)

    async def apply(self, resource: Resource, body: Object) -> Object:
        known = self.world.crd(resource).get(body["metadata"]["name"], body["metadata"]["namespace"]) or {}
        generation = (known.get("metadata") or {}).get("generation", 0) + 1
        meta = {**body["metadata"], "generation": generation}
        return self.world.put(resource, {**body, "metadata": meta, "status": known.get("status", {})})

    async def patch(self, resource: Resource, name: str, body: Object, namespace: str) -> Object:
        return await self.apply(resource, _merged(await self.get(resource, name, namespace), body))

    async def delete(self, resource: Resource, name: str, namespace: str, *, uid: str) -> None:
        known = await self.get(resource, name, namespace)
        assert known["metadata"]["uid"] == uid
        self.world.drop(resource, known)

    def says(self, status: str, **more: str) -> None:
        """Let Knative set the condition Ready for what is asked now."""
        [item] = self.kept(KNATIVE_SERVICES)
        condition = {"type": "Ready", "status": status, **more}
        told = {"observedGeneration": item["metadata"]["generation"], "conditions": [condition]}
        self.world.put(KNATIVE_SERVICES, {**item, "metadata": dict(item["metadata"]), "status": told})


def _merged(known: Any, change: Any) -> Any:
    if not isinstance(change, Mapping):
        return change
    found = dict(known) if isinstance(known, Mapping) else {}
    for name, part in change.items():
        if part is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), part)
    return found


def a_server(scaling: Autoscaling | None = SCALING, **more: Any) -> Workload:
    spec = WorkloadSpec(image="img", serving_port=ServingPort(container=8000), autoscaling=scaling)
    found = Workload(
        meta=Meta(name="llm", project="a", uid="u-1"),
        type=WorkloadType.INFERENCE,
        spec=spec,
        attempt=1,
        phase=Phase.RUNNING,
        node_pool="default",
    )
    return replace(found, **more)


def pods(*states: PodState, attempt: int = 1) -> list[Pod]:
    made = gang_of(a_server(Autoscaling(min_replicas=max(len(states), 1))), run_context=CONTEXT).pods
    return [
        replace(pod, attempt=attempt, status=PodStatus(state=state)) for pod, state in zip(made, states, strict=False)
    ]


async def serving(server: Server, workload: Workload) -> None:
    gang = gang_of(workload, run_context=CONTEXT)
    await serve(server.api, server.world, workload, gang, gang.pods[0], PLACE)


async def kept(server: Server, workload: Workload, *states: PodState) -> int | None:
    return await replicas(server.api, server.world, workload, PLACE, pods(*states))


# -- which servers


async def test_a_server_that_asks_for_it_is_knatives_where_knative_is() -> None:
    server = Server()

    assert await is_scaled(server.api, server.world, a_server(), PLACE)
    assert not await is_scaled(server.api, server.world, a_server(None), PLACE)
    assert server.kept(EVENTS) == []


async def test_where_knative_is_not_an_event_says_so_once_for_each_attempt() -> None:
    server = Server(knative=False)

    for _ in range(3):
        assert not await is_scaled(server.api, server.world, a_server(), PLACE)

    [event] = server.kept(EVENTS)
    assert (event["reason"], event["involvedObject"]["uid"]) == (NOT_SCALED, "u-1")
    assert "stays 1" in event["message"]


async def test_one_that_knative_has_stays_there_when_its_number_is_fixed() -> None:
    server = Server()
    await serving(server, a_server())

    assert await is_scaled(server.api, server.world, a_server(Autoscaling(min_replicas=2)), PLACE)


# -- made


async def test_what_was_a_deployment_becomes_a_knative_service() -> None:
    server = Server()
    labels = {"runai/workload-uid": "u-1"}
    for resource in (DEPLOYMENTS, SERVICES):
        server.world.put(resource, {"metadata": {"name": "llm", "namespace": "runai-a", "labels": labels}})

    await serving(server, a_server())

    assert [len(server.kept(resource)) for resource in (KNATIVE_SERVICES, DEPLOYMENTS, SERVICES)] == [1, 0, 0]


async def test_a_service_of_somebody_else_is_left_alone() -> None:
    server = Server()
    server.world.put(KNATIVE_SERVICES, {"metadata": {"name": "llm", "namespace": "runai-a", "labels": {}}})

    with pytest.raises(Conflict, match="belongs to somebody else: rename the workload"):
        await serving(server, a_server())
    assert await kept(server, a_server()) is None


async def test_what_knative_cannot_do_is_refused_before_anything_is_made() -> None:
    server = Server()

    with pytest.raises(InvalidRequest, match=r"spec\.autoscaling\.metric"):
        await serving(server, a_server(Autoscaling(metric="latency")))
    assert server.kept(KNATIVE_SERVICES) == []


async def test_a_new_attempt_is_a_new_revision_of_the_same_service() -> None:
    server = Server()
    await serving(server, a_server())
    [first] = server.kept(KNATIVE_SERVICES)
    await serving(server, a_server())
    assert server.kept(KNATIVE_SERVICES) == [first], "it is as it should be"

    await serving(server, a_server(attempt=2))

    [second] = server.kept(KNATIVE_SERVICES)
    assert second["metadata"]["generation"] == 2
    assert second["spec"]["template"]["metadata"]["labels"]["runai/attempt"] == "2"


# -- how many


async def test_the_number_is_that_of_the_pods_once_knative_is_ready() -> None:
    server = Server()
    await serving(server, a_server())
    assert await kept(server, a_server(), PodState.RUNNING) is None, "Knative has said nothing yet"

    server.says("True")

    assert await kept(server, a_server(), PodState.RUNNING, PodState.PENDING, PodState.FAILED) == 2
    assert await kept(server, a_server()) == 0
    assert await kept(server, a_server(), PodState.RUNNING, PodState.RELEASING) == 1
    assert await kept(server, a_server(), PodState.RELEASING) == 0, "it is being scaled to nothing"


async def test_an_evicted_replica_gets_a_successor() -> None:
    server = Server()
    await serving(server, a_server())
    server.says("True")
    [pod] = pods(PodState.RELEASING)
    evicted = replace(pod, status=replace(pod.status, reason="Preempted"))

    assert await replicas(server.api, server.world, a_server(), PLACE, [evicted]) == 1


async def test_while_knative_cannot_say_the_number_stays() -> None:
    server = Server()
    await serving(server, a_server())
    workload = a_server(members=Members(ranks=(0, 1, 2), next_rank=3))

    assert await kept(server, workload) == 3
    server.says("False", reason="RevisionFailed", message="it crashed")
    assert await kept(server, workload) == 3

    [event] = server.kept(EVENTS)
    assert (event["reason"], event["message"]) == (NOT_READY, "Knative says RevisionFailed: it crashed")


async def test_a_change_of_scaling_reaches_knative_and_is_waited_for() -> None:
    server = Server()
    await serving(server, a_server())
    server.says("True")
    changed = a_server(Autoscaling(min_replicas=1, max_replicas=9))

    assert await kept(server, changed, PodState.RUNNING) is None
    [item] = server.kept(KNATIVE_SERVICES)
    assert item["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] == "9"
    server.says("True")
    assert await kept(server, changed, PodState.RUNNING) == 1


# -- gone


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STOPPED, Phase.DELETING, Phase.FAILED])
async def test_a_server_that_has_no_claim_any_more_cannot_be_woken(phase: Phase) -> None:
    server = Server()
    await serving(server, a_server())

    assert await kept(server, a_server(phase=phase)) is None
    assert server.kept(KNATIVE_SERVICES) == []


async def test_ending_the_pods_is_ending_the_service_unless_it_only_changes() -> None:
    server = Server()
    pod: Object = {"metadata": {"labels": {"serving.knative.dev/service": "llm"}}, "status": {"phase": "Running"}}
    ended: Object = {**pod, "status": {"phase": "Failed"}}
    await serving(server, a_server())

    assert is_knatives(pod)
    assert await end(server.api, a_server(), PLACE, [pod, ended]) == []
    assert len(server.kept(KNATIVE_SERVICES)) == 1
    assert await end(server.api, a_server(phase=Phase.STOPPING), PLACE, [pod, ended]) == [ended]
    assert server.kept(KNATIVE_SERVICES) == []
