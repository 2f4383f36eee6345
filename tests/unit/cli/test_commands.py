import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.cli.checks import Level, data_directory
from runai_core.settings import Settings

UID = "0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a"
OTHER = "1b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a"
TRAINING, WORKSPACE, DISTRIBUTED = "trainings", "workspaces", "distributed"
COMMAND = {"command": "python train.py --name 'a b'"}
WORDS = ("--", "python", "train.py", "--name", "a b")

SUBMITS: list[Any] = [
    pytest.param(
        ("training", "submit", "mnist", "-g", "1", "-e", "LR=0.1", *WORDS),
        TRAINING,
        {
            "name": "mnist",
            "projectId": "default",
            "spec": {
                **COMMAND,
                "compute": {"gpuDevicesRequest": 1},
                "environmentVariables": [{"name": "LR", "value": "0.1"}],
            },
        },
        id="a training with a GPU and a variable",
    ),
    pytest.param(
        ("-p", "vision", "training", "standard", "submit", "mnist", "-c", *WORDS),
        TRAINING,
        {"name": "mnist", "projectId": "vision", "spec": COMMAND},
        id="a project named before the command",
    ),
    pytest.param(
        ("workspace", "submit", "lab", "-p", "vision", "--gpu-portion-request", "0.5", "--preemptible"),
        WORKSPACE,
        {
            "name": "lab",
            "projectId": "vision",
            "spec": {
                "compute": {"gpuPortionRequest": 0.5, "gpuDevicesRequest": 1, "gpuRequestType": "portion"},
                "preemptibility": "preemptible",
            },
        },
        id="a workspace with half a GPU says how it is asked for",
    ),
    pytest.param(
        ("training", "pytorch", "submit", "bert", "--workers", "3", "-g", "2", "--master-gpu-devices-request", "0"),
        DISTRIBUTED,
        {
            "name": "bert",
            "projectId": "default",
            "spec": {"distributedFramework": "PyTorch", "numWorkers": 3, "compute": {"gpuDevicesRequest": 2}},
            "masterSpec": {"compute": {"gpuDevicesRequest": 0}},
        },
        id="a gang whose master has no GPU",
    ),
    pytest.param(
        ("jax", "submit", "j", "--workers", "2", "--no-master"),
        DISTRIBUTED,
        {
            "name": "j",
            "projectId": "default",
            "spec": {"distributedFramework": "JAX", "numWorkers": 2},
            "hasMaster": False,
        },
        id="a framework at top level, without a master",
    ),
    pytest.param(
        (
            "inference",
            "submit",
            "llm",
            "--serving-port",
            "container=8000",
            "--readiness-path",
            "/ok",
            "--min-replicas",
            "1",
        ),
        "inferences",
        {
            "name": "llm",
            "projectId": "default",
            "spec": {
                "servingPort": {"container": 8000},
                "autoscaling": {"minReplicas": 1},
                "probes": {"readiness": {"handler": {"httpGet": {"path": "/ok", "port": 8000}}}},
            },
        },
        id="a server with a readiness check",
    ),
    pytest.param(
        ("training", "submit", "--name-prefix", "try", "--exclude-node", "n1", "--required-pod-topology-key", "rack"),
        TRAINING,
        {
            "name": "try",
            "projectId": "default",
            "useGivenNameAsPrefix": True,
            "spec": {
                "nodeAffinityRequired": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n1"]}]}
                    ]
                },
                "podAffinity": {"type": "Required", "key": "rack"},
            },
        },
        id="a made name, a node left out, a rack",
    ),
    pytest.param(
        (
            "submit",
            "old",
            "-i",
            "python",
            "-g",
            "0.5",
            "-v",
            "/data:/data:ro",
            "--port",
            "30000:8888",
            "-e",
            "T=SECRET:s,k",
            *WORDS,
        ),
        TRAINING,
        {
            "name": "old",
            "projectId": "default",
            "spec": {
                **COMMAND,
                "image": "python",
                "compute": {"gpuDevicesRequest": 1, "gpuPortionRequest": 0.5, "gpuRequestType": "portion"},
                "environmentVariables": [{"name": "T", "secret": {"name": "s", "key": "k"}}],
                "storage": {"hostPath": [{"path": "/data", "mountPath": "/data", "readOnly": True}]},
                "ports": [{"container": 8888, "external": 30000}],
            },
        },
        id="v1 submits a training",
    ),
    pytest.param(
        ("submit", "lab", "--interactive", "--preemptible"),
        WORKSPACE,
        {"name": "lab", "projectId": "default", "spec": {"preemptibility": "preemptible"}},
        id="v1 submits a workspace",
    ),
    pytest.param(
        ("submit-dist", "tf", "d", "--workers", "2", "-g", "1"),
        DISTRIBUTED,
        {
            "name": "d",
            "projectId": "default",
            "spec": {"numWorkers": 2, "distributedFramework": "TF", "compute": {"gpuDevicesRequest": 1}},
        },
        id="v1 submits a gang",
    ),
]


