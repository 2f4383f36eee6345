"""The services of a workload: one for the names of its pods, and one for each way in which its ports are reached."""

from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.mounts import fit_name
from runai_core.backends.kubernetes.codec.places import GROUPED, Place, labels_of, service_name
from runai_core.lifecycle.rendezvous import DEFAULT_MASTER_PORT
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.network import Port
from runai_core.model.workload import Workload

Object = dict[str, Any]

SERVING_PORT = 80
"""Port of the service of an inference workload."""

SUFFIXES = {"ClusterIP": "ports", "NodePort": "nodeport", "LoadBalancer": "lb"}
"""Service type -> what its name ends with."""


def services_of(workload: Workload, place: Place) -> list[Object]:
    """Return the services of a workload.

    Raises:
        InvalidRequest: a port asks for a type that there is not; names the field.
    """
    found = []
    if workload.type in GROUPED:
        found.append(_headless(workload, place))
    serving = workload.spec.serving_port
    if serving is not None:
        protocol = {"appProtocol": "kubernetes.io/h2c"} if serving.protocol == "grpc" else {}
        port = {"name": "serving", "port": SERVING_PORT, "targetPort": serving.container, **protocol}
        name = f"{workload.name[:55]}-serving" if workload.type in GROUPED else workload.name
        found.append(_service(workload, place, name, {"type": "ClusterIP", "ports": [port]}))
    for kind, ports in _by_type(workload).items():
        name = f"{workload.name[:54]}-{SUFFIXES[kind]}"
        found.append(_service(workload, place, name, {"type": kind, "ports": [_port(kind, port) for port in ports]}))
    return found


def _by_type(workload: Workload) -> dict[str, list[Port]]:
    found: dict[str, list[Port]] = {}
    for index, port in enumerate(workload.spec.ports):
        kind = port.service_type or "ClusterIP"
        if kind not in SUFFIXES:
            message = f"must be one of {', '.join(SUFFIXES)}"
            raise InvalidRequest.of(FieldError(f"spec.ports.{index}.serviceType", message, kind))
        if not port.exclude:
            found.setdefault(kind, []).append(port)
    return found


def _port(kind: str, port: Port) -> Object:
    found: Object = {
        "name": fit_name(port.name or f"port-{port.container}")[:15].strip("-"),
        "port": port.container if kind == "NodePort" else port.external or port.container,
        "targetPort": port.container,
    }
    return {**found, "nodePort": port.external} if kind == "NodePort" and port.external else found


def _headless(workload: Workload, place: Place) -> Object:
    """The names of the pods are known before the pods are ready: they meet while they start."""
    ports = [{"name": "rendezvous", "port": DEFAULT_MASTER_PORT, "targetPort": DEFAULT_MASTER_PORT}]
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "ports": ports}
    item = _service(workload, place, service_name(workload), spec)
    # Pods of an earlier attempt that are still ending have the same names.
    item["spec"]["selector"][names.ATTEMPT_LABEL] = str(workload.attempt)
    return item


def _service(workload: Workload, place: Place, name: str, spec: Object) -> Object:
    selector = {names.WORKLOAD_UID_LABEL: workload.meta.uid}
    if workload.type in GROUPED and not spec.get("clusterIP"):
        selector[names.RANK_LABEL] = "0"  # what answers is the first pod
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name.strip("-"),
            "namespace": place.namespace,
            "labels": labels_of(workload, ""),
            "ownerReferences": [place.reference],
        },
        "spec": {**spec, "selector": selector},
    }
