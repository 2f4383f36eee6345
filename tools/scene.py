"""A believable orchestrator for pictures: a day of work on simulated GPUs, lived through in a minute.

Everything is the product's own, except that pods have no processes
(`backends.local.simulated`), that time is moved on in steps, and that somebody
measures GPUs which are not there.
"""

import asyncio
import contextlib
import math
import time
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from runai_core.backends.local.backend import open_local
from runai_core.backends.local.executor import Process
from runai_core.backends.local.logfile import stamp
from runai_core.backends.local.simulated import Course, SimulatedExecutor
from runai_core.bootstrap import Orchestrator, build
from runai_core.model.nodes import Node
from runai_core.model.organization import SYSTEM
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import Pod, WorkloadType
from runai_core.plugins.manager import load_plugins
from runai_core.service.meters import DeviceUse, Reading
from runai_core.service.own_identity import Identity
from runai_core.service.rules import NewRule
from runai_core.service.submission import Submission
from runai_core.settings import Settings
from runai_core.web.app import create_app
from runai_core.web.routes.typed import PATHS
from runai_core.web.submissions import submission_of

HOUR = 3600.0
BEGIN = 31.0
"""Hours before now at which the day of work begins."""

STEPS = ((1.5, 900.0), (0.25, 60.0), (0.0, 20.0))
"""Until so many hours ago, so many seconds at once."""

CONTENT = yaml.safe_load((Path(__file__).parent / "pictures.yaml").read_text())


class StoryClock:
    """The time of day, some hours ago; sleepers wake when it is moved on."""

    def __init__(self) -> None:
        self.behind = BEGIN * HOUR  # seconds
        self._moved = asyncio.Event()

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time() - self.behind

    def move(self, seconds: float) -> None:
        """Let so much time pass, up to now."""
        self.behind = max(self.behind - seconds, 0.0)
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until so much time has passed."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()


@dataclass
class Pretence:
    """Measures what the workloads of the scene are said to use."""

    clock: StoryClock
    uses: Mapping[str, float]  # percent, by the workload's name
    name: str = "pretence"

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return use that rises, falls and trembles, the same at each time."""
        reading, known = Reading(), {node.name: node for node in nodes}
        for pod in (pod for pod in pods if pod.status.state in HOLDS_RESOURCES):
            base, wave = self.uses.get(pod.workload), self._wave(pod.name)
            request = pod.spec.request
            values = {
                "CPU_USAGE_CORES": round(request.cpu / 1000 * (0.55 + 0.3 * wave), 3),
                "CPU_MEMORY_USAGE_BYTES": request.memory * (0.6 + 0.1 * wave),
            }
            if base is not None and pod.status.gpu_devices:
                percent = max(min(base * (1 + 0.12 * wave), 100.0), 0.0)
                memory = known[pod.status.node].gpu_memory_mib * 1024**2
                share = (request.gpu_portion or 1000) / 1000
                held = memory * share * (0.15 if base == 0 else 0.72 + 0.05 * wave)
                values |= {
                    "GPU_UTILIZATION": percent,
                    "GPU_MEMORY_USAGE_BYTES": held * len(pod.status.gpu_devices),
                }
                for index in pod.status.gpu_devices:
                    before = reading.devices.get((pod.status.node, index))
                    reading.devices[pod.status.node, index] = DeviceUse(
                        node=pod.status.node,
                        index=index,
                        utilization=min(percent * share + (before.utilization if before else 0.0), 100.0),
                        memory_used=held + (before.memory_used if before else 0.0),
                        memory_total=memory,
                    )
            reading.pods[pod.meta.uid] = values
        return reading

    def _wave(self, name: str) -> float:
        at, seed = self.clock.now(), zlib.crc32(name.encode()) % 997
        slow, quick = math.sin(at / 2700 + seed), math.sin(at / 41 + seed * 3) * math.sin(at / 173 + seed)
        return 0.6 * slow + 0.4 * quick


ADMIN = "maria.lopez@example.com"
PASSWORD = "a long one for the pictures"  # noqa: S105  of a scene that lives for a minute

KINDS = {row.path: row for row in PATHS}


@dataclass
class Scene:
    """The orchestrator, and what is done in it."""

    door: Orchestrator
    clock: StoryClock
    executor: SimulatedExecutor
    app: Any
    data: Path
    token: str = ""
    ids: dict[str, str] = field(default_factory=dict)  # uid of a workload, by its name

    async def call(self, method: str, path: str, body: Any) -> Any:
        """Ask the API as the administrator."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            if not self.token:
                given = {"grantType": "password", "username": ADMIN, "password": PASSWORD}
                self.token = (await client.post("/api/v1/token", json=given)).json()["accessToken"]
            headers = {"Authorization": f"Bearer {self.token}"}
            answer = await client.request(method, path, json=body, headers=headers)
        if not answer.is_success:
            raise SystemExit(f"{method} {path}: {answer.text}")
        return answer.json() if answer.content else None

    async def furnish(self) -> None:
        """Make the organization, its people, assets and policies."""
        for path, body in CONTENT["posts"]:
            await self.call("POST", f"/api/v1/{path}", body)
        for path, meta, policy in CONTENT["policies"]:
            await self.call("PUT", f"/api/v2/policy/{path}", {"meta": meta, "policy": policy})

    async def live(self) -> None:
        """Let the day pass, with what its people do."""
        deeds = [(row["at"], lambda row=row: self.submit(row)) for row in CONTENT["workloads"] + CONTENT["manifests"]]
        deeds += [(row["stopped"], lambda row=row: self.stop(row)) for row in CONTENT["workloads"] if "stopped" in row]
        deeds.sort(key=lambda deed: -deed[0])
        for until, step in STEPS:
            while self.clock.behind > until * HOUR:
                while deeds and deeds[0][0] * HOUR >= self.clock.behind:
                    await deeds.pop(0)[1]()
                await asyncio.sleep(0.03)  # the loops have their turn
                self.clock.move(min(step, self.clock.behind - until * HOUR))
                await self.door.sampler.sample()

    async def submit(self, row: Mapping[str, Any]) -> None:
        """Submit a workload in the name of its user."""
        actor = replace(SYSTEM, name=_address(row["user"]), kind="user")
        if "manifest" in row:
            asked = _as_on_a_cluster(row)
        else:
            kind = KINDS[row["kind"]]
            given = {"name": row["name"], "projectId": row["project"], "spec": _spec(row)}
            asked = submission_of(kind.kind, kind.body.model_validate(given), row["project"], _agent(row))
        made = await self.door.workloads.submit(actor, asked)
        self.ids[made.name] = made.meta.uid

    async def stop(self, row: Mapping[str, Any]) -> None:
        """Stop a workload in the name of its user."""
        await self.door.workloads.stop(replace(SYSTEM, name=_address(row["user"]), kind="user"), self.ids[row["name"]])

    async def write_log(self, name: str) -> None:
        """Give the pods of a workload something to say."""
        for pod in await self.door.workloads.pods(SYSTEM, self.ids[name]):
            folder = self.data / "pods" / pod.meta.uid
            folder.mkdir(parents=True, exist_ok=True)
            steps = [f"[rank 0] step {60000 + 50 * n}  loss {2.31 - n / 900:.3f}  1,284 images/s" for n in range(60)]
            lines = [*CONTENT["log"].splitlines(), *steps]
            at = stamp(self.clock.now())
            (folder / "0.log").write_bytes(b"".join(at + line.encode() + b"\n" for line in lines))


