"""The verbs of CLI v1, with its flags and its output, over the same calls as those of v2."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from runai_core.cli import columns
from runai_core.cli.building import Draft, click_option, fill
from runai_core.cli.context import App, app_of, project_option
from runai_core.cli.describe import describe_command
from runai_core.cli.entries import TOLERATION, read_entry
from runai_core.cli.nouns import FRAMEWORKS, TRAINING, WORKLOAD, WORKSPACE
from runai_core.cli.options import Flag
from runai_core.cli.output import Column, Form, age, duration, list_options, print_list
from runai_core.cli.streams import attach_command, bash_command, exec_command, logs_command, port_forward_command
from runai_core.cli.submit import CommandLine, Noun, body_of, show_preview, words_of
from runai_core.cli.v1_options import DIST_FLAGS, DIST_KINDS, FLAGS, OWN_OPTIONS, TRAINING_FLAGS
from runai_core.cli.workloads import (
    EVERY_ONE,
    delete_command,
    find_all,
    resume_command,
    suspend_command,
)
from runai_core.client.requests import Listing, pod_page
from runai_core.client.results import Pod, Workload
from runai_core.client.specs import build_spec, merged, put
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.workload import Phase


def _own(draft: Draft, given: Mapping[str, Any]) -> None:
    """Add what v1 says in a form of its own."""
    if given["gpu"] is not None:
        if "gpuMemoryRequest" in draft.spec.get("compute", {}):
            raise InvalidRequest.of(FieldError("--gpu", "not with --gpu-memory"))
        draft.spec = merged(draft.spec, build_spec("Training", {"gpus": given["gpu"]}))
    for text in given["volume"]:
        _volume(draft.spec, text, given["nfs_server"])
    for text in given["port"]:
        draft.spec.setdefault("ports", []).append(_port(text, given["service_type"]))
    for item in draft.spec.get("environmentVariables", []):
        _secret(item)
    if given["toleration"]:
        put(draft.spec, "tolerations", [read_entry(TOLERATION, text, "--toleration") for text in given["toleration"]])


def _secret(item: dict[str, Any]) -> None:
    """Turn ``SECRET:name,key`` into a reference."""
    value = str(item.get("value", ""))
    if value.startswith("SECRET:"):
        name, _, key = value.removeprefix("SECRET:").partition(",")
        del item["value"]
        item["secret"] = {"name": name, "key": key}


def _volume(spec: dict[str, Any], text: str, server: str | None) -> None:
    source, *rest = text.split(":")
    if not source or not rest or not rest[0] or len(rest) > 3:
        raise InvalidRequest.of(FieldError("--volume", "is written SOURCE:PATH[:ro|rw][:NFS-SERVER]", text))
    mode = rest[1] if len(rest) > 1 and rest[1] else "rw"
    if mode not in ("ro", "rw"):
        raise InvalidRequest.of(FieldError("--volume", "the third part is ro or rw", mode))
    nfs = rest[2] if len(rest) > 2 else server
    entry: dict[str, Any] = {"path": source, "mountPath": rest[0], "readOnly": mode == "ro"}
    kind = "nfs" if nfs else "hostPath"
    spec.setdefault("storage", {}).setdefault(kind, []).append({**entry, **({"server": nfs} if nfs else {})})


SERVICE_TYPES = {"nodeport": "NodePort", "loadbalancer": "LoadBalancer", "portforward": "ClusterIP"}


def _port(text: str, service: str | None) -> dict[str, Any]:
    external, _, container = text.rpartition(":")
    if not container.isdigit() or (external and not external.isdigit()):
        raise InvalidRequest.of(FieldError("--port", "is written EXTERNAL:CONTAINER, or one number", text))
    port: dict[str, Any] = {"container": int(container)}
    if external:
        port["external"] = int(external)
    if service:
        port["serviceType"] = SERVICE_TYPES.get(service.lower(), service)
    return port


def _send(
    ctx: click.Context, noun: Noun, flags: Sequence[Flag], given: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    app = app_of(ctx)
    draft = fill(flags, given, words_of(ctx))
    draft.spec = {**draft.spec, **more}
    _own(draft, given)
    name, prefix = given["name"] or given["name_option"], given["prefix"]
    if not name and not prefix:
        prefix = "job"  # v1 made a name where none was given
    body = body_of(app, noun, draft, name=name, prefix=prefix, project=given["project"])
    if given["dry_run"]:
        show_preview(app, noun, body, as_json=False)
        return
    made = app.client.submit_body(noun.type, body)
    app.say(f"The job '{made.name}' has been submitted successfully")
    app.say(f"You can run `runai describe job {made.name} -p {body['projectId']}` to check the job status")
    if given["attach"]:
        for piece in app.client.logs(made, follow=True):
            sys.stdout.buffer.write(piece)


def _submit() -> click.Command:
    flags = (*FLAGS, *TRAINING_FLAGS)

    @click.pass_context
    def run(ctx: click.Context, /, interactive: bool, preemptible: bool, **given: Any) -> None:
        noun = WORKSPACE if interactive else TRAINING
        more = {"preemptibility": "preemptible"} if preemptible else {}
        _send(ctx, noun, flags, given, more)

    options = [
        click.Option(["--interactive"], is_flag=True, help="A workspace instead of a training."),
        click.Option(["--preemptible"], is_flag=True, help="A workspace that may go over quota and be evicted."),
    ]
    params = [click.Argument(["name"], required=False), *OWN_OPTIONS, *options, *map(click_option, flags)]
    help_ = "Submit a training, or with --interactive a workspace. The words after -- are its command."
    return project_option(CommandLine("submit", callback=run, params=params, help=help_))


def _submit_dist() -> click.Command:
    flags = (*FLAGS, *DIST_FLAGS)

    @click.pass_context
    def run(ctx: click.Context, /, kind: str, **given: Any) -> None:
        noun = FRAMEWORKS[DIST_KINDS[kind]]
        _send(ctx, noun, flags, given, {"distributedFramework": noun.framework})

    arguments = [
        click.Argument(["kind"], type=click.Choice(tuple(DIST_KINDS))),
        click.Argument(["name"], required=False),
    ]
    help_ = "Submit a distributed training. The words after -- are its command."
    params = [*arguments, *OWN_OPTIONS, *map(click_option, flags)]
    return project_option(CommandLine("submit-dist", callback=run, params=params, help=help_))


submit, submit_dist = _submit(), _submit_dist()

STATUSES: Mapping[Phase, str] = {
    Phase.CREATING: "Pending",
    Phase.INITIALIZING: "ContainerCreating",
    Phase.COMPLETED: "Succeeded",
    Phase.STOPPED: "Suspended",
    Phase.STOPPING: "Terminating",
    Phase.DELETING: "Terminating",
    Phase.RESUMING: "Pending",
    Phase.DEGRADED: "Running",
    Phase.UPDATING: "Running",
}
"""v1's word for a phase; the others are the same."""

