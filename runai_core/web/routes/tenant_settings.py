"""What administrators set for the whole tenant: one table of settings, and whether notifications are sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, ValidationError

from runai_core.model.errors import InvalidRequest, NotFound
from runai_core.model.identity import TenantSettings
from runai_core.service.sessions import SESSION_SECONDS
from runai_core.service.users import MOST_EARLIER
from runai_core.web.answers.base import Answer
from runai_core.web.context import Door, Who
from runai_core.web.errors import field_errors
from runai_core.web.schemas import Body

router = APIRouter(prefix="/api/v1", tags=["settings"])

SECURITY = "security-settings"
NOTIFICATIONS = "notifications"

LONGEST_IDLE = SESSION_SECONDS / 60
"""Minutes: a session ends after that in any case."""


class AutoRedirect(Body):
    """Whether the sign-in page goes straight to an identity provider; `/login?local=true` does not."""

    enabled: bool
    idp_alias: Annotated[str | None, Field(max_length=253, description="The only one when left out.")] = None


class SessionTimeout(Body):
    """When a browser that nobody uses is signed out."""

    idle_timeout: Annotated[float, Field(ge=1, le=LONGEST_IDLE, description="Minutes.")]


class LogoutRedirect(Body):
    """Where a browser goes that signed out."""

    uri: Annotated[str | None, Field(max_length=2000, description="The sign-in page when left out.")] = None


class PasswordRules(Body):
    """What passwords of users must be like; what is left out is as at the start."""

    min_length: Annotated[int, Field(ge=8, le=128, description="Characters.")] = 12
    character_kinds: Annotated[
        int, Field(ge=1, le=4, description="Of small letters, capital letters, digits and others.")
    ] = 1
    history: Annotated[int, Field(ge=0, le=MOST_EARLIER, description="Earlier passwords that are not taken again.")] = 0
    valid_days: Annotated[int, Field(ge=0, le=3650, description="Then it must be changed; 0: never.")] = 0


class Protection(Body):
    """Whether only its author, or who has rights above the project, may change, stop, enter or delete a workload."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its form, and what it is among the tenant's settings."""

    form: type[Body]
    shown: Callable[[TenantSettings], dict[str, Any]]
    kept: Callable[[Any], dict[str, Any]]


SETTINGS: Mapping[str, Setting] = {
    "autoRedirectSSO": Setting(
        AutoRedirect,
        lambda now: {"enabled": now.sso_redirect, "idpAlias": now.sso_alias or None},
        lambda given: {"sso_redirect": given.enabled, "sso_alias": given.idp_alias or ""},
    ),
    "browserSessionTimeout": Setting(
        SessionTimeout,
        lambda now: {"idleTimeout": now.idle_minutes or LONGEST_IDLE},
        lambda given: {"idle_minutes": None if given.idle_timeout == LONGEST_IDLE else given.idle_timeout},
    ),
    "logoutRedirectUri": Setting(
        LogoutRedirect,
        lambda now: {"uri": now.logout_uri or None},
        lambda given: {"logout_uri": given.uri or ""},
    ),
    "passwordRules": Setting(  # ours
        PasswordRules,
        lambda now: {
            "minLength": now.pass_length,
            "characterKinds": now.pass_kinds,
            "history": now.pass_history,
            "validDays": now.pass_days or 0,
        },
        lambda given: {
            "pass_length": given.min_length,
            "pass_kinds": given.character_kinds,
            "pass_history": given.history,
            "pass_days": given.valid_days or None,
        },
    ),
    "workloadOwnershipProtection": Setting(  # ours: a setting of the cluster there
        Protection,
        lambda now: {"enabled": now.ownership_protection},
        lambda given: {"ownership_protection": given.enabled},
    ),
}
"""Key in the path -> the setting."""


class OneState(Answer):
    """Whether one way of notifying is on."""

    enabled: bool


class NotificationState(Answer):
    """Whether notifications are sent."""

    enabled: bool
    email: OneState


class OneStatePatch(Body):
    """Turn one way of notifying on or off."""

    enabled: bool | None = None


class NotificationStatePatch(Body):
    """Turn notifications on or off; what is left out stays."""

    enabled: bool | None = None
    email: OneStatePatch | None = None
    slack: Annotated[OneStatePatch | None, Field(description="Accepted and not used: there are webhooks.")] = None


@router.get("/security/settings", summary="List security settings")
async def list_security_settings(door: Door, actor: Who) -> dict[str, dict[str, Any]]:
    """By key."""
    now = await door.tenant_settings.get(actor, SECURITY)
    return {key: setting.shown(now) for key, setting in SETTINGS.items()}


@router.get("/security/settings/{key}", summary="Get a security setting")
async def get_security_setting(key: str, door: Door, actor: Who) -> dict[str, Any]:
    """Its present value."""
    now = await door.tenant_settings.get(actor, SECURITY)
    return _setting(key).shown(now)


@router.put("/security/settings/{key}", summary="Change a security setting")
async def update_security_setting(key: str, door: Door, actor: Who, body: dict[str, Any]) -> dict[str, Any]:
    """It holds for the next request."""
    setting = _setting(key)
    try:
        given = setting.form.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest.of(*field_errors(error.errors(), setting.form)) from None
    return setting.shown(await door.tenant_settings.change(actor, SECURITY, **setting.kept(given)))


@router.get("/notification-state", summary="Say whether notifications are sent")
async def get_notification_state(door: Door, actor: Who) -> NotificationState:
    """In general, and by mail."""
    return _state(await door.tenant_settings.get(actor, NOTIFICATIONS))


@router.patch("/notification-state", summary="Turn notifications on or off")
async def update_notification_state(door: Door, actor: Who, body: NotificationStatePatch) -> NotificationState:
    """What happens while they are off is not told later."""
    given = {"notifications": body.enabled, "email_notifications": body.email.enabled if body.email else None}
    changes = {name: value for name, value in given.items() if value is not None}
    return _state(await door.tenant_settings.change(actor, NOTIFICATIONS, **changes))


def _setting(key: str) -> Setting:
    """Return the setting of a key; the client of the public API writes them in other letters, too."""
    wanted = key.replace("-", "").lower()
    for name, setting in SETTINGS.items():
        if name.lower() == wanted:
            return setting
    raise NotFound(f"there is no security setting {key[:80]}; there are: {', '.join(SETTINGS)}")


def _state(now: TenantSettings) -> NotificationState:
    return NotificationState(enabled=now.notifications, email=OneState(enabled=now.email_notifications))
