"""External rows as the store has them: read like other workloads, written through the frameworks' objects."""

from collections.abc import Callable, Iterable

from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.frameworks import KubernetesFrameworks
from runai_core.model.workload import Phase, Pod, Workload
from runai_core.ports import ChangeType


class DerivedWorkloads:
    """What `KubernetesStore` asks for (`copies.Derived`)."""

    def __init__(self, rows: ExternalRows, frameworks: KubernetesFrameworks) -> None:
        self._rows = rows
        self._frameworks = frameworks

    def rows(self) -> Iterable[Workload]:
        """Return all rows."""
        return self._rows.rows()

    def get(self, uid: str) -> Workload | None:
        """Return one row."""
        return self._rows.get(uid)

    def find(self, name: str, project: str) -> Workload | None:
        """Return the row of this name."""
        return self._rows.find(name, project)

    def pods(self) -> Iterable[Pod]:
        """Return the pods of all rows."""
        return self._rows.pods()

    def on_change(self, callback: Callable[[ChangeType, Workload], None]) -> None:
        """Have somebody told of every change of a row."""
        self._rows.on_change(callback)

    def members(self, uid: str) -> list[Pod]:
        """Return the pods of one row."""
        return self._rows.members(uid)

    def on_pods(self, callback: Callable[[str], None]) -> None:
        """Have somebody told when the pods of a row may have changed."""
        self._rows.on_pods(callback)

    async def create(self, workload: Workload) -> Workload:
        """Create the framework's object."""
        return await self._frameworks.submit(workload)

    async def update(self, workload: Workload) -> Workload:
        """Change nothing: what a row says is read off the cluster; objects are acted on through `Frameworks`."""
        return self._rows.get(workload.meta.uid) or workload

    async def delete(self, workload: Workload) -> None:
        """Make sure that the object is being deleted; the row goes when it is gone."""
        if workload.phase not in (Phase.DELETING, Phase.TERMINATING):
            await self._frameworks.delete(workload)
