"""The whole orchestrator beside a test cluster: API, reconciler, scheduler and operator in a thread of their own."""

import asyncio
import contextlib
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.model.errors import AlreadyExists
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import Workload
from runai_core.operator.install.crds import crds
from runai_core.operator.runner import operate
from runai_core.ports import LogOptions, Query
from runai_core.settings import load_settings
from tests.cluster.cluster import Cluster
from tests.cluster.images import HOST, a_container, host_volumes
from tests.cluster.kube import Kube, Object

T = TypeVar("T")

START_SECONDS = 120.0


@dataclass
class Running:
    """An orchestrator that runs, and a project of the test's own."""

    cluster: Cluster
    kube: Kube
    orchestrator: Orchestrator
    loop: asyncio.AbstractEventLoop
    project: str
    namespace: str
    made: list[str] = field(default_factory=list)

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
        """Run something in the orchestrator's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def apply(self, kind: str, name: str, spec: Object, **more: Any) -> str:
        """Create a workload as a user does, with ``kubectl apply``; return its path."""
        body = {
            "apiVersion": "run.ai/v2alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
            **more,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
        return self.path(kind, name)

    def path(self, kind: str, name: str) -> str:
        """Return the path of a workload's object."""
        return f"/apis/run.ai/v2alpha1/namespaces/{self.namespace}/{kind.lower()}s/{name}"

    def reaches(self, path: str, phase: str, seconds: float = 60.0) -> Object:
        """Return a workload's object when it is in a phase."""
        try:
            return self.kube.wait(path, lambda seen: seen.get("status", {}).get("phase") == phase, seconds=seconds)
        except AssertionError:
            status = self.kube.get(path).get("status", {})
            raise AssertionError(f"not {phase}, but {status.get('phase')}: {status.get('phaseMessage')}") from None

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a workload, by rank; those that a Deployment made have none."""
        items = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"runai/workload={name}")
        return sorted(items["items"], key=lambda pod: int(pod["metadata"]["labels"].get("runai/rank", 0)))

    def workload(self, name: str) -> Workload:
        """Return a workload as the services see it."""
        return self.call(self.orchestrator.backend.store.get(Workload, name, self.project))

    def phases(self, name: str, uid: str) -> list[str]:
        """Return the phases that a workload went through, as its story tells."""
        page = self.call(self.orchestrator.workloads.history(SYSTEM, uid, Query()))
        return [str(record.to_phase) for record in page.items if record.to_phase is not None]

    def log(self, uid: str, pod: str | None = None, **options: Any) -> str:
        """Return the log of a workload's pod, through the services."""

        async def read() -> str:
            pieces = await self.orchestrator.workloads.logs(SYSTEM, uid, pod, LogOptions(**options))
            return b"".join([piece async for piece in pieces]).decode()

        return self.call(read())


def real(command: list[str], **spec: Any) -> Object:
    """A specification that runs a program of this machine in a container on a real node."""
    container, volumes = a_container(command), {}
    sources = {volume["name"]: volume["hostPath"]["path"] for volume in host_volumes()}
    for mount in container["volumeMounts"]:
        value = {"path": sources[mount["name"]], "mountPath": mount["mountPath"], "readOnly": True}
        volumes[mount["name"]] = {"value": value}
    variables = {item["name"]: {"value": item["value"]} for item in container["env"]}
    more = spec.pop("environment", {}).get("items", {})
    term = {"matchExpressions": [{"key": "type", "operator": "In", "values": ["real"]}]}
    return {
        "image": {"value": HOST},
        "imagePullPolicy": {"value": "Never"},
        "command": {"value": shlex.join(container["command"])},
        "workingDir": {"value": container["workingDir"]},
        "environment": {"items": {**variables, **more}},
        "volumes": {"items": volumes},
        "nodeAffinityRequired": {"value": {"nodeSelectorTerms": [term]}},
        "terminationGracePeriodSeconds": {"value": 1},
        **spec,
    }


def fake(seconds: str = "", **spec: Any) -> Object:
    """A specification for a fake node, whose pods succeed after some seconds, or never."""
    items = {"runai.test/succeeds-after": {"value": seconds}} if seconds else {}
    items |= spec.pop("annotations", {}).get("items", {})
    term = {"matchExpressions": [{"key": "type", "operator": "In", "values": ["kwok"]}]}
    return {
        "image": {"value": "example/image"},
        "annotations": {"items": items},
        "nodeAffinityRequired": {"value": {"nodeSelectorTerms": [term]}},
        **spec,
    }


