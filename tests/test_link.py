"""Clusters of a control plane, as real processes over TLS: work on both sides, cuts and crashes, and who is let in."""

import asyncio
import contextlib
import json
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from runai_core import wire
from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.controlplane.channels import Channel
from runai_core.controlplane.joining import relay_key
from runai_core.controlplane.relaying import Relays, Replica
from runai_core.controlplane.store import store_identity
from runai_core.model.clusters import ClusterLink
from runai_core.ports import LogOptions, Query
from tests.controlplanes import Api, ClusterProcess, Trust, World, a_world, wait_for
from tests.orchestrators import an_orchestrator

pytestmark = pytest.mark.timeout(540)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One control plane with one cluster for the tests that break nothing."""
    with a_world(tmp_path_factory.mktemp("link")) as made:
        made.cluster("west")
        yield made


def test_a_workload_submitted_in_the_control_plane_runs_in_the_cluster(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()

    uid = api.submit("hello", "echo hello from the cluster")

    assert api.wait(uid, "Completed", "Failed") == "Completed"
    assert inner.phase(uid) == "Completed", "it has one id on both sides"
    # Pods and history are feeds of their own: they may come a moment after the workload's own change.
    path = f"/api/v1/workloads/{uid}/logs"
    wait_for("the log, over the link", lambda: api.http.get(path).text == "hello from the cluster\n")
    told = ["Creating", "Pending", "Initializing", "Running", "Completed"]
    wait_for("each phase once", lambda: phases_in(history(api, uid)) == told)
    clusters = api.get("/clusters")
    assert api.get(f"/workloads/{uid}")["clusterId"] == clusters[0]["uuid"]


def history(api: Api, uid: str) -> list[dict[str, Any]]:
    return list(api.get(f"/workloads/{uid}/history", limit=500)["records"])


def phases_in(story: list[dict[str, Any]]) -> list[str]:
    return [item["spec"]["phaseUpdate"]["phase"] for item in story if item["meta"]["type"] == "PhaseUpdate"]


def types_in(story: list[dict[str, Any]]) -> list[str]:
    return [str(item["meta"]["type"]) for item in story]


def nodes_of(api: Api, cluster: str) -> list[dict[str, Any]]:
    return list(api.get(f"/clusters/{cluster}/nodes")["nodes"])


def test_stop_run_and_delete_reach_the_cluster(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()
    uid = api.submit("long", "sleep 600")
    api.wait(uid, "Running")

    api.post(f"/workloads/trainings/{uid}/suspend")
    api.wait(uid, "Stopped")
    assert inner.phase(uid) == "Stopped"
    api.post(f"/workloads/trainings/{uid}/resume")
    api.wait(uid, "Running")
    assert inner.phase(uid) == "Running"
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300
    wait_for("it is gone", lambda: "default/long" not in api.workloads())
    assert "default/long" not in inner.workloads()


def test_what_is_submitted_on_the_cluster_appears_in_the_control_plane(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()

    uid = inner.submit("from-below", "echo local")

    assert wait_for("it appears", lambda: api.workloads().get("default/from-below"))["id"] == uid
    assert api.wait(uid, "Completed") == "Completed"
    pods = wait_for("its pod", lambda: api.get(f"/workloads/{uid}/pods")["pods"])
    assert len(pods) == 1
    assert pods[0]["clusterId"] == api.get("/clusters/west")["uuid"]


def test_projects_and_quota_come_down(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()

    made = api.post(
        "/org-unit/projects", {"name": "team-a", "clusterId": api.get("/clusters/west")["uuid"], "resources": []}
    )

    wait_for(
        "it comes down", lambda: "team-a" in [item["name"] for item in inner.get("/org-unit/projects")["projects"]]
    )
    uid = api.submit("in-team-a", "true", project="team-a")
    assert api.wait(uid, "Completed") == "Completed"
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300
    wait_for("it is gone", lambda: "team-a/in-team-a" not in api.workloads())
    assert api.http.delete(f"/api/v1/org-unit/projects/{made['id']}").status_code < 300
    wait_for("it goes", lambda: "team-a" not in [item["name"] for item in inner.get("/org-unit/projects")["projects"]])


def test_a_workload_has_the_credential_that_was_made_just_before_it(world: World) -> None:
    api, west = world.control_plane.api(), world.clusters["west"]
    pairs = [{"key": "k", "value": "s3cr3t-over-the-link"}]
    kept = api.post(
        "/asset/credentials/generic-secret",
        {"meta": {"name": "tok", "scope": "tenant"}, "spec": {"keyValuePairs": pairs}},
    )
    variable = {"name": "TOKEN", "secret": {"name": "tok", "key": "k"}}

    uid = api.submit("with-secret", "sh -c 'printf %s $TOKEN | rev'", environmentVariables=[variable], backoffLimit=0)

    assert api.wait(uid, "Completed", "Failed") == "Completed"
    path = f"/api/v1/workloads/{uid}/logs"
    wait_for("its log", lambda: api.http.get(path).text == "knil-eht-revo-t3rc3s\n")
    for folder in (west.data_dir, world.control_plane.data_dir):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) > 3
        assert not [path for path in files if b"s3cr3t-over-the-link" in path.read_bytes()]
    assert "s3cr3t-over-the-link" not in west.said() + world.control_plane.said()
    assert api.http.delete(f"/api/v1/asset/credentials/generic-secret/{kept['meta']['id']}").status_code < 300
    wait_for("it goes there too", lambda: not west.api().get("/asset/credentials")["entries"])


def test_workers_of_a_running_gang_join_and_leave_from_the_control_plane(world: World) -> None:
    api = world.control_plane.api()
    spec = {
        "command": "sleep 600",
        "maxReplicas": 3,
        "annotations": [{"name": "run.ai/workers-on-demand", "value": "1"}],
        "compute": {"gpuDevicesRequest": 1},
    }
    uid = api.post("/workloads/distributed", {"name": "gang", "projectId": "default", "spec": spec})["workloadId"]
    wait_for("two pods run", lambda: running_pods(api, uid) == ["gang-1-0", "gang-1-1"])

    api.post(f"/workloads/distributed/{uid}/scale", {"add": 1, "remove": []})
    wait_for("another one runs", lambda: running_pods(api, uid) == ["gang-1-0", "gang-1-1", "gang-1-2"])
    api.post(f"/workloads/distributed/{uid}/scale", {"add": 0, "remove": ["gang-1-1"]})
    wait_for("it has left", lambda: running_pods(api, uid) == ["gang-1-0", "gang-1-2"])
    refused = api.http.post(f"/api/v1/workloads/distributed/{uid}/scale", json={"add": 9, "remove": []})
    assert refused.status_code == 400
    assert "maxReplicas" in refused.text
    assert api.http.delete(f"/api/v1/workloads/distributed/{uid}").status_code < 300


def running_pods(api: Api, uid: str) -> list[str]:
    pods = api.get(f"/workloads/{uid}/pods")["pods"]
    return sorted(pod["name"] for pod in pods if pod["k8sPhase"] == "Running")


def test_why_and_check_are_answered_by_the_cluster(world: World) -> None:
    api = world.control_plane.api()
    uid = api.submit("too-large", "true", compute={"gpuDevicesRequest": 8})

    said = wait_for("a verdict", lambda: answer if (answer := api.get(f"/workloads/{uid}/why"))["verdict"] else None)

    assert "8" in said["sentence"]
    assert said["sentence"].startswith("default/too-large is Pending")
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300


def test_measurements_of_the_cluster_are_known(world: World) -> None:
    api = world.control_plane.api()
    uid = api.submit("busy", "python3 -c 'while True: pass'")
    api.wait(uid, "Running")

    def used() -> float:
        answer = api.get(f"/workloads/{uid}/metrics", metricType="CPU_USAGE_CORES", numberOfSamples=20)
        return max(float(item["value"] or 0) for row in answer["measurements"] for item in row["values"])

    wait_for("a measurement of a program that works", lambda: used() > 0.01)
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300


def test_a_command_in_a_pod_and_a_long_log_come_over_the_link(world: World) -> None:
    api = world.control_plane.api()
    uid = api.submit("talks", "sh -c 'yes 0123456789 | head -c 5000000; echo all; sleep 600'")
    api.wait(uid, "Running")
    context = ssl.create_default_context(cafile=str(world.trust.file))
    address = f"wss://127.0.0.1:{world.control_plane.port}/api/v1/workloads/{uid}/exec?command=cat&stdin=true"
    token = {"Authorization": api.http.headers["Authorization"]}

    with websockets.sync.client.connect(
        address, ssl=context, additional_headers=token, proxy=None, open_timeout=60
    ) as socket:
        socket.send(b"\x00over the link")
        assert socket.recv(timeout=60) == b"\x01over the link"
        socket.send(b"\x00")
        assert json.loads(socket.recv(timeout=60)[1:]) == {"exitCode": 0}
    inner = world.clusters["west"].api()
    there = wait_for("all is written", lambda: found if (found := log_of(inner, uid)).endswith(b"all\n") else b"")
    assert len(there) > 4_000_000
    assert log_of(api, uid) == there
    with api.http.stream("GET", f"/api/v1/workloads/{uid}/logs", params={"follow": "true"}) as answer:
        first = next(answer.iter_raw())
        assert first.startswith(b"0123456789")  # and hang up in the middle of it
    assert api.get("/clusters/west")["status"]["state"] == "Connected"
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300


def log_of(api: Api, uid: str) -> bytes:
    return api.http.get(f"/api/v1/workloads/{uid}/logs").content


def test_whoever_has_the_database_may_ask_a_cluster_through_the_replica_that_holds_its_link(world: World) -> None:
    api = world.control_plane.api()
    uid = api.submit("asked", "sh -c 'echo asked through another; sleep 600'")
    api.wait(uid, "Running")
    wait_for("a line", lambda: api.http.get(f"/api/v1/workloads/{uid}/logs").content)
    pod = api.get(f"/workloads/{uid}/pods")["pods"][0]["name"]

    async def ask() -> bytes:
        file = world.control_plane.data_dir / "tenants" / "default" / "runai.db"
        async with open_store(f"sqlite:///{file}", SystemClock()) as store:
            [link] = (await store.list(ClusterLink, Query())).items
            key = relay_key((await store_identity(store)).signing_key)
        relays = Relays(key, SystemClock(), Replica(url="https://another.example"))
        peer = await relays.peer(link)
        assert peer is not None
        given = {"workload": uid, "pod": pod, "options": wire.encode(LogOptions())}
        channel = await peer.open("logs", given)
        said = b"".join([piece[1] async for piece in _pieces(channel)])
        await relays.close()
        return said

    assert asyncio.run(ask()) == b"asked through another\n"
    address = (
        f"wss://127.0.0.1:{world.control_plane.port}/api/v1/link/relay?cluster={api.get('/clusters/west')['uuid']}"
    )
    context = ssl.create_default_context(cafile=str(world.trust.file))
    token = {"Authorization": api.http.headers["Authorization"]}
    with pytest.raises(InvalidStatus) as refused:
        websockets.sync.client.connect(address, ssl=context, additional_headers=token, proxy=None).close()
    assert refused.value.response.status_code == 401, "no token of a user lets anybody in"
    assert api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300


async def _pieces(channel: Channel) -> AsyncIterator[tuple[int, bytes]]:
    while (piece := await channel.read()) is not None:
        yield piece


def test_nodes_of_the_cluster_are_known(world: World) -> None:
    api = world.control_plane.api()

    nodes = wait_for("its nodes", lambda: nodes_of(api, "west"))

    assert [node["gpuInfo"]["gpuCount"] for node in nodes] == [4]


def test_a_join_token_is_good_for_one_cluster_once(world: World) -> None:
    api = world.control_plane.api()
    uid = api.post("/clusters", {"name": "east"})["uuid"]
    token = api.get(f"/clusters/{uid}/cluster-install-info")["joinToken"]
    first = {"token": token, "credential": "a" * 40}

    assert api.http.post("/api/v1/link/join", json=first).status_code == 200
    assert api.http.post("/api/v1/link/join", json=first).status_code == 200, "the first answer may have been lost"
    again = api.http.post("/api/v1/link/join", json={"token": token, "credential": "b" * 40})
    assert again.status_code == 401
    assert "was used already" in again.json()["message"]
    newer = api.get(f"/clusters/{uid}/cluster-install-info")["joinToken"]
    assert newer != token
    assert api.get(f"/clusters/{uid}")["status"]["state"] == "WaitingToConnect"
    assert api.http.delete(f"/api/v1/clusters/{uid}").status_code < 300


def test_a_credential_that_is_not_known_opens_no_link(world: World) -> None:
    context = ssl.create_default_context(cafile=str(world.trust.file))
    for token in ("x", "x.y", f"{world.control_plane.api().get('/clusters/west')['uuid']}.wrong"):
        with pytest.raises(InvalidStatus) as refused:
            websockets.sync.client.connect(
                f"wss://127.0.0.1:{world.control_plane.port}/api/v1/link",
                ssl=context,
                additional_headers={"Authorization": f"Bearer {token}"},
                proxy=None,
                open_timeout=60,
            ).close()
        assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another authority", "not signed by an authority that is trusted here"),
        ("another name", "for another name"),
        ("expired", "has expired"),
        ("not yet valid", "not valid yet"),
    ],
)
def test_a_wrong_certificate_is_refused_in_words(case: str, words: str, world: World, tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    day = 24 * 3600.0
    names = ("other.example",) if case == "another name" else ("127.0.0.1",)
    at = {"expired": time.time() - 400 * day, "not yet valid": time.time() + 30 * day}.get(case)
    certificate = trust.certificate(names, at=at)
    with Impostor(certificate) as port:
        token = tmp_path / "token"
        token.write_text("some.token")
        ca = world.trust.file if case == "another authority" else trust.file
        cluster = ClusterProcess(
            log=tmp_path / "agent.log",
            data_dir=tmp_path / "cluster",
            url=f"https://127.0.0.1:{port}",
            token_file=token,
            ca=ca,
        )
        try:
            cluster.start()
            wait_for("it says why", lambda: words in cluster.said())
            assert cluster.api().submit("alone", "true"), "the cluster works without its control plane"
            assert "Traceback" not in cluster.said()
        finally:
            cluster.down()


class Impostor:
    """An HTTPS server that answers nothing of use."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        import http.server

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self) -> int:
        import threading

        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return int(self.server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


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
            lambda: all(len(history(api, uid)) >= len(history(inner, uid)) for uid in wanted.values()),
        )


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
        wait_for("their nodes", lambda: [len(nodes_of(api, name)) for name in ("west", "east")] == [1, 1])
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
        wait_for("its story", lambda: types_in(history(api, done)) == types_in(history(cluster.api(), done)))
        assert "default/deleted-before" not in api.workloads()
        wait_for("it is kept for the record", lambda: api.http.get(f"/api/v1/workloads/{gone}").status_code == 200)
        units = "/org-unit/projects"
        wait_for("its quota", lambda: api.get(units)["projects"][0]["resources"][0]["gpu"]["deserved"] is not None)


