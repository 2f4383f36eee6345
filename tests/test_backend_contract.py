"""What every store promises (`runai_core.ports.Store`), asked of each database that there is, and of a cluster."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from runai_core.backends.local.store import LocalStore, open_store
from runai_core.model.errors import AlreadyExists, InvalidRequest, NotFound, RunaiError, StaleVersion, WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import HistoryRecord, Phase, Workload, WorkloadType
from runai_core.ports import ChangeType, Filter, Op, Query, Store
from tests.cluster import binaries
from tests.cluster.cluster import Cluster

KEPT = os.environ.get("RUNAI_TEST_CLUSTER")
"""Directory of a cluster to use, read before tests hide the environment."""


class SteppingClock:
    """Time that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


T = TypeVar("T")


async def within(seconds: float, awaited: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await awaited


@dataclass
class Database:
    """Where the store under test lives; can be opened more than once."""

    url: str
    clock: SteppingClock

    exclusive: bool = False
    kubeconfig: Path | None = None  # objects of the cluster's kinds are there; the database has the rest

    def open(self, log_kept: int = 1000) -> AbstractAsyncContextManager[Store]:
        if self.kubeconfig is not None:
            return on_cluster(self.kubeconfig, self.clock, log_kept)
        return open_store(self.url, self.clock, exclusive=self.exclusive, log_kept=log_kept)


@asynccontextmanager
async def on_cluster(kubeconfig: Path, clock: SteppingClock, log_kept: int) -> AsyncIterator[Store]:
    """The store over a cluster, with a database in memory for the rest."""
    from runai_core.backends.kubernetes.api import connect
    from runai_core.backends.kubernetes.resources import NAMESPACES
    from runai_core.backends.kubernetes.store import KubernetesStore
    from runai_core.backends.kubernetes.world import open_world

    async with (
        connect(kubeconfig) as api,
        open_world(api, (NAMESPACES,)) as world,
        open_store("sqlite://", clock) as records,
    ):
        store = KubernetesStore(api, world, records, clock, log_kept=log_kept)
        await store.start()
        try:
            yield store
        finally:
            store.close()
    await asyncio.sleep(0.1)  # connections close


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster that knows our kinds."""
    from runai_core.operator.install.crds import crds

    try:
        cluster = Cluster.up(Path(KEPT) if KEPT else tmp_path_factory.mktemp("cluster"))
    except binaries.Unavailable as reason:
        pytest.skip(str(reason))
    with cluster.kube() as kube:
        for crd in crds():
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            kube.patch(path, crd, kind="apply")
            kube.wait(path, _is_served)
        for project in ("vision", "speech"):
            path = f"/api/v1/namespaces/runai-{project}"
            kube.patch(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": path[-len(project) - 6:]}},
                       kind="apply")  # fmt: skip
    yield cluster.kubeconfig()
    if not KEPT:
        cluster.down()


def _is_served(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


async def emptied(database: Database) -> None:
    """Remove what an earlier test left; where others have objects, the test is skipped."""
    from runai_core.backends.kubernetes.api import connect
    from runai_core.backends.kubernetes.resources import DEPARTMENTS, PROJECTS, WORKLOADS

    async with connect(database.kubeconfig) as api:
        for resource in (*WORKLOADS, PROJECTS, DEPARTMENTS):
            for item in (await api.list(resource))[0]:
                meta = item["metadata"]
                if meta.get("namespace", meta["name"]) not in OURS and not meta["name"].startswith("d-"):
                    pytest.skip(f"the cluster has objects of others: {resource.kind} {meta['name']}")
                if meta.get("finalizers"):
                    at = meta.get("namespace", "")
                    await api.patch(resource, meta["name"], {"metadata": {"finalizers": None}}, at)
                await api.delete(resource, meta["name"], meta.get("namespace", ""))
    await asyncio.sleep(0.1)  # connections close


OURS = frozenset({"vision", "speech", "runai-vision", "runai-speech", "research", "other", "another-kind", "d"})
"""Names of the objects, and of the namespaces, of these tests."""


def postgres_binaries() -> Path | None:
    """Return where a PostgreSQL server is installed: on the path, or where Debian keeps its versions."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server of our own on a socket in a temporary directory."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra: postgres)")
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    user: str | None = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), "nobody")
    # Not below pytest's own directory: the server's user may not pass through it.
    home = Path(tempfile.mkdtemp(prefix="runai-pg-"))
    data = home / "data"
    data.mkdir()
    if user is not None:
        for directory in (home, data):
            shutil.chown(directory, user)
    environment = {"PATH": os.environ["PATH"], "LANG": "C"}
    subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), "-U", "runai", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True, user=user, env=environment, cwd=home, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    command = [
        str(binaries / "postgres"),
        "-D",
        str(data),
        "-k",
        str(home),
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
    ]
    server = subprocess.Popen(command, user=user, env=environment, cwd=home, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not (home / ".s.PGSQL.5432").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"postgresql+psycopg://runai@/postgres?host={home}"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: connections are closed
        server.wait(20)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(
    params=["memory", "sqlite", "exclusive", "postgresql", pytest.param("kubernetes", marks=pytest.mark.cluster)]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database."""
    clock = SteppingClock()
    if request.param == "kubernetes":
        found = Database("kubernetes", clock, kubeconfig=request.getfixturevalue("kubernetes"))
        asyncio.run(emptied(found))
        return found
    if request.param == "memory":
        return Database("sqlite://", clock)
    if request.param in ("sqlite", "exclusive"):
        return Database(f"sqlite:///{tmp_path / 'runai.db'}", clock, exclusive=request.param == "exclusive")
    url = request.getfixturevalue("postgres")
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return Database(url, clock)


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An empty store."""
    async with database.open() as opened:
        yield opened


def needs_database(database: Database, why: str) -> None:
    """Skip where the cluster keeps the objects."""
    if database.kubeconfig is not None:
        pytest.skip(f"on a cluster {why}")


def a_workload(name: str, project: str = "vision", **fields: object) -> Workload:
    return replace(Workload(meta=Meta(name=name, project=project, labels={"team": "a"})), **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def watching(store: Store, from_version: int) -> AsyncIterator["asyncio.Queue[tuple[ChangeType, str, int]]"]:
    """Collect a watch of workloads as (type, name, version)."""
    seen: asyncio.Queue[tuple[ChangeType, str, int]] = asyncio.Queue()

    async def collect() -> None:
        async for change in store.watch(Workload, from_version):
            seen.put_nowait((change.type, change.object.name, change.version))

    task = asyncio.create_task(collect())
    try:
        yield seen
    finally:
        task.cancel()


@pytest.mark.asyncio
async def test_a_created_object_comes_back_as_it_was_given(store: Store) -> None:
    spec = WorkloadSpec(command="python", compute=Compute(gpu_devices_request=2, cpu_memory_request="1Gi"))
    given = a_workload("train", spec=spec, type=WorkloadType.DISTRIBUTED, phase=Phase.PENDING, node_pools=("default",))

    made = await store.create(given)

    assert made.meta.uid
    assert made.meta.version > 0
    assert made.meta.created_at == made.meta.updated_at == 1_800_000_000.0
    assert replace(made, meta=given.meta) == given
    assert await store.get(Workload, "train", "vision") == made
    assert await store.get_by_uid(Workload, made.meta.uid) == made


@pytest.mark.asyncio
async def test_mappings_nested_objects_and_unlimited_quota_survive(store: Store) -> None:
    quota = QueueResources(gpu=ResourceQuota(deserved=2500, limit=None, over_quota_weight=2.5), priority=7)
    given = Project(meta=Meta(name="vision", annotations={"k": 'a"b\\c\u00fc'}), resources={"default": quota})

    made = await store.create(given)

    assert (await store.get(Project, "vision")).resources == {"default": quota}
    assert (await store.get(Project, "vision")).meta.annotations == {"k": 'a"b\\c\u00fc'}
    assert made.meta.version > 0


@pytest.mark.asyncio
async def test_a_given_uid_is_kept_and_cannot_be_used_twice(store: Store) -> None:
    item = Department(meta=Meta(name="research", uid="4500001"))
    assert (await store.create(item)).meta.uid == "4500001"

    with pytest.raises(AlreadyExists):
        await store.create(replace(item, meta=replace(item.meta, name="other")))


@pytest.mark.asyncio
async def test_names_are_unique_in_a_project_and_kind_only(store: Store) -> None:
    await store.create(a_workload("train", "vision"))
    await store.create(a_workload("train", "speech"))
    await store.create(HistoryRecord(meta=Meta(name="train", project="vision")))

    with pytest.raises(AlreadyExists, match="Workload train in project vision exists already"):
        await store.create(a_workload("train", "vision"))


@pytest.mark.asyncio
async def test_a_deleted_name_is_free_and_the_deleted_object_is_kept(store: Store) -> None:
    first = await store.create(a_workload("train"))
    gone = await store.delete(Workload, first.meta.uid)
    second = await store.create(a_workload("train"))

    assert gone.meta.deleted_at is not None
    assert second.meta.uid != first.meta.uid
    assert (await store.get(Workload, "train", "vision")).meta.uid == second.meta.uid
    assert (await store.get_by_uid(Workload, first.meta.uid)).meta.deleted_at == gone.meta.deleted_at
    assert [w.meta.uid for w in (await store.list(Workload)).items] == [second.meta.uid]
    assert [w.meta.uid for w in (await store.list(Workload, Query(deleted=True))).items] == [first.meta.uid]


@pytest.mark.asyncio
async def test_an_update_needs_the_newest_version(store: Store) -> None:
    made = await store.create(a_workload("train"))
    newer = await store.update(replace(made, phase=Phase.PENDING))

    with pytest.raises(StaleVersion, match="changed by somebody else"):
        await store.update(replace(made, phase=Phase.FAILED))

    assert newer.meta.version > made.meta.version
    assert newer.meta.created_at == made.meta.created_at
    assert (await store.get(Workload, "train", "vision")).phase is Phase.PENDING


@pytest.mark.asyncio
async def test_an_update_cannot_forge_the_time_of_creation(store: Store) -> None:
    made = await store.create(a_workload("train"))

    newer = await store.update(replace(made, meta=replace(made.meta, created_at=5.0)))

    assert newer.meta.created_at == made.meta.created_at
    assert (await store.get(Workload, "train", "vision")).meta.created_at == made.meta.created_at


@pytest.mark.asyncio
async def test_an_update_cannot_rename_or_move(store: Store) -> None:
    made = await store.create(a_workload("train"))
    with pytest.raises(InvalidRequest, match="cannot be renamed"):
        await store.update(replace(made, meta=replace(made.meta, name="other")))
    with pytest.raises(InvalidRequest, match="cannot be renamed"):
        await store.update(replace(made, meta=replace(made.meta, project="speech")))


@pytest.mark.asyncio
async def test_what_is_not_there_is_not_found(store: Store) -> None:
    ghost = a_workload("ghost")
    ghost = replace(ghost, meta=replace(ghost.meta, uid="no-such-uid", version=1))
    for attempt in (
        store.get(Workload, "ghost", "vision"),
        store.get_by_uid(Workload, "no-such-uid"),
        store.update(ghost),
        store.delete(Workload, "no-such-uid"),
    ):
        with pytest.raises(NotFound):
            await attempt


@pytest.mark.asyncio
async def test_an_object_of_another_kind_is_not_found_by_uid(store: Store) -> None:
    made = await store.create(a_workload("train"))
    with pytest.raises(NotFound):
        await store.get_by_uid(Project, made.meta.uid)
    with pytest.raises(NotFound):
        await store.delete(Project, made.meta.uid)


@pytest.mark.asyncio
async def test_a_deleted_object_can_be_neither_updated_nor_deleted_again(store: Store) -> None:
    made = await store.create(a_workload("train"))
    gone = await store.delete(Workload, made.meta.uid)
    with pytest.raises(NotFound):
        await store.update(gone)
    with pytest.raises(NotFound):
        await store.delete(Workload, made.meta.uid)


@pytest.mark.asyncio
async def test_purge_forgets_what_was_deleted_long_ago_and_what_it_owned(store: Store, database: Database) -> None:
    old = await store.create(a_workload("old"))
    story = await store.create(HistoryRecord(meta=Meta(name="line", owner=old.meta.uid)))
    await store.delete(Workload, old.meta.uid)
    database.clock.time += 100
    recent = await store.create(a_workload("recent"))
    await store.delete(Workload, recent.meta.uid)

    assert await store.purge(Workload, database.clock.time - 50) == 1

    with pytest.raises(NotFound):
        await store.get_by_uid(Workload, old.meta.uid)
    with pytest.raises(NotFound):
        await store.get_by_uid(HistoryRecord, story.meta.uid)
    assert (await store.get_by_uid(Workload, recent.meta.uid)).name == "recent"


FILTERS = [
    pytest.param((Filter("phase", Op.EQ, "Running"),), "bd", id="equal to a value"),
    pytest.param((Filter("phase", Op.EQ, "Creating"),), "a", id="equal to the default, which is not stored"),
    pytest.param((Filter("phase", Op.NE, "Running"),), "ac", id="different, missing values included"),
    pytest.param((Filter("priority", Op.GE, 90),), "bc", id="a number at least"),
    pytest.param((Filter("priority", Op.LE, "90"),), "abd", id="a number at most, given as text"),
    pytest.param((Filter("has_master", Op.EQ, "false"),), "d", id="a truth value, given as text"),
    pytest.param((Filter("has_master", Op.EQ, value=True),), "abc", id="a truth value"),
    pytest.param((Filter("meta.name", Op.STARTS, "w-B"),), "b", id="a beginning, ignoring case"),
    pytest.param((Filter("meta.name", Op.ENDS, "-c"),), "c", id="an end"),
    pytest.param((Filter("department", Op.CONTAINS, "SEAR"),), "ab", id="a part, ignoring case"),
    pytest.param((Filter("department", Op.NOT_CONTAINS, "sear"),), "cd", id="without a part, empty ones included"),
    pytest.param((Filter("department", Op.CONTAINS, "%"),), "", id="a percent sign is no wildcard"),
    pytest.param((Filter("meta.name", Op.CONTAINS, "_"),), "", id="an underscore is no wildcard"),
    pytest.param((Filter("spec.compute.gpu_devices_request", Op.GE, 2),), "c", id="a nested number"),
    pytest.param(
        (Filter("spec.compute.gpu_devices_request", Op.NE, 2),), "abd", id="a nested number that may be missing"
    ),
    pytest.param((Filter("meta.labels.team/x.y", Op.EQ, "a"),), "b", id="a label whose key has dots"),
    pytest.param((Filter("node_pools", Op.CONTAINS, "gold"),), "c", id="a member of a list"),
    pytest.param((Filter("node_pools", Op.CONTAINS, "gol"),), "", id="not a part of a member"),
    pytest.param((Filter("phase", Op.EQ, "Running"), Filter("priority", Op.GE, 90)), "b", id="all must hold"),
]


@pytest_asyncio.fixture
async def four(store: Store) -> Store:
    """A store with the workloads w-a, w-b, w-c and w-d."""
    a = a_workload("w-a", department="research")
    b = a_workload("w-b", "speech", department="research", phase=Phase.RUNNING, priority=90)
    b = replace(b, meta=replace(b.meta, labels={"team/x.y": "a"}))
    c = a_workload("w-c", priority=150, node_pools=("default", "gold"), phase=Phase.PENDING)
    c = replace(c, spec=WorkloadSpec(compute=Compute(gpu_devices_request=2)))
    for item in (a, b, c, a_workload("w-d", phase=Phase.RUNNING, has_master=False)):
        await store.create(item)
    return store


@pytest.mark.asyncio
@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_filters(four: Store, filters: tuple[Filter, ...], expected: str) -> None:
    page = await four.list(Workload, Query(filters=filters))
    assert [w.name[-1] for w in page.items] == list(expected)
    assert page.total == len(expected)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(Query(), "abcd", id="oldest first when nothing is said"),
        pytest.param(Query(descending=True), "dcba", id="newest first"),
        pytest.param(Query(sort_by="meta.name", descending=True), "dcba", id="by name"),
        pytest.param(Query(sort_by="priority"), "adbc", id="by a number with a default"),
        pytest.param(
            Query(sort_by="spec.compute.gpu_devices_request", descending=True, limit=1), "c", id="missing last"
        ),
        pytest.param(Query(project="vision"), "acd", id="of one project"),
        pytest.param(Query(search="W-B"), "b", id="by part of the name"),
        pytest.param(Query(limit=2), "ab", id="the first two"),
        pytest.param(Query(offset=3), "d", id="after the third"),
        pytest.param(Query(offset=1, limit=2), "bc", id="the middle"),
        pytest.param(Query(offset=9, limit=2), "", id="beyond the end"),
        pytest.param(Query(limit=0), "", id="none"),
    ],
)
async def test_order_and_pages(four: Store, query: Query, expected: str) -> None:
    page = await four.list(Workload, query)
    found = sorted(w.name[-1] for w in page.items) if query.sort_by == "priority" else [w.name[-1] for w in page.items]
    assert found == (sorted(expected) if query.sort_by == "priority" else list(expected))
    assert page.total == {"vision": 3, None: 4}[query.project] if not query.search else page.total == 1
    assert page.version >= max(item.meta.version for item in (await four.list(Workload)).items)


@pytest.mark.asyncio
async def test_pages_neither_overlap_nor_miss_where_the_sorted_value_is_equal(store: Store) -> None:
    for number in range(20):
        await store.create(a_workload(f"w-{number}", department="same"))
    names: list[str] = []
    for offset in range(0, 20, 7):
        page = await store.list(Workload, Query(sort_by="department", offset=offset, limit=7))
        names += [w.name for w in page.items]
    assert sorted(names) == sorted(f"w-{number}" for number in range(20))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "query",
    [
        pytest.param(Query(filters=(Filter("fase", Op.EQ, "x"),)), id="unknown field"),
        pytest.param(Query(filters=(Filter("spec.compute.gpus", Op.EQ, 1),)), id="unknown nested field"),
        pytest.param(Query(filters=(Filter("phase.deeper", Op.EQ, "x"),)), id="below a plain value"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, "many"),)), id="text for a number"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, float("nan")),)), id="not a number"),
        pytest.param(Query(filters=(Filter("priority", Op.GE, 10**30),)), id="a number beyond all numbers"),
        pytest.param(Query(filters=(Filter("has_master", Op.EQ, "perhaps"),)), id="neither true nor false"),
        pytest.param(Query(filters=(Filter("node_pools", Op.EQ, "x"),)), id="a list is not equal to a value"),
        pytest.param(Query(filters=(Filter('meta.labels.a"b', Op.EQ, "x"),)), id="a quote in a key"),
        pytest.param(Query(sort_by="nothing"), id="sort by an unknown field"),
        pytest.param(Query(offset=-1), id="a negative offset"),
        pytest.param(Query(limit=-1), id="a negative limit"),
    ],
)
async def test_a_wrong_query_is_refused(store: Store, query: Query) -> None:
    with pytest.raises(InvalidRequest):
        await store.list(Workload, query)


