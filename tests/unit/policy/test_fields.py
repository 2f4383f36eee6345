"""The catalogue of fields and the model of a specification are the same fields."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from runai_core.model.meta import to_camel
from runai_core.model.spec import (
    DISTRIBUTED_INFERENCE_ONLY,
    DISTRIBUTED_ONLY,
    INFERENCE_ONLY,
    NOT_INFERENCE,
    TRAINING_ONLY,
    WorkloadSpec,
)
from runai_core.model.workload import PolicyType
from runai_core.policy.fields import ALIASES, FIELDS, ValueType, fields_of

NOT_FOR_POLICIES = {"probes.readiness.handler.httpGet.path", "probes.readiness.handler.httpGet.port"} | {
    "probes.readiness.handler.httpGet.host",
    "probes.readiness.handler.httpGet.scheme",
}
"""How a probe asks belongs to the program; Run:ai's policies have its times only."""

QUANTITIES = {
    "gpuMemoryRequest",
    "gpuMemoryLimit",
    "cpuMemoryRequest",
    "cpuMemoryLimit",
    "quantity",
    "size",
    "sizeLimit",
}


def bare(hint: Any) -> Any:
    """Return a type without `| None`."""
    members = [member for member in get_args(hint) if member is not NoneType]
    return members[0] if NoneType in get_args(hint) and len(members) == 1 else hint


def value_type(name: str, hint: Any) -> ValueType:
    """Return the type of value that a field of the model has for policies."""
    if name in QUANTITIES:
        return ValueType.QUANTITY
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ValueType.STRING
    return {bool: ValueType.BOOLEAN, str: ValueType.STRING, int: ValueType.INTEGER, float: ValueType.NUMBER}[hint]


def model_leaves(kind: type[Any], at: str = "") -> Iterator[tuple[str, ValueType | type[Any]]]:
    """Yield each field of the model by its path in the API's names; lists of objects give the object's class."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        path, hint = f"{at}{to_camel(field.name)}", bare(hints[field.name])
        if get_origin(hint) is tuple:
            item = get_args(hint)[0]
            found: Any = item if is_dataclass(item) else ValueType.ARRAY
            yield path, found
        elif path == "nodeAffinityRequired":
            yield path, ValueType.OBJECT
        elif is_dataclass(hint):
            yield from model_leaves(hint, f"{path}.")  # type: ignore[arg-type]
        else:
            yield path, value_type(to_camel(field.name), hint)


MODEL = dict(model_leaves(WorkloadSpec))


def test_the_catalogue_has_every_field_of_the_model_and_no_other() -> None:
    assert set(FIELDS) == set(MODEL) - NOT_FOR_POLICIES


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_a_field_has_the_type_of_the_model(path: str) -> None:
    found, entry = MODEL[path], FIELDS[path]
    if path == "imagePullSecrets":  # Run:ai's policies take the list as one value
        assert entry.type == ValueType.ARRAY
    elif isinstance(found, ValueType):
        assert entry.type == found
    else:
        members = dict(model_leaves(found))
        assert members.pop(entry.key) == ValueType.STRING
        assert members.pop("exclude") == ValueType.BOOLEAN
        assert entry.type == ValueType.ITEMIZED
        assert {name: members[name] for name in entry.attributes} == dict(entry.attributes)


def snake(names: frozenset[str]) -> set[str]:
    return {to_camel(name) for name in names}


ONLY: list[tuple[frozenset[str], set[PolicyType]]] = [
    (TRAINING_ONLY, {PolicyType.TRAINING}),
    (DISTRIBUTED_ONLY, {PolicyType.DISTRIBUTED}),
    (INFERENCE_ONLY, {PolicyType.INFERENCE, PolicyType.DISTRIBUTED_INFERENCE}),
    (DISTRIBUTED_INFERENCE_ONLY, {PolicyType.DISTRIBUTED_INFERENCE}),
    (NOT_INFERENCE, {PolicyType.WORKSPACE, PolicyType.TRAINING, PolicyType.DISTRIBUTED}),
]


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_a_field_is_there_for_the_types_of_workload_that_the_model_names(path: str) -> None:
    expected = next((types for names, types in ONLY if path.partition(".")[0] in snake(names)), set(PolicyType))
    if path == "storage.s3":
        expected -= {PolicyType.INFERENCE, PolicyType.DISTRIBUTED_INFERENCE}
    assert FIELDS[path].workloads == expected


def test_other_spellings_lead_to_fields_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(FIELDS)
    assert not set(ALIASES) & set(FIELDS)


def test_each_type_of_workload_has_its_own_fields() -> None:
    assert "parallelism" in fields_of(PolicyType.TRAINING)
    assert "parallelism" not in fields_of(PolicyType.WORKSPACE)
