"""What plug-ins contributed, frozen: kinds, rules, observers, sources, pages, settings."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

from runai_core.engine.rules import RuleSet
from runai_core.model.errors import Conflict, Unavailable, Unsupported
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType
from runai_core.plugins.calls import PluginError, call, said
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.types import (
    LifecycleObserver,
    MetricSource,
    Page,
    PluginInfo,
    PolicyRule,
    RunContext,
    RunsLocally,
    Setting,
    SettingValue,
    WorkloadKind,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Which plug-ins there are, what became of each, and all that they contributed, in the order of loading."""

    plugins: tuple[PluginInfo, ...] = ()
    opened: tuple[tuple[str, pluggy.PluginManager], ...] = field(default=(), repr=False)  # those that were loaded
    kinds: KnownKinds = field(default_factory=KnownKinds)
    rules: RuleSet = field(default_factory=RuleSet)
    policy_rules: tuple[PolicyRule, ...] = ()
    observers: tuple[LifecycleObserver, ...] = ()
    metric_sources: tuple[MetricSource, ...] = ()
    pages: tuple[Page, ...] = ()
    settings: tuple[Setting, ...] = ()
    values: Mapping[str, SettingValue] = field(default_factory=dict)  # setting -> value

    def kind_of(self, api_version: str, kind: str) -> WorkloadKind:
        """Return the kind; raise Unsupported where no plug-in knows it."""
        try:
            return self.kinds[api_version, kind]
        except KeyError:
            known = {f"{name} ({version})" for version, name in self.kinds}
            near = difflib.get_close_matches(f"{kind} ({api_version})", known, n=1, cutoff=0.5)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else "install the plug-in for it; `runai plugins` lists what is there"
            )
            raise Unsupported(f"no plug-in understands {kind} of {api_version}: {hint}") from None

    @property
    def failures(self) -> tuple[PluginInfo, ...]:
        """The plug-ins that were left out because something is wrong with them."""
        return tuple(plugin for plugin in self.plugins if plugin.status == "failed")

    def gang_of(self, workload: Workload, *, run_context: RunContext, existing: Sequence[Pod] = ()) -> Gang:
        """Return the pods that the workload's attempt should have now, and their group, from the adapter of its kind.

        Raises:
            InvalidRequest: the workload contradicts itself; names each field.
            Unsupported: its kind is not known, or cannot run as processes of one machine.
        """
        kind = self._kind_of_workload(workload)
        if not isinstance(kind.adapter, RunsLocally):
            raise Unsupported(
                f"{kind.kind} of {kind.api_version} cannot run on one machine: it needs the Kubernetes backend"
            )
        return kind.adapter.gang(workload, run_context, existing)

    def _kind_of_workload(self, workload: Workload) -> WorkloadKind:
        if workload.type is WorkloadType.EXTERNAL:
            return self.kind_of(workload.api_version, workload.kind)
        return next(kind for kind in self.kinds.values() if kind.workload_type is workload.type)

    def pod_environment(self, workload: Workload, pod: Pod) -> dict[str, str]:
        """Return the variables that plug-ins want in a pod's environment.

        Raises:
            Conflict: two plug-ins give one variable different values.
            Unavailable: a plug-in failed; names it.
        """
        given: dict[str, tuple[str, str]] = {}
        for name, plugin in self.opened:
            for variable, value in _environment_of(name, plugin, workload, pod, self.values).items():
                other, present = given.setdefault(variable, (name, value))
                if present != value:
                    raise Conflict(
                        f"plug-ins {other} and {name} give {variable} different values for {workload.key}: "
                        f"leave one of them out with RUNAI_PLUGINS"
                    )
        return {variable: value for variable, (_, value) in given.items()}

    def commands(self, reserved: Collection[str]) -> tuple[dict[str, Any], tuple[PluginInfo, ...]]:
        """Return the click commands of all plug-ins by name, and the plug-ins whose commands were refused.

        `reserved` are the names of our own commands. Called by the command line alone.
        """
        found: dict[str, Any] = {}
        refused: list[PluginInfo] = []
        for name, plugin in self.opened:
            try:
                commands = _commands_of(
                    plugin, {**dict.fromkeys(reserved, "runai itself"), **dict.fromkeys(found, "another plug-in")}
                )
            except PluginError as error:
                refused.append(PluginInfo(name=name, status="failed", error=str(error)))
            else:
                found |= commands
        return found, tuple(refused)


def _environment_of(
    name: str, plugin: pluggy.PluginManager, workload: Workload, pod: Pod, settings: Mapping[str, SettingValue]
) -> dict[str, str]:
    try:
        results = plugin.hook.runai_pod_environment(workload=workload, pod=pod, settings=dict(settings))
        variables = {variable: value for result in results for variable, value in dict(result).items()}
    except Exception as error:
        raise Unavailable(f"plug-in {name} failed while it prepared pod {pod.name}: {said(error)}") from error
    wrong = [
        variable for variable, value in variables.items() if not (isinstance(variable, str) and isinstance(value, str))
    ]
    if wrong:
        raise Unavailable(f"plug-in {name} gave {wrong[0]} a value that is not text; variables of a pod are text")
    return variables


def _commands_of(plugin: pluggy.PluginManager, taken: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        items = call(plugin, "runai_commands", {})
    except (Exception, SystemExit) as error:
        raise PluginError(said(error)) from error
    for command in items:
        name = getattr(command, "name", None)
        if not (isinstance(name, str) and callable(command)):
            raise PluginError(f"runai_commands returned {type(command).__name__}; it must return click commands")
        if name in taken or name in found:
            raise PluginError(f"command {name} is there already: {taken.get(name, 'this plug-in')} brought it")
        found[name] = command
    return found
