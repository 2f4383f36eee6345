"""Time-based fair share as the service measures it: on a virtual clock, with a real store."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.backends.local.store import open_store
from runai_core.engine.rules import DEFAULT_RULES
from runai_core.model.decision import CycleResult, Outcome
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool, WindowType
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import NodeEntry, PodEntry, PodGroup, PodRequest, PodState, Snapshot, settings_of
from runai_core.model.usage import UsageSlot
from runai_core.ports import Backend, Query, Store
from runai_core.service.journal import Journal
from runai_core.service.scheduling import SchedulingService
from runai_core.service.usage import past_use, slot_seconds, window_begin
from tests.clusters import IdleCluster

GPUS, RUN, STEP, HOUR = 16, 600.0, 300.0, 3600.0
ONE_GPU = PodRequest(cpu=100, memory=100, gpu_devices=1)
SHARE = QueueResources(gpu=ResourceQuota(deserved=0, over_quota_weight=1.0))


class BusyCluster(IdleCluster):
    """Two queues that always want all GPUs, for jobs of ten minutes; `wanting` says which of them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.wanting: tuple[str, ...] = ("a",)
        self.ends: dict[str, float] = {}  # running pods
        self.served: dict[str, float] = {"a": 0.0, "b": 0.0}  # GPU-seconds
        self.results: list[CycleResult] = []
        self.seen: Snapshot | None = None
        self._number = 0

    def held(self, queue: str) -> int:
        return sum(name.startswith(queue) for name in self.ends)

    async def advance(self, seconds: float) -> None:
        for queue in self.served:
            self.served[queue] += self.held(queue) * seconds
        await self.clock.advance(seconds)
        self.ends = {name: end for name, end in self.ends.items() if end > self.clock.now()}

    async def snapshot(self, pool: NodePool) -> Snapshot:
        names = [*self.ends]
        for queue in self.wanting:
            names += [f"{queue}-{self._number + extra}" for extra in range(GPUS)]
            self._number += GPUS
        return Snapshot(
            taken_at=self.clock.now(),
            node_pool=pool.name,
            nodes=(NodeEntry(name="n", cpu=10**6, memory=10**9, gpus=GPUS, max_pods=1000),),
            queues=(Queue(name="a", resources=SHARE), Queue(name="b", resources=SHARE)),
            pod_groups=tuple(PodGroup(name=name, queue=name[0], created_at=float(name[2:])) for name in names),
            pods=tuple(
                PodEntry(
                    name=name,
                    pod_group=name,
                    request=ONE_GPU,
                    state=PodState.RUNNING if name in self.ends else PodState.PENDING,
                    node="n" if name in self.ends else None,
                )
                for name in names
            ),
            settings=settings_of(pool),
        )

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        self.results.append(result)
        for eviction in result.evictions:
            del self.ends[eviction.pod]
        self.ends |= {bind.pod: self.clock.now() + RUN for bind in result.binds}
        return {}


