"""Loading of plug-ins: each is isolated, named, and heard once."""

import itertools
import logging
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from runai_core.plugins.manager import load_plugins
from runai_core.plugins.markers import ENTRY_POINT_GROUP
from runai_core.plugins.registry import Registry

Plugin = Callable[..., EntryPoint]

HEAD = """
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import *
"""

GOOD = """
@hookimpl
def runai_policy_rules():
    return [PolicyRule("good", lambda type, spec: [])]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Write a real plug-in module and return its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    numbers = itertools.count()

    def write(source: str, name: str | None = None) -> EntryPoint:
        module = f"plugin_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        (tmp_path / f"{module}.py").write_text(HEAD + textwrap.dedent(source))
        return EntryPoint(name=name or module, value=module, group=ENTRY_POINT_GROUP)

    return write


def errors_of(registry: Registry) -> dict[str, str]:
    return {plugin.name: plugin.error for plugin in registry.plugins if plugin.status == "failed"}


BROKEN = {
    "that cannot be imported": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
    "that is not Python": ("def broken(:", "SyntaxError"),
    "that raises when it is imported": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "that exits when it is imported": ("raise SystemExit(3)", "SystemExit: 3"),
    "that misspells a hook": (
        "@hookimpl\ndef runai_policy_rule():\n    return []",
        "there is no hook runai_policy_rule, did you mean runai_policy_rules?",
    ),
    "that asks for an argument that is not there": (
        "@hookimpl\ndef runai_policy_rules(world):\n    return []",
        "PluginValidationError",
    ),
    "whose hook raises": ("@hookimpl\ndef runai_policy_rules():\n    return [1 / 0]", "ZeroDivisionError"),
    "whose hook is async": ("@hookimpl\nasync def runai_policy_rules():\n    return []", "must not be async"),
    "that returns no list": (
        "@hookimpl\ndef runai_policy_rules():\n    return 'cost'",
        "runai_policy_rules must return a list, not str",
    ),
    "that returns objects of another class": (
        "@hookimpl\ndef runai_policy_rules():\n    return [object()]",
        "runai_policy_rules returned object; it must return objects of PolicyRule",
    ),
    "that returns a class in place of an object": (
        "class Watch:\n    async def on_transition(self, event): ...\n"
        "@hookimpl\ndef runai_lifecycle_observers(settings):\n    return [Watch]",
        "runai_lifecycle_observers returned Watch",
    ),
    "whose observer is not async": (
        "class Watch:\n    def on_transition(self, event): ...\n"
        "@hookimpl\ndef runai_lifecycle_observers(settings):\n    return [Watch()]",
        "on_transition of Watch must be `async def`",
    ),
    "that describes a kind wrongly": (
        "@hookimpl\ndef runai_workload_kinds():\n    return [WorkloadKind(api_version='v1', kind='job', adapter=None)]",
        "kind: must be a name like PyTorchJob (given: job)",
    ),
    "that returns one name twice": (
        "@hookimpl\ndef runai_settings():\n    return [Setting(name='a.b', default=1, help='x')] * 2",
        "setting a.b is returned twice",
    ),
}


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_a_plugin_is_left_out_and_the_others_go_on(plugin: Plugin, source: str, message: str) -> None:
    registry = load_plugins(points=[plugin(source, "broken"), plugin(GOOD, "good")], environ={})

    assert list(errors_of(registry)) == ["broken"]
    assert message in errors_of(registry)["broken"]
    assert [rule.name for rule in registry.policy_rules] == ["good"]
    assert [name for name, _ in registry.opened] == ["good"]


def test_a_failure_is_logged_once(plugin: Plugin, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        load_plugins(points=[plugin("raise RuntimeError('boom')", "broken")], environ={})

    assert [record.getMessage() for record in caplog.records] == ["plug-in broken is left out: RuntimeError: boom"]


def test_nothing_of_a_plugin_is_kept_when_a_later_hook_of_it_fails(plugin: Plugin) -> None:
    source = GOOD + "@hookimpl\ndef runai_pages():\n    raise RuntimeError('late')"

    registry = load_plugins(points=[plugin(source, "half")], environ={})

    assert errors_of(registry) == {"half": "RuntimeError: late"}
    assert registry.policy_rules == ()


CLASHES = {
    "workload kind": (
        "class Adapter:\n    def pod_groups(self, manifest): return ()\n"
        "@hookimpl\ndef runai_workload_kinds():\n"
        "    return [WorkloadKind(api_version='a.b/v1', kind='Thing', adapter=Adapter())]",
        "workload kind Thing of a.b/v1 is there already: plug-in first brought it",
    ),
    "scheduling rule": (
        "@hookimpl\ndef runai_scheduling_rules(settings):\n    return [Filter('x', lambda pod, node: '')]",
        "scheduling rule x is there already: plug-in first brought it",
    ),
    "policy rule": (GOOD, "policy rule good is there already: plug-in first brought it"),
    "setting": (
        "@hookimpl\ndef runai_settings():\n    return [Setting(name='a.b', default=1, help='x')]",
        "setting a.b is there already: plug-in first brought it",
    ),
    "page": (
        "async def load(workload, settings): return {}\n"
        "@hookimpl\ndef runai_pages():\n    return [Page(kind='site', title='T', loader=load, template='')]",
        "site page T is there already: plug-in first brought it",
    ),
    "metric source": (
        "class Source:\n    name = 's'\n    async def sample(self, workload): return []\n"
        "@hookimpl\ndef runai_metric_sources(settings):\n    return [Source()]",
        "metric source s is there already: plug-in first brought it",
    ),
}


@pytest.mark.parametrize(("source", "message"), CLASHES.values(), ids=CLASHES)
def test_the_second_plugin_with_the_same_name_is_refused(plugin: Plugin, source: str, message: str) -> None:
    registry = load_plugins(points=[plugin(source, "first"), plugin(source, "second")], environ={})

    assert errors_of(registry) == {"second": message}


def test_plugins_can_be_restricted_by_name_and_the_built_in_one_stays(plugin: Plugin) -> None:
    builtin = EntryPoint(name="builtin", value="runai_core.plugins.builtin", group=ENTRY_POINT_GROUP)
    points = [builtin, plugin(GOOD, "good"), plugin("raise RuntimeError('never imported')", "other")]

    registry = load_plugins(points=points, environ={"RUNAI_PLUGINS": " good ,"})

    assert {item.name: item.status for item in registry.plugins} == {
        "builtin": "loaded",
        "good": "loaded",
        "other": "off",
    }


def test_a_restriction_that_names_no_installed_plugin_is_shown(plugin: Plugin) -> None:
    registry = load_plugins(["godo"], points=[plugin(GOOD, "good")], environ={})

    assert errors_of(registry) == {"godo": "no such plug-in is installed, did you mean good?"}


def test_calls_can_be_traced(plugin: Plugin, capsys: pytest.CaptureFixture[str]) -> None:
    load_plugins(points=[plugin(GOOD, "good")], environ={"RUNAI_TRACE_PLUGINS": "1"})

    assert "plug-in good: runai_policy_rules() -> [[PolicyRule(name='good'" in capsys.readouterr().err


def test_the_order_of_entry_points_decides_and_not_that_of_registration(plugin: Plugin) -> None:
    points = [plugin(GOOD.replace("good", name), name) for name in ("a", "b", "c")]

    registry = load_plugins(points=points, environ={})

    assert [rule.name for rule in registry.policy_rules] == ["a", "b", "c"]


def test_what_is_installed_here_loads_without_failure() -> None:
    registry = load_plugins(environ={})

    assert errors_of(registry) == {}
    assert registry.plugins[0].name == "builtin"
    assert registry.plugins[0].distribution == "runai-core"
