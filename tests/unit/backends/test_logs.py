"""Log files: rotation, and every way to read them."""

import asyncio
import time
from pathlib import Path

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.logfile import LogFile, stamp
from runai_core.backends.local.logs import read_log
from runai_core.ports import LogOptions
from tests.waiting import soon


async def shown(path: Path, **options: object) -> list[str]:
    pieces = read_log(path, LogOptions(**options), has_ended=lambda: True, clock=SystemClock())  # type: ignore[arg-type]
    return b"".join([piece async for piece in pieces]).decode().splitlines()


def a_log(path: Path, lines: int, max_bytes: int = 10_000_000) -> Path:
    log = LogFile(str(path), max_bytes)
    for number in range(lines):
        log.append(f"line {number}\n".encode())
    log.close()
    return path


@pytest.mark.asyncio
async def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    for piece in (b"one\ntw", b"o\n", b"\n", b"no end"):
        log.append(piece)
    log.close()
    assert await shown(tmp_path / "log") == ["one", "two", "", "no end"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"tail": 2}, ["line 8", "line 9"], id="the last two"),
        pytest.param({"tail": 0}, [], id="none"),
        pytest.param({"tail": 100}, [f"line {n}" for n in range(10)], id="more than there are"),
        pytest.param({"limit_bytes": 9}, ["line 0", "li"], id="some bytes"),
        pytest.param({"since": 0.0}, [f"line {n}" for n in range(10)], id="since the beginning"),
        pytest.param({"since": 4e9}, [], id="since the future"),
    ],
)
async def test_parts_of_a_log(tmp_path: Path, options: dict[str, object], expected: list[str]) -> None:
    assert await shown(a_log(tmp_path / "log", 10), **options) == expected


@pytest.mark.asyncio
async def test_since_and_timestamps_use_the_time_at_which_lines_came(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(stamp(1_800_000_000.5 + n) + b"line %d\n" % n for n in range(5)))
    assert await shown(path, since=1_800_000_003.0) == ["line 3", "line 4"]
    assert (await shown(path, timestamps=True))[0] == "2027-01-15T08:00:00.500000Z line 0"


@pytest.mark.asyncio
async def test_a_log_never_outgrows_two_pieces_and_keeps_the_newest_lines(tmp_path: Path) -> None:
    path = a_log(tmp_path / "log", 100_000, max_bytes=200_000)

    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    lines = await shown(path)

    assert size < 2 * 200_000 + 1000
    assert lines[-1] == "line 99999"
    first = int(lines[0].split()[1])
    assert lines == [f"line {n}" for n in range(first, 100_000)]
    assert await shown(path, tail=12_000) == [f"line {n}" for n in range(88_000, 100_000)][-len(lines) :]


@pytest.mark.asyncio
async def test_a_line_without_end_is_cut_and_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 100_000)
    for _ in range(100):
        log.append(b"x" * 65536)
    log.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 3_000_000


@pytest.mark.asyncio
async def test_following_shows_what_comes_across_rotation_until_the_end(tmp_path: Path) -> None:
    log, ended, seen = LogFile(str(tmp_path / "log"), 5_000), [False], b""
    log.append(b"".join(b"line %d\n" % n for n in range(10)))

    async def follow() -> bytes:
        pieces = read_log(tmp_path / "log", LogOptions(follow=True), has_ended=lambda: ended[0], clock=SystemClock())
        return b"".join([piece async for piece in pieces])

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.15)
    for n in range(10, 500):
        log.append(b"line %d\n" % n)
        if n % 50 == 0:
            await asyncio.sleep(0.12)
    log.close()
    ended[0] = True
    seen = await soon(following)
    assert seen.decode().splitlines() == [f"line {n}" for n in range(500)]


@pytest.mark.asyncio
async def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert await shown(tmp_path / "nothing") == []
    assert await shown(tmp_path / "nothing", tail=5) == []


def test_a_million_lines_are_kept_up_with(tmp_path: Path) -> None:
    """The supervisor hands on pieces, not lines: this is what one piece costs."""
    log = LogFile(str(tmp_path / "log"))
    piece = b"".join(b"line %d\n" % n for n in range(10_000))
    before = time.process_time()
    for _ in range(100):
        log.append(piece)
    log.close()
    assert time.process_time() - before < 5
