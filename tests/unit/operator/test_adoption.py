"""How a template and a submission become one specification."""

from typing import Any

import pytest

from runai_core.operator.adoption import _over


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        pytest.param({"image": "a", "command": "x"}, {"image": "b"}, {"image": "b", "command": "x"}, id="a field"),
        pytest.param(
            {"compute": {"gpuDevicesRequest": 2, "cpuCoreRequest": 1}},
            {"compute": {"gpuDevicesRequest": 1}},
            {"compute": {"gpuDevicesRequest": 1, "cpuCoreRequest": 1}},
            id="a member of a section",
        ),
        pytest.param(
            {"environmentVariables": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
            {"environmentVariables": [{"name": "B", "value": "2"}, {"name": "C", "value": "2"}]},
            {
                "environmentVariables": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "value": "2"},
                    {"name": "C", "value": "2"},
                ]
            },
            id="items by their names",
        ),
        pytest.param(
            {"storage": {"pvc": [{"name": "d", "path": "/d"}]}},
            {"storage": {"pvc": [{"name": "d", "exclude": True}], "nfs": [{"name": "n", "path": "/n"}]}},
            {"storage": {"pvc": [{"name": "d", "exclude": True}], "nfs": [{"name": "n", "path": "/n"}]}},
            id="items of a section",
        ),
        pytest.param({"nodePools": ["a"]}, {}, {"nodePools": ["a"]}, id="nothing of one's own"),
        pytest.param({}, {"nodePools": ["b"]}, {"nodePools": ["b"]}, id="nothing in the template"),
    ],
)
def test_what_a_submission_gives_wins(base: dict[str, Any], own: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _over(base, own) == expected
