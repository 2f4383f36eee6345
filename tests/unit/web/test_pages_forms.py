"""New Workload forms: fields from the model, values and limits from policies, and back to a specification."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType, Workload, WorkloadType
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.types import Native, WorkloadKind
from runai_core.policy.effective import effective_of
from runai_core.policy.evaluate import evaluate
from runai_core.policy.fields import FIELDS, fields_of
from runai_core.web.pages.inputs import Input, Section, Widget, posted_of, with_errors
from runai_core.web.pages.values import line_of
from runai_core.web.pages.workload_fields import ROWS, said_of
from runai_core.web.pages.workload_form import (
    MORE,
    Surroundings,
    posted_spec,
    sections_of,
    spec_of,
    started,
    without_policies,
)

NOTHING = Surroundings()


def surroundings(document: Mapping[str, Any], kind: PolicyType = PolicyType.TRAINING) -> Surroundings:
    policy = Policy(meta=Meta(name="p"), type=kind, scope_type="project", scope="a", document=document)
    return Surroundings(effective=effective_of(kind, [policy]), filled=evaluate(kind, {}, [policy]))


def inputs_of(kind: PolicyType, posted: Mapping[str, list[str]], around: Surroundings) -> dict[str, Input]:
    return {item.name: item for section in sections_of(kind, posted, around) for item in section.inputs}


def test_every_field_that_policies_know_has_an_input() -> None:
    assert {row.path for row in ROWS} == set(FIELDS)
    assert len({row.path for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_each_field_has_help_from_the_model(row: Any) -> None:
    assert row.help or said_of(row.path).get("description"), row.path
    assert len(row.label) < 50


@pytest.mark.parametrize("kind", PolicyType)
def test_a_form_shows_the_fields_of_its_type_and_no_others(kind: PolicyType) -> None:
    assert set(inputs_of(kind, {}, NOTHING)) == set(fields_of(kind)) | {MORE}


SPEC = {
    "image": "python:3.12",
    "command": "python train.py",
    "compute": {"gpuDevicesRequest": 2, "gpuPortionRequest": 0.5, "cpuMemoryRequest": "2Gi", "largeShmRequest": True},
    "environmentVariables": [{"name": "A", "value": "1"}, {"name": "B", "secret": {"name": "s", "key": "k"}}],
    "nodePools": ["a", "b"],
    "nodeAffinityRequired": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]},
    "tolerations": [{"key": "gpu", "operator": "Exists", "seconds": 5}],
}


def test_a_specification_survives_being_shown_and_sent_back() -> None:
    posted = posted_spec(PolicyType.TRAINING, SPEC)

    assert spec_of(PolicyType.TRAINING, posted, NOTHING) == (SPEC, [])
    assert posted["compute.gpuPortionRequest"] == ["0.5"]
    assert (posted["nodeAffinityRequired:key"], posted["nodeAffinityRequired:operator"]) == (["x"], ["Exists"])
    assert "seconds: 5" in posted[MORE][0], "an entry that has no column for a member is written as YAML"


ALTERNATIVES = {
    "nodeAffinityRequired": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
            {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]},
        ]
    }
}


def test_node_labels_are_rows_and_alternatives_are_numbered() -> None:
    rows = {
        "nodeAffinityRequired:key": ["zone", "gpu"],
        "nodeAffinityRequired:operator": ["In", "Exists"],
        "nodeAffinityRequired:values": ["a, b", ""],
    }
    spec, errors = spec_of(PolicyType.TRAINING, rows, NOTHING)

    assert errors == []
    assert spec["nodeAffinityRequired"]["nodeSelectorTerms"] == [
        {
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "gpu", "operator": "Exists"},
            ]
        }
    ]
    assert posted_spec(PolicyType.TRAINING, spec) == rows | {"nodeAffinityRequired:alternative": ["", ""]}
    alternatives = posted_spec(PolicyType.TRAINING, ALTERNATIVES)
    assert alternatives["nodeAffinityRequired:alternative"] == ["1", "2"]
    assert spec_of(PolicyType.TRAINING, alternatives, NOTHING) == (ALTERNATIVES, [])
    wrong = {**alternatives, "nodeAffinityRequired:alternative": ["1", "second"]}
    assert [error.field for error in spec_of(PolicyType.TRAINING, wrong, NOTHING)[1]] == [
        "nodeAffinityRequired.1.alternative"
    ]


def test_a_default_of_a_policy_is_filled_in_with_its_origin_and_stays_the_policy_s() -> None:
    around = surroundings({"defaults": {"compute": {"cpuCoreRequest": 2}}})
    posted = started(PolicyType.TRAINING, {}, around)
    shown = inputs_of(PolicyType.TRAINING, posted, around)["compute.cpuCoreRequest"]

    assert (shown.value, shown.note) == ("2", "Default of the policy training of project a.")
    assert spec_of(PolicyType.TRAINING, posted, around)[0] == {}, "unchanged, it is not the user's value"
    changed = {**posted, "compute.cpuCoreRequest": ["3"]}
    assert spec_of(PolicyType.TRAINING, changed, around)[0] == {"compute": {"cpuCoreRequest": 3.0}}
    assert inputs_of(PolicyType.TRAINING, changed, around)["compute.cpuCoreRequest"].note == ""


@pytest.mark.parametrize(
    ("document", "value", "note"),
    [
        (
            {"defaults": {"image": "ours"}, "rules": {"image": {"canEdit": False}}},
            "ours",
            "Set by the policy training of project a; ask the administrator of project a.",
        ),
        (
            {"rules": {"image": {"blocked": True}}},
            "",
            "Not allowed by the policy training of project a; ask the administrator of project a.",
        ),
    ],
    ids=["a fixed value is shown", "a forbidden field is empty"],
)
def test_a_field_that_may_not_be_changed_is_locked_and_never_sent(
    document: Mapping[str, Any], value: str, note: str
) -> None:
    around = surroundings(document)
    shown = inputs_of(PolicyType.TRAINING, {"image": ["mine"]}, around)["image"]

    assert (shown.locked, shown.value, shown.note) == (True, value, note)
    assert spec_of(PolicyType.TRAINING, {"image": ["mine"]}, around)[0] == {}


def test_rules_become_choices_limits_and_words() -> None:
    rules = {
        "category": {"options": [{"value": "Train"}, {"value": "Build"}]},
        "backoffLimit": {"min": 1, "max": 3},
        "image": {"required": True},
    }
    shown = inputs_of(PolicyType.TRAINING, {}, surroundings({"rules": rules}))

    assert [option.value for option in shown["category"].options] == ["Train", "Build"]
    assert (shown["backoffLimit"].min, shown["backoffLimit"].max) == ("1", "3")
    assert "At least 1, at most 3 (policy training of project a)." in shown["backoffLimit"].note
    assert shown["image"].required


def test_a_table_that_takes_no_entries_says_which_policy_says_so() -> None:
    document = {
        "defaults": {"environmentVariables": {"instances": [{"name": "A", "value": "1"}]}},
        "rules": {"environmentVariables": {"instances": {"canAdd": False}}},
    }
    table = inputs_of(PolicyType.TRAINING, {}, surroundings(document))["environmentVariables"]

    assert table.locked
    assert table.rows == ()
    assert table.note.startswith("The policy training of project a adds A=1. Takes no further entries")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("compute.gpuDevicesRequest", "two", "must be a number"),
        ("compute.gpuDevicesRequest", "1.5", "must be a whole number"),
        ("compute.cpuCoreRequest", "NaN", "must be a number below 1000000000000000"),
        ("compute.cpuCoreRequest", "1e999", "must be a number below 1000000000000000"),
        ("tty", "perhaps", "must be true or false"),
        (MORE, "a: [", "is not YAML: line 1, column 5"),
        (MORE, "- a", "must be fields with values"),
        (MORE, "!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_field(field: str, text: str, message: str) -> None:
    spec, errors = spec_of(PolicyType.TRAINING, {field: [text]}, NOTHING)

    assert spec == {}
    assert [error.field for error in errors] == [field]
    assert errors[0].message.startswith(message)


def test_errors_find_the_nearest_input_and_the_others_stand_at_the_top() -> None:
    sections = (Section(title="x", inputs=(Input(name="compute.a", label="A"), Input(name="ports", label="Ports"))),)
    errors = surroundings({}).filled.violations + tuple(
        _error(path) for path in ("spec.compute.a", "ports.jupyter.container", "somewhere")
    )
    marked, problems = with_errors(sections, errors, ("spec.",))

    assert [item.errors for item in marked[0].inputs] == [("Is wrong.",), ("jupyter.container: is wrong.",)]
    assert problems == (
        ("f-compute-a", "A: is wrong"),
        ("f-ports", "Ports: is wrong"),
        ("", "somewhere: is wrong."),
    )


def _error(path: str) -> Any:
    from runai_core.model.errors import FieldError

    return FieldError(path, "is wrong")


def test_a_closed_section_with_an_error_is_open() -> None:
    closed = Section(title="x", inputs=(Input(name="a", label="A", widget=Widget.TEXT),), is_open=False)

    assert with_errors((closed,), [_error("a")])[0][0].is_open


def test_a_copy_leaves_out_what_policies_had_filled_in() -> None:
    spec = {
        "image": "theirs",
        "command": "mine",
        "environmentVariables": [{"name": "A", "value": "theirs"}, {"name": "B", "value": "mine"}],
    }
    origins = {"image": "training of the tenant", "environmentVariables.A": "training of the tenant"}

    assert without_policies(spec, origins) == {
        "command": "mine",
        "environmentVariables": [{"name": "B", "value": "mine"}],
    }


def test_posted_texts_have_one_kind_of_line_end_and_no_nul() -> None:
    assert posted_of([("a", "1\r\n2\0"), ("a", "3"), ("b", object())]) == {"a": ["1\n2", "3"]}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["workspace", "training", "distributed", "inference"])
async def test_each_form_opens(api: Any, kind: str) -> None:
    answer = await api.client.get(f"/workloads/new/{kind}")

    assert answer.status_code == 200
    assert f'action="/workloads/new/{kind}"' in answer.text


@pytest.mark.asyncio
async def test_a_form_that_is_wrong_comes_back_with_all_that_was_typed(api: Any) -> None:
    data = {"name": "Wrong", "project": "default", "command": "<b>&", "compute.gpuDevicesRequest": "x"}
    answer = await api.client.post("/workloads/new/training", data=data)

    assert answer.status_code == 422
    assert 'value="Wrong"' in answer.text
    assert "&lt;b&gt;&amp;" in answer.text
    assert '<a href="#f-compute-gpuDevicesRequest">GPU devices: must be a number</a>' in answer.text
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


@pytest.mark.asyncio
async def test_what_is_submitted_is_what_was_written(api: Any) -> None:
    data = {
        "name": "mine",
        "project": "default",
        "command": "sleep 5",
        "numWorkers": "2",
        "distributedFramework": "PyTorch",
        "compute.gpuDevicesRequest": "1",
        "environmentVariables:name": ["A", ""],
        "environmentVariables:value": ["1", ""],
        "masterSpec.compute.gpuDevicesRequest": "0",
        "masterSpec.environmentVariables:name": ["ROLE"],
        "masterSpec.environmentVariables:value": ["master"],
        "nodeAffinityRequired:key": ["zone"],
        "nodeAffinityRequired:operator": ["Exists"],
    }
    answer = await api.client.post("/workloads/new/distributed", data=data)

    assert answer.status_code == 303
    uid = answer.headers["location"].rpartition("/")[2]
    found = await api.orchestrator.backend.store.get_by_uid(Workload, uid)
    assert (found.spec.command, found.spec.num_workers, found.spec.compute.gpu_devices_request) == ("sleep 5", 2, 1)
    assert [(item.name, item.value) for item in found.spec.environment_variables] == [("A", "1")]
    assert found.master_spec.compute.gpu_devices_request == 0
    assert [(item.name, item.value) for item in found.master_spec.environment_variables] == [("ROLE", "master")]
    (term,) = found.spec.node_affinity_required.node_selector_terms
    assert [(item.key, item.operator) for item in term.match_expressions] == [("zone", "Exists")]
    copy = (await api.client.get(f"/workloads/new/distributed?clone={uid}")).text
    assert re.search(r'name="masterSpec.compute.gpuDevicesRequest"[^>]* value="0"', copy)
    assert re.search(r'name="nodeAffinityRequired:key" value="zone"', copy)


@pytest.mark.asyncio
async def test_what_is_wrong_with_a_master_is_told_at_its_field(api: Any) -> None:
    data = {"name": "mine", "project": "default", "command": "true", "distributedFramework": "PyTorch"}
    data |= {"numWorkers": "1", "masterSpec.compute.cpuMemoryRequest": "lots"}
    answer = await api.client.post("/workloads/new/distributed", data=data)

    assert answer.status_code == 422
    assert 'id="f-masterSpec-compute-cpuMemoryRequest-error"' in answer.text
    row = await api.client.get("/workloads/new/distributed/row?path=masterSpec.environmentVariables")
    assert 'name="masterSpec.environmentVariables:name"' in row.text


@pytest.mark.asyncio
async def test_a_distributed_inference_is_submitted_with_a_leader_of_its_own(api: Any) -> None:
    data = {"name": "llm", "project": "default", "command": "serve", "replicas": "2", "workers": "3"}
    data |= {"servingPort.container": "8000", "masterSpec.command": "lead", "compute.gpuDevicesRequest": "1"}
    answer = await api.client.post("/workloads/new/distributed-inference", data=data)

    assert answer.status_code == 303, answer.text
    uid = answer.headers["location"].rpartition("/")[2]
    found = await api.orchestrator.backend.store.get_by_uid(Workload, uid)
    assert (found.spec.replicas, found.spec.workers, found.spec.command) == (2, 3, "serve")
    assert found.master_spec.command == "lead"
    wrong = await api.client.post("/workloads/new/distributed-inference", data=data | {"masterSpec.image": "x" * 5000})
    assert wrong.status_code == 422
    assert 'id="f-masterSpec-image-error"' in wrong.text


OBJECT = """\
apiVersion: example.com/v1
kind: Poem
metadata:
  name: pasted
