"""Calls one hook of one plug-in and says in one line what went wrong."""

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from runai_core.model.errors import RunaiError
from runai_core.plugins.types import SettingValue


class PluginError(Exception):
    """What is wrong with one plug-in, for people. It never leaves this room."""


def hooks_of(manager: pluggy.PluginManager) -> tuple[str, ...]:
    """Return the names of the hooks that are implemented, sorted."""
    hooks = (name for name in vars(manager.hook) if not name.startswith("_"))
    return tuple(sorted(name for name in hooks if getattr(manager.hook, name).get_hookimpls()))


def call(manager: pluggy.PluginManager, hook: str, settings: Mapping[str, SettingValue]) -> list[Any]:
    """Return the items that one plug-in's hook returns, as one list."""
    caller = getattr(manager.hook, hook)
    wants_settings = "settings" in (caller.spec.argnames if caller.spec else ())
    results = caller(settings=dict(settings)) if wants_settings else caller()
    items: list[Any] = []
    for result in results:
        if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
            raise PluginError(f"{hook} must return a list, not {type(result).__name__}")
        items += result
    return items


def said(error: BaseException) -> str:
    """Return a failure as one line for people."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, PluginError | RunaiError):
        return text
    return f"{type(error).__name__}: {text}"
