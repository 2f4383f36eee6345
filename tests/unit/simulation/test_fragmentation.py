"""The placement strategy that counts fragmentation, through the engine's own doors."""

from random import Random

import pytest

from runai_core.engine.arrivals import Arrivals
from runai_core.engine.cycle import run_cycle
from runai_core.engine.futures import HORIZON, LONGEST, SEQUENCES, Futures, Key, Kind, State, take
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool, PlacementStrategy
from runai_core.model.organization import Queue
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import (
    CycleSettings,
    LabelRequirement,
    NodeEntry,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Snapshot,
    settings_of,
)

STRATEGY = CycleSettings(gpu_placement="fragmentation", cpu_placement="fragmentation")
ALL = 1


def node(name: str, gpus: int, cpu: int = 100_000, model: str = "any") -> NodeEntry:
    return NodeEntry(name=name, cpu=cpu, memory=1 << 40, gpus=gpus, labels={"model": model})


def pod(
    name: str,
    *,
    whole: int = 0,
    part: int = 0,
    cpu: int = 0,
    on: str | None = None,
    device: str = "",
    model: str = "",
) -> PodEntry:
    needs = (LabelRequirement("model", "In", (model,)),) if model else ()
    return PodEntry(
        constraints=PodConstraints(node_affinity=(needs,) if needs else ()),
        name=name,
        pod_group=name,
        request=PodRequest(cpu=cpu, gpu_devices=whole, gpu_portion=part),
        state=PodState.RUNNING if on else PodState.PENDING,
        node=on,
        gpu_groups=(device,) if device else (),
    )


def snapshot(nodes: tuple[NodeEntry, ...], *pods: PodEntry, settings: CycleSettings = STRATEGY) -> Snapshot:
    groups = tuple(PodGroup(name=entry.name, queue="all") for entry in pods)
    return Snapshot(
        taken_at=0.0, nodes=nodes, queues=(Queue(name="all"),), pod_groups=groups, pods=pods, settings=settings
    )


def places(of: Snapshot) -> dict[str, str]:
    return {bind.pod: bind.node for bind in run_cycle(of).binds}


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [
        pytest.param(
            (pod("a", part=700, on="n1", device="d"), pod("b", part=500, on="n2", device="d")),
            pod("c", part=300),
            "n1",
            id="a part goes where it fills a device",
        ),
        pytest.param(
            (pod("a", whole=1, cpu=4000, on="n1"),),
            pod("c", whole=1, cpu=4000),
            "n1",
            id="a whole GPU goes to the node that is begun",
        ),
        pytest.param(
            (pod("big-1", whole=2, on="n3"), pod("big-2", whole=2, on="n3"), pod("a", part=300, on="n1", device="d")),
            pod("c", part=300),
            "n1",
            id="a part leaves whole devices to those who need two",
        ),
    ],
)
def test_a_pod_goes_where_least_is_lost(running: tuple[PodEntry, ...], waiting: PodEntry, expected: str) -> None:
    nodes = (node("n1", 2), node("n2", 2), node("n3", 4))

    assert places(snapshot(nodes, *running, waiting)) == {waiting.name: expected}


def test_cpu_pods_stay_off_the_node_whose_gpus_need_its_cpu() -> None:
    """With equal CPU free, the node without idle GPUs has nothing to lose."""
    nodes = (node("n1", 1, cpu=8000), node("n2", 1, cpu=16_000))
    running = (pod("a", whole=1, cpu=8000, on="n2"),)

    assert places(snapshot(nodes, *running, pod("c", cpu=4000))) == {"c": "n2"}


def test_the_few_largest_nodes_are_kept_for_pods_that_need_them() -> None:
    nodes = (node("a-large", 8, cpu=128_000), *(node(f"n{number}", 8) for number in range(5)))
    small = tuple(pod(f"s{number}", whole=1, cpu=1000) for number in range(40))
    large = pod("zz-large", whole=8, cpu=120_000)

    found = places(snapshot(nodes, *small, large))

    assert found["zz-large"] == "a-large"
    assert len(found) == 41


def test_a_model_that_some_need_is_left_to_them() -> None:
    """Those who can run anywhere come first, and would fill the first node."""
    nodes = (node("a-rare", 4, model="rare"), *(node(f"n{number}", 4) for number in range(3)))
    anywhere = tuple(pod(f"any-{number:02}", whole=1) for number in range(12))
    bound = tuple(pod(f"bound-{number}", whole=1, model="rare") for number in range(4))

    found = places(snapshot(nodes, *anywhere, *bound))

    assert len(found) == 16
    assert {found[entry.name] for entry in bound} == {"a-rare"}


def test_whole_nodes_are_left_to_those_who_need_several_devices() -> None:
    """Equal sequences fill both nodes; only the empty one still has room for a request of eight."""
    futures = Futures({(0, 0, 8, MILLI, ALL): 1, (0, 0, 1, MILLI, ALL): 3}, (ALL,))
    kind: Kind = (1, False, 1, 1)

    assert futures.open_to_several((0, 1000, 1000, 8, ()), kind) == 8 * MILLI / 4
    assert futures.open_to_several((0, 1000, 1000, 7, (900,)), kind) == 0
    assert futures.open_to_several((1, 1000, 1000, 8, ()), (0, False, 1, 1)) == 0  # where none of them may run