@pytest.mark.asyncio
async def test_history_written_at_the_same_moment_keeps_its_order(store: Store) -> None:
    await asyncio.gather(*(store.create(HistoryRecord(meta=Meta(name=f"line-{n}", owner="w"))) for n in range(50)))
    lines = (await store.list(HistoryRecord, Query(owner="w"))).items
    assert [line.meta.name for line in lines] == [f"line-{n}" for n in range(50)]


@pytest.mark.asyncio
async def test_of_many_concurrent_updates_of_one_version_one_wins(store: Store) -> None:
    made = await store.create(a_workload("train"))

    results = await asyncio.gather(
        *(store.update(replace(made, attempt=n)) for n in range(1, 51)), return_exceptions=True
    )

    won = [result for result in results if isinstance(result, Workload)]
    assert len(won) == 1
    assert sum(isinstance(result, StaleVersion) for result in results) == 49
    assert await store.get(Workload, "train", "vision") == won[0]


@pytest.mark.asyncio
async def test_of_many_concurrent_creations_of_one_name_one_wins_and_others_are_not_harmed(store: Store) -> None:
    names = ["same", "other"] * 25
    results = await asyncio.gather(*(store.create(a_workload(name)) for name in names), return_exceptions=True)
    assert sum(isinstance(result, Workload) for result in results) == 2
    assert sum(isinstance(result, AlreadyExists) for result in results) == 48
    assert (await store.list(Workload)).total == 2


