"""What most adapters are made of: reading counts from manifests, and a few shapes of gangs.

The formulas follow KAI's pod grouper; where a kind has no rule of its own, the
object is one gang that can start with one pod.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.types import Manifest, PodGroupPlan

MAX_MEMBERS = 100_000
"""Largest count of pods that is believed; more is taken for a mistake."""

REPLICAS_BEFORE = "run.ai/replicas-before-suspend"
"""Annotation that keeps the number of replicas of an object while it is suspended."""

Grouping = Callable[[Manifest], Sequence[PodGroupPlan]]


def unnumbered(_: Mapping[str, str]) -> int | None:
    """Return that a pod has no number."""
    return None


def numbered_by(label: str) -> Callable[[Mapping[str, str]], int | None]:
    """Return how a pod's number is read off a label of it."""

    def number_of(labels: Mapping[str, str]) -> int | None:
        text = labels.get(label, "")
        return int(text) if text.isdecimal() else None

    return number_of


@dataclass(frozen=True)
class Gangs:
    """An adapter that only says how pods form gangs."""

    pod_groups: Grouping


@dataclass(frozen=True)
class Divided(Gangs):
    """An adapter whose pods say by labels to which gang and sub-group they belong, and perhaps their number in it."""

    place_of: Callable[[Mapping[str, str]], tuple[str, str]]
    number_of: Callable[[Mapping[str, str]], int | None] = field(default=unnumbered, kw_only=True)


@dataclass(frozen=True)
class Suspendable(Gangs):
    """An adapter of an object that has a boolean field to stop it: the path of that field."""

    suspend_field: str

    def suspend(self, manifest: Manifest) -> dict[str, Any]:
        """Return the object with the field set."""
        return with_field(manifest, self.suspend_field, value=True)

    def resume(self, manifest: Manifest) -> dict[str, Any]:
        """Return the object with the field cleared."""
        return with_field(manifest, self.suspend_field, value=False)


@dataclass(frozen=True)
class DividedSuspendable(Suspendable, Divided):
    """Both."""


@dataclass(frozen=True)
class Scaled(Gangs):
    """An adapter of an object that is stopped by asking for no replicas; an annotation keeps how many there were."""

    def suspend(self, manifest: Manifest) -> dict[str, Any]:
        """Return the object with no replicas."""
        replicas = count_of(manifest, "spec.replicas", 1)
        if replicas == 0:
            return dict(manifest)
        notes = field_of(manifest, "metadata.annotations") or {}
        kept = with_field(manifest, "metadata.annotations", value={**notes, REPLICAS_BEFORE: str(replicas)})
        return with_field(kept, "spec.replicas", value=0)

    def resume(self, manifest: Manifest) -> dict[str, Any]:
        """Return the object with the replicas that it had; one that was never suspended gets one."""
        if count_of(manifest, "spec.replicas", 1) > 0:
            return dict(manifest)
        notes = dict(field_of(manifest, "metadata.annotations") or {})
        before = str(notes.pop(REPLICAS_BEFORE, "1"))
        cleaned = with_field(manifest, "metadata.annotations", value=notes)
        return with_field(cleaned, "spec.replicas", value=int(before) if before.isdecimal() else 1)


@dataclass(frozen=True)
class DividedScaled(Scaled, Divided):
    """Both."""


def one_gang(_: Manifest) -> Sequence[PodGroupPlan]:
    """Return one gang that can start with one pod and grow."""
    return (PodGroupPlan(),)


def each_pod(_: Manifest) -> Sequence[PodGroupPlan]:
    """Return a gang for each pod: replicas that do not wait for each other."""
    return (PodGroupPlan(each_pod=True),)


def each_child(kind: str) -> Grouping:
    """Return a rule: a gang, which can start with one pod, for each object of this kind that the object makes."""
    plans = (PodGroupPlan(each_child=kind),)
    return lambda _: plans


def of_its_children(_: Manifest) -> Sequence[PodGroupPlan]:
    """Return no gang: the objects that this one makes have kinds of their own."""
    return ()


def field_of(manifest: Manifest, path: str) -> Any:
    """Return the value at a dotted path; None where it, or anything above it, is missing.

    Raises:
        InvalidRequest: something above it is not a mapping.
    """
    value: Any = manifest
    for part in path.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise InvalidRequest.of(FieldError(path.partition(f".{part}")[0] or path, "must be a mapping", value))
        value = value.get(part)
    return value


def count_of(manifest: Manifest, path: str, default: int, *, at: str = "") -> int:
    """Return the whole number at a dotted path, or the default where it is missing.

    `at` is where a part of a manifest was found, for the error.

    Raises:
        InvalidRequest: it is not a whole number, negative, or larger than `MAX_MEMBERS`.
    """
    value = field_of(manifest, path)
    path = f"{at}.{path}" if at else path
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.of(FieldError(path, "must be a whole number", value))
    if not 0 <= value <= MAX_MEMBERS:
        raise InvalidRequest.of(FieldError(path, f"must be from 0 to {MAX_MEMBERS}", value))
    return value


def list_of(manifest: Manifest, path: str) -> Sequence[Mapping[str, Any]]:
    """Return the list of mappings at a dotted path; empty where it is missing.

    Raises:
        InvalidRequest: it is not a list, or an entry is not a mapping.
    """
    value = field_of(manifest, path)
    if value is None:
        return ()
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InvalidRequest.of(FieldError(path, "must be a list", value))
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise InvalidRequest.of(FieldError(f"{path}.{index}", "must be a mapping", item))
    return value


def with_field(manifest: Manifest, path: str, *, value: Any) -> dict[str, Any]:
    """Return a copy of the manifest with one field set; what is above it is made where it is missing.

    Raises:
        InvalidRequest: something above the field is not a mapping.
    """
    field_of(manifest, path)
    head, _, rest = path.partition(".")
    below = with_field(manifest.get(head) or {}, rest, value=value) if rest else value
    return {**manifest, head: below}
