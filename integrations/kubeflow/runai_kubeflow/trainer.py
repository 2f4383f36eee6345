"""Kubeflow's `TrainerClient`, whose jobs are gangs of the orchestrator.

>>> client = RunaiTrainerClient(project="team-a")
>>> name = client.train(trainer=CustomTrainer(func=train, num_nodes=4, resources_per_node={"gpu": 1}))
>>> client.wait_for_job_status(name)

The SDK chooses among a closed list of backends by their configuration (kubeflow
0.5, trainer/api/trainer_client.py), so the client is a subclass that sets its own.
Where Kubeflow's controller runs, the SDK's own client works too: give its jobs the
runtimes of `training_runtimes`, whose pods name our scheduler.
"""

# ruff: noqa: TID253 - only users of the trainer import this module

import inspect
import json
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubeflow.trainer import TrainerClient
from kubeflow.trainer.backends.base import RuntimeBackend
from kubeflow.trainer.constants import constants
from kubeflow.trainer.types import types

from runai_core.client import Client
from runai_core.client.news import Cursors, NewsKind
from runai_core.client.ownership import OWNER
from runai_core.client.results import Pod, Workload
from runai_core.client.sync.following import follow
from runai_core.model.errors import NotFound
from runai_kubeflow.jobs import RUNTIME, RUNTIMES, job_status, node_rank, step_name

NEVER = datetime.fromtimestamp(0, UTC)
"""Where no time is known."""


class RunaiTrainerClient(TrainerClient):
    """The SDK's client; jobs wait in the queue of `project`, start whole, and are rows in every list."""

    def __init__(self, project: str = "", *, client: Client | None = None, **options: Any) -> None:
        """Talk to the orchestrator that the environment means, unless `client` is given.

        `options` are the orchestrator's for every job: `priority`, `node_pools`, `preemptible`, ...

        Raises:
            Unavailable: no orchestrator is known.
        """
        self.backend: RuntimeBackend = RunaiBackend(client or Client.from_env(), project, options)


class RunaiBackend(RuntimeBackend):
    """Train jobs as workloads: one node is a training, several are a distributed training."""

    def __init__(self, client: Client, project: str, options: Mapping[str, Any]) -> None:
        self.client = client
        self.project = project or client.project
        self.options = dict(options)

    def list_runtimes(self) -> list[types.Runtime]:
        """Return the runtimes: each says the framework whose variables the nodes get."""
        return [_runtime(name) for name in RUNTIMES]

    def get_runtime(self, name: str) -> types.Runtime:
        """Return a runtime; raise ValueError for a name that is not there, with those that are."""
        return _runtime(name)

    def get_runtime_packages(self, runtime: types.Runtime) -> None:
        """Print what Python finds where the orchestrator's own machine would run the job."""
        print(f"{runtime.name}: {sys.version}")  # noqa: T201 - the SDK's method prints

    def train(
        self,
        runtime: str | types.Runtime | None = None,
        initializer: types.Initializer | None = None,
        trainer: types.CustomTrainer | types.CustomTrainerContainer | types.BuiltinTrainer | None = None,
        options: list[Any] | None = None,
    ) -> str:
        """Submit a job and return its name.

        Raises:
            ValueError: something of it cannot be done here; says what to do instead.
            RunaiError: it was refused.
        """
        _refuse(initializer, trainer, options)
        chosen = (
            runtime if isinstance(runtime, types.Runtime) else _runtime(runtime or constants.DEFAULT_TRAINING_RUNTIME)
        )
        name = f"{constants.TRAINJOB_KIND.lower()}-{uuid.uuid4().hex[:11]}"
        self.client.submit(*self._submission(name, chosen, trainer))
        return name

    def _submission(self, name: str, runtime: types.Runtime, trainer: Any) -> tuple[str, str, dict[str, Any]]:
        nodes = trainer.num_nodes or runtime.trainer.num_nodes
        words: dict[str, Any] = {
            **self.options,
            **_resources(trainer.resources_per_node or {}),
            "project": self.project,
            "env": dict(trainer.env or {}),
            "annotations": {OWNER: f"kubeflow:trainjob/{name}", RUNTIME: runtime.name},
        }
        if isinstance(trainer, types.CustomTrainer):
            words["command"] = [sys.executable, "-c", script_of(trainer.func, trainer.func_args)]
        if trainer.image:
            words["image"] = trainer.image
        if nodes == 1:
            return "Training", name, words
        gang = {"workers": nodes, "has_master": False, "framework": RUNTIMES[runtime.name]}
        return "Distributed", name, {**words, **gang}

    def list_jobs(self, runtime: types.Runtime | None = None) -> list[types.TrainJob]:
        """Return the jobs of the project that were submitted through such a client."""
        found = (self.client.get(item.id) for item in self.client.list(project=self.project))
        jobs = [self._job(item) for item in found if RUNTIME in _annotations(item)]
        return [job for job in jobs if runtime is None or job.runtime.name == runtime.name]

    def get_job(self, name: str) -> types.TrainJob:
        """Return a job; raise ValueError where there is none."""
        return self._job(self._find(name))

    def get_job_logs(
        self,
        name: str,
        follow: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
        step: str = f"{constants.NODE}-0",
    ) -> Iterator[str]:
        """Yield the lines of one node's log; with `follow`, until the job has ended."""
        workload, rank = self._find(name), node_rank(step)
        if follow:
            yield from self._followed(workload, rank)
            return
        for pod in self.client.pods(workload):
            if _rank(pod) == rank:
                yield from self.client.log_text(workload, pod=pod.name).splitlines()

    def _followed(self, workload: Workload, rank: int) -> Iterator[str]:
        for news in follow(self.client, workload.id, cursors=Cursors(), ranks=(rank,)):
            if news.kind is NewsKind.LOG:
                yield news.text

    def get_job_events(self, name: str) -> list[types.Event]:
        """Return what happened to the job and its nodes, oldest first: phases with their causes, and why it waits."""
        workload = self._find(name)
        lives = [
            types.Event(
                involved_object_kind=constants.TRAINJOB_KIND,
                involved_object_name=name,
                message=record.phase_message,
                reason=record.phase,
                event_time=record.time or NEVER,
            )
            for record in self.client.history(workload)
            if record.phase
        ]
        events = [
            types.Event(
                involved_object_kind=event.involved_kind,
                involved_object_name=event.involved_name,
                message=event.message,
                reason=event.reason,
                event_time=event.created_at or NEVER,
            )
            for event in self.client.events(workload)
        ]
        return sorted([*lives, *events], key=lambda event: event.event_time)

    def wait_for_job_status(
        self,
        name: str,
        status: set[str] = {constants.TRAINJOB_COMPLETE},  # noqa: B006 - as in the SDK, and never changed
        timeout: int = 600,
        polling_interval: int = 2,
        callbacks: list[Callable[[types.TrainJob], None]] | None = None,
    ) -> types.TrainJob:
        """Return the job once it has one of the statuses.

        Raises:
            RuntimeError: it failed, which is not among them; says why.
            TimeoutError: it has not after `timeout` seconds; says why it waits.
        """
        workload, waited = self._find(name), 0.0
        while True:
            workload = self.client.get(workload.id)
            job = self._job(workload)
            for callback in callbacks or ():
                callback(job)
            if job.status in status:
                return job
            sentence = f"{self.project}/{name} is {workload.phase}: {workload.phase_message}"
            if job.status == constants.TRAINJOB_FAILED:
                raise RuntimeError(sentence)
            if waited >= timeout:
                raise TimeoutError(f"{sentence} (waited {timeout} s for {', '.join(sorted(status))})")
            self.client.transport.sleep(polling_interval)
            waited += polling_interval

    def delete_job(self, name: str) -> None:
        """Delete a job and its pods."""
        self.client.delete(self._find(name))

    def _find(self, name: str) -> Workload:
        try:
            return self.client.get(self.client.get(name, project=self.project).id)
        except NotFound:
            raise ValueError(f"there is no TrainJob {name} in project {self.project}") from None

    def _job(self, workload: Workload) -> types.TrainJob:
        pods = sorted(self.client.pods(workload), key=_rank)
        return types.TrainJob(
            name=workload.name,
            runtime=_runtime(_annotations(workload).get(RUNTIME, constants.DEFAULT_TRAINING_RUNTIME)),
            steps=[types.Step(name=step_name(_rank(pod)), status=pod.k8s_phase, pod_name=pod.name) for pod in pods],
            num_nodes=workload.requested_pods,
            creation_timestamp=workload.created_at or NEVER,
            status=job_status(workload.phase),
        )


