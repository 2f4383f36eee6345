"""The nouns of CLI v2 and their verbs: each group is put together from tables."""

from collections.abc import Callable, Sequence

import click

from runai_core.cli import inference as servers
from runai_core.cli import streams, workloads
from runai_core.cli.describe import describe_command
from runai_core.cli.submit import Noun, submit_command

WORKSPACE = Noun("workspace", "Workspace", title="workspace", group="workspace")
TRAINING = Noun("training", "Training", title="training", group="training")
ANY_TRAINING = Noun("training", "Training,Distributed", title="training", group="training")
INFERENCE = Noun("inference", "Inference", title="inference", group="inference")
DISTRIBUTED_INFERENCE = Noun(
    "distributed-inference", "DistributedInference", title="distributed inference", group="inference distributed"
)
ANY_INFERENCE = Noun("inference", "Inference,DistributedInference", title="inference", group="inference")
WORKLOAD = Noun("workload")

FRAMEWORKS = {
    name: Noun(name, "Distributed", framework=framework, title=f"{framework} training", group=f"training {name}")
    for name, framework in (
        ("pytorch", "PyTorch"),
        ("tensorflow", "TF"),
        ("mpi", "MPI"),
        ("xgboost", "XGBoost"),
        ("jax", "JAX"),
    )
}

Verb = Callable[[Noun], click.Command]

READING = (
    workloads.list_command,
    describe_command,
    workloads.events_command,
    workloads.history_command,
    workloads.why_command,
    streams.logs_command,
)
INSIDE = (streams.exec_command, streams.bash_command, streams.attach_command, streams.port_forward_command)
STOPPING = (workloads.suspend_command, workloads.resume_command)
VERBS = (*READING, *INSIDE, *STOPPING, workloads.delete_command)
SERVING = (servers.update_command, servers.scale_command, servers.revisions_command)


def group_of(name: str, help_: str, commands: Sequence[click.Command]) -> click.Group:
    """Return a group of commands."""
    return click.Group(name, help=help_, commands={command.name or "": command for command in commands})


def noun_group(noun: Noun, name: str, help_: str, verbs: Sequence[Verb] = VERBS) -> click.Group:
    """Return the group of one kind of workload with all its verbs."""
    return group_of(name, help_, [submit_command(noun), *(make(noun) for make in verbs)])


def _framework(name: str) -> click.Group:
    noun = FRAMEWORKS[name]
    return noun_group(noun, name, f"Distributed trainings with {noun.framework}.")


pytorch, tensorflow, mpi, xgboost, jax = (_framework(name) for name in FRAMEWORKS)

workspace = noun_group(WORKSPACE, "workspace", "Workspaces: interactive work on a place of its own.")

training = group_of(
    "training",
    "Trainings: work that ends by itself.",
    [
        submit_command(TRAINING),
        *(make(ANY_TRAINING) for make in VERBS),
        noun_group(TRAINING, "standard", "Trainings of one pod, or of several runs."),
        pytorch,
        tensorflow,
        mpi,
        xgboost,
        jax,
    ],
)

inference = group_of(
    "inference",
    "Inference: servers that answer requests.",
    [
        submit_command(INFERENCE),
        *(make(ANY_INFERENCE) for make in (*SERVING, *READING, *INSIDE, workloads.delete_command)),
        noun_group(INFERENCE, "standard", "Servers of equal replicas.", (*SERVING, *VERBS)),
        noun_group(
            DISTRIBUTED_INFERENCE,
            "distributed",
            "Servers whose replicas are a leader with workers.",
            (*SERVING, *VERBS),
        ),
    ],
)

workload = group_of(
    "workload",
    "Workloads of every type.",
    [workloads.submit_manifest_command(), *(make(WORKLOAD) for make in VERBS)],
)
