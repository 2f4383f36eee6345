"""Shares of devices: what annotations ask for, what containers are told, what really keeps pods apart."""

from typing import Any

import pytest

from runai_core.backends.kubernetes.devices import device_in, device_of, reservation, reservation_name
from runai_core.backends.kubernetes.sharing import (
    VARIABLES,
    Share,
    group_labels,
    groups_of,
    isolation_of,
    share_of,
    told_by,
    variables,
    with_share,
)
from runai_core.model.errors import InvalidRequest

Object = dict[str, Any]


def a_pod(limits: Object | None = None, containers: tuple[str, ...] = ("main",), **notes: str) -> Object:
    annotations = {key.replace("_", "-"): value for key, value in notes.items()}
    resources = {"limits": limits} if limits else {}
    made = [{"name": name, "resources": resources, "env": [{"name": "A", "value": "1"}]} for name in containers]
    return {"metadata": {"name": "p", "annotations": annotations}, "spec": {"containers": made}}


SHARES: dict[str, tuple[Object, Share | None]] = {
    "nothing is asked for": (a_pod(), None),
    "a whole device is no share": (a_pod({"nvidia.com/gpu": "1"}), None),
    "a share of a device": (a_pod(gpu_fraction="0.5"), Share(portion=500, container="main")),
    "to the thousandth": (a_pod(gpu_fraction="0.125"), Share(portion=125, container="main")),
    "memory of a device": (a_pod(gpu_memory="2000"), Share(mib=2000, container="main")),
    "of several devices": (
        a_pod(gpu_fraction="0.5", gpu_fraction_num_devices="2"),
        Share(portion=500, devices=2, container="main"),
    ),
    "for a container that is named": (
        a_pod(containers=("side", "main"), gpu_fraction="0.5", gpu_fraction_container_name="main"),
        Share(portion=500, container="main"),
    ),
    "a limit of no device is none": (a_pod({"nvidia.com/gpu": "0"}, gpu_fraction="0.5"), Share(500, 0, 1, "main")),
    "with MPS": (a_pod(gpu_fraction="0.5", mps="true"), Share(portion=500, container="main")),
}


@pytest.mark.parametrize(("pod", "expected"), SHARES.values(), ids=SHARES)
def test_shares(pod: Object, expected: Share | None) -> None:
    assert share_of(pod) == expected


WRONG = {
    "a whole device as a fraction": (a_pod(gpu_fraction="1"), "gpu-fraction"),
    "no part at all": (a_pod(gpu_fraction="0"), "gpu-fraction"),
    "less than nothing": (a_pod(gpu_fraction="-0.5"), "gpu-fraction"),
    "a word for a fraction": (a_pod(gpu_fraction="half"), "gpu-fraction"),
    "no number": (a_pod(gpu_fraction="NaN"), "gpu-fraction"),
    "memory with a unit": (a_pod(gpu_memory="2Gi"), "gpu-memory"),
    "no memory": (a_pod(gpu_memory="0"), "gpu-memory"),
    "both forms": (a_pod(gpu_fraction="0.5", gpu_memory="2000"), "gpu-memory"),
    "devices without a share": (a_pod(gpu_fraction_num_devices="2"), "gpu-fraction-num-devices"),
    "no devices": (a_pod(gpu_fraction="0.5", gpu_fraction_num_devices="0"), "gpu-fraction-num-devices"),
    "MPS without a share": (a_pod(mps="true"), "mps"),
    "a container that is not there": (
        a_pod(gpu_fraction="0.5", gpu_fraction_container_name="x"),
        "gpu-fraction-container-name",
    ),
}


@pytest.mark.parametrize(("pod", "annotation"), WRONG.values(), ids=WRONG)
def test_what_contradicts_itself_is_refused_by_name(pod: Object, annotation: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        share_of(pod)

    assert caught.value.errors[0].field == f"metadata.annotations[{annotation}]"


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"])
def test_a_share_and_a_device_exclude_each_other(resource: str) -> None:
    with pytest.raises(InvalidRequest, match="must not be set together"):
        share_of(a_pod({resource: "1"}, gpu_fraction="0.5"))


def test_a_container_reads_its_devices_from_a_map_that_the_pod_names() -> None:
    pod = a_pod(containers=("side", "main"), gpu_fraction="0.5", gpu_fraction_container_name="main")

    told = with_share(pod, "token")

    side, main = told["spec"]["containers"]
    assert side == pod["spec"]["containers"][0]
    assert main["env"][0] == {"name": "A", "value": "1"}
    assert {item["name"] for item in main["env"][1:]} == set(VARIABLES)
    assert {item["valueFrom"]["configMapKeyRef"]["name"] for item in main["env"][1:]} == {told_by(told)}
    assert with_share(told, "other") == told, "once is enough"
    assert told_by(pod) == ""


def test_what_a_user_sets_himself_does_not_hide_the_device() -> None:
    pod = a_pod(gpu_fraction="0.5")
    pod["spec"]["containers"][0]["env"] = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]

    names = [item["name"] for item in with_share(pod, "t")["spec"]["containers"][0]["env"]]

    assert names.count("NVIDIA_VISIBLE_DEVICES") == 1


