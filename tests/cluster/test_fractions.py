"""Shares of GPUs through real kubelets: the devices are simulated, all else is real.

A device plug-in of the tests announces the devices to the kubelet by its real
API; the test stands in for the scheduler: it chooses, prepares and binds.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import devices
from runai_core.backends.kubernetes.devices import prepare, reservation_name
from runai_core.backends.kubernetes.names import RESERVATION_NAMESPACE, RESERVED_DEVICE_ANNOTATION
from runai_core.backends.kubernetes.resources import CONFIG_MAPS, NAMESPACES, POD_TEMPLATES, PODS
from runai_core.backends.kubernetes.sharing import with_share
from runai_core.model.decision import Bind
from runai_core.model.errors import AlreadyExists, Conflict
from runai_core.model.workload import Phase
from runai_core.operator.reservations import Reservations
from tests.cluster.cluster import Cluster
from tests.cluster.device_plugin import gpu_ids
from tests.cluster.images import a_container, a_real_pod, host_volumes
from tests.cluster.kube import Refused
from tests.cluster.operating import Operating, operating
from tests.cluster.running import Running, eventually, real, running
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

Object = dict[str, Any]

SHOW = ["/bin/sh", "-c", "env | grep -E '^(NVIDIA|RUNAI|GPU)_'; echo told; exec sleep 1000"]
GPUS = 4


def namespace_body() -> Object:
    """Return the namespace of reservation pods."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESERVATION_NAMESPACE}}


def template_body() -> Object:
    """Return what reservation pods are made of here: a program of this machine."""
    container = a_container(["/bin/sh"], name="reservation")
    del container["command"]
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": devices.TEMPLATE_NAME, "namespace": RESERVATION_NAMESPACE},
        "template": {"spec": {"containers": [container], "volumes": host_volumes()}},
    }