def script_of(function: Callable[..., Any], arguments: Mapping[str, Any] | None) -> str:
    """Return a program that calls the function with the arguments, as the SDK makes one: the function's own text.

    Raises:
        ValueError: the text of the function cannot be read, or an argument is no JSON.
    """
    try:
        text = textwrap.dedent(inspect.getsource(function))
        words = json.dumps(dict(arguments or {}))
    except (OSError, TypeError) as error:
        raise ValueError(f"trainer.func: {error}; give a function of a file, and arguments that are JSON") from None
    return f"{text}\n\nimport json\n\n{function.__name__}(**json.loads({words!r}))\n"


def _refuse(initializer: Any, trainer: Any, options: Sequence[Any] | None) -> None:
    if initializer is not None:
        raise ValueError("initializer: data and models are not fetched here; read them in the training function")
    if isinstance(trainer, types.BuiltinTrainer) or trainer is None:
        raise ValueError("trainer: give a CustomTrainer or a CustomTrainerContainer; others need Kubeflow's controller")
    if isinstance(trainer, types.CustomTrainer) and trainer.packages_to_install:
        raise ValueError("trainer.packages_to_install: install them in the image, or where the orchestrator runs")
    if options:
        raise ValueError("options: these are for Kubeflow's own backends; give ours to RunaiTrainerClient(...)")


def _resources(per_node: Mapping[str, Any]) -> dict[str, Any]:
    words = {"gpu": "gpus", "nvidia.com/gpu": "gpus", "cpu": "cpus", "memory": "memory"}
    for name in per_node:
        if name not in words:
            raise ValueError(f"trainer.resources_per_node: {name} is not one of {', '.join(words)}")
    return {words[name]: value if name == "memory" else float(value) for name, value in per_node.items()}


def _runtime(name: str) -> types.Runtime:
    if name not in RUNTIMES:
        raise ValueError(f"there is no runtime {name}; there are: {', '.join(RUNTIMES)}")
    trainer = types.RuntimeTrainer(
        trainer_type=types.TrainerType.CUSTOM_TRAINER, framework=RUNTIMES[name].lower(), image="", num_nodes=1
    )
    trainer.set_command(("python",))
    return types.Runtime(name=name, trainer=trainer, kind=types.RuntimeKind.CLUSTER_TRAINING_RUNTIME)


def _annotations(workload: Workload) -> dict[str, str]:
    listed = (workload.raw.get("spec") or {}).get("annotations") or ()
    return {str(item.get("name")): str(item.get("value", "")) for item in listed}


def _rank(pod: Pod) -> int:
    return int(pod.raw.get("rank") or 0)