@pytest.mark.parametrize(("words", "path", "body"), SUBMITS)
def test_a_submit_sends_what_the_flags_say(
    runai: Any, api: Any, a_workload: Any, words: tuple[str, ...], path: str, body: dict[str, Any]
) -> None:
    api.answers["POST", f"/api/v1/workloads/{path}"] = (202, a_workload(name=body["name"]))

    result = runai(*words)

    assert (result.code, result.err) == (0, "")
    assert body == api.body
    assert body["name"] in result.out


def test_a_submit_can_print_what_was_created(runai: Any, api: Any, a_workload: Any) -> None:
    api.answers["POST", "/api/v1/workloads/trainings"] = (202, a_workload())

    assert json.loads(runai("training", "submit", "mnist", "--json").out) == a_workload()


def test_a_dry_run_shows_the_result_and_creates_nothing(
    runai: Any, api: Any, requests_of: Callable[[], Sequence[str]]
) -> None:
    api.answers["POST", "/api/v1/workloads/preview"] = {
        "spec": {"image": "python"},
        "origins": {"image": "policy training of tenant"},
        "violations": [],
        "startsNow": False,
        "verdict": {"message": "It would wait for 2 GPUs."},
    }

    result = runai("training", "submit", "mnist", "--dry-run")

    assert result.code == 0
    assert "image: python" in result.out
    assert "# image comes from policy training of tenant" in result.out
    assert "# It would wait for 2 GPUs." in result.out
    assert requests_of() == ["POST /api/v1/workloads/preview"]


def test_a_dry_run_that_a_policy_forbids_names_the_field(runai: Any, api: Any) -> None:
    violation = {"field": "compute.gpuDevicesRequest", "message": "must be at most 5", "given": 6, "policy": "tenant"}
    api.answers["POST", "/api/v1/workloads/preview"] = {"spec": {}, "origins": {}, "violations": [violation]}

    result = runai("training", "submit", "mnist", "-g", "6", "--dry-run")

    assert result.code == 2
    assert "compute.gpuDevicesRequest: must be at most 5 (given: 6) [policy tenant]" in result.err


def test_the_list_has_the_columns_of_v2(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload(), a_workload(id=OTHER, name="bert", phase="Pending", allocatedResources={"gpu": 0}))

    result = runai("workload", "list")

    lines = [line.split("  ") for line in result.out.splitlines()]
    assert [cell.strip() for cell in lines[0] if cell] == [
        "Workload",
        "Type",
        "Status",
        "Project",
        "Preemptible",
        "Running/Req.Pods",
        "GPU Alloc.",
    ]
    assert [cell.strip() for cell in lines[1] if cell] == [
        "mnist",
        "Training",
        "Running",
        "default",
        "Yes",
        "1/1",
        "0.50",
    ]
    assert len(lines) == 3


def test_json_is_the_apis_objects(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload())

    assert json.loads(runai("workload", "list", "--json").out) == [a_workload()]
    assert json.loads(runai("training", "list", "--json").out) == [a_workload()]


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        (("list",), ["projectName==default"]),
        (("list", "-A"), []),
        (("list", "-A", "--status", "running"), ["phase==Running"]),
        (("list", "-p", "vision", "--type", "training"), ["type==Training", "projectName==vision"]),
        (
            ("list", "-A", "--framework", "PyTorch", "--filter", "priority>=80"),
            ["priority>=80", "distributedFramework==PyTorch"],
        ),
    ],
)
def test_a_list_asks_for_what_was_chosen(
    runai: Any, api: Any, a_workload: Any, words: tuple[str, ...], filters: list[str]
) -> None:
    wanted = {"projectName": "vision"} if "vision" in words else {}
    api.workloads(a_workload(type="Training", phase="Running", **wanted))

    assert runai("workload", *words).code == 0
    assert filters == api.requests[-1].url.params.get_list("filterBy")


