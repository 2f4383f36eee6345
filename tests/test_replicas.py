"""Two replicas of a control plane on one PostgreSQL: both answer, one may be killed, nothing is lost."""

import itertools
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.controlplanes import Api, ControlPlane, Trust, Wire, World, wait_for
from tests.databases import postgres  # noqa: F401 - a fixture
from tests.ports import free_port

pytestmark = pytest.mark.timeout(540)


@dataclass
class Replicas:
    """Two processes on one database, and a cluster that is connected to the first."""

    world: World
    first: ControlPlane
    second: ControlPlane

    @property
    def wire(self) -> Wire:
        return self.world.wires["west"]


@pytest.fixture
def database(postgres: str) -> str:  # noqa: F811 - the fixture above
    """Make a database of the test's own; return its URL."""
    url = make_url(postgres)
    name = f"replicas_{secrets.token_hex(4)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def replicas(database: str, tmp_path: Path) -> Iterator[Replicas]:
    """Start both."""
    world = World(tmp_path)
    world.control_plane.database = database
    second = ControlPlane(
        log=tmp_path / "second.log",
        data_dir=tmp_path / "second",
        trust=Trust(tmp_path / "tls", world.trust.authority),
        certificate=world.control_plane.certificate,
        port=free_port(),
        database=database,
    )
    try:
        world.control_plane.start()
        second.start()
        world.cluster("west")
        yield Replicas(world, world.control_plane, second)
    finally:
        world.close()
        second.stop()


def test_one_replica_is_killed_under_load_and_nothing_is_lost(replicas: Replicas) -> None:
    one, two = replicas.first.api(), replicas.second.api()
    token = one.http.headers["Authorization"]
    assert two.http.get("/api/v1/workloads", headers={"Authorization": token}).status_code == 200, "one signing key"
    made = one.post("/org-unit/departments", {"name": "made-in-one"})
    assert wait_for("the other sees it", lambda: two.get(f"/org-unit/departments/{made['id']}"))["name"]
    a_watch_is_told_by_the_other(one, two)

    accepted: dict[str, str] = {}
    failed: list[str] = []
    stop = threading.Event()

    def load(number: int) -> None:
        count = 0
        while not stop.is_set():
            name = f"load-{number}-{count}"
            for api in (one, two) if number % 2 else (two, one):
                try:
                    accepted[name] = api.submit(name, "true")
                    break
                except (httpx.HTTPError, OSError):
                    continue  # killed: the next replica is asked
                except AssertionError as error:
                    if "exists already" not in str(error):  # otherwise the first had kept it before it died
                        failed.append(str(error))
                    break
            count += 1
            time.sleep(0.15)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    wait_for("workloads", lambda: len(accepted) > 5)
    replicas.first.kill()
    replicas.wire.target = replicas.second.port
    replicas.wire.cut()
    before = len(accepted)
    wait_for("more workloads", lambda: len(accepted) > before + 5)
    stop.set()
    for thread in threads:
        thread.join(60)

    assert failed == []
    replicas.world.wait_connected("west", two)
    done = wait_for("all have run", lambda: all_completed(two, accepted), 150)
    assert {done[f"default/{name}"]["id"] for name in accepted} == set(accepted.values())
    inner = replicas.world.clusters["west"].api()
    # Also those that were taken by a replica that died before it answered: they may be on their way still.
    wait_for("the cluster has the same", lambda: ids_of(inner) == ids_of(two))
    replicas.first.start()
    again = replicas.first.api()
    assert again.workloads().keys() == two.workloads().keys()


def test_what_only_the_cluster_knows_is_asked_through_whichever_replica_holds_its_link(replicas: Replicas) -> None:
    one, two = replicas.first.api(), replicas.second.api()
    talks = one.submit("talks", "sh -c 'echo from west; sleep 600'")
    large = one.submit("large", "true", compute={"gpuDevicesRequest": 8})
    one.wait(talks, "Running")

    ask_for_all(replicas, two, replicas.second, talks, large)
    replicas.first.kill()
    replicas.wire.target = replicas.second.port
    replicas.wire.cut()
    replicas.first.start()
    replicas.world.wait_connected("west", two)
    ask_for_all(replicas, replicas.first.api(), replicas.first, talks, large)

    address = f"wss://127.0.0.1:{replicas.first.port}/api/v1/link/relay?cluster={one.get('/clusters/west')['uuid']}"
    for token in ("x", one.http.headers["Authorization"].removeprefix("Bearer ")):
        with pytest.raises(InvalidStatus) as refused:
            dial(replicas, address, token).close()
        assert refused.value.response.status_code == 401, "no token of a user lets anybody in"


def ask_for_all(replicas: Replicas, api: Api, replica: ControlPlane, talks: str, large: str) -> None:
    """Have a log, a command and a verdict from a replica."""
    logs = wait_for("the log", lambda: api.http.get(f"/api/v1/workloads/{talks}/logs").raise_for_status().text)
    assert logs == "from west\n"
    assert wait_for("a verdict", lambda: api.get(f"/workloads/{large}/why")["verdict"])
    address = f"wss://127.0.0.1:{replica.port}/api/v1/workloads/{talks}/exec?command=cat&stdin=true"
    with dial(replicas, address, api.http.headers["Authorization"].removeprefix("Bearer ")) as socket:
        socket.send(b"\x00over two links")
        assert socket.recv(timeout=60) == b"\x01over two links"
        socket.send(b"\x00")
        assert json.loads(socket.recv(timeout=60)[1:]) == {"exitCode": 0}


def dial(replicas: Replicas, address: str, token: str) -> ClientConnection:
    context = ssl.create_default_context(cafile=str(replicas.world.trust.file))
    headers = {"Authorization": f"Bearer {token}"}
    return connect(address, ssl=context, additional_headers=headers, proxy=None, open_timeout=60)


def ids_of(api: Api) -> dict[str, object]:
    return {key: item["id"] for key, item in api.workloads().items()}


def all_completed(api: Api, names: dict[str, str]) -> dict[str, dict[str, object]]:
    found = api.workloads()
    missing = [name for name in names if f"default/{name}" not in found]
    assert not missing, f"lost: {missing}"
    return found if all(found[f"default/{name}"]["phase"] == "Completed" for name in names) else {}


def a_watch_is_told_by_the_other(writer: Api, watcher: Api) -> None:
    """Follow one replica while the other is submitted to; a watch without a version begins when it is connected."""
    heard = threading.Event()

    def listen() -> None:
        with watcher.http.stream("GET", "/api/v1/workloads/watch", timeout=60) as answer:
            for line in answer.iter_lines():
                if "watched-" in line:
                    heard.set()
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    probes = itertools.count()
    wait_for("the watch tells", lambda: writer.submit(f"watched-{next(probes)}", "true") and heard.wait(2))
    thread.join(60)