@pytest.mark.asyncio
async def test_no_increment_is_lost_when_everybody_retries(store: Store) -> None:
    made = await store.create(a_workload("counter"))

    async def increment() -> None:
        while True:
            now = await store.get_by_uid(Workload, made.meta.uid)
            try:
                await store.update(replace(now, attempt=now.attempt + 1))
            except StaleVersion:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(20)))
    assert (await store.get_by_uid(Workload, made.meta.uid)).attempt == 20


@pytest.mark.asyncio
async def test_versions_grow_with_every_change_and_never_with_a_refused_one(store: Store, database: Database) -> None:
    needs_database(database, "versions are the server's")
    made = await store.create(a_workload("train"))
    assert (made.meta.version, await store.version()) == (1, 1)
    with pytest.raises(AlreadyExists):
        await store.create(a_workload("train"))
    assert await store.version() == 1
    assert (await store.create(Department(meta=Meta(name="d")))).meta.version == 2
    assert (await store.delete(Workload, made.meta.uid)).meta.version == 3
    assert await store.version() == 3


@pytest.mark.asyncio
async def test_a_watch_tells_every_change_once_and_in_order(store: Store) -> None:
    made = await store.create(a_workload("one"))
    page = await store.list(Workload)
    async with watching(store, page.version) as seen:
        await store.create(Department(meta=Meta(name="another-kind")))
        newer = await store.update(replace(made, phase=Phase.PENDING))
        await store.create(a_workload("two"))
        await store.delete(Workload, newer.meta.uid)

        told = [await within(5, seen.get()) for _ in range(3)]

    assert [(change, name) for change, name, _ in told] == [
        (ChangeType.MODIFIED, "one"),
        (ChangeType.ADDED, "two"),
        (ChangeType.DELETED, "one"),
    ]
    assert page.version < told[0][2] < told[1][2] < told[2][2]
    assert seen.empty()


