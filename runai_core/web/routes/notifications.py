"""Channels of notification, the types there are, and one's own subscriptions."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from runai_core.model.notices import CATEGORY, NOTICE_TYPES, NotificationChannel, Subscription
from runai_core.web.answers.notifications import (
    ChannelItem,
    ChannelName,
    NoticeType,
    SubscriptionEvents,
    SubscriptionItem,
    TrialAnswer,
)
from runai_core.web.context import Door, Who
from runai_core.web.schemas import Body, Name, Names

router = APIRouter(prefix="/api/v1", tags=["notifications"])

Config = Annotated[dict[str, Any], Field(description="url and secret of a webhook; smtpHost and such of mail.")]


class ChannelFields(Body):
    """A channel without its name."""

    type: Annotated[str, Field(max_length=32, description="email or webhook (ours).")] = "email"
    config: Config


class ChannelCreate(ChannelFields):
    """A channel to create."""

    name: Annotated[Name | None, Field(description="The type when left out.")] = None


class ChannelPatch(Body):
    """What changes of a channel; members of the configuration that are left out stay."""

    type: Annotated[str | None, Field(max_length=32)] = None
    config: Config | None = None


class EventsFields(Body):
    """Types of one category."""

    category: Annotated[str, Field(max_length=64)] = CATEGORY
    types: Names


class SubscriptionFields(Body):
    """What to be told, and where."""

    events: Annotated[list[EventsFields], Field(max_length=20)]
    channels: Names
    projects: Annotated[
        tuple[Name, ...], Field(max_length=100, description="Of all workloads there; one's own when left out (ours).")
    ] = ()

    @property
    def types(self) -> list[str]:
        """All types."""
        return [name for item in self.events for name in item.types]


@router.get("/notification-channels", summary="List channels")
async def list_channels(door: Door, actor: Who) -> tuple[ChannelName, ...]:
    """Their names and types."""
    return tuple(ChannelName(name=item.name, type=item.type) for item in await door.notifications.channels(actor))


@router.post("/notification-channels", status_code=201, summary="Create a channel")
async def create_channel(door: Door, actor: Who, body: ChannelCreate) -> ChannelItem:
    """A mail server, or a webhook that is signed with its secret."""
    made = await door.notifications.create_channel(actor, body.name or body.type, body.type, body.config)
    return _channel(made)


@router.get("/notification-channels/{name}", summary="Get a channel")
async def get_channel(name: str, door: Door, actor: Who) -> ChannelItem:
    """Its secret is not shown."""
    return _channel(await door.notifications.channel(actor, name))


@router.put("/notification-channels/{name}", summary="Replace a channel")
async def put_channel(name: str, door: Door, actor: Who, body: ChannelFields) -> ChannelItem:
    """A secret that is left out stays."""
    return _channel(await door.notifications.update_channel(actor, name, body.type, body.config))


@router.patch("/notification-channels/{name}", summary="Change a channel")
async def patch_channel(name: str, door: Door, actor: Who, body: ChannelPatch) -> ChannelItem:
    """What is left out stays; null takes a member away."""
    old = await door.notifications.channel(actor, name)
    changed = {key: value for key, value in {**old.config, **(body.config or {})}.items() if value is not None}
    return _channel(await door.notifications.update_channel(actor, name, body.type or old.type, changed))


@router.delete("/notification-channels/{name}", summary="Delete a channel")
async def delete_channel(name: str, door: Door, actor: Who) -> ChannelItem:
    """What is on its way to it fails."""
    return _channel(await door.notifications.delete_channel(actor, name))


@router.post("/validate-notification-channel", summary="Try a channel out")
async def try_channel(door: Door, actor: Who, body: ChannelFields) -> TrialAnswer:
    """Sends one message and says what became of it."""
    trial = await door.notifications.try_channel(actor, body.type, body.config)
    return TrialAnswer(delivered=trial.delivered, error=trial.error)


@router.get("/notification-types", summary="List types of notification")
async def list_types(door: Door, actor: Who) -> tuple[NoticeType, ...]:  # noqa: ARG001  signed in is enough
    """What can be subscribed to."""
    return tuple(NoticeType(category=CATEGORY, type=name, description=text) for name, (text, _) in NOTICE_TYPES.items())


@router.get("/subscriptions", summary="List one's subscriptions")
async def list_subscriptions(door: Door, actor: Who) -> tuple[SubscriptionItem, ...]:
    """One's own only."""
    return tuple(map(_subscription, await door.notifications.subscriptions(actor)))


@router.post("/subscriptions", status_code=201, summary="Subscribe")
async def subscribe(door: Door, actor: Who, body: SubscriptionFields) -> SubscriptionItem:
    """To types of notification, through channels."""
    made = await door.notifications.subscribe(actor, body.types, body.channels, body.projects)
    return _subscription(made)


@router.put("/subscriptions/{subscription_id}", summary="Change a subscription")
async def change_subscription(
    subscription_id: str, door: Door, actor: Who, body: SubscriptionFields
) -> SubscriptionItem:
    """One's own."""
    changed = await door.notifications.change_subscription(
        actor, subscription_id, body.types, body.channels, body.projects
    )
    return _subscription(changed)


@router.delete("/subscriptions/{subscription_id}", summary="End a subscription")
async def unsubscribe(subscription_id: str, door: Door, actor: Who) -> SubscriptionItem:
    """One's own."""
    return _subscription(await door.notifications.unsubscribe(actor, subscription_id))


def _channel(channel: NotificationChannel) -> ChannelItem:
    return ChannelItem(name=channel.name, type=channel.type, config=dict(channel.config))


def _subscription(item: Subscription) -> SubscriptionItem:
    return SubscriptionItem(
        id=item.meta.uid,
        events=(SubscriptionEvents(category=CATEGORY, types=item.types),),
        channels=item.channels,
        projects=item.projects,
    )