TOLD = {
    "a share of a known device": (Share(portion=250), 80_000, ("0.25", "20000")),
    "a share of an unknown device": (Share(portion=250), 0, ("0.25", "")),
    "memory of a known device": (Share(mib=20_000), 80_000, ("0.25", "20000")),
    "memory of an unknown device": (Share(mib=20_000), 0, ("", "20000")),
}


@pytest.mark.parametrize(("share", "size", "expected"), TOLD.values(), ids=TOLD)
def test_what_a_container_is_told(share: Share, size: int, expected: tuple[str, str]) -> None:
    told = variables(share, ("GPU-a", "GPU-b"), size)

    assert (told["GPU_PORTION"], told["RUNAI_GPU_MEMORY_MIB"]) == expected
    assert (told["NVIDIA_VISIBLE_DEVICES"], told["RUNAI_NUM_OF_GPUS"]) == ("GPU-a,GPU-b", "2")


@pytest.mark.parametrize("groups", [(), ("shared-0",), ("shared-0", "shared-1")])
def test_labels_name_the_devices(groups: tuple[str, ...]) -> None:
    assert groups_of({"metadata": {"labels": {**group_labels(groups), "app": "x"}}}) == groups


ISOLATIONS = {
    "a whole device": (a_pod({"nvidia.com/gpu": "1"}), {}, ""),
    "a slice": (a_pod({"nvidia.com/mig-1g.5gb": "1"}), {}, "MIG"),
    "nothing keeps it": (a_pod(gpu_fraction="0.5"), {}, "none"),
    "MPS on a node that has it": (a_pod(gpu_fraction="0.5", mps="true"), {"nvidia.com/mps.capable": "true"}, "MPS"),
    "MPS that the node has not": (a_pod(gpu_fraction="0.5", mps="true"), {}, "none"),
    "a plug-in of the driver": (a_pod(gpu_fraction="0.5"), {"runai/gpu-isolation": "hami"}, "driver plug-in"),
}


@pytest.mark.parametrize(("pod", "labels", "expected"), ISOLATIONS.values(), ids=ISOLATIONS)
def test_isolation_is_what_is_there(pod: Object, labels: dict[str, str], expected: str) -> None:
    assert isolation_of(pod, {"metadata": {"labels": labels}}) == expected


def test_a_reservation_takes_one_device_and_nothing_else() -> None:
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {"nvidia.com/gpu": "4"}}}
    template = {"containers": [{"name": "r", "image": "mine"}], "imagePullSecrets": [{"name": "s"}]}

    pod = reservation(node, "shared-0", template, {})

    assert pod["metadata"]["name"] == reservation_name("n", "shared-0") != reservation_name("n", "shared-1")
    assert pod["spec"]["nodeName"] == "n"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "s"}]
    [container] = pod["spec"]["containers"]
    assert (container["image"], container["resources"]) == ("mine", {"limits": {"nvidia.com/gpu": "1"}})


LOGS = {
    "a device": ("runai-device GPU-1\n", "GPU-1"),
    "after other words": ("starting\nrunai-device GPU-1\n", "GPU-1"),
    "nothing yet": ("", ""),
    "no device was given": ("runai-device \n", ""),
    "a device plug-in that tells none": ("runai-device void\n", ""),
}


@pytest.mark.parametrize(("log", "device"), LOGS.values(), ids=LOGS)
def test_the_log_of_a_reservation_names_its_device(log: str, device: str) -> None:
    assert device_in(log) == device


def test_the_status_of_a_reservation_names_its_device() -> None:
    resources = [{"name": "nvidia.com/gpu", "resources": [{"resourceID": "GPU-2", "health": "Healthy"}]}]
    pod = {"metadata": {}, "status": {"containerStatuses": [{"allocatedResourcesStatus": resources}]}}

    assert device_of(pod) == "GPU-2"
    assert device_of({"metadata": {"annotations": {"run.ai/reserve_for_gpu_index": "GPU-3"}}}) == "GPU-3"
    assert device_of({"metadata": {}}) == ""
