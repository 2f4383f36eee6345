"""All kinds that count as workloads: those that plug-ins bring, and those that administrators taught since."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from runai_core.plugins.types import WorkloadKind

Key = tuple[str, str]
"""``(api_version, kind)``, or ``(group, kind)`` whatever the version."""


class KnownKinds(Mapping[Key, WorkloadKind]):
    """Kinds by ``(api_version, kind)``; `teach` changes which there are, for everybody who holds it."""

    def __init__(self, brought: Iterable[WorkloadKind] = ()) -> None:
        self.brought: Mapping[Key, WorkloadKind] = {kind.key: kind for kind in brought}
        self.by_group: Mapping[Key, WorkloadKind] = {}
        self._all: Mapping[Key, WorkloadKind] = {}
        self._listeners: list[Callable[[], None]] = []
        self.teach(())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have somebody told whenever other kinds are taught."""
        self._listeners.append(listener)

    def teach(self, kinds: Iterable[WorkloadKind]) -> None:
        """Let these be all that is known besides what plug-ins bring; one of a plug-in's key takes its place."""
        self._all = {**self.brought, **{kind.key: kind for kind in kinds}}
        self.by_group = {(version.rpartition("/")[0], name): kind for (version, name), kind in self._all.items()}
        for listener in self._listeners:
            listener()

    def __getitem__(self, key: Key) -> WorkloadKind:
        """Return the kind; raise KeyError for one that is not known."""
        return self._all[key]

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys, plug-ins' first."""
        return iter(self._all)

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._all)