@pytest.mark.asyncio
async def test_a_watch_resumes_where_it_stopped(store: Store) -> None:
    made = [await store.create(a_workload(f"w-{number}")) for number in range(5)]
    async with watching(store, made[1].meta.version) as seen:
        told = [await within(5, seen.get()) for _ in range(3)]
        made.append(await store.create(a_workload("later")))
        told.append(await within(5, seen.get()))
    assert [(name, version) for _, name, version in told] == [(w.name, w.meta.version) for w in made[2:]]


@pytest.mark.asyncio
async def test_a_watch_that_begins_while_others_write_misses_nothing(store: Store) -> None:
    async def write() -> None:
        for number in range(200):
            await store.create(a_workload(f"w-{number}"))

    before = await store.version()
    writing = asyncio.create_task(write())
    async with watching(store, before) as seen:
        told = [await within(10, seen.get()) for _ in range(200)]
        await writing
    assert [name for _, name, _ in told] == [f"w-{number}" for number in range(200)]
    assert [version for _, _, version in told] == sorted({version for _, _, version in told})


@pytest.mark.asyncio
async def test_a_slow_watch_misses_nothing(store: Store, database: Database) -> None:
    watch = store.watch(Workload, await store.version())
    await store.create(a_workload("first"))
    told = [(await anext(watch)).object.name]
    names = [f"w-{number}" for number in range(900 if database.kubeconfig is None else 90)]
    await asyncio.gather(*(store.create(a_workload(name)) for name in names))
    told += [(await anext(watch)).object.name for _ in names]
    assert told[0] == "first"
    assert sorted(told[1:]) == sorted(names)


