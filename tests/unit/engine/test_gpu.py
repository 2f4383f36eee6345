"""Shared devices: which are chosen, and when a device is whole again."""

import pytest

from runai_core.engine import gpu

SIZE = 1000


@pytest.mark.parametrize(
    ("table", "whole", "count", "pack", "expected"),
    [
        pytest.param({"a": [500, 0, 0]}, (2, 2), 1, True, (("a",), True), id="packing joins a shared device first"),
        pytest.param({"a": [500, 0, 0]}, (2, 2), 1, False, (("shared-0",), True), id="spreading opens a new one first"),
        pytest.param(
            {"a": [100, 0, 0], "b": [500, 0, 0]}, (0, 0), 1, True, (("b",), True), id="packing joins the fullest"
        ),
        pytest.param(
            {"a": [100, 0, 0], "b": [500, 0, 0]}, (0, 0), 1, False, (("a",), True), id="spreading joins the emptiest"
        ),
        pytest.param({"a": [700, 0, 0]}, (0, 0), 1, True, None, id="a device without room is no choice"),
        pytest.param(
            {"a": [700, 400, 0]}, (0, 0), 1, True, (("a",), False), id="room that others are leaving is promised"
        ),
        pytest.param({"a": [500, 500, 0]}, (0, 1), 1, True, (("shared-0",), False), id="a device all leave is whole"),
        pytest.param({"a": [500, 0, 0]}, (1, 1), 2, True, (("a", "shared-0"), True), id="two devices are different"),
        pytest.param({"a": [500, 0, 0]}, (0, 0), 2, True, None, id="one device is not two"),
        pytest.param(
            {"shared-0": [900, 0, 0]}, (1, 1), 1, True, (("shared-1",), True), id="a new name is not one in use"
        ),
        pytest.param({"a": [0, 0, 500]}, (1, 0), 1, True, (("a",), False), id="a promised device is not there yet"),
    ],
)
def test_choice(table: gpu.DeviceTable, whole: tuple[int, int], count: int, pack: bool, expected: object) -> None:
    assert gpu.choose(table, SIZE, 500, count, whole, pack) == expected


def test_a_device_is_whole_again_when_its_last_pod_is_gone() -> None:
    table: gpu.DeviceTable = {}
    assert gpu.shift(table, "a", 500, 0, 0) == (-1, -1)
    assert gpu.shift(table, "a", 300, 0, 0) == (0, 0)
    assert gpu.shift(table, "a", 0, 300, 0) == (0, 0)
    assert gpu.shift(table, "a", 0, 500, 0) == (0, 1)
    assert gpu.shift(table, "a", -800, -800, 0) == (1, 0)
    assert table == {}


def test_memory_and_portions_are_exact() -> None:
    assert gpu.need(333, 0, 40_000) * 3 <= gpu.capacity(40_000)
    assert gpu.need(334, 0, 40_000) * 3 > gpu.capacity(40_000)
    assert gpu.need(0, 10_000, 40_000) * 4 == gpu.capacity(40_000)
    assert gpu.need(500, 0, 0) * 2 == gpu.capacity(0)
