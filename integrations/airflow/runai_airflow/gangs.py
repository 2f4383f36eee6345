"""`RunaiGangTaskGroup`: the tasks of a group start together or not at all, as one workload.

The group gets one more task, `launch`, which submits the gang; each `RunaiTask`
then shows its own processes and ends as they end.
"""

# ruff: noqa: TID253 - Airflow imports this module itself

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup
from airflow.sdk.exceptions import AirflowFailException

from runai_airflow import keys
from runai_airflow.hooks import RunaiHook
from runai_airflow.identity import TaskIdentity
from runai_airflow.keys import Outcome
from runai_airflow.links import publish_page
from runai_airflow.operators import RunaiWorkloadOperator
from runai_core.client import Client
from runai_core.client.environment import Connection
from runai_core.client.ownership import page_url
from runai_core.client.specs import command_line
from runai_core.client.sync.owned import delete_owned
from runai_core.model.errors import FieldError, InvalidRequest

LAUNCH = "launch"

MEMBER = "RUNAI_MEMBER_"
"""Variable with the command of a rank: RUNAI_MEMBER_0, RUNAI_MEMBER_1, ..."""

DISPATCH = ("sh", "-c", f'eval "line=\\${MEMBER}$RANK"; eval "exec $line"')
"""Every process of the gang becomes the command of its rank."""


@dataclass(frozen=True, slots=True)
class Member:
    """A task of the group: its command, and which ranks run it."""

    task_id: str
    command: str
    ranks: tuple[int, ...]


def members_of(tasks: Sequence["RunaiTask"]) -> tuple[Member, ...]:
    """Return the members in the order of the group, with their ranks."""
    members, first = [], 0
    for task in tasks:
        members.append(
            Member(task.task_id, command_line(task.command or ""), tuple(range(first, first + task.replicas)))
        )
        first += task.replicas
    return tuple(members)


class RunaiTask(RunaiWorkloadOperator):
    """One member of a gang: its command and how many processes run it. Resources are said by the group.

    It is not tried again alone: clear the group to start the gang anew.
    """

    template_fields: Sequence[str] = ("runai_conn_id",)

    def __init__(self, *, command: str | Sequence[str], replicas: int = 1, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 0)
        super().__init__(command=command, replicas=replicas, **kwargs)
        self.ranks: list[int] = []
        self.launch_task_id = ""

    def execute(self, context: Any) -> Any:
        """Wait for the gang, and tell what the own processes print."""
        task_instance = context["ti"]
        uid = task_instance.xcom_pull(task_ids=self.launch_task_id, key=keys.ID)
        if not uid:
            raise AirflowFailException(
                f"{self.launch_task_id} has submitted no gang: put the task inside `with RunaiGangTaskGroup(...)`"
            )
        connection = self._asked(RunaiHook(self.runai_conn_id).connection)
        publish_page(task_instance, page_url(connection.url, uid))
        self._gang = uid, connection
        return self.wait_for(context, uid, ranks=self.ranks)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:
        """End as the own processes ended: those that had succeeded when the gang failed, have."""
        if event["outcome"] == Outcome.FAILED and self._had_succeeded(event["workload_id"]):
            event = {**event, "outcome": Outcome.COMPLETED}
        return super().execute_complete(context, event)

    def on_kill(self) -> None:
        """End the whole gang: without this member it is none."""
        gang: tuple[str, Connection] | None = getattr(self, "_gang", None)
        if gang is not None and self.delete_on_kill:
            with Client.connect_to(gang[1]) as client:
                delete_owned(client, gang[0])

    def _had_succeeded(self, uid: str) -> bool:
        with RunaiHook(self.runai_conn_id).get_conn() as client:
            ended = {pod.raw.get("rank"): pod.raw.get("exitCode") for pod in client.pods(uid)}
        return all(ended.get(rank) == 0 for rank in self.ranks)


class RunaiGangLaunchOperator(RunaiWorkloadOperator):
    """Submits the gang of a group and is done; the members wait for it."""

    template_fields: Sequence[str] = (
        *(name for name in RunaiWorkloadOperator.template_fields if name not in ("command", "args")),
        "commands",
    )

    def __init__(self, *, commands: Sequence[str], **kwargs: Any) -> None:
        super().__init__(replicas=len(commands), **kwargs)
        self.commands = list(commands)

    def execute(self, context: Any) -> Any:
        """Submit, or find what an earlier try submitted."""
        uid = self.submit(context).id
        self.note_end(context)  # what becomes of it, the members see
        return uid

    def submission(self, identity: TaskIdentity, context: Any, connection: Connection) -> tuple[str, dict[str, Any]]:
        """Return the gang: every process is told all commands, and runs that of its rank."""
        self.command = DISPATCH
        self.env = {**(self.env or {}), **{f"{MEMBER}{rank}": line for rank, line in enumerate(self.commands)}}
        _, options = super().submission(identity, context, connection)
        gang = {"workers": len(self.commands), "framework": self.framework, "has_master": False}
        return "Distributed", {**options, **gang}


class RunaiGangTaskGroup(TaskGroup):
    """A group whose `RunaiTask`s are one gang: one workload, admitted whole.

    >>> with RunaiGangTaskGroup("step", project="team-a", gpus=1):
    ...     RunaiTask(task_id="server", command=["python", "ps.py"])
    ...     RunaiTask(task_id="worker", command=["python", "worker.py"], replicas=3)

    :param options: those of `RunaiWorkloadOperator` besides `command` and `replicas`; they hold for every process
    """

    def __init__(self, group_id: str, *, tooltip: str = "", **options: Any) -> None:
        super().__init__(group_id=group_id, tooltip=tooltip or "These tasks start together or not at all")
        for taken in ("command", "replicas"):
            if taken in options:
                message = "belongs to each RunaiTask of the group, not to the group"
                raise InvalidRequest.of(FieldError(taken, message, options[taken]))
        self.options = options

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:  # noqa: PYI036 - as Airflow has it
        """Add the task that launches the gang before its members."""
        if kind is None:
            self._close()
        super().__exit__(kind, error, trace)

    def _close(self) -> None:
        options = self.options
        tasks = list(self.children.values())
        members = [task for task in tasks if isinstance(task, RunaiTask)]
        names = {task.task_id for task in members}
        for task in tasks:
            if not isinstance(task, RunaiTask):
                message = "only RunaiTask can be a member of a gang: put other tasks beside the group"
                raise InvalidRequest.of(FieldError(f"{self.group_id}.{task.node_id}", message))
            if before := names & set(task.upstream_task_ids):
                message = f"cannot wait for {min(before)}: the members of a gang start together"
                raise InvalidRequest.of(FieldError(task.task_id, message))
        if not members:
            raise InvalidRequest.of(FieldError(str(self.group_id), "a gang needs at least one RunaiTask"))
        planned = members_of(members)
        commands = [member.command for member in planned for _ in member.ranks]
        launch = RunaiGangLaunchOperator(task_id=LAUNCH, commands=commands, **options)
        for task, member in zip(members, planned, strict=True):
            task.ranks, task.launch_task_id = list(member.ranks), launch.task_id
            task.runai_conn_id, task.delete_on_kill = launch.runai_conn_id, launch.delete_on_kill
            if "deferrable" in options:
                task.deferrable = options["deferrable"]
            launch.set_downstream(task)


__all__ = ["RunaiGangLaunchOperator", "RunaiGangTaskGroup", "RunaiTask", "members_of"]