@pytest.mark.asyncio
@pytest.mark.parametrize("from_version", [0, 400, 10_000], ids=["the beginning", "no longer kept", "the future"])
async def test_a_watch_of_a_version_that_is_not_known_says_so(database: Database, from_version: int) -> None:
    async with database.open(log_kept=100) as store:
        for number in range(600 if database.kubeconfig is None else 150):
            await store.create(Department(meta=Meta(name=f"d-{number}")))
        with pytest.raises(WatchExpired, match="list again"):
            await anext(store.watch(Workload, from_version))


@pytest.mark.asyncio
async def test_a_watch_of_a_quiet_kind_does_not_grow_old(database: Database) -> None:
    async with database.open(log_kept=100) as store, watching(store, await store.version()) as seen:
        await store.create(a_workload("first"))
        await within(5, seen.get())
        for number in range(600 if database.kubeconfig is None else 150):
            await store.create(Department(meta=Meta(name=f"d-{number}")))
        await store.create(a_workload("second"))
        assert (await within(5, seen.get()))[1] == "second"


@pytest.mark.asyncio
async def test_a_set_of_changes_is_made_whole_or_not_at_all(store: LocalStore, database: Database) -> None:
    needs_database(database, "there are no transactions")
    from runai_core.backends.local.writes import Create, Delete, Update

    made = await store.create(a_workload("one"))
    with pytest.raises(AlreadyExists):
        await store.transact([Create(a_workload("two")), Update(replace(made, attempt=9)), Create(a_workload("one"))])
    assert [w.attempt for w in (await store.list(Workload)).items] == [0]
    assert await store.version() == 1

    changed = await store.transact([Create(a_workload("two")), Delete(Workload, made.meta.uid)])
    assert [item.meta.version for item in changed] == [2, 3]
    assert [w.name for w in (await store.list(Workload)).items] == ["two"]


