"""What a ResourceInterface says of a kind, as an adapter (optimization.nvidia.com; Run:ai, workload types).

An interface names the components of an object: where it says how many pods
each has, by which label their pods are known, which of them start together,
and how its status reads. Paths are those of jq, as far as they name one field:
``.spec.replicas``, ``.metadata.labels["example.com/role"]``, ``.spec.roles[0].count``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.kinds import TaughtKind
from runai_core.model.workload import Phase
from runai_core.plugins.grouping import MAX_MEMBERS
from runai_core.plugins.types import Manifest, PodGroupPlan, SubGroup, WorkloadKind

STRUCTURE = "spec.structureDefinition"
GANGS = "spec.optimizationInstructions.gangScheduling.podGroups"

STATUSES: Mapping[str, Phase] = {
    "failed": Phase.FAILED,
    "completed": Phase.COMPLETED,
    "running": Phase.RUNNING,
    "initializing": Phase.INITIALIZING,
}
"""Member of `statusMappings` -> phase; the first that fits counts."""

_STEP = re.compile(r'\.?(?:(?P<name>[A-Za-z_][A-Za-z0-9_-]*)|\["(?P<key>[^"\\]+)"\]|\[(?P<index>[0-9]{1,4})\])')
_LABELS = ("metadata", "labels")
_NO_NAME = re.compile(r"[^a-z0-9-]")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Component:
    """Pods of an object that do the same."""

    name: str
    replicas: tuple[Path, ...] = ()  # where their number may be: the least first
    label: str = ""  # by which their pods are known
    value: str | None = None  # of the label; None: any


@dataclass(frozen=True, slots=True)
class Gang:
    """Components whose pods start together."""

    name: str
    members: tuple[Component, ...]
    keys: tuple[str, ...] = ()  # labels: there is a gang for each of their values


@dataclass(frozen=True, slots=True)
class Match:
    """What says that an object is in a phase: its phase, its conditions, or both."""

    phase: str = ""
    conditions: tuple[tuple[str, str], ...] = ()  # type and status


@dataclass(frozen=True, slots=True)
class StatusRules:
    """How an object's status reads."""

    phase_path: Path = ()
    conditions_path: Path = ()
    names: tuple[str, str] = ("type", "status")  # of the members of a condition
    matches: tuple[tuple[Phase, tuple[Match, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Taught:
    """An adapter that follows an interface (`KindAdapter`, `Divides`, `Observes`)."""

    gangs: tuple[Gang, ...] = ()
    status: StatusRules = StatusRules()

    def pod_groups(self, manifest: Manifest) -> Sequence[PodGroupPlan]:
        """Return the gangs; one that can start with one pod, where the interface names none.

        How many gangs the values of a key make, an interface does not say: each starts with one pod of each component.
        """
        if not self.gangs:
            return (PodGroupPlan(),)
        return tuple(_plan(gang, manifest) for gang in self.gangs)

    def place_of(self, labels: Mapping[str, str]) -> tuple[str, str]:
        """Return the gang and the component of a pod; empty where its labels do not say."""
        for gang in self.gangs:
            found = next((member for member in gang.members if _is_of(member, labels)), None)
            if found is not None:
                values = [_NO_NAME.sub("-", labels.get(key, "").lower()) for key in gang.keys]
                return "-".join((gang.name, *values)) if any(values) else gang.name, _part(gang, found)
        return (self.gangs[0].name if len(self.gangs) == 1 else ""), ""

    def phase_of(self, manifest: Manifest) -> Phase | None:
        """Return the phase that the object's status maps to; None where it maps to none."""
        rules = self.status
        phase = _at(manifest, rules.phase_path) if rules.phase_path else None
        listed = _at(manifest, rules.conditions_path) if rules.conditions_path else None
        items = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
        told = {(str(item.get(rules.names[0])), str(item.get(rules.names[1]))) for item in items}
        for becomes, matches in rules.matches:
            if any(_fits(match, phase, told) for match in matches):
                return becomes
        return None


def kinds_of(taught: TaughtKind, brought: Mapping[tuple[str, str], WorkloadKind]) -> tuple[WorkloadKind, ...]:
    """Return the kinds that a definition stands for: one for each version, or a plug-in's with other defaults.

    Raises:
        InvalidRequest: an interface cannot be followed; names the field.
    """
    if not taught.interfaces:
        own = [
            kind for kind in brought.values() if (_group(kind.api_version), kind.kind) == (taught.group, taught.kind)
        ]
        return tuple(replace(kind, category=taught.category, priority_class=taught.priority_class) for kind in own)
    found: dict[str, WorkloadKind] = {}
    for index, interface in enumerate(taught.interfaces):
        at = f"resourceInterfaces.{index}"
        version = _version(interface, taught, at)
        if version in found:
            raise _wrong(f"{at}.{STRUCTURE}.rootComponent.kind.version", "comes twice: give each version once", version)
        api_version = f"{taught.group}/{version}" if taught.group else version
        found[version] = WorkloadKind(
            api_version=api_version,
            kind=taught.kind,
            adapter=adapter_of(interface, at),
            serves=taught.category == "Deploy",
            category=taught.category,
            priority_class=taught.priority_class,
        )
    return tuple(found.values())


def adapter_of(interface: Mapping[str, Any], at: str = "") -> Taught:
    """Return the adapter that follows an interface.

    Raises:
        InvalidRequest: a field is missing or of another form, or asks for what is not understood; names it.
    """
    structure = _mapping(interface, STRUCTURE, at)
    root = _mapping(structure, "rootComponent", f"{at}.{STRUCTURE}")
    where = f"{at}.{STRUCTURE}.childComponents"
    children = [
        _component(item, f"{where}.{index}") for index, item in enumerate(_list(structure, "childComponents", where))
    ]
    own = _component({"name": "root", **root}, f"{at}.{STRUCTURE}.rootComponent")
    components = {component.name: component for component in (own, *children)}
    groups = _list(_opt(interface, "spec.optimizationInstructions.gangScheduling"), "podGroups", f"{at}.{GANGS}")
    gangs = tuple(_gang(item, components, f"{at}.{GANGS}.{index}") for index, item in enumerate(groups))
    if len({gang.name for gang in gangs}) < len(gangs):
        raise _wrong(f"{at}.{GANGS}", "must have distinct names", ", ".join(gang.name for gang in gangs))
    rules = root.get("statusDefinition")
    status = StatusRules() if rules is None else _status(rules, f"{at}.{STRUCTURE}.rootComponent.statusDefinition")
    return Taught(gangs=gangs, status=status)


# -- reading an interface


def _component(item: Mapping[str, Any], at: str) -> Component:
    name = _text(item, "name", at)
    scale, selector = _opt(item, "scaleDefinition"), _opt(item, "podSelector.componentTypeSelector")
    counts = [(field, scale[field]) for field in ("minReplicasPath", "replicasPath") if scale.get(field) is not None]
    replicas = tuple(_path(text, f"{at}.scaleDefinition.{field}") for field, text in counts)
    if not selector:
        return Component(name, replicas)
    where = f"{at}.podSelector.componentTypeSelector"
    value = selector.get("value")
    return Component(
        name, replicas, _label(selector.get("keyPath"), f"{where}.keyPath"), None if value is None else str(value)
    )


def _gang(item: Mapping[str, Any], components: Mapping[str, Component], at: str) -> Gang:
    members, keys = [], set()
    listed = _list(item, "members", f"{at}.members")
    if not listed:
        raise _wrong(f"{at}.members", "must name at least one component", listed)
    for index, member in enumerate(listed):
        here = f"{at}.members.{index}"
        name = _text(member, "componentName", here)
        if name not in components:
            raise _wrong(f"{here}.componentName", f"must be one of {', '.join(components)}", name)
        if member.get("filters"):
            raise _wrong(f"{here}.filters", "are not understood: leave them out", member["filters"])
        members.append(components[name])
        paths = member.get("groupByKeyPaths") or ()
        keys.add(tuple(_label(path, f"{here}.groupByKeyPaths.{number}") for number, path in enumerate(paths)))
    if len(keys) > 1:
        raise _wrong(f"{at}.members", "must all have the same groupByKeyPaths", None)
    if len(members) > 1 and (unknown := [member.name for member in members if not member.label]):
        message = "needs a podSelector.componentTypeSelector, to be told from the others of its group"
        raise _wrong(f"{at}.members", f"{unknown[0]} {message}", unknown[0])
    return Gang(_text(item, "name", at), tuple(members), keys.pop())


def _status(rules: Any, at: str) -> StatusRules:
    if not isinstance(rules, Mapping):
        raise _wrong(at, "must be an object", rules)
    phase, conditions = _opt(rules, "phaseDefinition"), _opt(rules, "conditionsDefinition")
    mappings = _mapping(rules, "statusMappings", at)
    if unknown := sorted(set(mappings) - set(STATUSES)):
        raise _wrong(f"{at}.statusMappings", f"knows only {', '.join(STATUSES)}", unknown[0])
    matches = tuple(
        (becomes, tuple(_match(item, f"{at}.statusMappings.{name}") for item in _list(mappings, name, at)))
        for name, becomes in STATUSES.items()
    )
    return StatusRules(
        phase_path=_path(phase["path"], f"{at}.phaseDefinition.path") if phase.get("path") else (),
        conditions_path=_path(conditions["path"], f"{at}.conditionsDefinition.path") if conditions.get("path") else (),
        names=(str(conditions.get("typeFieldName") or "type"), str(conditions.get("statusFieldName") or "status")),
        matches=matches,
    )


def _match(item: Mapping[str, Any], at: str) -> Match:
    listed = _list(item, "byConditions", f"{at}.byConditions")
    conditions = tuple((_text(each, "type", at), _text(each, "status", at)) for each in listed)
    phase = item.get("byPhase")
    if not conditions and not phase:
        raise _wrong(at, "must have byPhase or byConditions", None)
    return Match(str(phase or ""), conditions)


def _version(interface: Mapping[str, Any], taught: TaughtKind, at: str) -> str:
    where = f"{at}.{STRUCTURE}.rootComponent.kind"
    kind = _mapping(interface, f"{STRUCTURE}.rootComponent.kind", at)
    for name, wanted in (("group", taught.group), ("kind", taught.kind)):
        if str(kind.get(name) or "") != wanted:
            raise _wrong(f"{where}.{name}", f"must be {wanted}, as the type is", kind.get(name))
    return _text(kind, "version", where)


def _path(text: Any, at: str) -> Path:
    """Return the steps of a jq path that names one field."""
    steps: list[str | int] = []
    position = 0
    text = text if isinstance(text, str) else ""
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None or (not position and not text.startswith(".")):
            break
        index = found["index"]
        steps.append(int(index) if index is not None else found["name"] or found["key"])
        position = found.end()
    if not steps or position < len(text):
        raise _wrong(at, 'must be a path that names one field, such as .spec.replicas or .a["b.c/d"][0]', text)
    return tuple(steps)


def _label(text: Any, at: str) -> str:
    path = _path(text, at)
    if path[:2] != _LABELS or len(path) != 3:
        raise _wrong(at, 'must be a label of the pod: .metadata.labels["name"]', text)
    return str(path[2])


def _opt(item: Any, path: str) -> Mapping[str, Any]:
    """Return the object at a dotted path; empty where there is none."""
    for part in path.split("."):
        item = item.get(part) if isinstance(item, Mapping) else None
    return item if isinstance(item, Mapping) else {}


def _mapping(item: Mapping[str, Any], path: str, at: str) -> Mapping[str, Any]:
    found = _opt(item, path)
    if not found:
        raise _wrong(f"{at}.{path}", "is required, and must be an object", None)
    return found


def _list(item: Mapping[str, Any], name: str, at: str) -> list[Mapping[str, Any]]:
    found = item.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise _wrong(at, "must be a list of objects", found)
    return found


def _text(item: Mapping[str, Any], name: str, at: str) -> str:
    found = item.get(name)
    if not isinstance(found, str) or not found or len(found) > 253:
        raise _wrong(f"{at}.{name}", "must be text of 1 to 253 characters", found)
    return found


def _wrong(at: str, message: str, given: Any) -> InvalidRequest:
    return InvalidRequest.of(FieldError(at.lstrip("."), message, None if given is None else str(given)[:80]))


# -- following it


def _plan(gang: Gang, manifest: Manifest) -> PodGroupPlan:
    counts = {member.name: 1 if gang.keys else _count(member, manifest) for member in gang.members}
    parts = tuple(SubGroup(name=name, min_members=count) for name, count in counts.items()) if len(counts) > 1 else ()
    return PodGroupPlan(name=gang.name, min_members=sum(counts.values()), sub_groups=parts)


def _count(member: Component, manifest: Manifest) -> int:
    """Return how many pods of a component must start; 1 where the object does not say."""
    for path in member.replicas:
        value = _at(manifest, path)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MEMBERS:
            field = ".".join(map(str, path))
            raise InvalidRequest.of(
                FieldError(field, f"must be a whole number from 0 to {MAX_MEMBERS}", str(value)[:80])
            )
        return value
    return 1


def _at(item: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, int):
            item = item[step] if isinstance(item, list) and step < len(item) else None
        else:
            item = item.get(step) if isinstance(item, Mapping) else None
    return item


def _is_of(member: Component, labels: Mapping[str, str]) -> bool:
    return bool(member.label) and member.label in labels and member.value in (None, labels[member.label])


def _part(gang: Gang, member: Component) -> str:
    return member.name if len(gang.members) > 1 else ""


def _fits(match: Match, phase: Any, told: set[tuple[str, str]]) -> bool:
    return (not match.phase or match.phase == phase) and told.issuperset(match.conditions)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
