"""Devices that several pods share: what fits on them and which are chosen.

A node's shared devices are a table ``name -> [held, leaving, promised]`` in
device units: `held` is what pods on it hold now, `leaving` the part of it that
is being given back, `promised` what was promised to pods that wait for it. A
device without any of the three is not in the table: it is a whole device again.

Device units are thousandths of the device's MiB (thousandths of the device
where its memory is unknown), so that portions and memory requests are exact.
"""

from collections.abc import Iterator, Mapping

DeviceTable = dict[str, list[int]]


def capacity(device_mib: int) -> int:
    """Return the device units of one device."""
    return (device_mib or 1) * 1000


def need(portion: int, mib: int, device_mib: int) -> int:
    """Return the device units that a request takes of each device."""
    return mib * 1000 if mib else portion * (device_mib or 1)


def shift(table: DeviceTable, name: str, held: int, leaving: int, promised: int) -> tuple[int, int]:
    """Change a device's entry; return by how much whole devices free now, and free later, changed."""
    entry = table.get(name)
    if entry is None:
        entry = table[name] = [0, 0, 0]
    now, later = entry[0] > 0, entry[0] - entry[1] + entry[2] > 0
    entry[0] += held
    entry[1] += leaving
    entry[2] += promised
    now_after, later_after = entry[0] > 0, entry[0] - entry[1] + entry[2] > 0
    if not now_after and not later_after:
        del table[name]
    return now - now_after, later - later_after


def joinable(table: Mapping[str, list[int]], size: int, amount: int) -> list[tuple[int, str, bool]]:
    """Return the shared devices with room for `amount`: (units in use later, name, whether it fits now)."""
    found = []
    for name, (held, leaving, promised) in table.items():
        used = held - leaving + promised
        if used > 0 and size - used >= amount:
            # A device that is only promised is not there yet, whatever is free now.
            found.append((used, name, held > 0 and size - held >= amount))
    return found


def can_join(table: Mapping[str, list[int]], size: int, amount: int) -> bool:
    """Return whether some device that is shared already has room for `amount`, now or later."""
    for held, leaving, promised in table.values():
        used = held - leaving + promised
        if used > 0 and size - used >= amount:
            return True
    return False


def choose(
    table: Mapping[str, list[int]], size: int, amount: int, count: int, whole: tuple[int, int], pack: bool
) -> tuple[tuple[str, ...], bool] | None:
    """Choose `count` different devices with `amount` free on each.

    `whole` is the number of unshared devices free now and free later. Packing
    joins the fullest fitting device first and opens a new one last; spreading
    opens new ones first, then joins the emptiest.

    Returns:
        The devices' names and whether all of them fit now, or `None`.
    """
    fitting = sorted(joinable(table, size, amount), key=lambda item: (-item[0] if pack else item[0], item[1]))
    shared = [(name, now) for _, name, now in fitting]
    if len(shared) + whole[1] < count:
        return None
    fresh = ((name, index < whole[0]) for index, name in enumerate(_new_names(table, whole[1])))
    order = [*shared, *fresh] if pack else [*fresh, *shared]
    taken = order[:count]
    return tuple(name for name, _ in taken), all(now for _, now in taken)


def _new_names(table: Mapping[str, list[int]], count: int) -> Iterator[str]:
    """Yield names that no device of the node has: the smallest free numbers."""
    number = 0
    while count > 0:
        name = f"shared-{number}"
        if name not in table:
            yield name
            count -= 1
        number += 1
