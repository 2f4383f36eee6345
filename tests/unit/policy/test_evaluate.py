"""What policies make of a specification."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.effective import effective_of
from runai_core.policy.evaluate import Evaluation, evaluate
from runai_core.policy.rules import validate_document
from runai_core.policy.tree import get_at

TRAINING, DISTRIBUTED, INFERENCE = PolicyType.TRAINING, PolicyType.DISTRIBUTED, PolicyType.INFERENCE
SCOPES = {"tenant": "", "cluster": "c1", "department": "research", "project": "team"}


def policy(scope: str, kind: PolicyType = TRAINING, **sections: Any) -> Policy:
    return Policy(meta=Meta(name=scope), type=kind, scope_type=scope, scope=SCOPES[scope], document=sections)


def judged(spec: Mapping[str, Any], *policies: Policy, kind: PolicyType = TRAINING, part: str = "worker") -> Evaluation:
    return evaluate(kind, spec, policies, part=part)


def said(evaluation: Evaluation) -> list[str]:
    return [str(violation) for violation in evaluation.violations]


def gpus(number: int) -> dict[str, Any]:
    return {"compute": {"gpuDevicesRequest": number}}


AT_MOST_FIVE = policy("department", rules={"compute": {"gpuDevicesRequest": {"max": 5}}})
ONE_BY_DEFAULT = policy("project", defaults=gpus(1))


# the two examples of the documents


def test_at_most_five_gpus_for_a_workload() -> None:
    assert said(judged(gpus(8), AT_MOST_FIVE)) == [
        "compute.gpuDevicesRequest: must be no greater than 5 (given: 8) "
        "[policy training of department research; ask the administrator of department research]"
    ]
    assert said(judged(gpus(5), AT_MOST_FIVE)) == []


def test_one_gpu_by_default() -> None:
    evaluation = judged({}, ONE_BY_DEFAULT)
    assert evaluation.spec["compute"] == {"gpuDevicesRequest": 1}
    assert evaluation.origins["compute.gpuDevicesRequest"] == "training of project team"
    assert judged(gpus(3), ONE_BY_DEFAULT).spec["compute"] == {"gpuDevicesRequest": 3}


# which policy counts


def test_the_nearest_default_wins() -> None:
    policies = [policy(scope, defaults={"image": f"{scope}:1"}) for scope in SCOPES]
    for count, nearest in enumerate(SCOPES, start=1):
        evaluation = judged({}, *policies[:count])
        assert evaluation.spec["image"] == f"{nearest}:1"
        assert nearest in evaluation.origins["image"]


def test_the_order_in_which_policies_are_given_does_not_matter() -> None:
    policies = [
        policy(scope, defaults={"image": scope}, rules={"tty": {"blocked": scope == "tenant"}}) for scope in SCOPES
    ]
    assert judged({"tty": True}, *policies) == judged({"tty": True}, *reversed(policies))


def test_the_nearest_rule_wins_for_ordinary_fields() -> None:
    far = policy("tenant", rules={"backoffLimit": {"max": 2}})
    near = policy("project", rules={"backoffLimit": {"max": 4}})
    assert said(judged({"backoffLimit": 4}, far, near)) == []
    assert "training of project team" in said(judged({"backoffLimit": 5}, far, near))[0]


@pytest.mark.parametrize(
    ("path", "section"), [("compute.gpuDevicesRequest", "compute"), ("security.runAsUid", "security")]
)
def test_the_higher_rule_wins_for_compute_and_security(path: str, section: str) -> None:
    member = path.partition(".")[2]
    far = policy("tenant", rules={section: {member: {"max": 2}}})
    near = policy("project", rules={section: {member: {"max": 4}}})
    (message,) = said(judged({section: {member: 3}}, far, near))
    assert "no greater than 2" in message
    assert "ask the tenant's administrator" in message


def test_a_nearer_default_cannot_get_round_a_value_that_may_not_be_changed() -> None:
    far = policy(
        "tenant", defaults={"security": {"hostNetwork": False}}, rules={"security": {"hostNetwork": {"canEdit": False}}}
    )
    near = policy("project", defaults={"security": {"hostNetwork": True}})
    evaluation = judged({}, far, near)
    assert evaluation.spec["security"]["hostNetwork"] is False
    assert said(evaluation) == []


def test_the_system_policy_is_always_there() -> None:
    evaluation = judged({})
    assert evaluation.spec == {"security": {"privileged": False}, "terminationGracePeriodSeconds": 30}
    (message,) = said(judged({"security": {"privileged": True}}))
    assert message == (
        "security.privileged: cannot be changed: it is false (given: True) "
        "[policy training of the system; it comes with the product and cannot be changed]"
    )
    assert "no greater than 300" in said(judged({"terminationGracePeriodSeconds": 301}))[0]
    assert "terminationGracePeriodSeconds" not in judged({}, kind=INFERENCE).spec


# each rule

RULES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("required and given", {"image": {"required": True}}, {"image": "a"}, []),
    ("required and missing", {"image": {"required": True}}, {}, ["image: is required: give a value"]),
    ("null is missing", {"image": {"required": True}}, {"image": None}, ["image: is required: give a value"]),
    ("blocked", {"image": {"blocked": True}}, {"image": "a"}, ["image: may not be given: leave it out (given: a)"]),
    ("blocked and absent", {"image": {"blocked": True}}, {}, []),
    (
        "may not be edited",
        {"image": {"canEdit": False}},
        {"image": "a"},
        ["image: cannot be set: leave it out (given: a)"],
    ),
    ("an option", {"image": {"options": [{"value": "a"}, {"value": "b"}]}}, {"image": "b"}, []),
    (
        "no option",
        {"image": {"options": [{"value": "a"}, {"value": "b"}]}},
        {"image": "c"},
        ["image: must be one of a, b (given: c)"],
    ),
    ("at the minimum", {"backoffLimit": {"min": 2}}, {"backoffLimit": 2}, []),
    (
        "below the minimum",
        {"backoffLimit": {"min": 2}},
        {"backoffLimit": 1},
        ["backoffLimit: must be no less than 2 (given: 1)"],
    ),
    ("at the maximum", {"backoffLimit": {"max": 2}}, {"backoffLimit": 2}, []),
    (
        "above the maximum",
        {"backoffLimit": {"max": 2}},
        {"backoffLimit": 3},
        ["backoffLimit: must be no greater than 2 (given: 3)"],
    ),
    ("steps count from the minimum", {"completions": {"min": 1, "step": 2}}, {"completions": 5}, []),
    (
        "off the step",
        {"completions": {"min": 1, "step": 2}},
        {"completions": 4},
        ["completions: must be 1 plus a multiple of 2 (given: 4)"],
    ),
    (
        "steps of a number are exact",
        {"compute": {"cpuCoreRequest": {"step": 0.1}}},
        {"compute": {"cpuCoreRequest": 0.3}},
        [],
    ),
    ("no value, no limit", {"backoffLimit": {"min": 2, "max": 3}}, {}, []),
    (
        "quantities are compared by what they mean",
        {"compute": {"cpuMemoryRequest": {"max": "1Gi"}}},
        {"compute": {"cpuMemoryRequest": "1024Mi"}},
        [],
    ),
    (
        "a quantity above the maximum",
        {"compute": {"cpuMemoryRequest": {"max": "1G"}}},
        {"compute": {"cpuMemoryRequest": "1Gi"}},
        ["compute.cpuMemoryRequest: must be no greater than 1G (given: 1Gi)"],
    ),
    (
        "a text does not slip past a limit",
        {"compute": {"gpuDevicesRequest": {"max": 5}}},
        {"compute": {"gpuDevicesRequest": "8"}},
        ["compute.gpuDevicesRequest: must be a whole number (given: 8)"],
    ),
    (
        "neither does another spelling",
        {"compute": {"gpuDevicesRequest": {"max": 5}}},
        {"compute": {"gpu_devices_request": 8}},
        ["compute.gpuDevicesRequest: must be no greater than 5 (given: 8)"],
    ),
    (
        "nor one from the product's own pages",
        {"podAffinityTopology": {"options": ["rack"]}},
        {"podAffinity": {"key": "zone"}},
        ["podAffinity.key: must be one of rack (given: zone)"],
    ),
]


@pytest.mark.parametrize(("rules", "spec", "expected"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_each_rule(rules: dict[str, Any], spec: dict[str, Any], expected: list[str]) -> None:
    assert validate_document(TRAINING, {"rules": rules}) == ()
    assert [
        message.partition(" [policy")[0] for message in said(judged(spec, policy("project", rules=rules)))
    ] == expected


def test_a_value_that_may_not_be_edited_is_filled_in_and_may_be_repeated() -> None:
    fixed = policy("project", defaults={"image": "a"}, rules={"image": {"canEdit": False}})
    assert judged({}, fixed).spec["image"] == "a"
    assert said(judged({"image": "a"}, fixed)) == []
    assert "cannot be changed: it is a (given: b)" in said(judged({"image": "b"}, fixed))[0]


def test_a_value_that_is_taken_from_another_field() -> None:
    half = policy(
        "project",
        rules={"compute": {"cpuMemoryRequest": {"defaultFrom": {"field": "compute.cpuMemoryLimit", "factor": 0.5}}}},
    )
    evaluation = judged({"compute": {"cpuMemoryLimit": "1Gi"}}, half)
    assert evaluation.spec["compute"]["cpuMemoryRequest"] == str(512 * 1024**2)
    assert evaluation.origins["compute.cpuMemoryRequest"] == "training of project team"
    assert (
        judged({"compute": {"cpuMemoryLimit": "1Gi", "cpuMemoryRequest": "1M"}}, half).spec["compute"][
            "cpuMemoryRequest"
        ]
        == "1M"
    )
    assert "compute" not in judged({}, half).spec


def test_values_may_be_taken_from_values_that_were_taken() -> None:
    chain = policy(
        "project",
        defaults={"parallelism": 3},
        rules={
            "backoffLimit": {"defaultFrom": {"field": "completions", "factor": 1.5}},
            "completions": {"defaultFrom": {"field": "parallelism", "factor": 1.5}},
        },
    )
    spec = judged({}, chain).spec
    assert (spec["completions"], spec["backoffLimit"]) == (5, 8), "4.5 and 7.5, rounded up"


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        (
            {"gpuMemoryRequest": "5G"},
            {"gpuRequestType": "portion", "gpuPortionRequest": 0.5},
            {"gpuMemoryRequest": "5G"},
        ),
        ({"gpuPortionRequest": 0.5}, {"gpuMemoryRequest": "5G"}, {"gpuPortionRequest": 0.5}),
        ({"migProfile": "1g.5gb"}, {"gpuPortionRequest": 0.5}, {"migProfile": "1g.5gb"}),
        ({"gpuRequestType": "memory"}, {"gpuPortionRequest": 0.5}, {"gpuRequestType": "memory"}),
        ({}, {"gpuPortionRequest": 0.5}, {"gpuPortionRequest": 0.5}),
    ],
    ids=["memory given", "portion given", "MIG given", "type given", "nothing given"],
)
def test_a_default_for_a_part_of_a_gpu_gives_way_to_another_form(
    given: dict[str, Any], default: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert judged({"compute": given}, policy("project", defaults={"compute": default})).spec["compute"] == expected


# itemized fields

PROXY = {"name": "HTTP_PROXY", "value": "http://proxy"}
WITH_PROXY = {"environmentVariables": {"instances": [PROXY]}}


def variables(evaluation: Evaluation) -> Any:
    return evaluation.spec.get("environmentVariables")


def test_default_instances_come_before_those_that_are_given() -> None:
    evaluation = judged(
        {"environmentVariables": [{"name": "LR", "value": "1"}]}, policy("project", defaults=WITH_PROXY)
    )
    assert variables(evaluation) == [PROXY, {"name": "LR", "value": "1"}]
    assert evaluation.origins["environmentVariables.HTTP_PROXY"] == "training of project team"


def test_a_given_instance_replaces_the_members_that_it_has() -> None:
    default = {"environmentVariables": {"instances": [{**PROXY, "description": "proxy"}]}}
    evaluation = judged(
        {"environmentVariables": [{"name": "HTTP_PROXY", "value": "mine"}]}, policy("project", defaults=default)
    )
    assert variables(evaluation) == [{"name": "HTTP_PROXY", "value": "mine", "description": "proxy"}]


def test_a_secret_that_is_given_replaces_a_default_text() -> None:
    mine = {"name": "HTTP_PROXY", "secret": {"name": "s", "key": "k"}}
    assert variables(judged({"environmentVariables": [mine]}, policy("project", defaults=WITH_PROXY))) == [mine]


def test_instances_of_all_scopes_come_together_and_the_nearest_wins_by_key() -> None:
    far = policy(
        "tenant", defaults={"labels": {"instances": [{"name": "a", "value": "far"}, {"name": "b", "value": "far"}]}}
    )
    near = policy("project", defaults={"labels": {"instances": [{"name": "b", "value": "near"}]}})
    assert judged({}, far, near).spec["labels"] == [{"name": "a", "value": "far"}, {"name": "b", "value": "near"}]


def test_members_that_are_missing_are_filled_in() -> None:
    default = policy("project", defaults={"storage": {"nfs": {"attributes": {"readOnly": True}}}})
    spec = {"storage": {"nfs": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b", "readOnly": False}]}}
    assert [item["readOnly"] for item in judged(spec, default).spec["storage"]["nfs"]] == [True, False]


ITEM_RULES: list[tuple[str, dict[str, Any], list[dict[str, Any]], list[str]]] = [
    ("left out", {}, [{"name": "HTTP_PROXY", "exclude": True}], []),
    ("locked, and left alone", {"instances": {"locked": ["HTTP_PROXY"]}}, [], []),
    ("locked, and repeated", {"instances": {"locked": ["HTTP_PROXY"]}}, [PROXY], []),
    (
        "locked, and left out",
        {"instances": {"locked": ["HTTP_PROXY"]}},
        [{"name": "HTTP_PROXY", "exclude": True}],
        ["environmentVariables.HTTP_PROXY: is locked: it can be neither changed nor excluded"],
    ),
    (
        "locked, and changed",
        {"instances": {"locked": ["HTTP_PROXY"]}},
        [{"name": "HTTP_PROXY", "value": "x"}],
        ["environmentVariables.HTTP_PROXY: is locked: it can be neither changed nor excluded"],
    ),
    ("no more, and none given", {"instances": {"canAdd": False}}, [PROXY], []),
    (
        "no more, and one given",
        {"instances": {"canAdd": False}},
        [{"name": "LR", "value": "1"}],
        ["environmentVariables: takes no further instances: leave it out (given: LR)"],
    ),
    (
        "a member that is required",
        {"attributes": {"description": {"required": True}}},
        [{"name": "HTTP_PROXY", "description": "d"}, {"name": "LR", "value": "1"}],
        ["environmentVariables.LR.description: is required"],
    ),
    (
        "a member with options",
        {"attributes": {"value": {"options": ["http://proxy", "1"]}}},
        [{"name": "LR", "value": "2"}],
        ["environmentVariables.LR.value: must be one of http://proxy, 1 (given: 2)"],
    ),
    (
        "a member that may not be edited",
        {"attributes": {"value": {"canEdit": False}}},
        [{"name": "HTTP_PROXY", "value": "x"}],
        ["environmentVariables.HTTP_PROXY.value: cannot be changed: it is http://proxy (given: x)"],
    ),
    (
        "a member that is blocked",
        {"attributes": {"secret": {"name": {"blocked": True}}}},
        [{"name": "LR", "secret": {"name": "s"}}],
        ["environmentVariables.LR.secret.name: may not be given: leave it out (given: s)"],
    ),
    (
        "what is left out is not judged",
        {"attributes": {"value": {"required": True}}},
        [{"name": "X", "exclude": True}],
        [],
    ),
]


@pytest.mark.parametrize(
    ("rules", "given_", "expected"), [case[1:] for case in ITEM_RULES], ids=[case[0] for case in ITEM_RULES]
)
def test_rules_of_instances(rules: dict[str, Any], given_: list[dict[str, Any]], expected: list[str]) -> None:
    one = policy("project", defaults=WITH_PROXY, rules={"environmentVariables": rules})
    assert validate_document(TRAINING, one.document) == ()
    evaluation = judged({"environmentVariables": given_}, one)
    assert [message.partition(" [policy")[0] for message in said(evaluation)] == expected


def test_a_nearer_default_cannot_change_a_locked_instance() -> None:
    rules = {"environmentVariables": {"instances": {"locked": ["HTTP_PROXY"]}}}
    far = policy("department", defaults=WITH_PROXY, rules=rules)
    near = policy("project", defaults={"environmentVariables": {"instances": [{**PROXY, "value": "http://other"}]}})
    assert variables(judged({}, far, near)) == [PROXY]


def test_an_instance_that_was_left_out_stays_out_when_it_is_judged_again() -> None:
    excluded = {"environmentVariables": [{"name": "HTTP_PROXY", "exclude": True}]}
    once = judged(excluded, policy("project", defaults=WITH_PROXY)).spec
    assert variables(judged(once, policy("project", defaults=WITH_PROXY))) == excluded["environmentVariables"]


def test_a_list_that_is_none_is_refused() -> None:
    assert said(judged({"labels": "a"}, policy("project", defaults={"labels": {"instances": [{"name": "a"}]}}))) == [
        "labels: must be a list (given: a)"
    ]


# distributed workloads

PARTS = policy(
    "project",
    DISTRIBUTED,
    defaults={
        "image": "all:1",
        "worker": {"compute": {"gpuDevicesRequest": 2}},
        "master": {"compute": {"gpuDevicesRequest": 0}},
    },
    rules={
        "image": {"required": True},
        "security": {"runAsUid": {"min": 500}},
        "worker": {"compute": {"gpuDevicesRequest": {"max": 4}}},
        "master": {"compute": {"gpuDevicesRequest": {"max": 1}}},
    },
)


def test_workers_have_their_own_defaults_and_rules() -> None:
    evaluation = judged({}, PARTS, kind=DISTRIBUTED)
    assert (evaluation.spec["image"], evaluation.spec["compute"]) == ("all:1", {"gpuDevicesRequest": 2})
    assert "no greater than 4" in said(judged(gpus(5), PARTS, kind=DISTRIBUTED))[0]


def test_masters_have_their_own_and_take_the_rest_from_the_workers() -> None:
    evaluation = judged({}, PARTS, kind=DISTRIBUTED, part="master")
    assert evaluation.spec == {"compute": {"gpuDevicesRequest": 0}}
    assert said(evaluation) == []
    (message,) = said(judged(gpus(2), PARTS, kind=DISTRIBUTED, part="master"))
    assert message.startswith("masterSpec.compute.gpuDevicesRequest: must be no greater than 1 (given: 2)")


def test_rules_for_all_hold_for_the_master_too() -> None:
    low = {"security": {"runAsUid": 0, "privileged": True}}
    fields = [violation.field for violation in judged(low, PARTS, kind=DISTRIBUTED, part="master").violations]
    assert fields == ["masterSpec.security.privileged", "masterSpec.security.runAsUid"]


# explained


def test_what_applies_is_shown_with_its_origin() -> None:
    effective = effective_of(TRAINING, [AT_MOST_FIVE, ONE_BY_DEFAULT, policy("tenant", imposedAssets=["a1"])])
    assert effective.defaults["compute.gpuDevicesRequest"].policy is ONE_BY_DEFAULT
    assert effective.rules["compute.gpuDevicesRequest"].policy is AT_MOST_FIVE
    judgement = judged({}, policy("tenant", imposedAssets=["a1"]))
    assert effective.imposed_assets == judgement.imposed_assets == {"a1": "training of the tenant"}


# properties

NUMBERS = st.integers(0, 12)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["a", "b"]),
        "backoffLimit": NUMBERS,
        "tty": st.booleans(),
        "compute": st.fixed_dictionaries(
            {},
            optional={
                "gpuDevicesRequest": NUMBERS,
                "gpuPortionRequest": st.sampled_from([0.25, 0.5]),
                "gpuMemoryRequest": st.sampled_from(["1G", "2Gi"]),
                "gpuRequestType": st.sampled_from(["portion", "memory"]),
                "cpuMemoryLimit": st.sampled_from(["1G", "2Gi"]),
            },
        ),
        "environmentVariables": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("ABC")},
                optional={
                    "value": st.sampled_from(["1", "2"]),
                    "exclude": st.booleans(),
                    "secret": st.just({"name": "s", "key": "k"}),
                },
            ),
            max_size=4,
        ),
    },
)
SCALAR_RULES = st.fixed_dictionaries(
    {},
    optional={
        "min": NUMBERS,
        "max": NUMBERS,
        "required": st.booleans(),
        "canEdit": st.booleans(),
        "blocked": st.booleans(),
    },
)
ITEMS = st.fixed_dictionaries(
    {}, optional={"instances": st.fixed_dictionaries({}, optional={"canAdd": st.booleans(), "locked": st.just(["A"])})}
)
RULE_SETS = st.fixed_dictionaries(
    {},
    optional={
        "backoffLimit": SCALAR_RULES,
        "tty": st.fixed_dictionaries({}, optional={"canEdit": st.booleans(), "required": st.booleans()}),
        "environmentVariables": ITEMS,
        "compute": st.fixed_dictionaries(
            {},
            optional={
                "gpuDevicesRequest": SCALAR_RULES,
                "cpuMemoryRequest": st.just(
                    {"defaultFrom": {"field": "compute.cpuMemoryLimit", "factor": 0.5}, "canEdit": False}
                ),
            },
        ),
    },
)


def as_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    instances = {item["name"]: item for item in spec.get("environmentVariables", ()) if not item.get("exclude")}
    rest = {key: value for key, value in spec.items() if key != "environmentVariables"}
    return rest | {"environmentVariables": {"instances": list(instances.values()), "attributes": {"description": "d"}}}


POLICY_SETS = st.lists(
    st.tuples(st.sampled_from(sorted(SCOPES)), SPECS, RULE_SETS), max_size=4, unique_by=lambda each: each[0]
).map(lambda drawn: [policy(scope, defaults=as_defaults(spec), rules=rules) for scope, spec, rules in drawn])


@given(spec=SPECS, policies=POLICY_SETS)
def test_judging_again_changes_nothing(spec: dict[str, Any], policies: list[Policy]) -> None:
    """Preview, submission and admission agree."""
    before = deepcopy(spec)

    once = judged(spec, *policies)
    twice = judged(once.spec, *policies)

    assert spec == before, "the specification that was given is not touched"
    assert twice.spec == once.spec
    assert set(map(str, twice.violations)) == set(map(str, once.violations))


@given(spec=SPECS, policies=POLICY_SETS)
def test_what_a_user_gives_is_never_changed(spec: dict[str, Any], policies: list[Policy]) -> None:
    """Policies fill in and refuse; they do not rewrite."""
    completed = judged(spec, *policies).spec
    for path in ("image", "backoffLimit", "tty", "compute.gpuDevicesRequest", "compute.gpuMemoryRequest"):
        if get_at(spec, path) is not None:
            assert get_at(completed, path) == get_at(spec, path)


@given(spec=SPECS, policies=POLICY_SETS)
def test_every_value_that_was_added_has_an_origin(spec: dict[str, Any], policies: list[Policy]) -> None:
    """And nothing else has one."""
    evaluation = judged(spec, *policies)
    for path in ("image", "backoffLimit", "tty", "compute.gpuDevicesRequest", "compute.cpuMemoryRequest"):
        added = get_at(spec, path) is None and get_at(evaluation.spec, path) is not None
        assert (path in evaluation.origins) == added
