"""The pods of one attempt and their group, for each native type."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.lifecycle.gang import RunContext, argv_of, gang_of
from runai_core.lifecycle.vacancies import wants_pods
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling, HttpGet, Port, Probe, ProbeHandler, Probes, ServingPort
from runai_core.model.snapshot import (
    LabelRequirement,
    PodState,
    Preemptibility,
    SubGroup,
    Toleration,
    TopologyConstraint,
)
from runai_core.model.spec import (
    Compute,
    DistributedFramework,
    EnvironmentVariable,
    KeyReference,
    MatchExpression,
    NamedValue,
    NodeAffinityRequired,
    NodeSelectorTerm,
    PodAffinitySpec,
    PodFieldReference,
    RestartPolicy,
    TolerationSpec,
    WorkloadSpec,
)
from runai_core.model.workload import Gang, PodStatus, Workload, WorkloadType

HERE = RunContext(master_address="10.0.0.1", master_port=4000, created_at=50.0)


def a_workload(
    kind: WorkloadType, *, master: WorkloadSpec | None = None, has_master: bool = True, **spec: Any
) -> Workload:
    return Workload(
        meta=Meta(name="job", project="team", uid="u1", created_at=7.0, created_by="ann"),
        type=kind,
        attempt=1,
        priority=90,
        preemptibility=Preemptibility.PREEMPTIBLE,
        spec=WorkloadSpec(**{"command": "python train.py", **spec}),
        master_spec=master,
        has_master=has_master,
    )


def gang(kind: WorkloadType, **spec: Any) -> Gang:
    return gang_of(a_workload(kind, **spec), run_context=HERE)


T, D, W = WorkloadType.TRAINING, WorkloadType.DISTRIBUTED, WorkloadType.WORKSPACE
INF, DI = WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE
MPI, JAX = DistributedFramework.MPI, DistributedFramework.JAX

SHAPES: list[tuple[str, WorkloadType, dict[str, Any], list[str], int, dict[str, int]]] = [
    ("a workspace is one pod", W, {}, ["worker"], 1, {}),
    ("a training is one pod", T, {}, ["worker"], 1, {}),
    ("parallel pods are independent", T, {"parallelism": 3}, ["worker"] * 3, 1, {}),
    ("no more pods at once than runs", T, {"parallelism": 3, "completions": 2}, ["worker"] * 2, 1, {}),
    ("runs one after the other", T, {"completions": 5}, ["worker"], 1, {}),
    ("a master and its workers", D, {"num_workers": 2}, ["master", "worker", "worker"], 3, {"master": 1, "worker": 2}),
    ("one worker when nobody says how many", D, {}, ["master", "worker"], 2, {"master": 1, "worker": 1}),
    ("workers alone", D, {"num_workers": 2, "has_master": False}, ["worker"] * 2, 2, {"worker": 2}),
    (
        "an MPI launcher",
        D,
        {"num_workers": 2, "distributed_framework": MPI},
        ["launcher", "worker", "worker"],
        3,
        {"launcher": 1, "worker": 2},
    ),
    (
        "an elastic gang needs its minimum, and asks for its maximum",
        D,
        {"num_workers": 3, "min_replicas": 2, "max_replicas": 4},
        ["master"] + ["worker"] * 4,
        3,
        {"master": 1, "worker": 2},
    ),
    (
        "a maximum alone: the workers asked for are the minimum",
        D,
        {"num_workers": 2, "max_replicas": 3, "has_master": False},
        ["worker"] * 3,
        2,
        {"worker": 2},
    ),
    ("one replica", INF, {}, ["worker"], 1, {}),
    (
        "replicas at the start",
        INF,
        {"autoscaling": Autoscaling(min_replicas=1, initial_replicas=3)},
        ["worker"] * 3,
        1,
        {},
    ),
    ("the least replicas", INF, {"autoscaling": Autoscaling(min_replicas=2)}, ["worker"] * 2, 1, {}),
    ("a service that may sleep starts awake", INF, {"autoscaling": Autoscaling(min_replicas=0)}, ["worker"], 1, {}),
    ("a service that starts asleep", INF, {"autoscaling": Autoscaling(initial_replicas=0)}, [], 0, {}),
    (
        "leaders and workers in groups",
        DI,
        {"replicas": 2, "workers": 1},
        ["leader", "worker", "leader", "worker"],
        4,
        {"replica-0": 2, "replica-1": 2},
    ),
]


@pytest.mark.parametrize(
    ("kind", "spec", "roles", "minimum", "groups"), [case[1:] for case in SHAPES], ids=[case[0] for case in SHAPES]
)
def test_shapes(
    kind: WorkloadType, spec: dict[str, Any], roles: list[str], minimum: int, groups: dict[str, int]
) -> None:
    made = gang(kind, **spec)
    assert [pod.spec.role for pod in made.pods] == roles
    assert made.group.min_members == minimum
    assert made.group.sub_groups == tuple(SubGroup(name=name, min_members=least) for name, least in groups.items())
    assert [pod.spec.rank for pod in made.pods] == list(range(len(roles)))


def test_a_gang_stands_in_its_projects_queue_with_its_own_priority() -> None:
    group = gang(D, num_workers=1).group
    assert (group.name, group.queue, group.workload) == ("team.job.1", "team", "team/job")
    assert (group.priority, group.preemptibility, group.created_at) == (90, Preemptibility.PREEMPTIBLE, 7.0)


def test_names_carry_the_attempt_and_the_index() -> None:
    workload = replace(a_workload(D, num_workers=1), attempt=3)
    made = gang_of(workload, run_context=HERE)
    assert [pod.name for pod in made.pods] == ["job-3-0", "job-3-1"]
    assert {pod.pod_group for pod in made.pods} == {made.group.name}


def test_asking_twice_gives_the_same_pods() -> None:
    workload = a_workload(D, num_workers=3)
    assert gang_of(workload, run_context=HERE) == gang_of(workload, run_context=HERE)


def test_pods_of_different_workloads_and_attempts_have_different_uids() -> None:
    workload = a_workload(D, num_workers=3)
    other = replace(workload, meta=replace(workload.meta, uid="u2"))
    later = replace(workload, attempt=2)
    uids = [pod.meta.uid for each in (workload, other, later) for pod in gang_of(each, run_context=HERE).pods]
    assert len(set(uids)) == 12


def test_the_pods_belong_to_the_workload() -> None:
    (pod,) = gang(T, labels=(NamedValue(name="team", value="x"),), annotations=(NamedValue(name="a", value="1"),)).pods
    assert (pod.meta.owner, pod.meta.project, pod.meta.created_by, pod.workload) == ("u1", "team", "ann", "job")
    assert pod.meta.labels == {
        "team": "x",
        "runai/queue": "team",
        "project": "team",
        "workloadName": "job",
        "priorityClassName": "low",
    }
    assert pod.meta.annotations == {"a": "1"}


@pytest.mark.parametrize(
    ("spec", "argv"),
    [
        ({"command": "python train.py --name 'a b'"}, ("python", "train.py", "--name", "a b")),
        ({"command": "python", "args": "train.py -x"}, ("python", "train.py", "-x")),
        ({"command": None, "args": "train.py"}, ("train.py",)),
        ({"command": None}, ()),
        ({"command": "sh -c 'echo $HOME && rm *'"}, ("sh", "-c", "echo $HOME && rm *")),
        ({"command": "echo $HOME; ls"}, ("echo", "$HOME;", "ls")),
    ],
    ids=[
        "quotes are honoured",
        "arguments follow the command",
        "arguments alone go to the entry point",
        "nothing is the entry point itself",
        "a shell is only there if it is named",
        "no shell reads the words",
    ],
)
def test_command_and_arguments_become_words(spec: dict[str, Any], argv: tuple[str, ...]) -> None:
    assert argv_of(WorkloadSpec(**spec)) == argv


BAD: list[tuple[str, WorkloadType, dict[str, Any], str]] = [
    ("an open quote", T, {"command": "python 'x"}, "spec.command"),
    ("a NUL in the arguments", T, {"args": "a\0b"}, "spec.args"),
    ("GPUs below zero", T, {"compute": Compute(gpu_devices_request=-1)}, "spec.compute.gpuDevicesRequest"),
    ("minimum above maximum", D, {"min_replicas": 3, "max_replicas": 2}, "spec.minReplicas"),
    (
        "workers outside the elastic range",
        D,
        {"num_workers": 9, "min_replicas": 1, "max_replicas": 2},
        "spec.numWorkers",
    ),
    ("elastic MPI", D, {"distributed_framework": MPI, "max_replicas": 3}, "spec.maxReplicas"),
    ("slots without MPI", D, {"slots_per_worker": 2}, "spec.slotsPerWorker"),
    (
        "more replicas at the start than ever",
        INF,
        {"autoscaling": Autoscaling(initial_replicas=3, max_replicas=2)},
        "spec.autoscaling.maxReplicas",
    ),
    (
        "a wrong variable name",
        T,
        {"environment_variables": (EnvironmentVariable(name="A=B", value="1"),)},
        "spec.environmentVariables.0.name",
    ),
    (
        "a NUL in a variable",
        T,
        {"environment_variables": (EnvironmentVariable(name="A", value="\0"),)},
        "spec.environmentVariables.0.value",
    ),
    (
        "an unknown secret",
        T,
        {"environment_variables": (EnvironmentVariable(name="A", secret=KeyReference(name="s", key="k")),)},
        "spec.environmentVariables.0.secret",
    ),
    (
        "an unknown field of the pod",
        T,
        {"environment_variables": (EnvironmentVariable(name="A", pod_field_ref=PodFieldReference(path="status.x")),)},
        "spec.environmentVariables.0.podFieldRef.path",
    ),
    ("a toleration of nothing", T, {"tolerations": (TolerationSpec(operator="Equal"),)}, "spec.tolerations.0.key"),
    (
        "a toleration with an effect that is none",
        T,
        {"tolerations": (TolerationSpec(operator="Exists", effect="Maybe"),)},
        "spec.tolerations.0.effect",
    ),
    (
        "a master that asks for too little",
        D,
        {"master": WorkloadSpec(compute=Compute(cpu_core_request=-1))},
        "masterSpec.compute.cpuCoreRequest",
    ),
    ("an unknown startup policy", DI, {"startup_policy": "Sometime"}, "spec.startupPolicy"),
    (
        "more pods than a workload may have",
        DI,
        {"replicas": 1000, "workers": 1000},
        "spec",
    ),
    (
        "a variable that no program can take",
        T,
        {"environment_variables": (EnvironmentVariable(name="A", value="x" * 131_072),)},
        "spec.environmentVariables",
    ),
    (
        "a grace period beyond all clocks",
        T,
        {"termination_grace_period_seconds": 10**400},
        "spec.terminationGracePeriodSeconds",
    ),
    (
        "a rule of the user's own that is no number",
        D,
        {"annotations": (NamedValue(name="run.ai/degraded-timeout-seconds", value="soon"),)},
        "spec.annotations.0.value",
    ),
    (
        "a rule of the user's own that is unknown",
        D,
        {"annotations": (NamedValue(name="run.ai/success-policy", value="Anyone"),)},
        "spec.annotations.0.value",
    ),
    ("a kind that plug-ins shape", WorkloadType.EXTERNAL, {}, "type"),
]


@pytest.mark.parametrize(("kind", "spec", "path"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_contradicts_itself_is_refused_by_field(kind: WorkloadType, spec: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gang(kind, **spec)
    assert [error.field for error in caught.value.errors] == [path]


def test_a_name_that_leaves_no_room_for_the_index_is_refused() -> None:
    workload = a_workload(T)
    long = replace(workload, meta=replace(workload.meta, name="x" * 253))
    with pytest.raises(InvalidRequest, match="at most 249 characters"):
        gang_of(long, run_context=HERE)


def test_where_pods_may_run() -> None:
    made = gang(
        D,
        num_workers=2,
        node_type="a100",
        tolerations=(TolerationSpec(key="gpu", operator="Exists", effect="Any"), TolerationSpec(key="x", exclude=True)),
        node_affinity_required=NodeAffinityRequired(
            node_selector_terms=(
                NodeSelectorTerm(match_expressions=(MatchExpression(key="zone", operator="In", values=("a", "b")),)),
                NodeSelectorTerm(),
            )
        ),
        pod_affinity=PodAffinitySpec(type="Required", key="rack"),
    )
    constraints = made.pods[0].spec.constraints
    assert constraints.node_selector == (("run.ai/type", "a100"),)
    assert constraints.tolerations == (Toleration(key="gpu", operator="Exists"),)
    assert constraints.node_affinity == ((LabelRequirement("zone", "In", ("a", "b")),),)
    assert made.group.topology == TopologyConstraint(topology="rack", required_level="rack")
    assert all(pod.spec.constraints is constraints for pod in made.pods), "the engine works by class: one object"


def test_a_preferred_domain() -> None:
    made = gang(D, pod_affinity=PodAffinitySpec(key="rack"))
    assert made.group.topology == TopologyConstraint(topology="rack", preferred_level="rack")


def test_how_a_pod_runs() -> None:
    (pod,) = gang(
        INF,
        image="app:1",
        working_dir="/work",
        tty=True,
        ports=(Port(container=8080), Port(container=9090)),
        serving_port=ServingPort(container=8080),
        compute=Compute(cpu_core_limit=2, cpu_memory_limit="1Gi"),
        probes=Probes(readiness=Probe(period_seconds=2, handler=ProbeHandler(http_get=HttpGet(path="/ok", port=8080)))),
    ).pods
    spec = pod.spec
    assert (spec.image, spec.working_dir, spec.tty, spec.ports) == ("app:1", "/work", True, (8080, 9090))
    assert (spec.cpu_limit, spec.memory_limit) == (2000, 1024**3)
    assert spec.readiness == HttpGet(path="/ok", port=8080)
    assert (spec.readiness_period, spec.readiness_timeout, spec.readiness_failure_threshold) == (2.0, 1.0, 3)
    assert spec.environment["PORT"] == "8080"


@pytest.mark.parametrize(
    ("kind", "spec", "policy", "limit", "grace"),
    [
        (W, {}, RestartPolicy.ALWAYS, 6, 30.0),
        (T, {}, RestartPolicy.NEVER, 6, 30.0),
        (
            T,
            {"restart_policy": RestartPolicy.ON_FAILURE, "backoff_limit": 0, "termination_grace_period_seconds": 0},
            RestartPolicy.ON_FAILURE,
            0,
            0.0,
        ),
    ],
    ids=["a workspace is restarted", "a training is not", "as the specification says, zero included"],
)
def test_what_happens_when_a_process_ends(
    kind: WorkloadType, spec: dict[str, Any], policy: RestartPolicy, limit: int, grace: float
) -> None:
    (pod,) = gang(kind, **spec).pods
    assert (pod.spec.restart_policy, pod.spec.backoff_limit, pod.spec.grace_period) == (policy, limit, grace)


def test_variables_of_the_user_win_over_those_that_are_injected() -> None:
    workload = a_workload(
        T,
        environment_variables=(
            EnvironmentVariable(name="LR", value="0.1"),
            EnvironmentVariable(name="RUNAI_PROJECT", value="mine"),
            EnvironmentVariable(name="GONE", value="x", exclude=True),
            EnvironmentVariable(name="EMPTY"),
            EnvironmentVariable(name="TOKEN", secret=KeyReference(name="s", key="k")),
            EnvironmentVariable(name="ME", pod_field_ref=PodFieldReference(path="metadata.name")),
        ),
    )
    context = replace(HERE, environment={"LR": "9", "EXTRA": "1"}, values={"secret/s/k": "hush"})

    environment = gang_of(workload, run_context=context).pods[0].spec.environment

    assert {
        name: environment.get(name) for name in ("LR", "RUNAI_PROJECT", "EXTRA", "TOKEN", "ME", "EMPTY", "GONE")
    } == {
        "LR": "0.1",
        "RUNAI_PROJECT": "mine",
        "EXTRA": "1",
        "TOKEN": "hush",
        "ME": "job-1-0",
        "EMPTY": "",
        "GONE": None,
    }


def test_a_master_differs_only_where_it_says_so() -> None:
    made = gang(
        D,
        num_workers=1,
        image="app:1",
        args="--all",
        compute=Compute(gpu_portion_request=0.5, cpu_core_request=4),
        environment_variables=(EnvironmentVariable(name="A", value="1"), EnvironmentVariable(name="B", value="2")),
        master=WorkloadSpec(
            command="python lead.py",
            compute=Compute(gpu_devices_request=0),
            environment_variables=(
                EnvironmentVariable(name="A", exclude=True),
                EnvironmentVariable(name="C", value="3"),
            ),
        ),
    )
    master, worker = made.pods
    assert (master.spec.argv, worker.spec.argv) == (("python", "lead.py"), ("python", "train.py", "--all"))
    assert (master.spec.image, master.spec.request.cpu) == ("app:1", 4000)
    assert (master.spec.request.gpu_devices, master.spec.request.gpu_portion) == (0, 0)
    assert worker.spec.request.gpu_portion == 500
    own = {name: master.spec.environment.get(name) for name in "ABC"}
    assert own == {"A": None, "B": "2", "C": "3"}


def test_pods_that_exist_are_kept_and_lost_ones_are_replaced() -> None:
    workload = a_workload(D, num_workers=2)
    pods = list(gang_of(workload, run_context=HERE).pods)
    running = [replace(pod, status=replace(pod.status, state=PodState.RUNNING)) for pod in pods]
    lost = replace(pods[1], status=replace(pods[1].status, state=PodState.FAILED, reason="NodeLost"))

    made = gang_of(workload, run_context=HERE, existing=[running[0], lost])

    assert [pod.name for pod in made.pods] == ["job-1-0", "job-1-1-1", "job-1-2"]
    assert made.pods[0] is running[0]
    assert (made.pods[1].replacement, made.pods[1].spec.environment["RANK"]) == (1, "1")


def test_workers_come_when_their_leader_is_ready() -> None:
    workload = a_workload(DI, replicas=2, workers=2, startup_policy="LeaderReady")
    made = gang_of(workload, run_context=HERE)
    first = made.pods
    ready = replace(first[0], status=PodStatus(state=PodState.RUNNING, ready=True))

    later = gang_of(workload, run_context=HERE, existing=(ready, first[1]))

    assert [(pod.spec.rank, pod.spec.role) for pod in first] == [(0, "leader"), (3, "leader")]
    assert (made.group.min_members, [part.min_members for part in made.group.sub_groups]) == (2, [1, 1])
    assert [pod.spec.rank for pod in later.pods] == [0, 1, 2, 3]
    assert later.pods[1].spec.environment["LWS_LEADER_ADDRESS"] == later.pods[0].spec.environment["LWS_LEADER_ADDRESS"]
    assert wants_pods(workload, (ready, first[1]), 1.0)
    assert not wants_pods(workload, first, 1.0)


def test_pods_of_an_older_attempt_do_not_count() -> None:
    workload = a_workload(T)
    old = gang_of(workload, run_context=HERE).pods
    made = gang_of(replace(workload, attempt=2), run_context=HERE, existing=old)
    assert [pod.name for pod in made.pods] == ["job-2-0"]


@pytest.mark.parametrize("framework", list(DistributedFramework))
def test_each_framework_can_have_a_thousand_workers(framework: DistributedFramework) -> None:
    assert len(gang(D, num_workers=1000, distributed_framework=framework).pods) == 1001
