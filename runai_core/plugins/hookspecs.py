"""The nine hooks: all that a plug-in can add. Their long form is docs/hooks.md.

Hooks are plain functions without I/O. They return descriptions, once, at
start-up; the work is done later by the objects that were returned. Where two
plug-ins return the same name, the one that was loaded later is refused and
shown by ``runai plugins``; the built-in plug-in is first, the others follow by name.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runai_core.model.workload import Pod, Workload
from runai_core.plugins.markers import hookspec
from runai_core.plugins.types import (
    LifecycleObserver,
    MetricSource,
    Page,
    PolicyRule,
    SchedulingRule,
    Setting,
    SettingValue,
    WorkloadKind,
)

if TYPE_CHECKING:
    import click


@hookspec
def runai_workload_kinds() -> Iterable[WorkloadKind]:  # type: ignore[empty-body]
    """Return the framework objects that this plug-in understands.

    Called once, at start-up. Two plug-ins that return the same
    ``(api_version, kind)`` are an error.
    """


@hookspec
def runai_scheduling_rules(settings: Mapping[str, SettingValue]) -> Iterable[SchedulingRule]:  # type: ignore[empty-body]
    """Return rules for the engine: pure, fast functions; they run inside the scheduling cycle.

    Called once, at start-up. Two rules of the same name are an error.
    """


@hookspec
def runai_policy_rules() -> Iterable[PolicyRule]:  # type: ignore[empty-body]
    """Return checks of submitted specifications, beyond what a policy document can say.

    Called once, at start-up. Two rules of the same name are an error.
    """


@hookspec
def runai_lifecycle_observers(settings: Mapping[str, SettingValue]) -> Iterable[LifecycleObserver]:  # type: ignore[empty-body]
    """Return objects that are told of each change of phase, after it was stored.

    Called once, at start-up; the objects are called later, at least once for
    each event. Their failure is logged and changes nothing.
    """


@hookspec
def runai_pod_environment(
    workload: Workload, pod: Pod, settings: Mapping[str, SettingValue]
) -> Mapping[str, str] | None:
    """Return environment variables for a pod, or nothing.

    Called each time before a pod is launched; pure. Two plug-ins that give one
    variable different values are an error; the user's own variables win.
    """


@hookspec
def runai_metric_sources(settings: Mapping[str, SettingValue]) -> Iterable[MetricSource]:  # type: ignore[empty-body]
    """Return objects that measure a running workload.

    Called once, at start-up; the objects are asked later. Two sources of the
    same name are an error.
    """


@hookspec
def runai_settings() -> Iterable[Setting]:  # type: ignore[empty-body]
    """Return what can be configured for this plug-in.

    Called once, at start-up, before every other hook: the values are handed to
    the hooks that take ``settings``. Two settings of the same name are an error.
    """


@hookspec
def runai_pages() -> Iterable[Page]:  # type: ignore[empty-body]
    """Return pages, or parts of the page of a workload, for the web interface.

    Called once, at start-up. Two pages of the same kind and title are an error.
    """


@hookspec
def runai_commands() -> "Iterable[click.Command]":  # type: ignore[empty-body]
    """Return commands for the ``runai`` command line.

    Called once, by the command line only. Two commands of the same name, or a
    command named as one of ours, are an error.
    """
