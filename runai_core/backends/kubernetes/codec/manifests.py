"""The pods of a gang as Kubernetes objects. Pure: the same gang gives the same objects."""

import re
import shlex
from collections.abc import Iterable
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.mounts import Mounts, mounts_of
from runai_core.backends.kubernetes.codec.mpi import SSH_SERVER, add_mpi, is_mpi
from runai_core.backends.kubernetes.codec.places import GROUPED, Place, host_name, labels_of, service_name
from runai_core.backends.kubernetes.sharing import with_share
from runai_core.lifecycle.overlay import overlay
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.network import Probe
from runai_core.model.snapshot import PodRequest
from runai_core.model.spec import EnvironmentVariable, WorkloadSpec
from runai_core.model.workload import Gang, Pod, Workload

Object = dict[str, Any]

LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
GPU = "nvidia.com/gpu"


def pod_object(workload: Workload, gang: Gang, pod: Pod, place: Place) -> Object:
    """Return one pod of a gang.

    Raises:
        InvalidRequest: the specification cannot be a pod; names each field.
    """
    return with_share(template_of(workload, gang, pod, place), pod.name)


def template_of(workload: Workload, gang: Gang, pod: Pod, place: Place) -> Object:
    """Return a pod that is not told its share of devices yet: a name of its own is needed for that.

    Raises:
        InvalidRequest: as `pod_object`.
    """
    part = "spec" if pod.spec.role == "worker" or workload.master_spec is None else "masterSpec"
    spec = workload.spec if pod.spec.role == "worker" else overlay(workload.spec, workload.master_spec)
    if not spec.image:
        raise InvalidRequest.of(FieldError(f"{part}.image", "is required on a cluster: the image of the containers"))
    mounts = mounts_of(spec, workload.name, place.namespace, at=part)
    add_mpi(mounts, workload, pod)
    pool = pod.node_pool or workload.node_pool
    item: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(workload, gang, pod, place, pool),
        "spec": {
            "schedulerName": names.SCHEDULER,
            "restartPolicy": str(pod.spec.restart_policy),
            "terminationGracePeriodSeconds": int(pod.spec.grace_period),
            "enableServiceLinks": False,
            "containers": [_container(workload, spec, pod, mounts)],
            **_where(spec, pod),
            **_pod_security(spec),
        },
    }
    if mounts.fetchers:
        item["spec"]["initContainers"] = mounts.fetchers
    if mounts.volumes:
        item["spec"]["volumes"] = mounts.volumes
    secrets = [{"name": secret.name} for secret in spec.image_pull_secrets if not secret.exclude]
    if secrets:
        item["spec"]["imagePullSecrets"] = secrets
    if workload.type in GROUPED:
        item["spec"] |= {"hostname": host_name(pod.spec.role, pod.spec.rank), "subdomain": service_name(workload)}
    return item


def _metadata(workload: Workload, gang: Gang, pod: Pod, place: Place, pool: str) -> Object:
    labels = {
        **{key: value for key, value in pod.meta.labels.items() if LABEL_VALUE.match(value)},
        **labels_of(workload, pool),
        names.ATTEMPT_LABEL: str(pod.attempt),
        names.RANK_LABEL: str(pod.spec.rank),
        names.ROLE_LABEL: pod.spec.role,
        names.REPLACEMENT_LABEL: str(pod.replacement),
    }
    if pod.spec.sub_group:
        labels[names.SUB_GROUP_LABEL] = pod.spec.sub_group
    author = workload.meta.created_by
    if author and LABEL_VALUE.match(author):
        labels[names.USER_LABEL] = author
    notes = {
        **pod.meta.annotations,
        names.POD_GROUP_ANNOTATION: gang.group.name,
        names.WORKLOAD_ANNOTATION: workload.key,
        names.BACKOFF_ANNOTATION: str(pod.spec.backoff_limit),
        **_share(pod.spec.request),
    }
    if author:
        notes[names.USER_LABEL] = author
    return {
        "name": pod.name,
        "namespace": place.namespace,
        "labels": labels,
        "annotations": notes,
        "ownerReferences": [place.reference],
    }


def _share(request: PodRequest) -> dict[str, str]:
    """Return the annotations that ask for a part of devices."""
    notes = {}
    if request.gpu_portion:
        notes[names.GPU_FRACTION_ANNOTATION] = f"{request.gpu_portion / 1000:g}"
    elif request.gpu_memory_mib:
        notes[names.GPU_MEMORY_ANNOTATION] = str(request.gpu_memory_mib)
    if notes and request.gpu_devices > 1:
        notes[names.GPU_DEVICES_ANNOTATION] = str(request.gpu_devices)
    return notes


def _container(workload: Workload, spec: WorkloadSpec, pod: Pod, mounts: Mounts) -> Object:
    command = shlex.split(spec.command) if spec.command else []
    arguments = shlex.split(spec.args) if spec.args else []
    if is_mpi(workload) and pod.spec.role == "worker" and not command and not arguments:
        command = list(SSH_SERVER)
    ports = [{"containerPort": port, "protocol": "TCP"} for port in pod.spec.ports]
    optional: Object = {
        "command": command,
        "args": arguments,
        "workingDir": spec.working_dir,
        "imagePullPolicy": spec.image_pull_policy,
        "ports": ports,
        "volumeMounts": mounts.mounts,
        "securityContext": _container_security(spec),
        "readinessProbe": _readiness(spec),
        "stdin": pod.spec.stdin,
        "tty": pod.spec.tty,
    }
    return {
        "name": workload.name,
        "image": spec.image,
        "env": _environment(spec, pod, mounts.environment),
        "resources": resources_of(pod),
        **{name: value for name, value in optional.items() if value},
    }