TYPES: Mapping[str, str] = {
    "Workspace": "Interactive",
    "Training": "Train",
    "TF": "Tf",
    "MPI": "Mpi",
    "PyTorch": "Pytorch",
}


def _amount(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def _pending(item: Workload) -> int:
    return 0 if item.is_over else max(item.requested_pods - item.running_pods, 0)


def _pods_on_nodes(app: App, project: str = "") -> Sequence[Pod]:
    """Return the pods that have a node and have not ended."""
    transport = app.client.transport
    # Imported here: it loads httpx, which help has no need of.
    from runai_core.client.sync.pages import all_pages

    wanted = (f"projectName=={project}",) if project else ()
    chosen = Listing(filters=wanted, query=(("completed", "false"),))
    found = all_pages(transport, lambda offset, size: pod_page(chosen, offset, size), None)
    return [pod for pod in found if pod.node_name]


JOBS = (
    Column("NAME", lambda w: w.name),
    Column("STATUS", lambda w: STATUSES.get(w.phase, w.phase.value)),
    Column("AGE", lambda w: age(w.created_at)),
    Column("IMAGE", lambda w: w.images),
    Column("TYPE", lambda w: TYPES.get(w.distributed_framework or w.type, w.distributed_framework or w.type)),
    Column("PROJECT", lambda w: w.project_name),
    Column("USER", lambda w: w.submitted_by),
    Column("GPUs Allocated (Requested)", lambda w: f"{_amount(w.gpu_allocated)} ({_amount(w.gpu_request)})"),
    Column(
        "PODs Running (Pending)",
        lambda w: f"{w.running_pods} ({max(w.requested_pods - w.running_pods, 0) if not w.is_over else 0})",
    ),
    Column("SERVICE URL(S)", lambda w: w.raw.get("urls") or ()),
)


def _list_jobs(ctx: click.Context, project: str | None, everywhere: bool, form: Form) -> None:
    app = app_of(ctx)
    found = find_all(app, WORKLOAD, {**EVERY_ONE, "everywhere": everywhere, "project": project})
    app.check_project(found, "" if everywhere else app.project_or(project))
    if not (form.as_json or form.as_yaml):
        app.say(
            "Showing jobs for all projects" if everywhere else f"Showing jobs for project {app.project_or(project)}"
        )
    nodes: dict[str, list[str]] = {}
    for pod in _pods_on_nodes(app, "" if everywhere else app.project_or(project)) if found else ():
        nodes.setdefault(pod.workload_id, []).append(pod.node_name)
    node = Column("NODE", lambda w: tuple(dict.fromkeys(sorted(nodes.get(w.id, ())))))
    print_list(found, (*JOBS[:3], node, *JOBS[3:]), form)


class _Listing(click.Group):
    """`list` alone lists jobs, as older versions did."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the word `jobs` in where there is none."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["jobs", *args]
        return super().parse_args(ctx, args)


list_ = _Listing("list", help="List jobs, projects, nodes or clusters.")


def _jobs_command(name: str, *, hidden: bool = False) -> click.Command:
    @click.command(name, hidden=hidden)
    @project_option
    @click.option("-A", "--all-projects", "everywhere", is_flag=True, help="Of all projects.")
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, project: str | None, everywhere: bool, form: Form) -> None:
        """List the jobs of a project."""
        _list_jobs(ctx, project, everywhere, form)

    return run


list_.add_command(_jobs_command("jobs"))
list_.add_command(_jobs_command("job", hidden=True))

V1_PROJECTS = (
    Column("PROJECT", lambda p: p.name),
    Column("DEPARTMENT", lambda p: p.department_name),
    Column("DESERVED GPUs", columns.PROJECTS[2].cell),
    Column("INT LIMIT", lambda p: (p.raw.get("schedulingRules") or {}).get("interactiveJobTimeLimitSeconds")),
    Column("INT AFFINITY", lambda p: (p.raw.get("nodeTypes") or {}).get("workspace") or ()),
    Column("TRAIN AFFINITY", lambda p: (p.raw.get("nodeTypes") or {}).get("training") or ()),
)


@list_.command("projects")
@list_options
@click.pass_context
def list_projects(ctx: click.Context, /, form: Form) -> None:
    """List the projects."""
    print_list(app_of(ctx).client.projects.list(), V1_PROJECTS, form)


@list_.command("nodes")
@click.argument("name", required=False)
@list_options
@click.pass_context
def list_nodes(ctx: click.Context, /, name: str | None, form: Form) -> None:
    """List the nodes."""
    _print_nodes(ctx, name, form)


def _print_nodes(ctx: click.Context, name: str | None, form: Form) -> None:
    nodes = app_of(ctx).client.nodes()
    found = [node for node in nodes if name in (None, node.name)]
    if name and not found:
        raise NotFound(f"there is no node {name[:80]}; there are: {', '.join(node.name for node in nodes) or 'none'}")
    print_list(found, columns.NODES, form, empty="No nodes.")


@list_.command("clusters")
@click.pass_context
def list_clusters(ctx: click.Context) -> None:
    """List the clusters."""
    from runai_core.cli.organization import list_clusters as listed

    ctx.invoke(listed, as_json=False, as_yaml=False, no_headers=False, columns="")


def _group(name: str, help_: str, make: Callable[[Noun], click.Command]) -> click.Group:
    """Return a group whose word `job` stands for any workload."""
    group = click.Group(name, help=help_)
    for word in ("job", "jobs"):
        command = make(WORKLOAD)
        command.name, command.hidden = word, word == "jobs"
        group.add_command(command)
    return group


describe = _group("describe", "Describe a job or a node.", describe_command)
delete = _group("delete", "Delete a job.", delete_command)


@describe.command("node")
@click.argument("name", required=False)
@list_options
@click.pass_context
def describe_node(ctx: click.Context, /, name: str | None, form: Form) -> None:
    """Describe the GPUs of a node, or of all."""
    ctx.invoke(
        list_nodes,
        name=name,
        as_json=form.as_json,
        as_yaml=form.as_yaml,
        no_headers=not form.headers,
        columns=form.columns,
    )


logs = logs_command(WORKLOAD)
exec_ = exec_command(WORKLOAD)
bash = bash_command(WORKLOAD)
attach = attach_command(WORKLOAD)
port_forward = port_forward_command(WORKLOAD)
suspend = suspend_command(WORKLOAD)
resume = resume_command(WORKLOAD)

top = click.Group("top", help="GPUs in use, by node or job.")

TOP_JOBS = (
    Column("NAME", lambda w: w.name),
    Column("PROJECT", lambda w: w.project_name),
    Column("STATUS", lambda w: STATUSES.get(w.phase, w.phase.value)),
    Column("GPUs Allocated (Requested)", lambda w: f"{_amount(w.gpu_allocated)} ({_amount(w.gpu_request)})"),
    Column("RUN TIME", lambda w: duration(w.total_running_time_seconds)),
)


@top.command("node")
@click.option("-d", "--details", is_flag=True, help="Each pod on its own line.")
@list_options
@click.pass_context
def top_node(ctx: click.Context, /, details: bool, form: Form) -> None:
    """Show how many GPUs of each node are in use."""
    app = app_of(ctx)
    used: dict[str, float] = {}
    pods = [pod for pod in _pods_on_nodes(app) if pod.k8s_phase == "Running"]
    for pod in pods:
        used[pod.node_name] = used.get(pod.node_name, 0.0) + pod.gpu_allocated
    rows = (
        Column("NODE", lambda n: n.name),
        Column("GPUs", lambda n: n.gpu_count),
        Column("IN USE", lambda n: used.get(n.name, 0.0)),
        Column("FREE", lambda n: n.gpu_count - used.get(n.name, 0.0)),
        Column("GPU TYPE", columns.NODES[3].cell),
    )
    print_list(app.client.nodes(), rows, form)
    if details and not (form.as_json or form.as_yaml):
        click.echo()
        print_list(pods, columns.PODS, form)


@top.command("job")
@click.option("-d", "--details", is_flag=True, hidden=True, expose_value=False)
@project_option
@list_options
@click.pass_context
def top_job(ctx: click.Context, /, project: str | None, form: Form) -> None:
    """Show the GPUs of each job that is not over."""
    app = app_of(ctx)
    found = app.client.list(project=app.project_or(project), filters=("phase!=Completed", "phase!=Failed"))
    print_list(found, TOP_JOBS, form)
