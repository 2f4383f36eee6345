"""Gangs of model servers, from manifests as people write them."""

import subprocess
import sys

import pytest
import yaml
from runai_seldon.plugin import KINDS

from runai_core.model.errors import InvalidRequest
from runai_core.plugins.types import WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def gangs(text: str) -> list[tuple[int, dict[str, int]]]:
    manifest = yaml.safe_load(text)
    plans = BY_KIND[manifest["kind"]].adapter.pod_groups(manifest)
    return [(plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in plans]


SERVICE = (
    "kind: Service\nspec: {{template: {{metadata: {{annotations: {{autoscaling.knative.dev/min-scale: '{scale}'}}}}}}}}"
)

TABLE: dict[str, tuple[str, list[tuple[int, dict[str, int]]]]] = {
    "a Knative service starts with one replica": ("kind: Service\nspec: {}", [(1, {})]),
    "or with those that it never goes below": (SERVICE.format(scale=3), [(3, {})]),
    "one that scales to zero needs one to start": (SERVICE.format(scale=0), [(1, {})]),
    "KServe leaves it to what it makes": ("kind: InferenceService", []),
    "a Seldon deployment": ("kind: SeldonDeployment", [(1, {})]),
    "a Seldon server": ("kind: Server", [(1, {})]),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_gangs(text: str, expected: list[tuple[int, dict[str, int]]]) -> None:
    assert gangs(text) == expected


WRONG = {
    "a scale that is no number": (
        SERVICE.format(scale="many"),
        "spec.template.metadata.annotations[autoscaling.knative.dev/min-scale]",
    ),
    "a scale beyond belief": (
        SERVICE.format(scale="9" * 20),
        "spec.template.metadata.annotations[autoscaling.knative.dev/min-scale]",
    ),
}


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_names_the_field(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gangs(text)

    assert [error.field for error in caught.value.errors] == [field]


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_seldon.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"kubernetes"} & set(loaded)