@asynccontextmanager
async def sharing(cluster: Cluster, **how: float) -> AsyncIterator[Operating]:
    """Run the keeper of the books beside the other parts; reservation pods run a program of this machine."""
    async with operating(cluster) as parts:
        for resource, body in ((NAMESPACES, namespace_body()), (POD_TEMPLATES, template_body())):
            with contextlib.suppress(AlreadyExists):
                await parts.api.create(resource, body)
        task = asyncio.create_task(Reservations(parts.api, parts.world, SystemClock(), **how).run())
        try:
            yield parts
        finally:
            for pod in [item for item in parts.world.pods.all() if item["metadata"]["namespace"] == parts.namespace]:
                await parts.api.delete(PODS, pod["metadata"]["name"], parts.namespace, grace=0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def a_sharer(name: str, **annotations: str) -> Object:
    """Return a pod with a share, as it is after the webhook, or as `launching` makes it."""
    notes = {key.replace("_", "-"): value for key, value in annotations.items()}
    pod = a_real_pod(name, SHOW, scheduler="runai-scheduler", annotations=notes)
    pod["spec"]["terminationGracePeriodSeconds"] = 0
    return with_share(pod, f"{name}-{secrets.token_hex(4)}")


async def place(parts: Operating, pod: Object, node: str, *groups: str) -> Object:
    """Create a pod and place it on shared devices, as the scheduler does."""
    [made] = await parts.create(pod)
    bind = Bind(pod=f"{parts.namespace}/{made['metadata']['name']}", node=node, gpu_groups=groups)
    await prepare(parts.api, parts.world, made, bind)
    await parts.bind([made], node)
    return made


async def told(parts: Operating, name: str) -> dict[str, str]:
    """Return the variables that the container of a pod printed."""

    async def look() -> dict[str, str]:
        text = b""
        with contextlib.suppress(Exception):
            async for piece in parts.api.stream(PODS.path(parts.namespace, name, "log")):
                text += piece
        lines = text.decode().splitlines()
        return dict(line.split("=", 1) for line in lines[:-1]) if lines and lines[-1] == "told" else {}

    return await until(look, f"what {name} printed")


async def held(parts: Operating, node: str) -> dict[str, str]:
    """Return the devices of a node that are held, by name, with their ids."""
    items, _ = await parts.api.list(PODS, RESERVATION_NAMESPACE)
    return {
        devices.place_of(item)[1]: (item["metadata"].get("annotations") or {}).get(RESERVED_DEVICE_ANNOTATION, "")
        for item in items
        if item["spec"].get("nodeName") == node and not item["metadata"].get("deletionTimestamp")
    }


async def wait_for_held(parts: Operating, node: str, *groups: str) -> None:
    """Wait until exactly these devices are held."""

    async def look() -> bool:
        return set(await held(parts, node)) == set(groups)

    await until(look, f"only {groups} held on {node}")


@pytest.mark.asyncio
async def test_two_pods_share_a_device_and_the_last_one_gives_it_back(cluster: Cluster, real_nodes: list[str]) -> None:
    node = real_nodes[0]
    async with sharing(cluster) as parts:
        await place(parts, a_sharer("one", gpu_fraction="0.5"), node, "shared-0")
        await place(parts, a_sharer("two", gpu_fraction="0.25"), node, "shared-0")
        await place(parts, a_sharer("other", gpu_memory="2000"), node, "shared-1")
        one, two, other = [await told(parts, name) for name in ("one", "two", "other")]
        now_held = await held(parts, node)
        pod = await parts.api.get(PODS, "one", parts.namespace)

        await parts.api.delete(PODS, "one", parts.namespace)
        await parts.api.delete(PODS, "other", parts.namespace)
        await wait_for_held(parts, node, "shared-0")
        await parts.api.delete(PODS, "two", parts.namespace)
        await wait_for_held(parts, node)
        [whole] = await parts.create(a_real_pod("whole", SHOW, gpus=GPUS, node=node))
        every = (await told(parts, whole["metadata"]["name"]))["NVIDIA_VISIBLE_DEVICES"]

    assert one["NVIDIA_VISIBLE_DEVICES"] == two["NVIDIA_VISIBLE_DEVICES"] == now_held["shared-0"]
    assert other["NVIDIA_VISIBLE_DEVICES"] == now_held["shared-1"] != now_held["shared-0"]
    assert set(now_held.values()) < set(gpu_ids(node, GPUS))
    assert (one["GPU_PORTION"], one["RUNAI_NUM_OF_GPUS"], other["RUNAI_GPU_MEMORY_MIB"]) == ("0.5", "1", "2000")
    notes = pod["metadata"]["annotations"]
    assert (notes["received-resource-type"], notes["runai/gpu-isolation"]) == ("Fraction", "none")
    assert notes["runai/gpu-devices"] == f"shared-0={now_held['shared-0']}"
    assert set(every.split(",")) == set(gpu_ids(node, GPUS)), "every device is whole again"


@pytest.mark.asyncio
async def test_a_pod_shares_two_devices(cluster: Cluster, real_nodes: list[str]) -> None:
    node = real_nodes[1]
    async with sharing(cluster) as parts:
        pod = a_sharer("both", gpu_fraction="0.3", gpu_fraction_num_devices="2")
        await place(parts, pod, node, "shared-0", "shared-1")
        seen = await told(parts, "both")
        now_held = await held(parts, node)
        made = await parts.api.get(PODS, "both", parts.namespace)
        await parts.api.delete(PODS, "both", parts.namespace)
        await wait_for_held(parts, node)

    assert seen["NVIDIA_VISIBLE_DEVICES"] == f"{now_held['shared-0']},{now_held['shared-1']}"
    assert seen["RUNAI_NUM_OF_GPUS"] == "2"
    labels = {key: value for key, value in made["metadata"]["labels"].items() if key.startswith("runai-gpu-group")}
    assert labels == {"runai-gpu-group/shared-0": "shared-0", "runai-gpu-group/shared-1": "shared-1"}


@pytest.mark.asyncio
async def test_a_device_that_was_reserved_and_never_used_is_given_back(cluster: Cluster, real_nodes: list[str]) -> None:
    """The scheduler was killed between preparing and binding."""
    node = real_nodes[0]
    async with sharing(cluster, join_seconds=12.0) as parts:
        [made] = await parts.create(a_sharer("late", gpu_fraction="0.5"))
        await prepare(parts.api, parts.world, made, Bind(pod="late", node=node, gpu_groups=("shared-7",)))
        assert "shared-7" in await held(parts, node)

        await wait_for_held(parts, node)


@pytest.mark.asyncio
async def test_a_node_without_a_free_device_says_so_and_nothing_is_left(
    cluster: Cluster, real_nodes: list[str]
) -> None:
    node = real_nodes[1]
    async with sharing(cluster) as parts:
        await parts.create(a_real_pod("whole", SHOW, gpus=GPUS, node=node))
        await told(parts, "whole")
        [made] = await parts.create(a_sharer("late", gpu_fraction="0.5"))

        with pytest.raises(Conflict, match=f"node {node} gave no GPU"):
            await prepare(parts.api, parts.world, made, Bind(pod="late", node=node, gpu_groups=("shared-0",)))

        assert await held(parts, node) == {}
        left = await parts.api.get(PODS, "late", parts.namespace)
    assert "runai-gpu-group" not in (left["metadata"].get("labels") or {})


@pytest.mark.asyncio
async def test_a_reservation_that_is_lost_under_its_user_is_made_again(cluster: Cluster, real_nodes: list[str]) -> None:
    node = real_nodes[0]
    async with sharing(cluster) as parts:
        await place(parts, a_sharer("stays", gpu_fraction="0.5"), node, "shared-0")
        device = (await told(parts, "stays"))["NVIDIA_VISIBLE_DEVICES"]
        await parts.create(a_real_pod("rest", SHOW, gpus=GPUS - 1, node=node))  # no other device is free
        await told(parts, "rest")
        name = reservation_name(node, "shared-0")
        before = (await parts.api.get(PODS, name, RESERVATION_NAMESPACE))["metadata"]["uid"]
        await parts.api.delete(PODS, name, RESERVATION_NAMESPACE)

        async def again() -> bool:
            items, _ = await parts.api.list(PODS, RESERVATION_NAMESPACE, fields=f"metadata.name={name}")
            found = [item for item in items if item["metadata"]["uid"] != before]
            return bool(found) and (await held(parts, node)) == {"shared-0": device}

        await until(again, "another reservation of the same device")
        user = await parts.api.get(PODS, "stays", parts.namespace)

    assert user["status"]["phase"] == "Running"
    assert not user["metadata"].get("deletionTimestamp")


@pytest.mark.asyncio
async def test_a_pod_that_cannot_be_told_its_device_is_not_bound(cluster: Cluster, real_nodes: list[str]) -> None:
    """The webhook did not answer when the pod was created."""
    async with sharing(cluster) as parts:
        plain = a_real_pod("plain", SHOW, scheduler="runai-scheduler", annotations={"gpu-fraction": "0.5"})
        [made] = await parts.create(plain)

        with pytest.raises(Conflict, match="its container would not learn which"):
            await prepare(parts.api, parts.world, made, Bind(pod="p", node=real_nodes[0], gpu_groups=("shared-0",)))


@pytest.mark.asyncio
async def test_many_join_one_device_at_once(cluster: Cluster, real_nodes: list[str]) -> None:
    """Two schedulers, or one in a hurry: one reservation is made, and all are told the same device."""
    node = real_nodes[1]
    async with sharing(cluster) as parts:
        pods = [a_sharer(f"p{n}", gpu_fraction="0.1") for n in range(8)]
        await asyncio.gather(*(place(parts, pod, node, "shared-3") for pod in pods))
        maps, _ = await parts.api.list(CONFIG_MAPS, parts.namespace, labels="app.kubernetes.io/managed-by=runai")
        now_held = await held(parts, node)

    assert {item["data"]["NVIDIA_VISIBLE_DEVICES"] for item in maps} == set(now_held.values())
    assert (len(maps), len(now_held)) == (8, 1)


# -- with our own scheduler


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path, real_nodes: list[str]) -> Iterator[Running]:
    """The whole orchestrator, and a project; pods run on real nodes."""
    assert real_nodes
    with cluster.kube() as kube:
        for path, body in (("", namespace_body()), (f"/{RESERVATION_NAMESPACE}/podtemplates", template_body())):
            with contextlib.suppress(Refused):
                kube.post(f"/api/v1/namespaces{path}", body)
    with running(cluster, tmp_path) as found:
        yield found


