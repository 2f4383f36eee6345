"""Objects of frameworks changed in place on a real API server: whole, or not at all."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import JOBS
from runai_core.model.errors import Conflict, InvalidRequest
from runai_core.model.workload import Phase, Workload
from tests.cluster.cluster import Cluster
from tests.cluster.operating import Operating, operating

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180), pytest.mark.asyncio]

Object = dict[str, Any]

A_JOB: Object = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "work", "labels": {"color": "red", "team": "a"}},
    "spec": {
        "suspend": True,
        "parallelism": 2,
        "completions": 2,
        "ttlSecondsAfterFinished": 100,
        "template": {
            "spec": {
                "schedulerName": "runai-scheduler",
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "one"}],
            }
        },
    },
}


def the_job(**spec: Any) -> Object:
    """Return the job as it shall be: another label, one less, and fields of its specification."""
    job = deepcopy(A_JOB)
    job["metadata"]["labels"] = {"color": "blue"}
    job["spec"] = {name: value for name, value in {**job["spec"], **spec}.items() if value is not None}
    return job


async def submitted(parts: Operating) -> Workload:
    [made] = await parts.create(A_JOB)
    return await parts.row(made["metadata"]["uid"], Phase.STOPPED)


async def seen(parts: Operating) -> Object:
    job = await parts.api.get(JOBS, "work", parts.namespace)
    return {"labels": job["metadata"]["labels"], "spec": job["spec"]}


async def test_an_object_becomes_what_its_manifest_says_and_loses_what_it_says_no_more(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        row = await submitted(parts)

        await parts.frameworks.change(replace(row, manifest=the_job(ttlSecondsAfterFinished=None)))

        now = await seen(parts)
        assert now["labels"]["color"] == "blue"
        assert "team" not in now["labels"]
        assert "ttlSecondsAfterFinished" not in now["spec"]
        assert now["spec"]["suspend"] is True


async def test_a_field_that_cannot_be_changed_is_named_and_nothing_changes(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        row = await submitted(parts)
        before = await seen(parts)

        with pytest.raises(InvalidRequest, match=r"spec\.completions.*immutable"):
            await parts.frameworks.change(replace(row, manifest=the_job(completions=3, completionMode="Indexed")))

        assert await seen(parts) == before


async def test_a_field_that_somebody_else_decides_is_left_to_them(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        row = await submitted(parts)
        await _decide(parts.api, parts.namespace, parallelism=1)
        before = await seen(parts)

        with pytest.raises(Conflict, match=r"others decide \.spec\.parallelism"):
            await parts.frameworks.change(replace(row, manifest=the_job()))
        unchanged = await seen(parts)
        await parts.frameworks.change(replace(row, manifest=the_job(parallelism=None)))

        assert unchanged == before
        assert (await seen(parts))["spec"]["parallelism"] == 1
        assert (await seen(parts))["labels"]["color"] == "blue"


async def test_an_object_that_was_stopped_stays_stopped_until_it_is_run(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        [made] = await parts.create({**A_JOB, "spec": {**A_JOB["spec"], "suspend": False}})
        row = await parts.row(made["metadata"]["uid"], Phase.PENDING)
        await parts.frameworks.stop(row)
        row = await parts.row(row.meta.uid, Phase.STOPPED)

        await parts.frameworks.change(replace(row, manifest=the_job(suspend=False)))
        stopped = await seen(parts)
        await parts.frameworks.run(row)

        assert stopped["spec"]["suspend"] is True
        assert stopped["labels"]["color"] == "blue"
        assert (await seen(parts))["spec"]["suspend"] is False


async def test_what_is_said_of_an_object_can_be_changed_alone(cluster: Cluster) -> None:
    async with operating(cluster) as parts:
        row = await submitted(parts)
        chosen = replace(row, manifest=None, priority_class="low", spec=replace(row.spec, category="Build"))

        await parts.frameworks.change(chosen)

        labels = (await seen(parts))["labels"]
        assert (labels["priorityClassName"], labels["run.ai/category"]) == ("low", "Build")
        assert (labels["color"], labels["team"]) == ("red", "a")


async def _decide(api: Api, namespace: str, **spec: Any) -> None:
    """Be an autoscaler that sets a field."""
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work", "namespace": namespace},
        "spec": spec,
    }
    await api.apply(JOBS, body, manager="autoscaler")
