"""Worked examples of the division; each was checked against the engine whose arithmetic it follows."""

import pytest

from runai_core.engine.fairshare import Claim, divide

GPU = 1000


def claim(name: str, deserved: int | None, weight: float, requested: int, **more: object) -> Claim:
    quota = None if deserved is None else deserved * GPU
    limit = more.pop("limit", None)
    return Claim(
        name=name,
        deserved=quota,
        limit=None if limit is None else int(limit) * GPU,  # type: ignore[call-overload]
        weight=weight,
        priority=int(more.pop("priority", 100)),  # type: ignore[call-overload]
        requested=requested * GPU,
        **more,  # type: ignore[arg-type]
    )


CASES = {
    "the surplus goes by weight, round after round": (
        20,
        [claim("a", 4, 2, 30), claim("b", 2, 1, 3), claim("c", 0, 1, 30)],
        {"a": 13, "b": 3, "c": 4},
    ),
    "a lower priority gets its quota only while a higher one wants more": (
        16,
        [
            claim("a", 4, 2, 12),
            claim("b", 2, 1, 12),
            claim("c", 0, 1, 3),
            claim("d", 2, 1, 9, priority=50, limit=3),
        ],
        {"a": 8, "b": 4, "c": 2, "d": 2},
    ),
    "the last unit goes to the oldest": (
        10,
        [
            claim("young", 0, 1, 10, created_at=3.0),
            claim("old", 0, 1, 10, created_at=1.0),
            claim("middle", 0, 1, 10, created_at=2.0),
        ],
        {"old": 4, "middle": 3, "young": 3},
    ),
    "quotas above the total are not scaled down": (
        10,
        [claim("a", 8, 1, 10), claim("b", 8, 1, 10)],
        {"a": 8, "b": 8},
    ),
    "priority decides over quota": (
        10,
        [claim("a", 0, 1, 20, priority=200), claim("b", 0, 1, 10)],
        {"a": 10, "b": 0},
    ),
    "who used much gets less": (
        16,
        [claim("heavy", 0, 1, 20, usage=0.6), claim("light", 0, 1, 20, usage=0.1)],
        {"heavy": 5, "light": 11},
    ),
    "no weight, no surplus": (10, [claim("a", 2, 0, 10), claim("b", 2, 1, 10)], {"a": 2, "b": 8}),
    "nobody gets more than the request": (10, [claim("a", None, 1, 3)], {"a": 3}),
    "a limit bounds the share": (10, [claim("a", 0, 1, 10, limit=4)], {"a": 4}),
}


@pytest.mark.parametrize(("total", "claims", "expected"), CASES.values(), ids=CASES)
def test_shares(total: int, claims: list[Claim], expected: dict[str, int]) -> None:
    shares = divide(total * GPU, claims, unit=GPU)
    assert {name: amount / GPU for name, amount in shares.items()} == expected


def test_a_tree_is_divided_level_by_level() -> None:
    top = divide(24 * GPU, [claim("d1", 10, 1, 22), claim("d2", 6, 1, 9)], unit=GPU)
    inner = divide(top["d1"], [claim("p1", 6, 1, 20), claim("p2", 4, 3, 2)], unit=GPU)
    assert (top["d1"], top["d2"]) == (15 * GPU, 9 * GPU)
    assert (inner["p1"], inner["p2"]) == (13 * GPU, 2 * GPU)