def test_workloads_and_pods_share_a_device_by_our_scheduler(run: Running) -> None:
    """Half a GPU as a TrainingWorkload, a quarter as a pod of kubectl: both on one device, which is free afterwards."""
    path = run.apply("TrainingWorkload", "half", real(["/bin/sh", "-c", SHOW[2]], gpu={"value": "0.5"}))
    run.reaches(path, "Running", seconds=90)
    node = run.pods("half")[0]["spec"]["nodeName"]
    pod = a_sharer("quarter", gpu_fraction="0.25")
    pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    pods = f"/api/v1/namespaces/{run.namespace}/pods"
    run.kube.post(pods, pod)
    run.kube.wait(f"{pods}/quarter", lambda seen: seen["status"]["phase"] == "Running", seconds=90)

    names = (run.pods("half")[0]["metadata"]["name"], "quarter")

    def devices_of_both() -> list[str]:
        lines = [line for name in names for line in run.kube.http.get(f"{pods}/{name}/log").text.splitlines()]
        found = [line for line in lines if line.startswith("NVIDIA_VISIBLE_DEVICES=GPU-")]
        return found if len(found) == len(names) else []

    devices_told = eventually(devices_of_both)
    row = eventually(lambda: row if (row := run.workload("quarter")).phase is Phase.RUNNING else None)
    run.kube.delete(path)
    run.kube.delete(f"{pods}/quarter", grace=0)

    def is_free() -> bool:
        items = run.kube.get(f"/api/v1/namespaces/{RESERVATION_NAMESPACE}/pods")["items"]
        return not any(item["spec"].get("nodeName") == node for item in items)

    eventually(is_free, 90)
    assert len(set(devices_told)) == 1, "both are on one device"
    assert row.asked[0][0].gpu_portion == 250
