"""Clusters that come with projects, workloads and a history of their own."""

from pathlib import Path
from typing import Any

import pytest

from tests.controlplanes import ClusterProcess, a_world, wait_for
from tests.orchestrators import an_orchestrator

pytestmark = pytest.mark.timeout(540)


def test_two_clusters_of_a_tenant_with_projects_of_the_same_name(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        west, east = world.cluster("west", gpus=1), world.cluster("east", gpus=2)
        api = world.control_plane.api()
        ids = {item["name"]: item["uuid"] for item in api.get("/clusters")}
        projects = {item["name"]: item["clusterId"] for item in api.get("/org-unit/projects")["projects"]}

        assert projects == {"default": ids["west"], "default-east": ids["east"]}
        in_west = api.submit("same-name", "true")
        in_east = api.submit("same-name", "true", project="default-east")
        assert api.wait(in_west, "Completed") == api.wait(in_east, "Completed") == "Completed"
        assert west.api().workloads().keys() == east.api().workloads().keys() == {"default/same-name"}
        assert west.api().workloads()["default/same-name"]["id"] == in_west
        assert east.api().workloads()["default/same-name"]["id"] == in_east
        wait_for("their nodes", lambda: [len(api.nodes(name)) for name in ("west", "east")] == [1, 1])
        answer = api.http.get(f"/api/v1/workloads/{in_east}")
        assert answer.json()["clusterId"] == ids["east"]


def test_an_orchestrator_that_has_worked_alone_joins_with_all_it_has(tmp_path: Path) -> None:
    with a_world(tmp_path) as world, an_orchestrator(tmp_path) as alone:
        done = alone.submit("before", ["echo", "before"])
        alone.wait(done)
        gone = alone.submit("deleted-before", ["true"])
        alone.wait(gone)
        assert alone.client.delete(f"/api/v1/workloads/trainings/{gone}").status_code < 300
        alone.stop()
        api = world.control_plane.api()
        uid = api.post("/clusters", {"name": "old"})["uuid"]
        token = tmp_path / "token"
        token.write_text(api.get(f"/clusters/{uid}/cluster-install-info")["joinToken"])
        cluster = world.clusters["old"] = ClusterProcess(
            log=tmp_path / "old.log",
            data_dir=alone.data_dir,
            url=f"https://127.0.0.1:{world.control_plane.port}",
            token_file=token,
            ca=world.trust.file,
        )
        cluster.start()

        assert wait_for("it appears", lambda: api.workloads().get("default/before"))["phase"] == "Completed"
        wait_for("its story", lambda: types_in(api.history(done)) == types_in(cluster.api().history(done)))
        assert "default/deleted-before" not in api.workloads()
        wait_for("it is kept for the record", lambda: api.http.get(f"/api/v1/workloads/{gone}").status_code == 200)
        units = "/org-unit/projects"
        wait_for("its quota", lambda: api.get(units)["projects"][0]["resources"][0]["gpu"]["deserved"] is not None)


def types_in(story: list[dict[str, Any]]) -> list[str]:
    return [str(item["meta"]["type"]) for item in story]
