"""Simulated GPUs for a real kubelet, through its real device plug-in API (v1beta1, gRPC over a socket in its folder).

``python -m tests.cluster.device_plugin FOLDER NODE COUNT`` announces `COUNT` devices and answers each allocation with
their ids in ``NVIDIA_VISIBLE_DEVICES``, as NVIDIA's plug-in does. A kubelet that starts removes all sockets in the
folder: then we register again. Ids in the file ``unhealthy`` beside the folder count as broken.
"""

import argparse
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

RESOURCE = "nvidia.com/gpu"
SOCKET, KUBELET = "runai-test-gpus.sock", "kubelet.sock"
POLL_SECONDS = 0.25
TEXT, FLAG, MESSAGE = 9, 8, 11
"""Field types in the descriptors of protocol buffers."""

# The part of the API that we speak: message -> fields as (name, number, type, message type), "*" for repeated ones.
MESSAGES: Mapping[str, tuple[tuple[str, int, int, str], ...]] = {
    "Empty": (),
    "DevicePluginOptions": (("pre_start_required", 1, FLAG, ""), ("get_preferred_allocation_available", 2, FLAG, "")),
    "RegisterRequest": (
        ("version", 1, TEXT, ""),
        ("endpoint", 2, TEXT, ""),
        ("resource_name", 3, TEXT, ""),
        ("options", 4, MESSAGE, "DevicePluginOptions"),
    ),
    "Device": (("ID", 1, TEXT, ""), ("health", 2, TEXT, "")),
    "ListAndWatchResponse": (("devices*", 1, MESSAGE, "Device"),),
    "ContainerAllocateRequest": (("devices_ids*", 1, TEXT, ""),),
    "AllocateRequest": (("container_requests*", 1, MESSAGE, "ContainerAllocateRequest"),),
    # A map is, on the wire, a repeated pair of key and value.
    "Variable": (("key", 1, TEXT, ""), ("value", 2, TEXT, "")),
    "ContainerAllocateResponse": (("envs*", 1, MESSAGE, "Variable"),),
    "AllocateResponse": (("container_responses*", 1, MESSAGE, "ContainerAllocateResponse"),),
}


def gpu_ids(node: str, count: int) -> list[str]:
    """The ids of a node's GPUs: always the same ones."""
    return [f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{number}.{node}.runai.test')}" for number in range(count)]


class Plugin:
    """Answers a kubelet. `unhealthy` is read anew while it runs."""

    def __init__(self, ids: list[str], unhealthy: Path) -> None:
        self.types = _message_types()
        self._ids = ids
        self._unhealthy = unhealthy
        self._stopped = threading.Event()

    def serve(self, socket: str) -> grpc.Server:
        """Answer at a socket until the server is stopped."""
        server = grpc.server(ThreadPoolExecutor(max_workers=8))
        methods = {
            "GetDevicePluginOptions": self._method(self._options, "Empty"),
            "ListAndWatch": self._stream(self._devices, "Empty"),
            "Allocate": self._method(self._allocate, "AllocateRequest"),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)])
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        return server

    def register(self) -> None:
        """Tell the kubelet at the socket beside ours that we are here."""
        with grpc.insecure_channel(f"unix:{KUBELET}") as channel:
            call = channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=self.types["Empty"].FromString,
            )
            call(self.types["RegisterRequest"](version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE), timeout=60)

    def stop(self) -> None:
        """End the streams."""
        self._stopped.set()

    def _options(self, _request: Any, _context: Any) -> Any:
        return self.types["DevicePluginOptions"]()

    def _devices(self, _request: Any, _context: Any) -> Iterator[Any]:
        told: list[tuple[str, str]] | None = None
        while not self._stopped.is_set():
            broken = self._unhealthy.read_text().split() if self._unhealthy.exists() else []
            current = [(device, "Unhealthy" if device in broken else "Healthy") for device in self._ids]
            if current != told:
                told = current
                devices = [self.types["Device"](ID=device, health=health) for device, health in current]
                yield self.types["ListAndWatchResponse"](devices=devices)
            self._stopped.wait(POLL_SECONDS)

    def _allocate(self, request: Any, _context: Any) -> Any:
        answers = [
            self.types["ContainerAllocateResponse"](
                envs=[self.types["Variable"](key="NVIDIA_VISIBLE_DEVICES", value=",".join(container.devices_ids))]
            )
            for container in request.container_requests
        ]
        return self.types["AllocateResponse"](container_responses=answers)

    def _method(self, answer: Callable[[Any, Any], Any], request: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(answer, self.types[request].FromString, _written)

    def _stream(self, answer: Callable[[Any, Any], Iterator[Any]], request: str) -> Any:
        return grpc.unary_stream_rpc_method_handler(answer, self.types[request].FromString, _written)


def main() -> None:
    """Serve, and register whenever a kubelet is new."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("node")
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    unhealthy = given.folder.absolute().parent / "unhealthy"
    while not given.folder.is_dir():
        time.sleep(POLL_SECONDS)
    os.chdir(given.folder)  # the path of a socket must be short
    while True:
        _serve_one_kubelet(Plugin(gpu_ids(given.node, given.count), unhealthy))


def _serve_one_kubelet(plugin: Plugin) -> None:
    """Serve until the kubelet has removed our socket."""
    while not Path(KUBELET).exists():
        time.sleep(POLL_SECONDS)
    Path(SOCKET).unlink(missing_ok=True)
    server = plugin.serve(SOCKET)
    try:
        plugin.register()
        while Path(SOCKET).exists():
            time.sleep(POLL_SECONDS)
    except grpc.RpcError:
        time.sleep(POLL_SECONDS)  # the socket of a kubelet that has ended, or has not begun to listen
    finally:
        plugin.stop()
        server.stop(grace=0)


def _message_types() -> dict[str, Any]:
    """Message classes made from `MESSAGES`, so that no generated code is kept."""
    file = descriptor_pb2.FileDescriptorProto(name="runai_test_device_plugin.proto", package="v1beta1", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            message.field.add(
                name=field.rstrip("*"),
                number=number,
                type=kind,
                label=3 if field.endswith("*") else 1,
                type_name=f".v1beta1.{of}" if of else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1beta1.{name}")) for name in MESSAGES}


def _written(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written


if __name__ == "__main__":
    main()
