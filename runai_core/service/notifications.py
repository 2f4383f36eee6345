"""Notifications: channels and subscriptions as use cases, and the loop of the leader that makes notices and sends them.

A notice is made from a record of history, under a name that says which record
and which channel: after a crash the same records give the same names, and none
is made twice. Sending is at least once: a crash between the receiver's answer
and our note of it sends again, with the same delivery id.
"""

import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from runai_core.model.errors import Conflict, FieldError, Forbidden, InvalidRequest, NotFound, RunaiError
from runai_core.model.identity import TenantSettings
from runai_core.model.meta import Meta
from runai_core.model.notices import NOTICE_TYPES, ChannelType, Notice, NotificationChannel, Subscription
from runai_core.model.organization import Action, Actor, Scope
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.secrets import Vault
from runai_core.service.senders import SENDERS, Sender, Undeliverable

log = logging.getLogger(__name__)

RESOURCE = "notifications"

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
ADDRESS = re.compile(r"[^@\s<>,;:\"\\]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
AUTHENTICATION = ("auth_none", "auth_login", "auth_plain")

MEMBERS: Mapping[ChannelType, tuple[str, ...]] = {
    ChannelType.WEBHOOK: ("url", "secret"),
    ChannelType.EMAIL: (
        "smtpHost",
        "smtpPort",
        "smtpTlsEnabled",
        "authType",
        "username",
        "password",
        "from",
        "fromDisplayName",
        "recipients",
        "directNotifications",
        "useAttachments",
        "subject",
    ),
}
"""Members of a channel's configuration; the API's are those of mail."""

SECRETS: Mapping[ChannelType, str] = {ChannelType.WEBHOOK: "secret", ChannelType.EMAIL: "password"}
"""The member that is sealed and never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a message that was sent to try a channel out."""

    delivered: bool
    error: str = ""


class NotificationService:
    """What can be done with channels and subscriptions. Only administrators make channels: they name hosts to call."""

    def __init__(
        self,
        backend: Backend,
        access: AccessService,
        vault: Vault,
        senders: Mapping[ChannelType, Sender] | None = None,
    ) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._vault = vault
        self.senders: Mapping[ChannelType, Sender] = senders or {kind: made() for kind, made in SENDERS.items()}

    async def settings(self) -> TenantSettings:
        """Return what the tenant says of notifications now."""
        return await self._access.settings.read()

    async def require_on(self, channel: NotificationChannel) -> None:
        """Raise Conflict while administrators have turned such notifications off."""
        now = await self.settings()
        if not now.notifications or (channel.type is ChannelType.EMAIL and not now.email_notifications):
            raise Conflict("notifications are turned off: PATCH /api/v1/notification-state turns them on")

    # -- channels

    async def channels(self, actor: Actor) -> Sequence[NotificationChannel]:
        """Return all channels, by name."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        return (await self._store.list(NotificationChannel, Query(sort_by="meta.name"))).items

    async def channel(self, actor: Actor, name: str) -> NotificationChannel:
        """Return the channel. Raise NotFound."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        return await self._store.get(NotificationChannel, name)

    async def create_channel(
        self, actor: Actor, name: str, kind: str, config: Mapping[str, Any]
    ) -> NotificationChannel:
        """Create a channel; its secret is sealed.

        Raises:
            InvalidRequest: a member is wrong. AlreadyExists: the name is taken.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        if not NAME.fullmatch(name):
            message = "must be 1 to 63 characters: lower-case letters, digits and '-'"
            raise InvalidRequest.of(FieldError("name", message, name[:80]))
        return await self._store.create(self._made(Meta(name=name, created_by=actor.name), kind, config))

    async def update_channel(
        self, actor: Actor, name: str, kind: str, config: Mapping[str, Any]
    ) -> NotificationChannel:
        """Change a channel; a secret that is left out stays as it is."""
        await self._access.require(actor, Action.UPDATE, RESOURCE)
        old = await self._store.get(NotificationChannel, name)
        made = self._made(replace(old.meta, updated_by=actor.name), kind, config)
        kept = old.sealed if not config.get(SECRETS[made.type]) and made.type is old.type else made.sealed
        return await self._store.update(replace(made, sealed=kept))

    async def delete_channel(self, actor: Actor, name: str) -> NotificationChannel:
        """Delete a channel; what is on its way to it fails."""
        await self._access.require(actor, Action.DELETE, RESOURCE)
        found = await self._store.get(NotificationChannel, name)
        return await self._store.delete(NotificationChannel, found.meta.uid)

    async def try_channel(self, actor: Actor, kind: str, config: Mapping[str, Any]) -> Trial:
        """Send one message as a channel of this configuration would, and say what became of it."""
        await self._access.require(actor, Action.CREATE, RESOURCE)
        made = self._made(Meta(name="trial"), kind, config)
        notice = Notice(
            meta=Meta(name="trial", uid="trial"),
            channel="trial",
            type="Trial",
            body={"project": "none", "workload": "none", "message": f"{actor.name} tries this channel out"},
        )
        try:
            await self.senders[made.type].send(made, self.secret(made), notice, self._clock.now())
        except Undeliverable as error:
            return Trial(delivered=False, error=str(error))
        return Trial(delivered=True)

    def secret(self, channel: NotificationChannel) -> str:
        """Return what signs or authenticates the channel's messages; raise Unavailable where it cannot be opened."""
        if not channel.sealed:
            return ""
        return str(self._vault.open(_owner(channel.name), channel.sealed)["secret"])

    def _made(self, meta: Meta, kind: str, config: Mapping[str, Any]) -> NotificationChannel:
        if kind not in tuple(ChannelType):
            message = f"must be one of {', '.join(ChannelType)}; Slack takes webhooks"
            raise InvalidRequest.of(FieldError("type", message, kind[:80]))
        checked = ChannelType(kind)
        if errors := check_config(checked, config):
            raise InvalidRequest.of(*errors)
        member = SECRETS[checked]
        secret = config.get(member)
        sealed = self._vault.seal(_owner(meta.name), {"secret": secret}) if secret else ""
        shown = {name: value for name, value in config.items() if name != member and value is not None}
        return NotificationChannel(meta=meta, type=checked, config=shown, sealed=sealed)

    # -- subscriptions

    async def subscriptions(self, actor: Actor) -> Sequence[Subscription]:
        """Return the actor's own subscriptions, oldest first."""
        mine = Query(filters=(Filter("subject", Op.EQ, actor.name),))
        return (await self._store.list(Subscription, mine)).items

    async def subscribe(
        self, actor: Actor, types: Sequence[str], channels: Sequence[str], projects: Sequence[str] = ()
    ) -> Subscription:
        """Have the actor told of these types through these channels.

        Raises:
            InvalidRequest: an unknown type or channel. Forbidden: workloads of a project may not be seen.
        """
        await self._check(actor, types, channels, projects)
        name = f"{actor.name}-{self._clock.now():.6f}"
        made = Subscription(
            meta=Meta(name=name, created_by=actor.name),
            subject=actor.name,
            subject_type=actor.kind,
            types=tuple(types),
            channels=tuple(channels),
            projects=tuple(projects),
        )
        return await self._store.create(made)

    async def change_subscription(
        self, actor: Actor, uid: str, types: Sequence[str], channels: Sequence[str], projects: Sequence[str] = ()
    ) -> Subscription:
        """Change one's own subscription."""
        found = await self._own(actor, uid)
        await self._check(actor, types, channels, projects)
        changed = replace(found, types=tuple(types), channels=tuple(channels), projects=tuple(projects))
        return await self._store.update(changed)

    async def unsubscribe(self, actor: Actor, uid: str) -> Subscription:
        """End one's own subscription."""
        found = await self._own(actor, uid)
        return await self._store.delete(Subscription, found.meta.uid)

    async def _own(self, actor: Actor, uid: str) -> Subscription:
        with contextlib.suppress(NotFound):
            found = await self._store.get_by_uid(Subscription, uid)
            if found.subject == actor.name and found.meta.deleted_at is None:
                return found
        raise NotFound(f"you have no subscription with the id {uid[:80]}")

    async def _check(
        self, actor: Actor, types: Sequence[str], channels: Sequence[str], projects: Sequence[str]
    ) -> None:
        errors = [
            FieldError(f"events.types.{index}", f"must be one of {', '.join(NOTICE_TYPES)}", name[:80])
            for index, name in enumerate(types)
            if name not in NOTICE_TYPES
        ]
        known = {item.name for item in (await self._store.list(NotificationChannel, Query())).items}
        has = ", ".join(sorted(known)) or "none"
        errors += [
            FieldError(f"channels.{index}", f"there is no such channel; there are: {has}", name[:80])
            for index, name in enumerate(channels)
            if name not in known
        ]
        if not types:
            errors.append(FieldError("events", "must name at least one type"))
        if not channels:
            errors.append(FieldError("channels", "must name at least one channel"))
        if errors:
            raise InvalidRequest.of(*errors)
        for project in projects:
            await self._access.require(actor, Action.READ, "workloads", Scope("project", project))

    async def may_see(self, subscription: Subscription, project: str) -> bool:
        """Return whether the subscriber may still see workloads of the project."""
        try:
            actor = await self._access.actor(subscription.subject_type, subscription.subject)
            return await self._access.allows(actor, Action.READ, "workloads", Scope("project", project))
        except (Forbidden, RunaiError) as error:  # the account is gone, or was locked
            log.debug("%s is not told of %s: %s", subscription.subject, project, error)
            return False


def _owner(name: str) -> str:
    return f"notification-channel/{name}"


def check_config(kind: ChannelType, config: Mapping[str, Any]) -> list[FieldError]:
    """Return what is wrong with the configuration of a channel."""
    allowed = MEMBERS[kind]
    errors = [
        FieldError(f"config.{name}", f"is unknown for {kind}; there are: {', '.join(allowed)}")
        for name, value in config.items()
        if name not in allowed and value is not None
    ]
    return errors + (_check_webhook(config) if kind is ChannelType.WEBHOOK else _check_mail(config))


def _check_webhook(config: Mapping[str, Any]) -> list[FieldError]:
    url = config.get("url")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        sound = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        sound = sound and parts is not None and not parts.username and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    errors = [] if sound else [FieldError("config.url", "must be an address such as https://host/path", url)]
    secret = config.get("secret")
    if secret is not None and (not isinstance(secret, str) or not 16 <= len(secret) <= 256):
        errors.append(FieldError("config.secret", "must be a text of 16 to 256 characters"))
    return errors


def _check_mail(config: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    host, port = config.get("smtpHost"), config.get("smtpPort", 587)
    if not isinstance(host, str) or not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host):
        errors.append(FieldError("config.smtpHost", "must be the name or address of a mail server", host))
    if not isinstance(port, int) or not 0 < port < 65536:
        errors.append(FieldError("config.smtpPort", "must be from 1 to 65535", port))
    if config.get("authType", "auth_none") not in AUTHENTICATION:
        errors.append(FieldError("config.authType", f"must be one of {', '.join(AUTHENTICATION)}", config["authType"]))
    if config.get("authType", "auth_none") != "auth_none" and not config.get("smtpTlsEnabled"):
        message = "must be true where a password is sent"
        errors.append(FieldError("config.smtpTlsEnabled", message, config.get("smtpTlsEnabled")))
    recipients = config.get("recipients") or ()
    addresses = [("config.from", config.get("from"))]
    addresses += [(f"config.recipients.{index}", item) for index, item in enumerate(recipients)]
    errors += [
        FieldError(where, "must be a mail address", value)
        for where, value in addresses
        if not isinstance(value, str) or not ADDRESS.fullmatch(value)
    ]
    return errors
