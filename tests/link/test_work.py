"""What people do at a control plane happens in its cluster, and what happens there is told: real processes over TLS."""

import asyncio
import json
import shlex
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from runai_core import wire
from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.controlplane.channels import Channel
from runai_core.controlplane.joining import relay_key
from runai_core.controlplane.relaying import Relays, Replica
from runai_core.controlplane.store import store_identity
from runai_core.model.clusters import ClusterLink
from runai_core.ports import LogOptions, Query
from tests.controlplanes import Api, World, wait_for
from tests.ports import free_port

pytestmark = pytest.mark.timeout(540)


def test_a_workload_submitted_in_the_control_plane_runs_in_the_cluster(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()

    uid = api.submit("hello", "echo hello from the cluster")

    assert api.wait(uid, "Completed", "Failed") == "Completed"
    assert inner.phase(uid) == "Completed", "it has one id on both sides"
    # Pods and history are feeds of their own: they may come a moment after the workload's own change.
    path = f"/api/v1/workloads/{uid}/logs"
    wait_for("the log, over the link", lambda: api.http.get(path).text == "hello from the cluster\n")
    told = ["Creating", "Pending", "Initializing", "Running", "Completed"]
    wait_for("each phase once", lambda: phases_in(api.history(uid)) == told)
    clusters = api.get("/clusters")
    assert api.get(f"/workloads/{uid}")["clusterId"] == clusters[0]["uuid"]


def phases_in(story: list[dict[str, Any]]) -> list[str]:
    return [item["spec"]["phaseUpdate"]["phase"] for item in story if item["meta"]["type"] == "PhaseUpdate"]


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


def test_topologies_and_what_is_said_of_storage_come_down_and_go(world: World) -> None:
    api, inner = world.control_plane.api(), world.clusters["west"].api()
    west = api.get("/clusters/west")["uuid"]
    topology = api.post("/network-topologies", {"name": "racks", "clusterId": west, "levels": ["zone", "rack"]})
    said = api.post("/storage-class-configuration", {"scopeType": "cluster", "scopeId": west, "name": "fast"})

    def phases() -> list[tuple[str, str]]:
        return [(item["name"], item["phase"]) for item in api.get("/network-topologies")["networkTopologies"]]

    def below() -> list[str]:
        found = inner.get("/storage-class-configuration")["storageClassConfigurations"]
        return [item["name"] for item in (*inner.get("/network-topologies")["networkTopologies"], *found)]

    wait_for("the cluster has it, and says so", lambda: phases() == [("racks", "Ready")])
    wait_for("both are there under their own names", lambda: below() == ["racks", "fast"])
    assert api.http.delete(f"/api/v1/network-topologies/{topology['id']}").status_code < 300
    assert api.http.delete(f"/api/v1/storage-class-configuration/{said['id']}").status_code < 300
    wait_for("both go there too", lambda: below() == [])
    wait_for("the cluster does not say that it has it any more", lambda: phases() == [])
    values = api.http.get(f"/v1/k8s/clusters/{west}/installfile", params={"format": "json"})
    assert sorted(values.json()["controlPlane"]) == ["joinToken", "url"], "what the chart is given"


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


def test_a_workload_is_composed_at_the_control_plane_and_has_all_of_it_in_the_cluster(
    world: World, tmp_path: Path
) -> None:
    api = world.control_plane.api()
    for name in ("chosen", "imposed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(f"{name} data")

    def kept(path: str, name: str, spec: dict[str, Any]) -> str:
        return str(api.post(f"/asset/{path}", {"meta": {"name": name, "scope": "tenant"}, "spec": spec})["meta"]["id"])

    variable = {"name": "TOKEN", "userCredential": {"name": "own", "key": "k"}}
    pairs = [{"key": "k", "value": "s3cr3t-own"}]
    api.post("/me/credentials/generic-secret", {"meta": {"name": "own"}, "spec": {"keyValuePairs": pairs}})
    environment = kept("environment", "shell", {"environmentVariables": [{"name": "WORD", "value": "environment"}]})
    compute = kept("compute", "one", {"gpuDevicesRequest": 1})
    chosen = kept("datasource/host-path", "chosen", {"path": str(tmp_path / "chosen"), "mountPath": "/chosen"})
    imposed = kept("datasource/host-path", "imposed", {"path": str(tmp_path / "imposed"), "mountPath": "/imposed"})
    assets = {"environment": environment, "compute": compute, "datasources": [{"id": chosen}]}
    meta = {"name": "all", "scopeType": "tenant"}
    template = api.post("/workload-templates/trainings", {"meta": meta, "spec": {}, "assets": assets})
    policy = {"policy": {"imposedAssets": [imposed]}}
    assert api.http.put("/api/v2/policy/trainings", json=policy).status_code < 300
    script = "echo $WORD $RUNAI_NUM_OF_GPUS; rev $RUNAI_VOLUME_CHOSEN/x; rev $RUNAI_VOLUME_IMPOSED/x; echo $TOKEN | rev"
    body = {
        "name": "composed",
        "projectId": "default",
        "templateId": template["meta"]["id"],
        "spec": {"command": f"sh -c '{script}'", "backoffLimit": 0, "environmentVariables": [variable]},
    }
    uid = api.post("/workloads/trainings", body)["workloadId"]

    assert api.wait(uid, "Completed", "Failed") == "Completed", log_of(api, uid)
    path = f"/api/v1/workloads/{uid}/logs"
    log = wait_for("its log", lambda: found if "nwo-t3rc3s" in (found := api.http.get(path).text) else "")
    for line in ("environment 1", "atad nesohc", "atad desopmi"):
        assert line in log
    inner = world.clusters["west"].api().get(f"/workloads/trainings/{uid}")
    assert inner["spec"]["compute"]["gpuDevicesRequest"] == 1
    assert api.http.delete("/api/v2/policy/trainings").status_code < 300


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

    nodes = wait_for("its nodes", lambda: api.nodes("west"))

    assert [node["gpuInfo"]["gpuCount"] for node in nodes] == [4]


PORT = free_port()

TOOL = f"""
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

async def answer(request):
    return PlainTextResponse(f"{{request.method}} {{request.url.path}} {{len(await request.body())}}")

async def echo(socket):
    await socket.accept()
    async for message in socket.iter_text():
        await socket.send_text(message.upper())

routes = [WebSocketRoute("/socket", echo), Route("/{{path:path}}", answer, methods=["GET", "POST"])]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port={PORT})
"""


def test_a_tool_of_a_workload_opens_through_the_control_plane_until_the_link_is_cut(world: World) -> None:
    api, wire = world.control_plane.api(), world.wires["west"]
    spec = {"command": shlex.join([sys.executable, "-c", TOOL]), "ports": [{"container": PORT}]}
    uid = api.post("/workloads/workspaces", {"name": "tool", "projectId": "default", "spec": spec})["workloadId"]
    api.wait(uid, "Running")
    door = wait_for(
        "it listens", lambda: found if (found := api.http.get(f"/proxy/{uid}/{PORT}/")).is_redirect else None
    )
    place = httpx.URL(door.headers["location"])
    host = f"{place.host}:{place.port}"
    entered = api.http.get(place.raw_path.decode(), headers={"Host": host})
    cookie = entered.headers["set-cookie"].partition(";")[0]
    tool = {"Host": host, "Cookie": cookie, "Authorization": ""}

    assert api.http.get("/lab?a=1", headers=tool).text == "GET /lab 0"
    assert api.http.post("/save", headers=tool, content=b"x" * 3_000_000).text == "POST /save 3000000"
    with socket_of(world, host, "/socket", {"Cookie": cookie}) as line, forward_of(world, api, uid) as forwarded:
        line.send("over the link")
        assert line.recv(timeout=60) == "OVER THE LINK"
        forwarded.send(b"GET /forwarded HTTP/1.0\r\n\r\n")
        said = b""
        while b"GET /forwarded 0" not in said:
            said += forwarded.recv(timeout=60, decode=False)
        wire.open = False
        wire.cut()
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=60)
    try:
        gone = wait_for(
            "a page that says why", lambda: "cluster west is disconnected" in api.http.get("/", headers=tool).text
        )
        assert gone
        assert api.http.get("/", headers=tool).status_code == 503
    finally:
        wire.open = True
    world.wait_connected("west")
    wait_for("it goes on", lambda: api.http.get("/again", headers=tool).text == "GET /again 0")
    assert api.http.delete(f"/api/v1/workloads/workspaces/{uid}").status_code < 300


def socket_of(world: World, host: str, path: str, headers: dict[str, str]) -> ClientConnection:
    """Return a WebSocket to a host name that the control plane answers to."""
    return websockets.sync.client.connect(
        f"wss://{host}{path}",
        sock=socket.create_connection(("127.0.0.1", world.control_plane.port)),
        ssl=ssl.create_default_context(cafile=str(world.trust.file)),
        server_hostname="127.0.0.1",
        additional_headers=headers,
        open_timeout=60,
        proxy=None,
    )


def forward_of(world: World, api: Api, uid: str) -> ClientConnection:
    """Return what `runai workload port-forward` opens for each connection."""
    path, host = f"/api/v1/workloads/{uid}/forward?port={PORT}", f"127.0.0.1:{world.control_plane.port}"
    return socket_of(world, host, path, {"Authorization": api.http.headers["Authorization"]})
