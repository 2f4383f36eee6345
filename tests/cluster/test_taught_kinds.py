"""A kind that is taught while the operator runs: grouped as its interface says, its phase read off its status."""

import asyncio
from typing import Any

import pytest

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import resource_of
from runai_core.model.workload import Phase
from runai_core.plugins.taught import kinds_of
from runai_core.service.kinds import a_kind
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import a_pod
from tests.cluster.operating import operating, stand_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180), pytest.mark.asyncio]

SWARM = resource_of("example.io/v1", "Swarm")
ROLE = "example.io/role"


def component(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "podSelector": {"componentTypeSelector": {"keyPath": f'.metadata.labels["{ROLE}"]', "value": name}},
        "scaleDefinition": {"replicasPath": f".spec.{name}"},
    }


INTERFACE = {
    "spec": {
        "structureDefinition": {
            "rootComponent": {
                "name": "swarm",
                "kind": {"group": "example.io", "version": "v1", "kind": "Swarm"},
                "statusDefinition": {
                    "phaseDefinition": {"path": ".status.state"},
                    "statusMappings": {"completed": [{"byPhase": "Home"}]},
                },
            },
            "childComponents": [component("queen"), component("bee")],
        },
        "optimizationInstructions": {
            "gangScheduling": {
                "podGroups": [{"name": "hive", "members": [{"componentName": "queen"}, {"componentName": "bee"}]}]
            }
        },
    }
}


async def test_a_kind_that_is_taught_is_a_workload_at_once(cluster: Cluster) -> None:
    async with connect(cluster.kubeconfig()) as admin:
        await stand_in(admin, SWARM)
    async with operating(cluster) as parts:
        follows = asyncio.create_task(parts.rows.run())
        trouble = await parts.frameworks.trouble("example.io/v1", "Swarm")
        elsewhere = await parts.frameworks.trouble("nowhere.io/v1", "Swarm")
        await asyncio.sleep(0)  # until it follows, which it does before its first pause

        taught = a_kind("example.io", "Swarm", category="Deploy", priority_class="high", interfaces=(INTERFACE,))
        parts.registry.kinds.teach(kinds_of(taught, parts.registry.kinds.brought))
        [swarm] = await parts.create(
            {
                "apiVersion": "example.io/v1",
                "kind": "Swarm",
                "metadata": {"name": "mine"},
                "spec": {"queen": 1, "bee": 2},
            }
        )
        meta = swarm["metadata"]
        owner = {"apiVersion": "example.io/v1", "kind": "Swarm", "name": "mine", "uid": meta["uid"], "controller": True}
        for name, role in (("q", "queen"), ("b0", "bee"), ("b1", "bee")):
            pod = a_pod(name, scheduler="runai-scheduler", labels={ROLE: role})
            pod["metadata"]["ownerReferences"] = [owner]
            await parts.create(pod)
        await parts.pods(3)
        [group] = (await parts.groups(1)).values()
        row = await parts.row(meta["uid"], Phase.PENDING)
        await parts.api.patch(SWARM, "mine", {"status": {"state": "Home"}}, parts.namespace)
        await parts.row(meta["uid"], Phase.COMPLETED)
        follows.cancel()

    assert trouble == ""
    assert elsewhere.startswith("the cluster does not have the kind Swarm of nowhere.io/v1")
    sizes = {part["name"]: part["minMember"] for part in group["spec"]["subGroups"]}
    assert (group["spec"]["minMember"], sizes) == (3, {"queen": 1, "bee": 2})
    assert group["spec"]["priorityClassName"] == "high"
    assert (row.kind, row.name, row.category) == ("Swarm", "mine", "Deploy")
