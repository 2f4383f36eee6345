"""When keys are looked at: once for many names, by one task at a time, again after failures, and at their times."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.model.errors import Conflict, NotFound, StaleVersion, Unavailable
from runai_core.service.agenda import MOMENT, Agenda

FIRST, LONGEST = 1.0, 8.0


class Looks:
    """Notes when it is asked to look at what, and does what the test says next."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100.0)
        self.agenda: Agenda[str] = Agenda(self.clock, "thing", first=FIRST, longest=LONGEST)
        self.seen: list[tuple[float, str]] = []
        self.answers: list[Exception] = []  # of the next looks
        self.during: Callable[[str], None] = lambda _: None
        self.open = asyncio.Event()
        self.open.set()

    async def look(self, key: str) -> None:
        self.seen.append((self.clock.now() - 100, key))
        self.during(key)
        await self.open.wait()
        if self.answers:
            raise self.answers.pop(0)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.seen]

    @property
    def keys(self) -> list[str]:
        return [key for _, key in self.seen]


@asynccontextmanager
async def looking(*, workers: int = 4) -> AsyncIterator[Looks]:
    looks = Looks()
    task = asyncio.create_task(looks.agenda.run(looks.look, workers=workers))
    await looks.clock.settle()
    yield looks
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_a_key_that_is_named_often_is_looked_at_once() -> None:
    async with looking() as looks:
        for key in ("a", "b", "a", "a", "b"):
            looks.agenda.poke(key)
        await looks.clock.settle()

        assert looks.keys == ["a", "b"]


@pytest.mark.asyncio
async def test_what_was_named_before_the_start_is_looked_at_then() -> None:
    looks = Looks()
    looks.agenda.poke("a")
    looks.agenda.after("b", 2)
    task = asyncio.create_task(looks.agenda.run(looks.look, workers=1))
    await looks.clock.advance(2)
    task.cancel()

    assert looks.seen == [(0, "a"), (2, "b")]


@pytest.mark.asyncio
async def test_a_key_named_during_its_look_gets_one_more_when_that_is_over() -> None:
    async with looking() as looks:
        looks.open.clear()
        looks.agenda.poke("a")
        await looks.clock.settle()
        looks.agenda.poke("a")
        looks.agenda.poke("a")
        looks.agenda.poke("b")
        await looks.clock.settle()
        meanwhile = list(looks.keys)
        looks.open.set()
        await looks.clock.settle()

        assert meanwhile == ["a", "b"], "never two looks at one key side by side"
        assert looks.keys == ["a", "b", "a"]


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 3])
async def test_so_many_keys_are_looked_at_side_by_side(workers: int) -> None:
    async with looking(workers=workers) as looks:
        looks.open.clear()
        for key in "abcde":
            looks.agenda.poke(key)
        await looks.clock.settle()
        begun = len(looks.seen)
        looks.open.set()
        await looks.clock.settle()

        assert begun == workers
        assert looks.keys == list("abcde")


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [Unavailable("no answer"), Conflict("taken"), ValueError("a bug")], ids=repr)
async def test_after_failures_a_key_waits_longer_each_time_but_not_for_ever(failure: Exception) -> None:
    async with looking() as looks:
        looks.answers = [failure] * 6
        looks.agenda.poke("a")
        await looks.clock.advance(60)

        assert looks.times == [0, 1, 3, 7, 15, 23, 31]


@pytest.mark.asyncio
async def test_a_look_without_a_failure_ends_the_row() -> None:
    async with looking() as looks:
        looks.answers = [Unavailable("no answer")] * 3
        looks.agenda.poke("a")
        await looks.clock.advance(20)
        looks.seen.clear()
        looks.answers = [Unavailable("no answer")]
        looks.agenda.poke("a")
        await looks.clock.advance(20)

        assert looks.times == [20, 21]


@pytest.mark.asyncio
async def test_a_look_that_asks_for_another_try_itself_counts_as_a_failure() -> None:
    async with looking() as looks:
        failures: list[int] = []
        looks.during = lambda key: failures.append(looks.agenda.again(key)) if len(failures) < 3 else None
        looks.agenda.poke("a")
        await looks.clock.advance(60)

        assert failures == [1, 2, 3]
        assert looks.times == [0, 1, 3, 7]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(StaleVersion("changed"), [0, MOMENT], id="somebody else was faster: again soon"),
        pytest.param(NotFound("gone"), [0], id="it is gone: not again"),
    ],
)
async def test_what_is_no_failure_does_not_make_a_key_wait(answer: Exception, expected: list[float]) -> None:
    async with looking() as looks:
        looks.answers = [answer]
        looks.agenda.poke("a")
        await looks.clock.advance(60)

        assert looks.times == pytest.approx(expected)


@pytest.mark.asyncio
async def test_of_several_times_the_first_counts() -> None:
    async with looking() as looks:
        for when in (130, 110, 120, 110):
            looks.agenda.at("a", when)
        looks.agenda.at("b", 115)
        await looks.clock.advance(60)

        assert looks.seen == [(10, "a"), (15, "b")]


@pytest.mark.asyncio
async def test_a_look_may_ask_for_the_next_one() -> None:
    async with looking() as looks:
        looks.during = lambda key: looks.agenda.after(key, 10)
        looks.agenda.poke("a")
        await looks.clock.advance(35)

        assert looks.times == [0, 10, 20, 30]


@pytest.mark.asyncio
async def test_a_time_in_the_past_is_now() -> None:
    async with looking() as looks:
        looks.agenda.at("a", 50)
        await looks.clock.settle()

        assert looks.seen == [(0, "a")]


@pytest.mark.asyncio
async def test_of_a_forgotten_key_nothing_is_left() -> None:
    async with looking() as looks:
        looks.answers = [Unavailable("no answer")] * 2
        looks.agenda.poke("a")
        await looks.clock.advance(2)
        looks.agenda.forget("a")
        await looks.clock.advance(60)
        before = list(looks.times)
        looks.answers = [Unavailable("no answer")]
        looks.agenda.poke("a")
        await looks.clock.advance(60)

        assert before == [0, 1]
        assert looks.times == [0, 1, 62, 63], "its failures are forgotten as well"


@pytest.mark.asyncio
async def test_work_that_was_cut_off_can_begin_again() -> None:
    looks = Looks()
    looks.open.clear()
    looks.agenda.poke("a")
    first = asyncio.create_task(looks.agenda.run(looks.look, workers=1))
    await looks.clock.settle()
    looks.agenda.poke("a")  # it is wanted once more when the process stops leading
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    looks.open.set()
    second = asyncio.create_task(looks.agenda.run(looks.look, workers=1))
    await looks.clock.settle()
    second.cancel()

    assert looks.keys == ["a", "a"]