def real_at_rest(command: list[str]) -> dict[str, Any]:
    """A specification, as REST takes it, that runs a program of this machine in a container on a real node."""
    container = a_container(command)
    sources = {volume["name"]: volume["hostPath"]["path"] for volume in host_volumes()}
    mounts = [
        {"path": sources[mount["name"]], "mountPath": mount["mountPath"], "readOnly": True}
        for mount in container["volumeMounts"]
    ]
    return {
        **on_nodes("real"),
        "image": HOST,
        "imagePullPolicy": "Never",
        "command": shlex.join(container["command"]),
        "workingDir": container["workingDir"],
        "environmentVariables": container["env"],
        "storage": {"hostPath": mounts},
        "terminationGracePeriodSeconds": 1,
    }


def on_nodes(kind: str) -> dict[str, Any]:
    """A specification, as REST takes it, for nodes of a kind: kwok, or real."""
    term = {"matchExpressions": [{"key": "type", "operator": "In", "values": [kind]}]}
    return {
        "image": "example/image",
        "nodeAffinityRequired": {"nodeSelectorTerms": [term]},
        "compute": {"gpuDevicesRequest": 1},
    }


def install(kube: Kube) -> None:
    """Make sure that the cluster has our kinds and namespaces."""
    for crd in crds():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        kube.patch(path, crd, kind="apply")
        kube.wait(path, _is_established)
    for name in ("runai", "runai-reservation"):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        kube.patch(f"/api/v1/namespaces/{name}", body, kind="apply")


def _is_established(crd: Object) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


@contextlib.contextmanager
def running(cluster: Cluster, folder: Path, *, project: str = "", gpus: int = 16) -> Iterator[Running]:
    """Run an orchestrator over a cluster, and make a project in it; both are gone afterwards."""
    with cluster.kube() as kube:
        install(kube)
        with _in_a_thread(cluster, folder) as (loop, orchestrator):
            project = project or f"k3-{secrets.token_hex(3)}"
            namespace = make_project(kube, project, gpus)
            found = Running(cluster, kube, orchestrator, loop, project, namespace)
            try:
                yield found
            finally:
                _clean(kube, found)


def make_project(kube: Kube, project: str, gpus: int, *, seconds: float = 60.0) -> str:
    """Make a project with so many GPUs of its own; return its namespace when it is ready for pods."""
    spec = {"resources": [{"nodePool": "default", "gpu": {"deserved": gpus}}]}
    kube.post(
        "/apis/run.ai/v1/projects",
        {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": project}, "spec": spec},
    )
    path = f"/apis/run.ai/v1/projects/{project}"
    kube.wait(path, lambda seen: seen.get("status", {}).get("phase") == "Ready", seconds=seconds)
    kube.wait(f"/api/v1/namespaces/runai-{project}/serviceaccounts/default", bool, seconds=seconds)
    return f"runai-{project}"


def _clean(kube: Kube, found: Running) -> None:
    for plural in ("training", "interactive", "distributed", "inference"):
        path = f"/apis/run.ai/v2alpha1/namespaces/{found.namespace}/{plural}workloads"
        for item in kube.get(path)["items"]:
            kube.delete(f"{path}/{item['metadata']['name']}")
        kube.wait(path, lambda seen: not seen["items"], seconds=60)
    kube.delete(f"/apis/run.ai/v1/projects/{found.project}")
    kube.delete(f"/api/v1/namespaces/{found.namespace}")


@contextlib.contextmanager
def _in_a_thread(cluster: Cluster, folder: Path) -> Iterator[tuple[asyncio.AbstractEventLoop, Orchestrator]]:
    settings = load_settings({}, data_dir=folder, kubeconfig=cluster.kubeconfig())
    ready: list[Any] = []
    started, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        try:
            async with open_orchestrator(settings, operator=operate) as orchestrator:
                with contextlib.suppress(AlreadyExists):
                    await orchestrator.organization.ensure_defaults()
                ready.extend((asyncio.get_running_loop(), orchestrator))
                started.set()
                await stop.wait()
        finally:
            started.set()

    with ThreadPoolExecutor(1, thread_name_prefix="orchestrator") as threads:
        end = threads.submit(asyncio.run, run())
        if not started.wait(START_SECONDS) or not ready:
            raise AssertionError(f"the orchestrator did not start: {end.exception(1)!r}")
        loop, orchestrator = ready
        try:
            yield loop, orchestrator
        finally:
            loop.call_soon_threadsafe(stop.set)
            end.result(60)


def eventually(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s")
        time.sleep(0.2)
    return found