class World:
    """One node pool, its cluster, and a scheduling service that can be started again."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.clock, self.store, self.cluster = clock, store, BusyCluster(clock)
        self.backend = Backend(store=store, cluster=self.cluster, runtime=None, lease=None, clock=clock)  # type: ignore[arg-type]
        self.restart()

    def restart(self) -> None:
        self.service = SchedulingService(self.backend, Journal(self.backend), DEFAULT_RULES)

    async def run(self, hours: float) -> None:
        for _ in range(round(hours * HOUR / STEP)):
            await self.cluster.advance(STEP)
            await self.service.cycle()

    async def usage(self) -> dict[str, float]:
        """Return the GPU usage that the next cycle would see."""
        pool = await self.store.get(NodePool, "default")
        slots = (await self.store.list(UsageSlot, Query())).items
        return {name: amounts[2] for name, amounts in past_use(slots, pool, self.clock.now()).items()}


def a_pool(**settings: object) -> NodePool:
    changes = {"time_based_fair_share": True, "fair_share_window": 24 * HOUR, **settings}
    return replace(NodePool(meta=Meta(name="default")), **changes)  # type: ignore[arg-type]


async def in_world(folder: Path, pool: NodePool, story: Callable[[World], Awaitable[None]]) -> None:
    clock = VirtualClock(1_000_000.0)
    async with open_store(f"sqlite:///{folder / 'runai.db'}", clock, exclusive=True) as store:
        await store.create(pool)
        await story(World(store, clock))


@pytest.mark.asyncio
async def test_who_used_more_gets_less_later_and_all_are_equal_in_the_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.run(6)
        assert world.cluster.held("a") == GPUS
        world.cluster.wanting = ("a", "b")
        await world.run(1)
        assert world.cluster.held("b") > world.cluster.held("a")
        await world.run(13)
        a, b = world.cluster.served["a"], world.cluster.served["b"]
        assert abs(a - b) < 0.05 * a

    await in_world(tmp_path, a_pool(fair_share_history_weight=3.0), story)


@pytest.mark.asyncio
async def test_without_history_the_past_counts_for_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.run(6)
        world.cluster.wanting = ("a", "b")
        await world.run(2)
        assert (world.cluster.held("a"), world.cluster.held("b")) == (GPUS // 2, GPUS // 2)
        assert (await world.store.list(UsageSlot, Query())).items == ()

    await in_world(tmp_path, a_pool(time_based_fair_share=False), story)


@pytest.mark.asyncio
async def test_the_past_survives_a_restart(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.run(6)
        world.restart()
        assert (await world.usage())["a"] == pytest.approx(1.0, abs=0.02)
        world.cluster.wanting = ("a", "b")
        await world.run(1)
        assert world.cluster.held("b") > world.cluster.held("a")

    await in_world(tmp_path, a_pool(), story)


@pytest.mark.asyncio
async def test_what_no_window_reaches_is_removed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.run(6)
        slots = (await world.store.list(UsageSlot, Query())).items
        assert len(slots) <= 2 * HOUR / slot_seconds(2 * HOUR) + 2
        assert min(slot.end for slot in slots) >= world.clock.now() - 2 * HOUR - STEP

    await in_world(tmp_path, a_pool(fair_share_window=2 * HOUR), story)


@pytest.mark.asyncio
async def test_time_without_scheduling_counts_for_nobody(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.run(1)
        before = await world.usage()
        await world.cluster.advance(5 * HOUR)
        await world.run(0.1)
        assert (await world.usage())["a"] == pytest.approx(before["a"], abs=0.1)

    await in_world(tmp_path, a_pool(), story)


def a_slot(start: float, used: float, *, seconds: float = 100.0) -> UsageSlot:
    """Return a slot in which a node pool of 10 GPUs gave `used` of them to queue a."""
    return UsageSlot(
        meta=Meta(name=f"{start}"),
        node_pool="default",
        start=start,
        seconds=seconds,
        capacity=(0.0, 0.0, 10 * seconds),
        used={"a": (0.0, 0.0, used * seconds)},
    )


@pytest.mark.parametrize(
    ("settings", "now", "expected"),
    [
        pytest.param({"fair_share_window": 200.0}, 200.0, 0.5, id="the mean over the window"),
        pytest.param({"fair_share_window": 100.0}, 200.0, 0.0, id="a sliding window forgets"),
        pytest.param({"fair_share_window": 150.0}, 200.0, 1 / 3, id="half of a slot counts half"),
        pytest.param(
            {"fair_share_window": 200.0, "fair_share_half_life": 100.0},
            200.0,
            0.5**1.5 / (0.5**1.5 + 0.5**0.5),
            id="older use counts less",
        ),
        pytest.param(
            {"fair_share_window": 1000.0, "fair_share_window_type": WindowType.TUMBLING}, 200.0, 0.5, id="tumbling"
        ),
        pytest.param(
            {
                "fair_share_window": 1000.0,
                "fair_share_window_type": WindowType.TUMBLING,
                "fair_share_window_start": 100.0,
            },
            200.0,
            0.0,
            id="a tumbling window that just began",
        ),
        pytest.param({"fair_share_window": 200.0}, 1000.0, 0.0, id="all is too long ago"),
    ],
)
def test_past_use(settings: dict[str, object], now: float, expected: float) -> None:
    slots = [a_slot(0.0, 10.0), a_slot(100.0, 0.0)]
    found = past_use(slots, a_pool(**settings), now)
    assert found.get("a", (0.0, 0.0, 0.0))[2] == pytest.approx(expected)


def test_a_tumbling_window_begins_at_its_start_and_then_every_length() -> None:
    pool = a_pool(
        fair_share_window=100.0, fair_share_window_type=WindowType.TUMBLING, fair_share_window_start=1_000_030.0
    )
    assert [window_begin(pool, now) for now in (10.0, 30.0, 129.0, 130.0)] == [-70.0, 30.0, 30.0, 130.0]
