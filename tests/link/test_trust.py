"""Who is let in over a link, and whom a cluster trusts: tokens, credentials, certificates."""

import contextlib
import json
import sqlite3
import ssl
import time

import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from tests.controlplanes import World, wait_for

pytestmark = pytest.mark.timeout(540)


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


def test_an_expired_certificate_cuts_the_link_until_it_is_renewed_and_the_cluster_goes_on(world: World) -> None:
    plane, cluster = world.control_plane, world.clusters["west"]
    good, expired = plane.certificate, world.trust.certificate(at=time.time() - 400 * 24 * 3600)
    inner = cluster.api()

    plane.stop()
    plane.certificate = expired
    plane.start()
    wait_for("it says why", lambda: "its certificate has expired: renew it" in cluster.said())
    local = inner.submit("meanwhile", "true")
    assert inner.wait(local, "Completed", "Failed") == "Completed", "the cluster works without its control plane"

    plane.stop()
    plane.certificate = good
    plane.start()
    world.wait_connected("west")
    api = plane.api()
    wait_for("what happened meanwhile is told", lambda: "default/meanwhile" in api.workloads())
    assert api.wait(local, "Completed") == "Completed"
    assert "Traceback" not in cluster.said()


def test_an_old_credential_is_replaced_and_a_deleted_cluster_is_let_in_no_more(world: World) -> None:
    plane, cluster = world.control_plane, world.cluster("old")
    uid = plane.api().get("/clusters/old")["uuid"]
    file = cluster.data_dir / "control-plane.json"
    before = json.loads(file.read_text())["token"]
    plane.stop()
    with contextlib.closing(sqlite3.connect(plane.data_dir / "tenants/default/runai.db")) as base:
        found = base.execute("SELECT uid, document FROM objects WHERE kind = 'ClusterLink' AND name = ?", (uid,))
        ((row, document),) = found.fetchall()
        aged = json.dumps({**json.loads(document), "rotatedAt": 1.0})
        base.execute("UPDATE objects SET document = ? WHERE uid = ?", (aged, row))
        base.commit()
    plane.start()
    world.wait_connected("old")

    wait_for("a new credential", lambda: json.loads(file.read_text())["token"] != before)
    assert file.stat().st_mode & 0o077 == 0
    cluster.kill()
    cluster.start()
    world.wait_connected("old")
    api = plane.api()
    [project] = [item for item in api.get("/org-unit/projects")["projects"] if item["clusterId"] == uid]
    after = api.submit("after", "true", project=project["name"])
    assert api.wait(after, "Completed") == "Completed"

    refused = api.http.delete("/api/v1/clusters/old")
    assert refused.status_code == 409
    assert f"has projects: {project['name']}" in refused.json()["message"]
    inner = cluster.api()
    assert api.http.delete(f"/api/v1/org-unit/projects/{project['id']}").status_code < 300
    assert api.http.delete(f"/api/v1/clusters/{uid}").status_code < 300
    wait_for("it is told", lambda: "no such cluster is known here" in cluster.said())
    assert [item["name"] for item in inner.get("/workloads")["workloads"]] == ["after"], "the cluster keeps what it has"
    assert f"{project['name']}/after" not in api.workloads()
