"""Loads plug-ins one by one and collects what they return, once.

A plug-in that cannot be imported, names a hook that does not exist, raises, or
returns something wrong is left out whole: it is shown by ``runai plugins``, in
``/healthz`` and once in the log, and the others go on. Each plug-in has a
pluggy manager of its own, so that the order of registration means nothing and
one failure cannot hide another's results.
"""

import contextlib
import difflib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import pluggy

from runai_core.engine.rules import RuleSet
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins import hookspecs
from runai_core.plugins.calls import PluginError, call, hooks_of, said
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.markers import ENTRY_POINT_GROUP, NAME
from runai_core.plugins.registry import Registry
from runai_core.plugins.types import (
    Filter,
    LifecycleObserver,
    MetricSource,
    Page,
    PluginInfo,
    PolicyRule,
    QueueOrder,
    Score,
    Setting,
    SettingValue,
    VictimFilter,
    WorkloadKind,
    WorkloadOrder,
)

log = logging.getLogger(__name__)

BUILT_IN = "builtin"
"""Name of the plug-in that is always loaded, and first."""

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class _Contract:
    """What a hook may return: the classes of its items, and the name that must be unique."""

    classes: tuple[type, ...]
    name_of: Callable[[Any], str] | None = None
    coroutine: str = ""  # method that must be ``async def``


_CONTRACTS: Mapping[str, _Contract] = {
    "runai_settings": _Contract((Setting,), lambda item: f"setting {item.name}"),
    "runai_workload_kinds": _Contract((WorkloadKind,), lambda item: f"workload kind {item.kind} of {item.api_version}"),
    "runai_scheduling_rules": _Contract(
        (Filter, Score, QueueOrder, WorkloadOrder, VictimFilter), lambda item: f"scheduling rule {item.name}"
    ),
    "runai_policy_rules": _Contract((PolicyRule,), lambda item: f"policy rule {item.name}"),
    "runai_lifecycle_observers": _Contract((LifecycleObserver,), coroutine="on_transition"),
    "runai_metric_sources": _Contract((MetricSource,), lambda item: f"metric source {item.name}", "sample"),
    "runai_pages": _Contract((Page,), lambda item: f"{item.kind} page {item.title}", "loader"),
}
"""Hooks that are called once at start-up, in this order."""


def installed_plugins() -> list[EntryPoint]:
    """Return the entry points of all installed plug-ins: the built-in one first, the others by name."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(found.values(), key=lambda point: (point.name != BUILT_IN, point.name))


def load_plugins(
    only: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    points: Iterable[EntryPoint] | None = None,
) -> Registry:
    """Load the plug-ins and return what they contribute; never raises for a broken one.

    `only` restricts to these names (``RUNAI_PLUGINS=a,b`` does the same), the
    built-in one apart. ``RUNAI_TRACE_PLUGINS=1`` prints each call of a hook.
    The environment is this process's, and the entry points are those installed,
    unless others are given.
    """
    environ = os.environ if environ is None else environ
    wanted = _wanted(environ) if only is None else tuple(only)
    loading = _Loading(environ, trace=environ.get("RUNAI_TRACE_PLUGINS", "").lower() in TRUE_WORDS)
    seen = set()
    for point in installed_plugins() if points is None else points:
        seen.add(point.name)
        if wanted is None or point.name in wanted or point.name == BUILT_IN:
            loading.open(point)
        else:
            loading.plugins[point.name] = _described(point, status="off")
    for name in wanted or ():
        if name not in seen:
            near = difflib.get_close_matches(name, seen, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            loading.plugins[name] = PluginInfo(name=name, status="failed", error=f"no such plug-in is installed{hint}")
    loading.collect()
    for plugin in loading.plugins.values():
        if plugin.status == "failed":
            log.error("plug-in %s is left out: %s", plugin.name, plugin.error)
    return loading.frozen()


class _Loading:
    """What is known while plug-ins are loaded: the only mutable state, and it ends with `frozen`."""

    def __init__(self, environ: Mapping[str, str], *, trace: bool) -> None:
        self.plugins: dict[str, PluginInfo] = {}
        self._environ = environ
        self._trace = trace
        self._opened: dict[str, pluggy.PluginManager] = {}
        self._taken: dict[str, str] = {}  # unique name of a contribution -> plug-in
        self._values: dict[str, SettingValue] = {}
        self._items: dict[str, list[tuple[str, Any]]] = {hook: [] for hook in _CONTRACTS}  # (plug-in, item)

    def open(self, point: EntryPoint) -> None:
        """Import a plug-in and check the names of its hooks."""
        self.plugins[point.name] = _described(point)
        with self._blame(point.name):
            manager = _registered(point)
            if self._trace:
                _trace_calls(point.name, manager)
            self._opened[point.name] = manager
            self.plugins[point.name] = replace(self.plugins[point.name], provides=hooks_of(manager))

    def collect(self) -> None:
        """Call the hooks of all plug-ins, settings first."""
        for hook, contract in _CONTRACTS.items():
            for name in list(self._opened):
                with self._blame(name):
                    items = call(self._opened[name], hook, self._values)
                    _check_items(hook, contract, items)
                    names = _unique_names(contract, items, self._taken)
                    values = _values_of(items, self._environ) if hook == "runai_settings" else {}
                    self._taken |= dict.fromkeys(names, name)
                    self._values |= values
                    self._items[hook] += [(name, item) for item in items]

    def frozen(self) -> Registry:
        """Return what was collected."""
        kept = {
            hook: tuple(item for name, item in items if name in self._opened) for hook, items in self._items.items()
        }
        rules = kept["runai_scheduling_rules"]
        settings = kept["runai_settings"]
        return Registry(
            plugins=tuple(self.plugins.values()),
            opened=tuple(self._opened.items()),
            kinds=KnownKinds(kept["runai_workload_kinds"]),
            rules=RuleSet(
                filters=tuple(rule for rule in rules if isinstance(rule, Filter)),
                scores=tuple(rule for rule in rules if isinstance(rule, Score)),
                queue_orders=tuple(rule for rule in rules if isinstance(rule, QueueOrder)),
                workload_orders=tuple(rule for rule in rules if isinstance(rule, WorkloadOrder)),
                victim_filters=tuple(rule for rule in rules if isinstance(rule, VictimFilter)),
            ),
            policy_rules=kept["runai_policy_rules"],
            observers=kept["runai_lifecycle_observers"],
            metric_sources=kept["runai_metric_sources"],
            pages=tuple(sorted(kept["runai_pages"], key=lambda page: (page.order, page.title))),
            settings=settings,
            values={setting.name: self._values[setting.name] for setting in settings},
        )

    @contextlib.contextmanager
    def _blame(self, name: str) -> Iterator[None]:
        """Turn any failure of a plug-in's code into a note; the plug-in is left out whole."""
        try:
            yield
        except (Exception, SystemExit) as error:  # the edge where foreign code is called
            self._opened.pop(name, None)
            self._taken = {item: owner for item, owner in self._taken.items() if owner != name}
            self.plugins[name] = replace(self.plugins[name], status="failed", error=said(error))
            log.debug("plug-in %s failed", name, exc_info=error)


