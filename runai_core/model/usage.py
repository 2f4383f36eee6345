"""What queues used in the past, as it is stored for time-based fair share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runai_core.model.meta import WIRE, Meta

Amounts = tuple[float, float, float]
"""CPU-core-seconds, memory-byte-seconds, GPU-seconds."""

NOTHING: Amounts = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSlot:
    """What was used, and could have been, in a node pool during a part of the past; `meta.name` is unique."""

    __pydantic_config__ = WIRE
    meta: Meta
    node_pool: str
    start: float  # seconds since the epoch, UTC
    seconds: float  # length of the slot
    capacity: Amounts = NOTHING
    used: Mapping[str, Amounts] = field(default_factory=dict)  # by queue, departments among them

    @property
    def end(self) -> float:
        """When the slot ends."""
        return self.start + self.seconds
