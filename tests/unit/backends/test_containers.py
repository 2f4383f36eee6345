"""A container is named: where a pod has several it is that one, where it has one it is checked."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.runtime import KubernetesRuntime
from runai_core.backends.local.runtime import LocalRuntime
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.workload import Pod, PodSpec
from runai_core.ports import LogOptions

POD = Pod(meta=Meta(name="p", uid="u"), workload="w", pod_group="g", spec=PodSpec())


class ApiServer:
    """Takes down which container it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def stream(self, _path: str, **query: str) -> AsyncIterator[bytes]:
        self.asked.append(query["container"])
        yield b"said"

    @asynccontextmanager
    async def websocket(self, _path: str, query: list[tuple[str, str]]) -> AsyncIterator[Any]:
        self.asked.append(dict(query)["container"])
        yield self

    def __aiter__(self) -> "ApiServer":
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


def a_runtime(api: ApiServer) -> KubernetesRuntime:
    """Return the runtime of a pod with two containers and one that prepares it."""
    spec = {"containers": [{"name": "train"}, {"name": "sidecar"}], "initContainers": [{"name": "fetch"}]}
    status = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
    pods = {"u": {"metadata": {"namespace": "n"}, "spec": spec, "status": status}}
    world = SimpleNamespace(pods=SimpleNamespace(by_uid=pods.get))
    return KubernetesRuntime(cast("Any", api), cast("Any", world), inside=True)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        pytest.param(None, "train", id="none is the first"),
        pytest.param("main", "train", id="main is the first, as the API calls it"),
        pytest.param("sidecar", "sidecar", id="another one"),
        pytest.param("fetch", "fetch", id="one that prepares the pod"),
    ],
)
@pytest.mark.asyncio
async def test_a_cluster_is_asked_for_the_container(given: str | None, meant: str) -> None:
    api = ApiServer()
    runtime = a_runtime(api)

    assert [piece async for piece in runtime.logs(POD, LogOptions(container=given))] == [b"said"]
    async with runtime.exec(POD, ["true"], container=given):
        pass

    assert api.asked == [meant, meant]


@pytest.mark.asyncio
async def test_a_container_that_a_pod_has_not_is_refused_with_those_that_it_has() -> None:
    api = ApiServer()
    says = re.escape("container: must be one of train, sidecar, fetch (given: trian)")

    with pytest.raises(InvalidRequest, match=says):
        [piece async for piece in a_runtime(api).logs(POD, LogOptions(container="trian"))]
    with pytest.raises(InvalidRequest, match=says):
        a_runtime(api).exec(POD, ["true"], container="trian")
    assert not api.asked


def test_a_pod_of_one_machine_has_one_container(tmp_path: Any) -> None:
    runtime = LocalRuntime(tmp_path, cast("Any", None), cast("Any", None), cast("Any", None))

    with pytest.raises(InvalidRequest, match="container: must be one of main "):
        runtime.logs(POD, LogOptions(container="sidecar"))
    with pytest.raises(InvalidRequest, match="container: must be one of main "):
        runtime.exec(POD, ["true"], container="sidecar")