def test_an_old_credential_is_replaced_and_a_deleted_cluster_is_let_in_no_more(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        cluster = world.cluster("west")
        file = cluster.data_dir / "control-plane.json"
        before = json.loads(file.read_text())["token"]
        world.control_plane.stop()
        with contextlib.closing(sqlite3.connect(world.control_plane.data_dir / "tenants/default/runai.db")) as base:
            (row,) = base.execute("SELECT uid, document FROM objects WHERE kind = 'ClusterLink'").fetchall()
            base.execute(
                "UPDATE objects SET document = ? WHERE uid = ?",
                (json.dumps({**json.loads(row[1]), "rotatedAt": 1.0}), row[0]),
            )
            base.commit()
        world.control_plane.start()
        world.wait_connected("west")

        wait_for("a new credential", lambda: json.loads(file.read_text())["token"] != before)
        assert file.stat().st_mode & 0o077 == 0
        cluster.kill()
        cluster.start()
        world.wait_connected("west")
        api = world.control_plane.api()
        assert api.wait(api.submit("after", "true"), "Completed") == "Completed"

        uid = api.get("/clusters/west")["uuid"]
        refused = api.http.delete("/api/v1/clusters/west")
        assert refused.status_code == 409
        assert "has projects: default" in refused.json()["message"]
        inner = cluster.api()
        project = api.get("/org-unit/projects")["projects"][0]["id"]
        assert api.http.delete(f"/api/v1/org-unit/projects/{project}").status_code < 300
        assert api.http.delete(f"/api/v1/clusters/{uid}").status_code < 300
        wait_for("it is told", lambda: "no such cluster is known here" in cluster.said(), 60)
        assert inner.get("/workloads")["workloads"][0]["name"] == "after", "the cluster keeps what it has"
        assert api.workloads() == {}
