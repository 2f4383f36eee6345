"""What docs/policies.md shows is true."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.document import RULES_OF
from runai_core.policy.evaluate import evaluate
from runai_core.policy.fields import ValueType
from runai_core.policy.rules import validate_document
from runai_core.policy.v2alpha1 import policy_of

TEXT = (Path(__file__).parents[3] / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, Any]] = [
    (kind, yaml.safe_load(body)) for kind, body in re.findall(r"```yaml (\w+)\n(.*?)```", TEXT, re.DOTALL)
]
OF_TYPES = [(kind, document) for kind, document in EXAMPLES if kind != "v2alpha1"]


def test_the_page_has_its_examples() -> None:
    assert [kind for kind, _ in EXAMPLES] == ["training", "training", "training", "distributed", "v2alpha1"]


@pytest.mark.parametrize(("kind", "document"), OF_TYPES, ids=[f"example {number}" for number, _ in enumerate(OF_TYPES)])
def test_an_example_is_a_valid_policy(kind: str, document: Any) -> None:
    assert validate_document(PolicyType(kind), document) == ()


def test_the_older_form_of_the_page_is_translated() -> None:
    policy = policy_of(next(document for kind, document in EXAMPLES if kind == "v2alpha1"))
    assert validate_document(policy.type, policy.document) == ()
    assert evaluate(policy.type, {}, [policy]).spec["compute"] == {"gpuDevicesRequest": 1}


def test_the_message_of_the_page_is_the_one_that_is_given() -> None:
    document = EXAMPLES[0][1]
    policy = Policy(
        meta=Meta(name="p"), type=PolicyType.TRAINING, scope_type="department", scope="research", document=document
    )
    (violation,) = evaluate(PolicyType.TRAINING, {"compute": {"gpuDevicesRequest": 8}}, [policy]).violations
    assert f"```\n{violation}\n```" in TEXT


def test_the_table_of_rules_is_the_one_that_is_enforced() -> None:
    base = {"canEdit", "required", "blocked"}
    numbers = base | {"min", "max", "step", "options", "defaultFrom"}
    assert {kind: set(rules) for kind, rules in RULES_OF.items()} == {
        ValueType.BOOLEAN: base,
        ValueType.ARRAY: base,
        ValueType.OBJECT: base,
        ValueType.STRING: base | {"options"},
        ValueType.INTEGER: numbers,
        ValueType.NUMBER: numbers,
        ValueType.QUANTITY: numbers - {"step"},
        ValueType.ITEMIZED: {"instances", "attributes"},
    }
