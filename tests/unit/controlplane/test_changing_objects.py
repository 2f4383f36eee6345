"""An object of a framework is changed through the link to the cluster that has it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.controlplane.backend import Door, MirroredCluster
from runai_core.model.clusters import CLUSTER
from runai_core.model.errors import Conflict
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.service.submission import Submission
from tests.pipes import answers_of, link_to, two_peers
from tests.waiting import soon

JOB = Workload(
    meta=Meta(name="work", uid="outer", project="vision", annotations={CLUSTER: "west"}),
    type=WorkloadType.EXTERNAL,
    api_version="batch/v1",
    kind="Job",
    manifest={"kind": "Job", "spec": {"parallelism": 2}},
    spec=WorkloadSpec(category="Build", priority_class="low"),
    node_pools=("a100",),
)


class There:
    """The cluster: it keeps what it was asked, and refuses one object."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Submission]] = []

    async def change_object(self, actor: Actor, uid: str, wanted: Submission) -> None:
        if wanted.manifest is None:
            raise Conflict("others decide .spec.parallelism")
        self.asked.append((actor.name, uid, wanted))

    async def own_id(self, uid: str) -> str:
        return f"own-{uid}"


@pytest.mark.asyncio
async def test_what_is_wanted_of_an_object_reaches_its_cluster_and_what_it_says_comes_back() -> None:
    there = There()
    async with two_peers(answers_of(there)) as (asking, _, _pipe):
        door = cast("Door", SimpleNamespace(links=link_to(asking)))
        cluster = MirroredCluster(cast("Any", None), door)

        await soon(cluster.change_object(JOB, "ann"))
        with pytest.raises(Conflict, match="others decide"):
            await soon(cluster.change_object(replace(JOB, manifest=None), "ann"))

    [(actor, uid, wanted)] = there.asked
    assert (actor, uid, wanted.kind, wanted.manifest) == ("ann", "own-outer", "Job", JOB.manifest)
    assert wanted.spec == {"category": "Build", "priorityClass": "low", "nodePools": ["a100"]}
