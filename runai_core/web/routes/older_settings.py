"""Settings of the tenant as Run:ai's older API has them: one list of keys with values as text.

Each part of a present setting is one key, ``browserSessionTimeout.idleTimeout``; `department.use` says of this
program what cannot be otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, ValidationError

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.identity import TenantSettings
from runai_core.model.organization import Action, Actor
from runai_core.web.answers.base import Answer
from runai_core.web.context import Door, Who
from runai_core.web.errors import field_errors
from runai_core.web.routes.tenant_settings import NOTIFICATIONS, SECURITY, SETTINGS, NotificationStatePatch
from runai_core.web.schemas import Body

router = APIRouter(prefix="/v1/k8s/setting", tags=["older paths"])

DEPARTMENTS = "department.use"
RESOURCE = "settings"


class OlderSetting(Answer):
    """One value."""

    active: bool
    category: str
    description: str
    source: str
    label: str
    stage: str
    type: Annotated[str, Field(description="Boolean, Number or String.")]
    key: str
    value: Annotated[str, Field(description="As text; empty where there is none.")]


class OlderSettingBody(Body):
    """What a value is to become."""

    key: Annotated[str, Field(max_length=253)]
    value: Any = None


class Told(Answer):
    """That it was done."""

    msg: str


@dataclass(frozen=True, slots=True)
class Known:
    """Where a key's value is kept: among the settings that need this right, in this form."""

    resource: str
    form: type[Body]
    shown: Callable[[TenantSettings], dict[str, Any]]
    kept: Callable[[Any], dict[str, Any]]


def _notifications(given: NotificationStatePatch) -> dict[str, Any]:
    return {} if given.enabled is None else {"notifications": given.enabled}


GROUPS: Mapping[str, Known] = {
    **{name: Known(SECURITY, item.form, item.shown, item.kept) for name, item in SETTINGS.items()},
    "notifications": Known(
        NOTIFICATIONS, NotificationStatePatch, lambda now: {"enabled": now.notifications}, _notifications
    ),
}
"""Beginning of a key -> the setting that it is a part of."""


@router.get("", summary="List settings of the tenant (older form)")
async def list_settings(door: Door, actor: Who) -> tuple[OlderSetting, ...]:
    """Those that the caller may read."""
    await door.access.require(actor, Action.READ, RESOURCE)
    return tuple(await _settings(door, actor))


@router.get("/{key}", summary="Get a setting of the tenant (older form)")
async def get_setting(key: str, door: Door, actor: Who) -> OlderSetting:
    """By its key, in letters of any size."""
    for item in await list_settings(door, actor):
        if item.key.lower() == key.lower():
            return item
    raise NotFound(f"there is no setting {key[:80]}; there are those of GET {router.prefix}")


@router.put("", summary="Change a setting of the tenant (older form)")
async def update_setting(door: Door, actor: Who, body: OlderSettingBody) -> Told:
    """It holds for the next request."""
    found = await get_setting(body.key, door, actor)
    if found.key == DEPARTMENTS:
        if str(body.value).lower() != "true":
            raise InvalidRequest.of(FieldError("value", "must be true: there are always departments"))
        return Told(msg="nothing was to be changed")
    name, _, part = found.key.partition(".")
    group = GROUPS[name]
    now = group.shown(await door.tenant_settings.get(actor, group.resource))
    try:
        given = group.form.model_validate(now | {part: body.value})
    except ValidationError as error:
        errors = field_errors(error.errors(), group.form)
        raise InvalidRequest.of(*(FieldError("value", item.message, item.given) for item in errors)) from None
    await door.tenant_settings.change(actor, group.resource, **group.kept(given))
    return Told(msg=f"{found.key} is changed")


async def _settings(door: Orchestrator, actor: Actor) -> list[OlderSetting]:
    now = await door.tenant_settings.current()
    found = [_setting(DEPARTMENTS, "There are departments", value=True)]
    for name, group in GROUPS.items():
        if await door.access.allows(actor, Action.READ, group.resource):
            text = (group.form.__doc__ or "").strip()
            found += [_setting(f"{name}.{part}", text, value=value) for part, value in group.shown(now).items()]
    return found


def _setting(key: str, text: str, *, value: Any) -> OlderSetting:
    kind = "Boolean" if isinstance(value, bool) else "Number" if isinstance(value, int | float) else "String"
    return OlderSetting(
        active=True,
        category=key.partition(".")[0],
        description=text,
        source="Tenant",
        label=key,
        stage="GA",
        type=kind,
        key=key,
        value="" if value is None else str(value).lower() if kind == "Boolean" else str(value),
    )