@pytest.mark.asyncio
async def test_what_was_answered_is_there_after_a_restart(database: Database) -> None:
    if database.url == "sqlite://":
        pytest.skip("a database in memory ends with its process")
    needs_database(database, "a watch cannot be resumed after a restart")
    async with database.open() as store:
        made = await store.create(a_workload("train"))
        await store.update(replace(made, phase=Phase.RUNNING))
    async with database.open() as store:
        found = await store.get(Workload, "train", "vision")
        assert (found.meta.uid, found.phase, found.meta.version) == (made.meta.uid, Phase.RUNNING, 2)
        async with watching(store, 1) as seen:
            assert await within(5, seen.get()) == (ChangeType.MODIFIED, "train", 2)
        assert (await store.create(a_workload("next"))).meta.version == 3


@pytest.mark.asyncio
async def test_watches_end_and_calls_are_refused_when_the_store_is_closed(database: Database) -> None:
    async with database.open() as store:
        watch = store.watch(Workload, await store.version())
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0.05)
    assert await within(5, waiting) is None
    with pytest.raises(RunaiError, match="closed"):
        await store.get(Workload, "x", "y")


@pytest.mark.asyncio
async def test_a_caller_that_reads_without_end_lets_others_have_their_turn(store: Store) -> None:
    made = await store.create(a_workload("train"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    for _ in range(20):
        await store.get_by_uid(Workload, made.meta.uid)
        await store.get(Workload, "train", "vision")
    other.cancel()
    assert turns >= 20


@pytest.mark.asyncio
async def test_two_processes_on_one_server_see_each_others_changes(database: Database) -> None:
    if not database.url.startswith("postgresql"):
        pytest.skip("only a database server is shared")
    async with database.open() as one, database.open() as two, watching(one, 0) as seen:
        made = await two.create(a_workload("theirs"))
        assert await within(5, seen.get()) == (ChangeType.ADDED, "theirs", 1)
        await one.update(replace(made, attempt=1))
        with pytest.raises(StaleVersion):
            await two.update(replace(made, attempt=2))
        await asyncio.gather(
            *(store.create(a_workload(f"w-{n}-{k}")) for n in range(50) for k, store in enumerate((one, two)))
        )
        told = [(await within(5, seen.get()))[2] for _ in range(101)]
    assert told == list(range(2, 103))
