"""A picture of the GPUs in use over time, one panel for each policy; needs matplotlib."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from runai_core.model.errors import Unsupported
from runai_core.simulation.measures import Replayed

DAY = 86400.0


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        Unsupported: matplotlib is not installed; the message says how to get it.
    """
    if find_spec("matplotlib") is None:
        raise Unsupported("--plot needs matplotlib, which is not installed: run `pip install 'runai-core[plot]'`")


def draw_use(replayed: Sequence[Replayed], file: Path) -> None:
    """Write a PNG file with the GPUs that each queue has over time."""
    # Imported here: it is an optional extra, and takes long to load.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2 * len(replayed)), layout="constrained")
    panels = figure.subplots(len(replayed), 1, sharex=True, squeeze=False)
    for panel, item in zip(panels[:, 0], replayed, strict=True):
        start = item.use[0][0]
        days = [(moment - start) / DAY for moment, _ in item.use]
        rows = [[has[number] for _, has in item.use] for number in range(len(item.queues))]
        panel.stackplot(days, rows, labels=item.queues, step="post", linewidth=0)
        panel.set_title(item.policy)
        panel.set_ylabel("GPUs in use")
    panels[-1, 0].set_xlabel("days")
    panels[0, 0].legend(loc="upper right", fontsize="small")
    partial = file.with_name(f".{file.name}.partial")
    try:
        figure.savefig(partial, format="png", dpi=110)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