def _wanted(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    text = environ.get("RUNAI_PLUGINS")
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _described(point: EntryPoint, status: str = "loaded") -> PluginInfo:
    distribution = point.dist
    return PluginInfo(
        name=point.name,
        module=point.value,
        distribution=distribution.name if distribution else "",
        version=distribution.version if distribution else "",
        status=status,
    )


def _registered(point: EntryPoint) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(NAME)
    manager.add_hookspecs(hookspecs)
    module = point.load()
    manager.register(module, name=point.name)
    known = sorted(hook for hook in vars(hookspecs) if hook.startswith(f"{NAME}_"))
    for hook in hooks_of(manager):
        if hook not in known:
            near = difflib.get_close_matches(hook, known, n=1)
            raise PluginError(f"there is no hook {hook}" + (f", did you mean {near[0]}?" if near else ""))
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if inspect.iscoroutinefunction(implementation.function):
                raise PluginError(f"{hook} must not be async: hooks return descriptions, without I/O")
    return manager


def _check_items(hook: str, contract: _Contract, items: Iterable[Any]) -> None:
    for item in items:
        if isinstance(item, type) or not isinstance(item, contract.classes):
            allowed = " or ".join(cls.__name__ for cls in contract.classes)
            given = item.__name__ if isinstance(item, type) else type(item).__name__
            raise PluginError(f"{hook} returned {given}; it must return objects of {allowed}")
        if contract.coroutine and not inspect.iscoroutinefunction(getattr(item, contract.coroutine)):
            raise PluginError(f"{hook}: {contract.coroutine} of {type(item).__name__} must be `async def`")


def _unique_names(contract: _Contract, items: Iterable[Any], taken: Mapping[str, str]) -> set[str]:
    names: set[str] = set()
    for item in items if contract.name_of else ():
        name = cast("Callable[[Any], str]", contract.name_of)(item)
        if name in taken:
            raise PluginError(f"{name} is there already: plug-in {taken[name]} brought it")
        if name in names:
            raise PluginError(f"{name} is returned twice")
        names.add(name)
    return names


def _values_of(settings: Iterable[Setting], environ: Mapping[str, str]) -> dict[str, SettingValue]:
    return {setting.name: _value(setting, environ.get(setting.variable)) for setting in settings}


def _value(setting: Setting, text: str | None) -> SettingValue:
    if text is None:
        return setting.default
    if isinstance(setting.default, bool):
        if text.lower() in TRUE_WORDS | FALSE_WORDS:
            return text.lower() in TRUE_WORDS
        raise InvalidRequest.of(FieldError(setting.variable, "must be true or false", _shown(setting, text)))
    try:
        return type(setting.default)(text)
    except ValueError:
        word = "a whole number" if isinstance(setting.default, int) else "a number"
        raise InvalidRequest.of(FieldError(setting.variable, f"must be {word}", _shown(setting, text))) from None


def _shown(setting: Setting, text: str) -> str:
    return "(secret)" if setting.secret else text


def _trace_calls(name: str, manager: pluggy.PluginManager) -> None:
    def after(outcome: pluggy.Result[Any], hook: str, _: object, arguments: Mapping[str, Any]) -> None:
        result = outcome.exception or outcome.get_result()
        sys.stderr.write(f"plug-in {name}: {hook}({', '.join(sorted(arguments))}) -> {result!r}\n")

    manager.add_hookcall_monitoring(before=lambda *_: None, after=after)
