"""What somebody may see of a stream of changes: asked once for each place, and again as time goes on."""

from runai_core.model.organization import Action, Actor, Scope
from runai_core.ports import Clock
from runai_core.service.access import AccessService

BELIEVED = 1.0
"""Seconds for which an answer is believed: a right that is taken away ends what is seen as soon as that."""


class Sight:
    """The eyes of one actor on one stream."""

    def __init__(self, access: AccessService, clock: Clock, actor: Actor) -> None:
        self._access = access
        self._clock = clock
        self._actor = actor
        self._known: dict[tuple[str, str], bool] = {}
        self._asked_at = float("-inf")

    async def sees(self, resource: str, project: str) -> bool:
        """Return whether the actor may read such things in the project.

        Raises:
            Unauthenticated: there is no such actor any more.
        """
        now = self._clock.now()
        if not 0 <= now - self._asked_at < BELIEVED:
            self._actor = await self._access.again(self._actor)
            self._known.clear()
            self._asked_at = now
        key = (resource, project)
        if key not in self._known:
            self._known[key] = await self._access.allows(self._actor, Action.READ, resource, Scope("project", project))
        return self._known[key]
