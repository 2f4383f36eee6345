"""What the process of a pod finds in its environment. Pure."""

from collections.abc import Mapping

from runai_core.model.nodes import Node
from runai_core.model.resources import MILLI, format_gpus
from runai_core.model.workload import Pod, gpu_charge

VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


def environment_of(pod: Pod, node: Node | None, passed: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a placed pod: what is passed on, its own variables, and what the decision says.

    Devices that do not exist are named by RUNAI_VISIBLE_DEVICES alone, so that no real one is touched.
    """
    return {**passed, **pod.spec.environment, **_decided(pod, node)}


def _decided(pod: Pod, node: Node | None) -> dict[str, str]:
    devices = ",".join(map(str, pod.status.gpu_devices))
    values = {"NODE_NAME": pod.status.node, **_amounts(pod)}
    if node is not None and node.simulated:
        values |= {"RUNAI_VISIBLE_DEVICES": devices, "CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "none"}
    else:
        # the numbers are NVML's, which counts devices by their bus
        values |= {name: devices or _NONE[name] for name in VISIBLE} | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return values


_NONE: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "none"}


def _amounts(pod: Pod) -> dict[str, str]:
    request = pod.spec.request
    amounts = {"RUNAI_NUM_OF_GPUS": format_gpus(gpu_charge(request))}
    if request.gpu_portion:
        amounts["RUNAI_GPU_FRACTION"] = f"{request.gpu_portion / MILLI:g}"
    if request.gpu_memory_mib:
        amounts["RUNAI_GPU_MEMORY_MIB"] = str(request.gpu_memory_mib)
    return amounts
