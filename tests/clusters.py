"""A cluster in which nothing happens: what a fake needs besides the part that its test is about."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from runai_core.model.nodes import Node
from runai_core.model.workload import Gang, Pod, Workload
from runai_core.ports import ClusterChange


class IdleCluster:
    """Has no nodes and no pods, and never changes; a subclass adds its `snapshot` and `apply`."""

    async def nodes(self) -> Sequence[Node]:
        """Return none."""
        return ()

    async def launch(self, workload: Workload, gang: Gang) -> None:
        """Do nothing."""

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        """Do nothing."""

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        """Return none."""
        return ()

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        """Return no place."""
        return "", 0

    async def changes(self) -> AsyncIterator[ClusterChange]:
        """Wait for ever."""
        await asyncio.Future()
        yield ClusterChange()