def test_the_answer_does_not_depend_on_the_order_of_the_input() -> None:
    random = Random(5)
    nodes = tuple(node(f"n{number}", random.choice((1, 2, 8))) for number in range(12))
    pods = tuple(
        pod(f"p{number:02}", part=random.choice((200, 500, 800)), cpu=1000 * random.randint(1, 9))
        for number in range(30)
    )
    mixed = list(pods)
    random.shuffle(mixed)

    assert places(snapshot(nodes, *pods)) == places(snapshot(nodes[::-1], *mixed))


def test_a_node_pool_can_ask_for_it() -> None:
    pool = NodePool(meta=Meta(name="a100"), gpu_placement=PlacementStrategy.FRAGMENTATION)

    assert settings_of(pool).gpu_placement == "fragmentation"


def test_pods_that_come_one_by_one_are_not_foreseen() -> None:
    """The first pod's place is the same whatever comes after it."""
    nodes = (node("n1", 2), node("n2", 4))
    first = pod("p00", part=500, cpu=1000)
    futures = [[pod(f"p{n:02}", whole=1) for n in range(1, 40)], [pod(f"p{n:02}", part=500) for n in range(1, 40)]]

    chosen = []
    for others in futures:
        arrivals = Arrivals(snapshot(nodes, first, *others))
        assert arrivals.offer(0)
        chosen.append(arrivals.session.pod_node[0])

    assert chosen[0] == chosen[1]


def test_a_pod_that_does_not_fit_is_turned_away_and_takes_nothing() -> None:
    arrivals = Arrivals(snapshot((node("n1", 1),), pod("a", whole=1), pod("b", whole=1), pod("c", cpu=1)))

    assert [arrivals.offer(number) for number in range(3)] == [True, False, True]
    assert arrivals.session.idle[0][2] == 0


def naive(state: State, sequences: list[list[Key]]) -> float:
    """Offer the requests one by one, as the docstring of the strategy says."""
    _, cpu, memory, whole, parts = state
    idle = whole * MILLI + sum(parts)
    total = 0
    for requests in sequences:
        left_cpu, left_memory, devices = cpu, memory, [MILLI] * whole + list(parts)
        for need_cpu, need_memory, count, amount, _ in requests[: min(LONGEST, HORIZON * idle // MILLI + 2)]:
            roomy = sorted(free for free in devices if free >= amount)
            if need_cpu <= left_cpu and need_memory <= left_memory and len(roomy) >= count:
                left_cpu -= need_cpu
                left_memory -= need_memory
                for free in roomy[:count]:
                    devices.remove(free)
                    devices.append(free - amount)
        total += sum(devices)
    return total / len(sequences)


def test_futures_are_what_offering_one_by_one_gives() -> None:
    random = Random(11)
    for _ in range(60):
        mix: dict[Key, int] = {}
        for _ in range(random.randint(1, 12)):
            count, amount = random.choice(((1, MILLI), (2, MILLI), (8, MILLI), (1, random.randint(1, 999)), (0, 0)))
            key = (random.randint(0, 9) * 1000, random.randint(0, 9), count, amount, ALL)
            mix[key] = random.randint(1, 9)
        futures = Futures(mix, (ALL,))
        kind: Kind = (1, False, 1, 1)
        parts = tuple(sorted(random.randint(1, 999) for _ in range(random.randint(0, 3))))
        state: State = (0, random.randint(0, 40_000), random.randint(0, 40), random.randint(0, 8), parts)
        sequences = [row[0] for row in futures._sequences]

        assert len(sequences) == (SEQUENCES if any(key[2] for key in mix) else 0)
        expected = naive(state, sequences) if sequences else state[3] * MILLI + sum(parts)
        assert futures.idle_left(state, kind) == expected


def test_constraints_keep_a_request_out_of_a_nodes_future() -> None:
    futures = Futures({(0, 0, 1, MILLI, 0b10): 1}, (0b10,))
    state: State = (0, 1000, 1000, 1, ())

    assert futures.idle_left(state, (1, False, 1, 1)) == 0  # a kind of node that the mask covers
    assert Futures({(0, 0, 1, MILLI, 0b10): 1}, (0b10,)).idle_left(state, (0, False, 1, 1)) == MILLI


@pytest.mark.parametrize(
    ("whole", "parts", "devices", "amount", "expected"),
    [
        pytest.param(2, [], 1, MILLI, (1, []), id="a whole device"),
        pytest.param(2, [300, 600], 1, 500, (2, [100, 300]), id="the fullest that fits"),
        pytest.param(2, [300], 1, 500, (1, [300, 500]), id="a new one where none fits"),
        pytest.param(1, [500], 1, 500, (1, []), id="a device that is full is gone"),
        pytest.param(2, [600], 2, 500, (1, [100, 500]), id="several different devices"),
    ],
)
def test_taking_devices(
    whole: int, parts: list[int], devices: int, amount: int, expected: tuple[int, list[int]]
) -> None:
    left = take(whole, parts, devices, amount)

    assert (left, parts) == expected
