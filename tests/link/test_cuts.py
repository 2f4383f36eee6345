"""A link that is cut, and processes that crash: everything goes on, and nothing is lost or doubled."""

import time
from pathlib import Path

import pytest

from tests.controlplanes import a_world, wait_for

pytestmark = pytest.mark.timeout(540)


def test_while_disconnected_everything_goes_on_and_is_made_up_for(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        cluster = world.cluster("west")
        api, inner = world.control_plane.api(), cluster.api()
        running = api.submit("goes-on", "sleep 600")
        api.wait(running, "Running")
        wire = world.wires["west"]
        wire.open = False
        wire.cut()
        wait_for("it is disconnected", lambda: api.get("/clusters/west")["status"]["state"] == "Disconnected")

        local = inner.submit("local", "echo local")
        inner.wait(local, "Completed")
        assert inner.phase(running) == "Running"
        waits = api.submit("waits", "true")
        never = api.submit("never", "true")
        assert api.http.delete(f"/api/v1/workloads/trainings/{never}").status_code < 300
        api.post(f"/workloads/trainings/{running}/suspend")
        refused = api.http.get(f"/api/v1/workloads/{running}/logs")
        assert refused.status_code == 503
        assert "is disconnected since" in refused.json()["message"]
        assert api.phase(waits) == "Creating"

        wire.open = True
        world.wait_connected("west", api)
        assert api.wait(waits, "Completed", "Failed") == "Completed"
        assert api.wait(local, "Completed") == "Completed"
        api.wait(running, "Stopped")
        wait_for("never is gone", lambda: "default/never" not in api.workloads())
        assert "default/never" not in inner.workloads()


def test_cuts_and_crashes_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        cluster = world.cluster("west")
        marks = tmp_path / "marks"
        marks.mkdir()
        chance, wire = world.random, world.wires["west"]
        wanted: dict[str, str] = {}
        api, inner = world.control_plane.api(), cluster.api()
        for number in range(40):
            # Each run leaves a file of its own: a workload that ran twice leaves two.
            command = f"sh -c 'mktemp {marks}/{{}}.XXXXXX'"
            side = "cp" if chance.random() < 0.5 else "local"
            name = f"{side}-{number}"
            where = api if side == "cp" else inner
            wanted[name] = where.submit(name, command.format(name))
            if chance.random() < 0.3:
                wire.cut()
            if number == 15:
                world.control_plane.kill()
                world.control_plane.start()
                api = world.control_plane.api()
            if number == 25:
                cluster.kill()
                cluster.start()
                inner = cluster.api()
            time.sleep(chance.random() * 0.2)
        world.wait_connected("west")

        for uid in wanted.values():
            assert api.wait(uid, "Completed", "Failed", seconds=120) == "Completed", cluster.said()[-2000:]
        assert sorted(key.partition("/")[2] for key in api.workloads()) == sorted(wanted), (
            "nothing lost, nothing doubled"
        )
        assert {key: item["id"] for key, item in api.workloads().items()} == {
            key: item["id"] for key, item in inner.workloads().items()
        }
        ran = sorted(path.name.partition(".")[0] for path in marks.iterdir())
        assert ran == sorted(wanted), "each ran once"
        wait_for(
            "histories are equal",
            lambda: all(len(api.history(uid)) >= len(inner.history(uid)) for uid in wanted.values()),
        )