def _environment(spec: WorkloadSpec, pod: Pod, further: Iterable[Object]) -> list[Object]:
    """Return the variables: fields of the pod, what the gang was told, then those of the user, who wins."""
    found: dict[str, Object] = {
        "NODE_NAME": {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        "POD_IP": {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    }
    found |= {item["name"]: {"value": item["value"]} for item in further}
    found |= {name: {"value": value} for name, value in pod.spec.environment.items()}
    found["POD_UUID"] = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    limit = spec.compute.gpu_memory_limit or spec.compute.gpu_portion_limit
    if limit:
        found["RUNAI_GPU_MEMORY_LIMIT"] = {"value": f"{limit:g}" if isinstance(limit, float) else str(limit)}
    for variable in spec.environment_variables:
        source = None if variable.exclude else _source(variable)
        if source is not None:
            found[variable.name] = {"valueFrom": source}
    return [{"name": name, **source} for name, source in found.items()]


def _source(variable: EnvironmentVariable) -> Object | None:
    """Return where the kubelet takes a variable's value from; None where the value is given."""
    secret = variable.secret or variable.user_credential
    if secret is not None:
        return {"secretKeyRef": {"name": secret.name, "key": secret.key}}
    if variable.config_map is not None:
        return {"configMapKeyRef": {"name": variable.config_map.name, "key": variable.config_map.key}}
    if variable.pod_field_ref is not None:
        return {"fieldRef": {"fieldPath": variable.pod_field_ref.path}}
    return None


def resources_of(pod: Pod) -> Object:
    """Return requests and limits; devices are both, as Kubernetes wants it."""
    request = pod.spec.request
    devices = {name: str(count) for name, count in (*request.mig, *request.extended)}
    if request.gpu_devices and not request.gpu_portion and not request.gpu_memory_mib:
        devices[GPU] = str(request.gpu_devices)
    asked = {"cpu": f"{request.cpu}m" if request.cpu else "", "memory": str(request.memory or "")}
    most = {
        "cpu": f"{pod.spec.cpu_limit}m" if pod.spec.cpu_limit else "",
        "memory": str(pod.spec.memory_limit or ""),
    }
    requests = {**{name: value for name, value in asked.items() if value}, **devices}
    limits = {**{name: value for name, value in most.items() if value}, **devices}
    return {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}


def _readiness(spec: WorkloadSpec) -> Object | None:
    probe = spec.probes.readiness if spec.probes is not None else None
    given = probe.handler.http_get if probe is not None and probe.handler is not None else None
    if given is not None:
        optional = {"host": given.host, "scheme": given.scheme}
        handler: Object = {
            "httpGet": {"path": given.path, "port": given.port, **{k: v for k, v in optional.items() if v}}
        }
    elif spec.serving_port is not None:
        handler = {"tcpSocket": {"port": spec.serving_port.container}}  # as Knative does where nobody says otherwise
    else:
        return None
    return {**handler, **_timing(probe or Probe())}


def _timing(probe: Probe) -> Object:
    given = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    return {name: value for name, value in given.items() if value is not None}


def _where(spec: WorkloadSpec, pod: Pod) -> Object:
    """Return selector, affinity and tolerations."""
    found: Object = {}
    if pod.spec.constraints.node_selector:
        found["nodeSelector"] = dict(pod.spec.constraints.node_selector)
    terms = [
        {"matchExpressions": [_expression(item.key, item.operator, item.values) for item in term]}
        for term in pod.spec.constraints.node_affinity
    ]
    if terms:
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        found["affinity"] = {"nodeAffinity": required}
    tolerations = []
    for item in spec.tolerations:
        given = {
            "key": item.key,
            "operator": item.operator,
            "value": item.value,
            "effect": None if item.effect == "Any" else item.effect,
            "tolerationSeconds": item.seconds,
        }
        if not item.exclude:
            tolerations.append({name: value for name, value in given.items() if value not in (None, "")})
    if tolerations:
        found["tolerations"] = tolerations
    return found


def _expression(key: str, operator: str, values: tuple[str, ...]) -> Object:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def _pod_security(spec: WorkloadSpec) -> Object:
    security = spec.security
    found: Object = {}
    groups = [group for group in re.split(r"[;,\s]+", security.supplemental_groups or "") if group]
    if wrong := [group for group in groups if not group.isdigit()]:
        message = "must be group ids, separated by semicolons"
        raise InvalidRequest.of(FieldError("spec.security.supplementalGroups", message, wrong[0]))
    if groups:
        found["securityContext"] = {"supplementalGroups": [int(group) for group in groups]}
    if security.host_ipc:
        found["hostIPC"] = True
    if security.host_network:
        found |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return found


def _container_security(spec: WorkloadSpec) -> Object:
    security = spec.security
    profile = security.seccomp_profile_type
    given: Object = {
        "runAsUser": security.run_as_uid,
        "runAsGroup": security.run_as_gid,
        "runAsNonRoot": security.run_as_non_root,
        "allowPrivilegeEscalation": security.allow_privilege_escalation,
        "readOnlyRootFilesystem": security.read_only_root_filesystem,
        "privileged": security.privileged,
        "capabilities": {"add": list(security.capabilities)} if security.capabilities else None,
        "seccompProfile": {"type": profile} if profile else None,
    }
    return {name: value for name, value in given.items() if value is not None}
