"""Values that Kubernetes, or a browser, would refuse later are refused when they are submitted."""

from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest, TooLarge
from runai_core.service.spec_checks import MAX_BYTES, check_forms

WRONG: list[Any] = [
    pytest.param({"labels": [{"name": "a b"}]}, "labels.0.name", id="a label with a blank"),
    pytest.param({"labels": [{"name": "a\x1b[31m"}]}, "labels.0.name", id="a label that would colour a terminal"),
    pytest.param({"labels": [{"name": "a"}, {"name": "b", "value": "c d"}]}, "labels.1.value", id="a value of words"),
    pytest.param({"annotations": [{"name": "not/a/key"}]}, "annotations.0.name", id="an annotation of three parts"),
    pytest.param({"image": "python 3.11"}, "image", id="an image with a blank"),
    pytest.param({"ports": [{"container": 1, "serviceType": "Door"}]}, "ports.0.serviceType", id="an unknown service"),
    pytest.param({"exposedUrls": [{"url": "javascript:alert(1)"}]}, "exposedUrls.0.url", id="a link that is a script"),
    pytest.param({"relatedUrls": [{"url": "data:text/html,x"}]}, "relatedUrls.0.url", id="a link that is a page"),
    pytest.param({"security": {"supplementalGroups": "a"}}, "security.supplementalGroups", id="a group by name"),
    pytest.param(
        {"storage": {"emptyDirVolume": [{"sizeLimit": "big"}]}}, "storage.emptyDirVolume.0.sizeLimit", id="a size"
    ),
    pytest.param(
        {"storage": {"emptyDirVolume": [{"medium": "Tape"}]}}, "storage.emptyDirVolume.0.medium", id="a medium"
    ),
    pytest.param({"storage": {"pvc": [{"claimInfo": {"size": ""}}]}}, "storage.pvc.0.claimInfo.size", id="no size"),
    pytest.param({"storage": {"hostPath": [{"path": "data"}]}}, "storage.hostPath.0.path", id="a path from nowhere"),
]


@pytest.mark.parametrize(("spec", "field"), WRONG)
def test_what_nothing_could_work_with_is_refused_at_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_forms(spec, "masterSpec")

    assert [error.field for error in refused.value.errors] == [f"masterSpec.{field}"]


def test_what_is_right_or_left_out_passes() -> None:
    check_forms(
        {
            "image": "registry.example:5000/team/image@sha256:0123",
            "labels": [{"name": "run.ai/type", "value": ""}, {"name": "a b", "exclude": True}],
            "annotations": [{"name": "example.org/note", "value": "any text, of\nany kind"}],
            "ports": [{"container": 1}, {"container": 2, "serviceType": None}],
            "exposedUrls": [{"url": "https://a.example/b"}, {"url": "host.example/c"}, {"url": None}, {"container": 1}],
            "security": {"supplementalGroups": "100;200"},
            "storage": {"emptyDirVolume": [{"path": "scratch", "sizeLimit": "5G"}], "hostPath": None},
        }
    )


def test_a_specification_is_never_as_large_as_to_fill_a_database() -> None:
    with pytest.raises(TooLarge, match="spec is larger than"):
        check_forms({"environmentVariables": [{"name": "A", "value": "x" * MAX_BYTES}]})


def test_of_many_errors_the_first_are_named_and_the_others_counted() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_forms({"labels": [{"name": "a b"}] * 1000})

    assert len(refused.value.errors) == 21
    assert "and 980 more errors" in refused.value.message
