"""What people chose of how pages look to them: theirs, in whatever browser they sign in."""

from collections.abc import Sequence
from dataclasses import replace

from runai_core.model.errors import AlreadyExists, NotFound, StaleVersion
from runai_core.model.identity import Preferences
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor
from runai_core.ports import Store


class PreferenceService:
    """Keeps one's own preferences: nobody needs a right for them, and nobody sees another's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, actor: Actor) -> Preferences:
        """Return what the actor chose; the usual where nothing was."""
        try:
            return await self._store.get(Preferences, _name(actor))
        except NotFound:
            return Preferences(meta=Meta(name=_name(actor)))

    async def keep_columns(self, actor: Actor, columns: Sequence[str]) -> Preferences:
        """Keep a choice of columns; of two at once the later one holds."""
        while True:
            found = replace(await self.of(actor), columns=tuple(columns))
            try:
                return await (self._store.update(found) if found.meta.uid else self._store.create(found))
            except (AlreadyExists, StaleVersion):
                continue  # another page of the same person was faster: take what it kept, and change that


def _name(actor: Actor) -> str:
    return f"{actor.kind}/{actor.name}"
