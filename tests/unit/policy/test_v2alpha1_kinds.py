"""The table of the v2alpha1 kinds: nothing of the current form is missing, and everything is explained."""

import pytest

from runai_core.model.workload import PolicyType
from runai_core.policy.fields import FIELDS
from runai_core.policy.v2alpha1_fields import ITEMS, SCALARS
from runai_core.policy.v2alpha1_kinds import KIND_FIELDS, WORKLOAD_KINDS, Form, Shape, described_at, kind_fields


def test_every_field_that_policies_know_can_be_written_in_a_custom_resource() -> None:
    written = {entry.path for entry in KIND_FIELDS.values() if entry.path}

    assert [path for path in FIELDS if not any(path == at or path.startswith(f"{at}.") for at in written)] == []


def test_every_field_and_every_member_is_explained() -> None:
    missing = [
        name
        for name, entry in KIND_FIELDS.items()
        if not entry.description or not all(member.description for member in entry.members.values())
    ]

    assert missing == []


def test_names_are_there_once() -> None:
    assert set(SCALARS) & set(ITEMS) == set()
    assert {*SCALARS, *ITEMS} <= set(KIND_FIELDS)


@pytest.mark.parametrize("workload", list(PolicyType))
def test_every_type_has_a_kind_with_its_fields(workload: PolicyType) -> None:
    assert workload in WORKLOAD_KINDS.values()
    assert {"name", "image", "gpu", "cpu", "environment", "nodeType"} <= set(kind_fields(workload))


def test_descriptions_come_from_the_model_through_objects_and_lists() -> None:
    assert described_at("nodeType") == "Node type: the node label run.ai/type."
    assert described_at("storage.pvc.claimInfo.size") == "Capacity, for example 10G."
    assert described_at("storage.nothing") == ""


def test_forms_are_those_of_the_reference() -> None:
    assert KIND_FIELDS["gpu"].form is Form.TEXT
    assert KIND_FIELDS["minScale"].form is Form.WHOLE
    assert KIND_FIELDS["preemptible"].form is Form.BOOLEAN
    assert KIND_FIELDS["environment"].shape is Shape.ITEMS
    assert KIND_FIELDS["baseWorkload"].shape is Shape.PLAIN
    assert KIND_FIELDS["pvcs"].members["existingPvc"].form is Form.BOOLEAN
