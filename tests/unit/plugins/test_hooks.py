"""One test for each hook: a real tiny plug-in, and what becomes of what it returns."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import click
import pytest

from runai_core.model.errors import Conflict, FieldError, InvalidRequest, Unavailable, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.snapshot import NodeEntry, PodEntry
from runai_core.model.workload import HistoryRecord, Phase, Pod, PodSpec, PolicyType, Workload
from runai_core.plugins.manager import load_plugins
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.registry import Registry
from runai_core.plugins.types import (
    Filter,
    Manifest,
    Page,
    PodGroupPlan,
    PolicyRule,
    Sample,
    Setting,
    TransitionEvent,
    VictimFilter,
    WorkloadKind,
)

WORKLOAD = Workload(meta=Meta(name="w", project="p", uid="u"))
POD = Pod(meta=Meta(name="w-1-0", project="p"), workload="w", pod_group="w", spec=PodSpec())


class Point:
    """An entry point of a plug-in that is made here, in place of one of a distribution."""

    dist = None

    def __init__(self, name: str, **hooks: Callable[..., Any]) -> None:
        self.name, self.value = name, f"tests.{name}"
        self._plugin = SimpleNamespace(**{hook: hookimpl(function) for hook, function in hooks.items()})

    def load(self) -> Any:
        return self._plugin


def loaded(*points: Point, environ: Mapping[str, str] | None = None) -> Registry:
    registry = load_plugins(points=points, environ=environ or {})  # type: ignore[arg-type]
    assert [plugin.error for plugin in registry.failures] == []
    return registry


class Pair:
    def pod_groups(self, manifest: Manifest) -> Sequence[PodGroupPlan]:
        return (PodGroupPlan(min_members=2),)


def test_hook_runai_workload_kinds() -> None:
    kind = WorkloadKind(api_version="example.org/v1", kind="Pair", adapter=Pair())

    registry = loaded(Point("a", runai_workload_kinds=lambda: [kind]))

    assert registry.kind_of("example.org/v1", "Pair").adapter.pod_groups({})[0].min_members == 2
    assert kind.resource == "pairs"
    with pytest.raises(Unsupported, match=r"no plug-in understands Piar of example.org/v1: did you mean Pair"):
        registry.kind_of("example.org/v1", "Piar")


def test_hook_runai_scheduling_rules() -> None:
    seen: dict[str, object] = {}

    def rules(settings: Mapping[str, object]) -> Iterable[Filter | VictimFilter]:
        seen.update(settings)
        return [
            Filter("even-nodes", lambda pod, node: "" if node.name == "even" else "odd"),
            VictimFilter("no-one", lambda victim, preemptor: False),
        ]

    limit = Setting(name="a.limit", default=3, help="A number.")
    registry = loaded(Point("a", runai_scheduling_rules=rules, runai_settings=lambda: [limit]))

    assert seen == {"a.limit": 3}
    assert [rule.name for rule in registry.rules.victim_filters] == ["no-one"]
    pod = PodEntry(name="x", pod_group="")
    assert registry.rules.filters[0].function(pod, NodeEntry(name="odd")) == "odd"


def test_hook_runai_policy_rules() -> None:
    def check(type: PolicyType, spec: Mapping[str, Any]) -> Iterable[FieldError]:
        if spec.get("image", "").endswith(":latest"):
            yield FieldError("image", "must name a version", spec["image"])

    registry = loaded(Point("a", runai_policy_rules=lambda: [PolicyRule("no-latest", check)]))

    (rule,) = registry.policy_rules
    assert [error.field for error in rule.check(PolicyType.TRAINING, {"image": "torch:latest"})] == ["image"]
    assert list(rule.check(PolicyType.TRAINING, {"image": "torch:2"})) == []


def test_hook_runai_lifecycle_observers() -> None:
    class Notes:
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def on_transition(self, event: TransitionEvent) -> None:
            self.seen.append(f"{event.workload.name} is {event.record.to_phase}")

    notes = Notes()
    registry = loaded(Point("a", runai_lifecycle_observers=lambda settings: [notes]))
    record = HistoryRecord(meta=Meta(name="r"), to_phase=Phase.RUNNING)

    asyncio.run(registry.observers[0].on_transition(TransitionEvent("1", WORKLOAD, record)))

    assert notes.seen == ["w is Running"]


def test_hook_runai_pod_environment() -> None:
    registry = loaded(
        Point("a", runai_pod_environment=lambda workload, pod: {"WHO": workload.name, "SAME": "1"}),
        Point("b", runai_pod_environment=lambda pod: {"POD": pod.name, "SAME": "1"}),
        Point("c", runai_pod_environment=lambda: None),
    )

    assert registry.pod_environment(WORKLOAD, POD) == {"WHO": "w", "SAME": "1", "POD": "w-1-0"}


def test_two_plugins_that_disagree_on_a_variable_are_named() -> None:
    registry = loaded(
        Point("a", runai_pod_environment=lambda: {"X": "1"}), Point("b", runai_pod_environment=lambda: {"X": "2"})
    )

    with pytest.raises(Conflict, match="plug-ins a and b give X different values for p/w"):
        registry.pod_environment(WORKLOAD, POD)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda: {"X": 1}, "plug-in a gave X a value that is not text"),
        (lambda pod: {"X": pod.nothing}, "plug-in a failed while it prepared pod w-1-0: AttributeError"),
    ],
    ids=["a number is no environment", "a failing hook is named"],
)
def test_a_bad_environment_names_the_plugin(hook: Callable[..., Any], message: str) -> None:
    registry = loaded(Point("a", runai_pod_environment=hook))

    with pytest.raises(Unavailable, match=message):
        registry.pod_environment(WORKLOAD, POD)


def test_hook_runai_metric_sources() -> None:
    class Loss:
        name = "loss"

        async def sample(self, workload: Workload) -> Sequence[Sample]:
            return [Sample(name="loss", value=0.5, unit="nats")]

    registry = loaded(Point("a", runai_metric_sources=lambda settings: [Loss()]))

    (sample,) = asyncio.run(registry.metric_sources[0].sample(WORKLOAD))
    assert (sample.name, sample.value, sample.unit) == ("loss", 0.5, "nats")


SETTING_VALUES = {
    "text": ("x", "hello", "hello"),
    "a whole number": (1, "7", 7),
    "a number": (0.5, "2", 2.0),
    "yes": (False, "Yes", True),
    "off": (True, "off", False),
}


@pytest.mark.parametrize(("default", "text", "value"), SETTING_VALUES.values(), ids=SETTING_VALUES)
def test_hook_runai_settings(default: str | float, text: str, value: object) -> None:
    setting = Setting(name="a.some_thing", default=default, help="Something.")

    registry = loaded(Point("a", runai_settings=lambda: [setting]), environ={"RUNAI_A_SOME_THING": text})

    assert registry.values == {"a.some_thing": value}
    assert loaded(Point("a", runai_settings=lambda: [setting])).values == {"a.some_thing": default}


@pytest.mark.parametrize(
    ("setting", "text", "message"),
    [
        (Setting(name="a.n", default=1, help="N."), "many", "RUNAI_A_N: must be a whole number (given: many)"),
        (Setting(name="a.n", default=True, help="N."), "maybe", "RUNAI_A_N: must be true or false (given: maybe)"),
        (
            Setting(name="a.n", default=1, help="N.", secret=True),
            "hush",
            "RUNAI_A_N: must be a whole number (given: (secret))",
        ),
    ],
    ids=["no number", "no boolean", "a secret is not shown"],
)
def test_a_wrong_value_of_a_setting_leaves_its_plugin_out(setting: Setting, text: str, message: str) -> None:
    points = [Point("a", runai_settings=lambda: [setting])]

    registry = load_plugins(points=points, environ={"RUNAI_A_N": text})  # type: ignore[arg-type]

    assert [plugin.error for plugin in registry.failures] == [message]


def test_hook_runai_pages() -> None:
    async def load(workload: Workload | None, settings: Mapping[str, object]) -> Mapping[str, Any]:
        return {"name": workload.name if workload else "nobody"}

    last = Page(kind="workload", title="Z", loader=load, template="{{ name }}")
    first = Page(kind="site", title="A", loader=load, template="", order=1)
    registry = loaded(Point("a", runai_pages=lambda: [last, first]))

    assert [page.title for page in registry.pages] == ["A", "Z"]
    assert asyncio.run(load(WORKLOAD, registry.values)) == {"name": "w"}


def test_hook_runai_commands() -> None:
    hello = click.Command("hello")
    registry = loaded(
        Point("a", runai_commands=lambda: [hello]),
        Point("b", runai_commands=lambda: [click.Command("up")]),
        Point("c", runai_commands=lambda: [click.Command("hello")]),
        Point("d", runai_commands=lambda: ["hello"]),
        Point("e", runai_commands=lambda: 1 / 0),
    )

    commands, refused = registry.commands({"up", "down"})

    assert commands == {"hello": hello}
    assert {plugin.name: plugin.error for plugin in refused} == {
        "b": "command up is there already: runai itself brought it",
        "c": "command hello is there already: another plug-in brought it",
        "d": "runai_commands returned str; it must return click commands",
        "e": "ZeroDivisionError: division by zero",
    }


WRONG = {
    "a plan with a negative minimum": (lambda: PodGroupPlan(min_members=-1), "min_members"),
    "a plan of single pods that wait for each other": (
        lambda: PodGroupPlan(min_members=2, each_pod=True),
        "min_members",
    ),
    "a kind without a version": (lambda: WorkloadKind(api_version="x", kind="Y", adapter=Pair()), "api_version"),
    "an adapter that cannot group": (lambda: WorkloadKind(api_version="v1", kind="Y", adapter=object()), "adapter"),  # type: ignore[arg-type]
    "a policy rule with a title for a name": (lambda: PolicyRule("No Latest", lambda t, s: []), "name"),
    "a setting without its plug-in's name": (lambda: Setting(name="url", default="", help="x"), "name"),
    "a setting of no known type": (lambda: Setting(name="a.b", default=[], help="x"), "default"),  # type: ignore[arg-type]
    "a setting that is not explained": (lambda: Setting(name="a.b", default="", help=" "), "help"),
    "a page of an unknown kind": (lambda: Page(kind="node", title="T", loader=print, template=""), "kind"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("make", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_description_names_its_field(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make()

    assert [error.field for error in caught.value.errors] == [field]