def _as_on_a_cluster(row: Mapping[str, Any]) -> Submission:
    """Return an object of a framework, whose pods a cluster's operator would make: here they are pods of ours."""
    manifest = row["manifest"]
    return Submission(
        name=manifest["metadata"]["name"],
        project=row["project"],
        type=WorkloadType.DISTRIBUTED,
        spec=_spec(row),
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        manifest=manifest,
    )


def _address(user: str) -> str:
    return f"{user}@example.com" if "." in user else user


def _agent(row: Mapping[str, Any]) -> str:
    return "runai-cli" if row.get("source") == "CLI" else "browser"


def _spec(row: Mapping[str, Any]) -> dict[str, Any]:
    portion = {"gpuRequestType": "portion", "gpuPortionRequest": row.get("portion"), "gpuDevicesRequest": 1}
    compute = portion if "portion" in row else {"gpuDevicesRequest": row["gpus"]}
    image, command = CONTENT["images"][row.get("image", "torch")]
    spec: dict[str, Any] = {
        "image": image,
        "command": command or f"python {row.get('name', 'rollouts').partition('-')[0]}.py",
        "compute": {**compute, "cpuCoreRequest": 4, "cpuMemoryRequest": "24Gi"},
        **row.get("spec", {}),
    }
    if "port" in row and row["kind"] == "workspaces":
        spec["ports"] = [{"container": row["port"], "toolType": row["tool"]}]
    elif "port" in row:
        spec["servingPort"] = {"container": row["port"]}
        spec["autoscaling"] = {"minReplicas": row["pods"], "maxReplicas": row["pods"]}
    elif "pods" in row:
        spec["numWorkers"] = row["pods"] - 1
    return {key: value for key, value in spec.items() if value is not None}


def course_of(row: Mapping[str, Any]) -> Course:
    """Return how long the pods of a workload run, and how they end."""
    if "ends" not in row:
        return Course()
    return Course(seconds=(row["at"] - row["ends"]) * HOUR, code=row.get("code", 0))


@contextlib.asynccontextmanager
async def a_scene(data: Path) -> AsyncIterator[Scene]:
    """Yield an orchestrator at the beginning of the day."""
    rows = {row["name"]: row for row in CONTENT["workloads"]}
    uses = {name: row["use"] for name, row in rows.items() if "use" in row}
    uses |= {row["manifest"]["metadata"]["name"]: row["use"] for row in CONTENT["manifests"]}
    clock = StoryClock()

    def course(_: str, process: Process) -> Course:
        return course_of(rows.get(process.environment.get("RUNAI_JOB_NAME", ""), {}))

    executor = SimulatedExecutor(clock, course)
    nodes = data / "nodes.yaml"
    nodes.write_text(yaml.safe_dump({"nodes": CONTENT["nodes"]}))
    async with open_local(data_dir=data, nodes_file=nodes, clock=clock, executor=executor) as backend:
        settings = Settings(data_dir=data, nodes_file=nodes)
        identity = Identity(cluster_id="7b1d9e52-4c0f-4f3a-9a57-2f6c1de0a811", signing_key="k" * 64)
        door, reconciler = build(settings, backend, identity, load_plugins(settings.plugins))
        door.sampler.measure_with([Pretence(clock, uses)])
        await door.organization.ensure_defaults()
        await door.users.create(SYSTEM, ADMIN, PASSWORD, must_change=False)
        await door.rules.create(
            SYSTEM,
            NewRule(subject=ADMIN, subject_type="user", role="System administrator", scope_type="tenant", scope=""),
        )
        loops = [reconciler.run(), door.scheduling.run(), door.limits.run(), door.reports.run()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield Scene(door, clock, executor, create_app(door), data)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
