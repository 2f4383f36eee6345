"""Amounts of resources in exact integers, and the parsing of quantities."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from runai_core.model.errors import FieldError, InvalidRequest

MILLI = 1000
"""Thousandths: GPUs and CPU cores are counted in them, so that sums are exact."""

MIB = 1024**2
MB = 1000**2
MAX_AMOUNT = 2**62
"""Largest amount of one resource that is accepted; sums of many still fit a signed 64-bit integer times two."""

MAX_QUANTITY = 64
"""Characters of a quantity."""

_SUFFIXES: Mapping[str, int | Decimal] = {
    "": 1,
    "m": Decimal("0.001"),
    **{suffix: 1000**power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}
_QUANTITY = re.compile(r"^([+-]?[0-9]{0,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?)(m|[kMGTPE]|[KMGTPE]i)?B?$")


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each resource, in the smallest unit that Kubernetes counts.

    GPUs are counted in thousandths so that a fraction is an integer and sums
    are exact: ``gpu=500`` is half a device.
    """

    cpu: int = 0  # millicores
    memory: int = 0  # bytes
    gpu: int = 0  # thousandths of a device
    extended: tuple[tuple[str, int], ...] = ()  # other resources by name, sorted; in units

    def __add__(self, other: "Resources") -> "Resources":
        """Return the sum, resource by resource."""
        return Resources(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.gpu + other.gpu,
            _merge(self.extended, other.extended, 1),
        )

    def __sub__(self, other: "Resources") -> "Resources":
        """Return the difference, resource by resource; it may be negative."""
        return Resources(
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.gpu - other.gpu,
            _merge(self.extended, other.extended, -1),
        )

    def fits_in(self, free: "Resources") -> bool:
        """Return whether `free` holds at least this much of every resource."""
        available = dict(free.extended)
        return (
            self.cpu <= free.cpu
            and self.memory <= free.memory
            and self.gpu <= free.gpu
            and all(amount <= available.get(name, 0) for name, amount in self.extended)
        )


def total(amounts: Iterable[Resources]) -> Resources:
    """Return the sum of all amounts."""
    result = Resources()
    for amount in amounts:
        result = result + amount
    return result


def parse_quantity(text: str | int | float, field: str = "quantity") -> Decimal:
    """Return the number that a Kubernetes quantity such as ``500m``, ``5G`` or ``2Gi`` stands for.

    Raises:
        InvalidRequest: the text is not a quantity, or is not finite.
    """
    text = str(text).strip()
    match = _QUANTITY.match(text) if len(text) <= MAX_QUANTITY else None
    refusal = FieldError(field, "must be a quantity such as 500m, 2, 1.5, 512Mi or 5G", text[:MAX_QUANTITY])
    if match is None:
        raise InvalidRequest.of(refusal)
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2] or ""]
    except InvalidOperation:  # a sign, a point or an exponent without digits
        raise InvalidRequest.of(refusal) from None


def parse_amount(text: str | int | float, field: str, *, scale: int = 1) -> int:
    """Return a non-negative quantity as an integer of 1/`scale` units, rounded up.

    Raises:
        InvalidRequest: not a quantity, negative, or larger than `MAX_AMOUNT`.
    """
    value = parse_quantity(text, field) * scale
    if value < 0:
        raise InvalidRequest.of(FieldError(field, "must not be negative", text))
    if value > MAX_AMOUNT:
        raise InvalidRequest.of(FieldError(field, f"must be at most {MAX_AMOUNT // scale}", text))
    return int(value.to_integral_value(rounding="ROUND_CEILING"))


def format_gpus(thousandths: int) -> str:
    """Return an amount of GPUs as people write it: ``2``, ``0.5``, ``1.25``."""
    return f"{thousandths / MILLI:g}"


def _merge(
    left: tuple[tuple[str, int], ...], right: tuple[tuple[str, int], ...], sign: int
) -> tuple[tuple[str, int], ...]:
    if not right:
        return left
    amounts = dict(left)
    for name, amount in right:
        amounts[name] = amounts.get(name, 0) + sign * amount
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))


def memory_charge(mib: int, device_mib: int) -> int:
    """Return the part of a device that `mib` stands for: hundredths rounded up, in thousandths."""
    return -(-100 * mib // device_mib) * 10 if device_mib else MILLI