spec:
  words: 12
"""


class Poems:
    """A framework whose objects run on one machine, and must not be too long."""

    def pod_groups(self, manifest: Mapping[str, Any]) -> tuple[()]:
        return ()

    def native(self, manifest: Mapping[str, Any]) -> Native:
        words = manifest["spec"]["words"]
        if words > 100:
            raise InvalidRequest.of(FieldError("manifest.spec.words", "must be at most 100", str(words)))
        return Native(type=WorkloadType.TRAINING, spec={"command": f"echo {words}"})


@pytest.fixture
def poems(api: Any) -> None:
    """Bring the framework."""
    kind = WorkloadKind(api_version="example.com/v1", kind="Poem", adapter=Poems())
    plugins = replace(api.orchestrator.plugins, kinds=KnownKinds([kind]))
    api.app.state.orchestrator = replace(api.orchestrator, plugins=plugins)


@pytest.mark.asyncio
@pytest.mark.usefixtures("poems")
@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("", "is required"),
        ("kind: [Poem", "line 1"),
        (OBJECT.replace("Poem", "Pome"), "line 2, kind: no plug-in understands Pome"),
        (OBJECT.replace("example.com/v1", "''"), "line 1, apiVersion: must be text"),
        (OBJECT.replace("name: pasted", "name: Not_A_Name"), "line 4, metadata.name: must be"),
        (OBJECT.replace("12", "500"), "line 6, spec.words: must be at most 100"),
    ],
    ids=["nothing", "no YAML", "an unknown kind", "no version", "a wrong name", "a wrong field"],
)
async def test_what_is_wrong_with_an_object_is_told_with_its_line(api: Any, manifest: str, said: str) -> None:
    data = {"project": "default", "manifest": manifest, "priority": "high"}
    checked = await api.client.post("/workloads/new/framework/check", data=data)
    answer = await api.client.post("/workloads/new/framework", data=data)

    assert answer.status_code == 422
    assert said in unescape(checked.text)
    assert said in unescape(answer.text)
    assert manifest.strip() in unescape(answer.text)
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


@pytest.mark.asyncio
@pytest.mark.usefixtures("poems")
async def test_an_object_of_a_framework_is_submitted_and_copied(api: Any) -> None:
    data = {"project": "default", "manifest": OBJECT}
    checked = await api.client.post("/workloads/new/framework/check", data=data)
    assert "It would" in checked.text
    assert "refused" not in checked.text
    answer = await api.client.post("/workloads/new/framework", data=data)
    assert answer.status_code == 303, answer.text
    uid = answer.headers["location"].rpartition("/")[2]
    found = await api.orchestrator.backend.store.get_by_uid(Workload, uid)
    assert (found.name, found.kind, found.spec.command) == ("pasted", "Poem", "echo 12")
    page = await api.client.get(f"/workloads/{uid}")
    assert f"/workloads/new/framework?clone={uid}" in page.text
    copy = await api.client.get(f"/workloads/new/framework?clone={uid}")
    assert 'value="pasted-copy"' in copy.text
    assert "words: 12" in copy.text


def test_the_line_of_a_field_is_that_of_its_key_or_the_nearest_above() -> None:
    text = "kind: A\nspec:\n  parts:\n    - image: x\n    - name: y\n      image: z\n"

    assert [line_of(text, path) for path in ("kind", "spec.parts.1.image", "spec.parts.5", "spec.no")] == [1, 6, 3, 2]


@pytest.mark.asyncio
async def test_a_name_that_is_taken_is_told_at_the_name(api: Any) -> None:
    await api.submit("twice")
    answer = await api.client.post("/workloads/new/training", data={"name": "twice", "project": "default"})

    assert answer.status_code == 409
    assert 'id="f-name-error"' in answer.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("gpus", "said"),
    [("1", "It would start now."), ("9", "It would wait."), ("none", "It would be refused.")],
)
async def test_the_check_says_what_would_happen_and_keeps_nothing(api: Any, gpus: str, said: str) -> None:
    data = {"name": "try", "project": "default", "command": "true", "compute.gpuDevicesRequest": gpus}
    answer = await api.client.post("/workloads/new/training/check", data=data)

    assert answer.status_code == 200
    assert said in answer.text
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


@pytest.mark.asyncio
async def test_a_form_starts_from_a_template_and_assets(api: Any) -> None:
    await api.client.post("/assets/new/compute", data={"scope": "tenant", "meta.name": "half", "cpuCoreRequest": "0.5"})
    data = {
        "scope": "tenant",
        "meta.name": "start",
        "type": "Training",
        "spec": "command: sleep 7",
        "assets": "compute: half",
    }
    assert (await api.client.post("/templates/new", data=data)).status_code == 303
    page = await api.client.get("/workloads/new/training")
    uid = re.findall(r'<option value="([0-9a-f-]{36})">start</option>', page.text)[0]

    answer = await api.client.post(
        "/workloads/new/training", data={"name": "a", "project": "default", "templateId": uid}
    )

    found = await api.orchestrator.backend.store.get_by_uid(Workload, answer.headers["location"].rpartition("/")[2])
    assert (found.spec.command, found.spec.compute.cpu_core_request) == ("sleep 7", 0.5)


@pytest.mark.asyncio
async def test_an_asset_that_is_not_there_is_told_at_its_input(api: Any) -> None:
    data = {"name": "a", "project": "default", "assets.environment": "nowhere"}
    answer = await api.client.post("/workloads/new/training", data=data)

    assert answer.status_code == 422
    assert '<a href="#f-assets-environment">Environment: there is no such environment' in answer.text


@pytest.mark.asyncio
async def test_who_has_no_session_is_sent_to_sign_in(api: Any, anonymous: dict[str, str]) -> None:
    del api.client.headers["Authorization"]
    answer = await api.client.get("/workloads/new/training", headers={"Accept": "text/html"})

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