@pytest.mark.parametrize("words", [("workload", "list"), ("training", "list"), ("list", "jobs")], ids=" ".join)
def test_a_list_of_a_project_that_is_none_says_so(runai: Any, api: Any, words: tuple[str, ...]) -> None:
    api.workloads()

    result = runai(*words, "-p", "nowhere")

    assert (result.code, result.out) == (4, "")


def test_an_empty_word_is_no_project(runai: Any, api: Any) -> None:
    api.workloads()

    for words in (("-p", "", "workload", "list"), ("training", "submit", "a", "-p", "", "--", "true")):
        result = runai(*words)

        assert (result.code, result.err) == (2, "Error: --project: must not be empty; leave it out for the default\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("-g", "-1"), "", id="it is for the API to say"),
        pytest.param(("--gpu-portion-request", "nan"), "is not a number that can be counted with", id="nan"),
        pytest.param(("--cpu-core-request", "inf"), "is not a number that can be counted with", id="inf"),
        pytest.param(("--backoff-limit", "-x"), "'-x' is not a valid integer", id="a word"),
        pytest.param(("--image",), "requires an argument", id="nothing"),
    ],
)
def test_a_value_may_begin_with_a_dash_and_may_not_be_left_out(
    runai: Any, api: Any, words: tuple[str, ...], says: str
) -> None:
    api.answers["POST", "/api/v1/workloads/trainings"] = {"id": UID, "name": "a"}

    result = runai("training", "submit", "a", *words)

    assert (result.code, says in result.err) == (2 if says else 0, True), result.err
    if not says:
        assert api.body["spec"]["compute"]["gpuDevicesRequest"] == -1


def test_columns_can_be_chosen_and_titles_left_out(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload())

    assert runai("workload", "list", "--columns", "id,status", "--no-headers").out.split() == [UID, "Running"]


def test_an_empty_list_says_so_on_standard_error_only(runai: Any, api: Any) -> None:
    api.workloads()

    result = runai("workload", "list")

    assert (result.code, result.out, result.err) == (0, "", "No workloads in project default.\n")
    assert json.loads(runai("workload", "list", "--json").out) == []


def test_the_list_of_v1_has_its_columns_and_words(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload(phase="Stopped", images=["python"], submittedBy="me"))

    out = runai("list", "jobs").out.splitlines()

    assert out[0] == "Showing jobs for project default"
    assert "GPUs Allocated (Requested)" in out[1]
    assert "PODs Running (Pending)" in out[1]
    cells = out[2].split()
    assert cells[:2] == ["mnist", "Suspended"]
    assert "0.50 (0.50)" in out[2]
    assert out == runai("list").out.splitlines()


def test_control_characters_in_a_name_do_not_reach_the_terminal(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload(phaseMessage="\x1b[2Jgone"))

    assert "\x1b" not in runai("workload", "list", "--columns", "message").out


def test_why_prints_the_sentence_first_and_then_the_numbers(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload())
    answer = {
        "sentence": "mnist waits: no node has 4 free GPUs.",
        "position": 2,
        "verdict": {
            "reason": "InsufficientCapacity",
            "required": 1,
            "nodesRefused": {"not enough GPUs": 2},
            "shares": [
                {
                    "queue": "default",
                    "resource": "gpu",
                    "deserved": 2000,
                    "fairShare": 4000,
                    "allocated": 500,
                    "requested": 4500,
                }
            ],
            "suggestions": [{"kind": "fewer_gpus", "message": "it asked for 2 GPUs"}],
        },
    }
    api.answers["GET", f"/api/v1/workloads/{UID}/why"] = answer

    lines = runai("why", "mnist").out.splitlines()

    assert lines[0] == "mnist waits: no node has 4 free GPUs."
    text = "\n".join(lines)
    for part in ("InsufficientCapacity", "0 of 1", "not enough GPUs", "0.5", "- it asked for 2 GPUs"):
        assert part in text
    assert json.loads(runai("why", "mnist", "--json").out) == answer


