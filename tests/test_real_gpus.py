"""NVML on a machine that has NVIDIA GPUs: what a busy and an idle device are said to do. Skipped elsewhere."""

import asyncio
import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runai_core.backends.local.nodes import real_gpus
from runai_core.model.meta import Meta
from runai_core.model.nodes import Node
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod, PodSpec, PodStatus
from runai_core.service.meters import NvmlMeter, Reading, nvml_module

SIZE = 2**30
"""Bytes that the busy program fills again and again."""


@contextmanager
def a_busy_gpu() -> Iterator[None]:
    """Keep the first GPU busy through the driver's own library: no framework is needed."""
    cuda = ctypes.CDLL("libcuda.so.1")
    stop = threading.Event()
    failed: list[int] = []

    def work() -> None:
        device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
        calls = [
            cuda.cuInit(0),
            cuda.cuDeviceGet(ctypes.byref(device), 0),
            cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device),
            cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(SIZE)),
        ]
        failed.extend(code for code in calls if code)
        while not stop.is_set() and not failed:
            for _ in range(200):
                cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(SIZE))
            cuda.cuCtxSynchronize()
        cuda.cuMemFree_v2(memory)
        cuda.cuCtxDestroy_v2(context)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        time.sleep(4)
        assert not failed, f"CUDA says {failed}"
        yield
    finally:
        stop.set()
        thread.join()


def measured() -> tuple[Reading, Reading, Reading]:
    """Return what is said of the first GPU before, while and after it is busy."""
    devices = real_gpus()
    node = Node(meta=Meta(name="here"), gpu_count=len(devices), devices=devices)
    status = PodStatus(state=PodState.RUNNING, node="here", gpu_devices=(0,))
    pod = Pod(meta=Meta(name="p", uid="p"), workload="w", pod_group="g", spec=PodSpec(), status=status)
    meter = NvmlMeter(nvml_module())

    def read() -> Reading:
        return asyncio.run(meter.read([node], [pod]))

    before = read()
    with a_busy_gpu():
        read()
        time.sleep(3)
        busy = read()
    time.sleep(2)
    read()
    time.sleep(4)
    return before, busy, read()


def test_a_real_gpu_is_busy_while_it_works_and_idle_after() -> None:
    if not real_gpus():
        pytest.skip("this machine has no NVIDIA GPU")
    check(*measured())


def check(before: Reading, busy: Reading, after: Reading) -> None:
    """Compare the three readings."""
    working, idle = busy.pods["p"], after.pods["p"]
    assert working["GPU_UTILIZATION"] > 50
    assert working["GPU_MEMORY_USAGE_BYTES"] >= before.pods["p"]["GPU_MEMORY_USAGE_BYTES"] + SIZE
    assert idle["GPU_UTILIZATION"] == 0
    assert idle["GPU_MEMORY_USAGE_BYTES"] < working["GPU_MEMORY_USAGE_BYTES"]