def test_a_wrong_name_among_several_changes_nothing(
    runai: Any, api: Any, a_workload: Any, requests_of: Callable[[], Sequence[str]]
) -> None:
    api.workloads(a_workload())

    result = runai("workload", "delete", "mnist", "nothing", "-y")

    assert result.code == 4
    assert "'nothing'" in result.err
    assert not [line for line in requests_of() if line.startswith("DELETE")]


def test_several_are_suspended_by_the_path_of_their_type(
    runai: Any, api: Any, a_workload: Any, requests_of: Callable[[], Sequence[str]]
) -> None:
    api.workloads(a_workload(), a_workload(id=OTHER, name="bert", type="Distributed"))
    api.answers["POST", f"/api/v1/workloads/trainings/{UID}/suspend"] = {}
    api.answers["POST", f"/api/v1/workloads/distributed/{OTHER}/suspend"] = {}

    result = runai("suspend", "mnist", "bert")

    assert (result.code, result.out) == (0, "mnist suspended.\nbert suspended.\n")
    assert [line for line in requests_of() if line.startswith("POST")] == [
        f"POST /api/v1/workloads/trainings/{UID}/suspend",
        f"POST /api/v1/workloads/distributed/{OTHER}/suspend",
    ]


def test_deleting_all_where_nobody_can_be_asked_needs_a_yes(
    runai: Any, api: Any, a_workload: Any, requests_of: Callable[[], Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.workloads(a_workload())
    api.answers["DELETE", f"/api/v1/workloads/trainings/{UID}"] = (202, {})
    with open(os.devnull) as nothing:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", nothing)

        assert runai("workload", "delete", "-A").code == 2
        assert not [line for line in requests_of() if line.startswith("DELETE")]
        assert runai("workload", "delete", "-A", "-y").code == 0
    assert requests_of()[-1] == f"DELETE /api/v1/workloads/trainings/{UID}"


def test_a_workload_of_another_type_is_not_touched_by_the_wrong_noun(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload())

    result = runai("workspace", "delete", "mnist", "-y")

    assert result.code == 4
    assert "is no workspace but of type Training" in result.err


def test_a_log_asks_for_the_part_that_is_wanted(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload())
    api.answers["GET", f"/api/v1/workloads/{UID}/logs"] = b"one\ntwo\n"

    result = runai(
        "training",
        "logs",
        "mnist",
        "-f",
        "-t",
        "5",
        "--since",
        "1m",
        "--timestamps",
        "--pod",
        "mnist-1-0",
        "-c",
        "main",
    )

    assert result.out == "one\ntwo\n"
    assert dict(api.requests[-1].url.params) == {
        "pod": "mnist-1-0",
        "container": "main",
        "follow": "true",
        "tail": "5",
        "since": "60",
        "timestamps": "true",
    }


@pytest.mark.parametrize("option", ["--wait-timeout", "--pod-running-timeout"])
def test_a_command_waits_until_the_pod_runs(
    runai: Any, api: Any, a_workload: Any, requests_of: Callable[[], Sequence[str]], option: str
) -> None:
    phases = ["Initializing", "Running"]
    api.workloads(a_workload(phase="Pending"))
    api.answers["GET", f"/api/v1/workloads/{UID}"] = lambda _request: a_workload(phase=phases.pop(0))
    api.answers["GET", f"/api/v1/workloads/{UID}/logs"] = b"begun\n"

    assert runai("attach", "mnist", option, "10m").out == "begun\n"
    assert not phases
    assert requests_of()[-1] == f"GET /api/v1/workloads/{UID}/logs"


def test_a_pod_that_does_not_run_in_time_is_told(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload(phase="Pending"))

    result = runai("exec", "mnist", "--pod-running-timeout", "0", "--", "true")

    assert (result.code, result.out) == (7, "")
    assert result.err == "Error: mnist is Pending after 0 s: `runai why mnist` says more\n"


def test_a_manifest_of_ours_is_submitted_with_the_flags_over_it(
    runai: Any, api: Any, a_workload: Any, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("type: Training\nname: mnist\nspec: {command: 'true', priorityClass: low}\n")
    api.answers["POST", "/api/v1/workloads/trainings"] = (202, a_workload())

    assert runai("workload", "submit", "-f", str(path), "--priority", "high").code == 0
    assert api.body["spec"] == {"command": "true", "priorityClass": "high"}


def test_a_manifest_of_a_framework_goes_out_whole(runai: Any, api: Any, a_workload: Any, tmp_path: Path) -> None:
    path = tmp_path / "ray.yaml"
    path.write_text("apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: r}\n")
    api.answers["POST", "/api/v2/workloads"] = (202, a_workload(name="r"))

    assert runai("workload", "submit", "-f", str(path), "-p", "vision").code == 0
    assert api.body == {
        "metadata": {"projectId": "vision"},
        "manifest": {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "r"}},
    }


def test_a_project_is_created_with_quota(runai: Any, api: Any) -> None:
    api.answers["POST", "/api/v1/org-unit/projects"] = {"name": "vision", "id": "p"}

    result = runai(
        "project",
        "create",
        "vision",
        "--department",
        "research",
        "--resources",
        "nodepool=a100,gpu-deserved=4,gpu-limit=-1",
    )

    assert (result.code, result.out) == (0, "Project vision created.\n")
    assert api.body == {
        "name": "vision",
        "parentId": "research",
        "resources": [{"nodePool": {"name": "a100"}, "gpu": {"deserved": 4.0, "limit": -1.0}}],
    }


def test_the_default_project_is_kept_and_used(runai: Any, api: Any, tmp_path: Path) -> None:
    api.answers["GET", "/api/v1/org-unit/projects/vision"] = {"name": "vision"}

    assert runai("project", "set", "vision").code == 0
    assert json.loads((tmp_path / "config.json").read_text()) == {"project": "vision"}
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert runai("project", "set", "nothing").code == 4


def test_a_policy_is_applied_from_a_file(runai: Any, api: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("type: training\nrules: {compute: {gpuDevicesRequest: {max: 5}}}\n")
    api.answers["PUT", "/api/v2/policy/trainings"] = {"type": "training"}

    assert runai("policy", "apply", "-f", str(path), "-p", "vision").code == 0
    assert api.body == {
        "meta": {"scope": "project", "projectId": "vision"},
        "policy": {"rules": {"compute": {"gpuDevicesRequest": {"max": 5}}}},
    }


def test_a_policy_that_is_not_valid_is_told_field_by_field(runai: Any, api: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("rules: {gpus: {max: 5}}\n")
    errors = [{"field": "rules.gpus", "message": "unknown field"}]
    api.answers["POST", "/api/v1/policies/validate"] = {"valid": False, "errors": errors}

    result = runai("policy", "validate", "-f", str(path), "--type", "training")

    assert (result.code, result.err) == (2, "Error: rules.gpus: unknown field\n")


def test_help_is_quick_because_it_imports_next_to_nothing() -> None:
    code = (
        "import sys; from runai_core.cli.main import run; run(['--help']);"
        "heavy = {'httpx', 'pydantic', 'rich', 'yaml', 'psutil', 'fastapi', 'sqlalchemy', 'numpy', 'runai_core.model'};"
        "found = heavy & sys.modules.keys(); sys.exit(str(found) if found else 0)"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "training" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(runai: Any, shell: str) -> None:
    assert "_RUNAI_COMPLETE" in runai("completion", shell).out


def test_names_are_completed(api: Any, a_workload: Any) -> None:
    environment = {
        **os.environ,
        "COMP_WORDS": "runai training su",
        "COMP_CWORD": "2",
        "_RUNAI_COMPLETE": "bash_complete",
    }
    command = [sys.executable, "-c", "from runai_core.cli.main import cli; cli(prog_name='runai')"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["plain,submit", "plain,suspend"]


def test_a_data_directory_that_anybody_can_write_is_told_by_the_doctor(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    tmp_path.chmod(0o700)
    assert data_directory(settings).level is Level.GOOD

    tmp_path.chmod(0o777)
    assert data_directory(settings).level is Level.WARNING


def test_rights_on_a_kind_that_is_taught_are_installed(runai: Any) -> None:
    result = runai("admin", "manifests", "--kind", "example.io/v1/Swarm/swarmz")
    refused = runai("admin", "manifests", "--kind", "Swarm")

    roles = [item for item in yaml.safe_load_all(result.out) if item["kind"] == "ClusterRole"]
    verbs = {
        role["metadata"]["name"]: set(rule["verbs"])
        for role in roles
        for rule in role["rules"]
        if rule["apiGroups"] == ["example.io"] and rule["resources"] == ["swarmz"]
    }
    assert verbs["runai-operator"] == {"get", "list", "watch", "patch", "delete"}
    assert verbs["runai-scheduler"] == {"get", "list", "watch"}
    assert "--kind: must be GROUP/VERSION/KIND" in refused.err


def test_claims_of_data_sources_are_listed(runai: Any, api: Any) -> None:
    meta = {"id": UID, "name": "data", "scope": "project", "projectName": "vision"}
    asks = {"size": "10G", "storageClass": "fast", "accessModes": {"readWriteOnce": True, "readOnlyMany": False}}
    made = {"meta": meta, "spec": {"claimName": "data-claim", "path": "/data", "claimInfo": asks}}
    there = {"meta": {**meta, "name": "old"}, "spec": {"claimName": "old-claim", "path": "/old", "existingPvc": True}}
    api.answers["GET", "/api/v1/asset/datasource/pvc"] = {"entries": [made, there]}

    lines = runai("pvc", "list", "--columns", "claim,scope,size,storage class,access", "--no-headers").out.splitlines()

    assert [line.split() for line in lines] == [
        ["data-claim", "project", "vision", "10G", "fast", "readWriteOnce"],
        ["old-claim", "project", "vision", "-", "-", "-"],
    ]


def test_the_list_of_v1_names_the_nodes_without_asking_for_each_job(
    runai: Any, api: Any, a_workload: Any, requests_of: Callable[[], Sequence[str]]
) -> None:
    api.workloads(a_workload(), a_workload(id=OTHER, name="bert", phase="Pending"))
    pods = [{"workloadId": UID, "nodeName": name} for name in ("n2", "n1", "n2")]
    api.answers["GET", "/api/v1/workloads/pods"] = {"pods": [*pods, {"workloadId": OTHER, "nodeName": ""}]}

    result = runai("list", "jobs", "--columns", "name,node", "--no-headers")

    assert [line.split() for line in result.out.splitlines()[1:]] == [["mnist", "n1,n2"], ["bert", "-"]]
    assert requests_of() == ["GET /api/v1/workloads", "GET /api/v1/workloads/pods"]
    assert dict(api.requests[-1].url.params)["filterBy"] == "projectName==default"
    assert dict(api.requests[-1].url.params)["completed"] == "false"


def test_gpus_in_use_are_counted_with_one_request_for_all_pods(runai: Any, api: Any, requests_of: Any) -> None:
    api.answers["GET", "/api/v1/nodes"] = {"nodes": [{"name": "n1", "gpuInfo": {"gpuCount": 4}}]}
    pod = {"name": "a-0-0", "nodeName": "n1", "k8sPhase": "Running", "allocatedResources": {"gpu": 1.5}}
    api.answers["GET", "/api/v1/workloads/pods"] = {"pods": [pod, {**pod, "k8sPhase": "Pending"}]}

    result = runai("top", "node", "--columns", "node,in use", "--no-headers")

    assert (result.code, result.out.split()) == (0, ["n1", "1.5"])
    assert sorted(requests_of()) == ["GET /api/v1/nodes", "GET /api/v1/workloads/pods"]


@pytest.mark.parametrize("word", ["upgrade", "update"])
def test_an_upgrade_says_how_and_changes_nothing(
    runai: Any, word: str, requests_of: Callable[[], Sequence[str]]
) -> None:
    result = runai(word)

    assert result.code == 0
    assert f"{sys.executable} -m pip install --upgrade runai-core" in result.out
    assert not requests_of()


def test_a_token_is_printed_and_is_none_for_kubectl(runai: Any, api: Any) -> None:
    api.answers["GET", "/api/v1/status"] = {}

    refused = runai("auth", "get-token", "-o", "kubeconfig")

    assert runai("auth", "get-token", "-o", "plaintext").out == "t\n"
    assert (refused.code, refused.out) == (2, "")
    assert "no cluster takes it" in refused.err
