"""Our processes on the cluster: Deployments, their ports, and who may reach them."""

import hashlib
from typing import Any

from runai_core.backends.kubernetes.devices import TEMPLATE_NAME
from runai_core.backends.kubernetes.names import RESERVATION_NAMESPACE
from runai_core.operator.install.names import (
    API_PORT,
    COMPONENT_LABEL,
    COMPONENTS,
    HEALTH_PORT,
    IDENTITY_SECRET,
    LINK_SECRET,
    NAME_LABEL,
    PART_OF_LABEL,
    RECORDS_CLAIM,
    SECRETS_KEY_SECRET,
    WEBHOOK_PORT,
    WEBHOOK_SERVICE,
    Component,
    account_of,
    labels_of,
)
from runai_core.operator.install.options import Options
from runai_core.service.own_identity import IDENTITY_FILE
from runai_core.settings import KEY_FILE

Manifest = dict[str, Any]

USER = 65532
"""A user id that is nobody."""

DATA = "/var/lib/runai"

RECORDS = "/var/lib/runai-records"
"""Where the claim is mounted that holds the records, if there is no database."""

KEYS = "/etc/runai/secrets"
"""Where the API finds the keys of credentials."""

LINK = "/etc/runai/link"
"""Where the operator finds what it needs to join a control plane."""

LINK_ANNOTATION = "run.ai/link"

RECORDING = frozenset({"operator", "api"})
"""Processes that keep records; the scheduler keeps none."""


def deployments(options: Options) -> list[Manifest]:
    """Return the Deployment of every process."""
    return [_deployment(component, options) for component in COMPONENTS]


def reservation_template(options: Options) -> Manifest:
    """Return what reservation pods run: our image has the shell that they need, and the nodes can pull it."""
    spec: Manifest = {
        "containers": [
            {
                "name": "reservation",
                "image": options.image,
                "imagePullPolicy": options.pull_policy,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ]
    }
    if options.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in options.pull_secrets]
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": TEMPLATE_NAME, "namespace": RESERVATION_NAMESPACE, "labels": labels_of("scheduler")},
        "template": {"spec": spec},
    }


def accounts(options: Options) -> list[Manifest]:
    """Return the service account of every process."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _meta(account_of(component), component, options),
        }
        for component in COMPONENTS
    ]


def services(options: Options) -> list[Manifest]:
    """Return the services of the API and of the webhooks."""
    found = []
    for name, component, port, target in (
        ("runai-api", "api", 80, "http"),
        (WEBHOOK_SERVICE, "operator", 443, "webhook"),
    ):
        if target == "webhook" and not options.webhooks:
            continue
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": options.namespace, "labels": labels_of(component)},
                "spec": {
                    "selector": _selector(component),
                    "ports": [{"name": target, "port": port, "targetPort": target}],
                },
            }
        )
    return found


def network_policies(options: Options) -> list[Manifest]:
    """Return what may reach our processes: their own ports, and no others."""
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _meta(account_of(component), component, options),
            "spec": {
                "podSelector": {"matchLabels": _selector(component.name)},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in component.ports.values()]}],
            },
        }
        for component in COMPONENTS
    ]


def _meta(name: str, component: Component, options: Options) -> Manifest:
    return {"name": name, "namespace": options.namespace, "labels": labels_of(component.name)}


def _selector(component: str) -> dict[str, str]:
    return {NAME_LABEL: "runai", COMPONENT_LABEL: component}


def _deployment(component: Component, options: Options) -> Manifest:
    is_api = component.name == "api"
    pod: Manifest = {
        "serviceAccountName": account_of(component),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 30,
        "containers": [_container(component, options)],
        "volumes": _volumes(component, options),
    }
    if _on_claim(component, options):
        pod["affinity"] = _beside_each_other()
    if options.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in options.pull_secrets]
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        pod["tolerations"] = [dict(item) for item in options.tolerations]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(account_of(component), component, options),
        "spec": {
            "replicas": options.api_replicas if is_api else options.replicas,
            "selector": {"matchLabels": _selector(component.name)},
            "template": {"metadata": _pod_meta(component, options), "spec": pod},
        },
    }


def _pod_meta(component: Component, options: Options) -> Manifest:
    notes = {"annotations": {LINK_ANNOTATION: link_digest(options)}} if component.name == "operator" else {}
    return {"labels": labels_of(component.name), **notes}


def _container(component: Component, options: Options) -> Manifest:
    port = "http" if component.name == "api" else "health"
    return {
        "name": component.name,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "args": _arguments(component, options),
        "env": _environment(component, options),
        "ports": [{"name": name, "containerPort": number} for name, number in component.ports.items()],
        "resources": {
            "requests": {"cpu": component.cpu, "memory": component.memory},
            "limits": {"memory": component.memory_limit},
        },
        "startupProbe": {**_probe("/healthz", port), "failureThreshold": 60, "periodSeconds": 2},
        "livenessProbe": {**_probe("/healthz", port), "failureThreshold": 3, "periodSeconds": 10},
        "readinessProbe": {**_probe("/readyz", port), "failureThreshold": 3, "periodSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _mounts(component, options),
    }


def _arguments(component: Component, options: Options) -> list[str]:
    """Return the command line; leader election needs no word: each process works while it holds its Lease."""
    if component.name == "api":
        return ["api", "--host=0.0.0.0", f"--port={API_PORT}", f"--log-level={options.log_level}"]
    found = [
        component.name,
        "--health-host=0.0.0.0",
        f"--health-port={HEALTH_PORT}",
        f"--log-level={options.log_level}",
    ]
    if component.name == "operator":
        listen = ("--webhook-host=0.0.0.0", f"--webhook-port={WEBHOOK_PORT}") if options.webhooks else ("--no-webhook",)
        found += [f"--namespace={options.namespace}", *listen]
    return found


def _environment(component: Component, options: Options) -> list[Manifest]:
    hosts = [f"runai-api.{options.namespace}{end}" for end in ("", ".svc", ".svc.cluster.local")]
    return [
        {"name": "RUNAI_BACKEND", "value": "kubernetes"},
        {"name": "RUNAI_DATA_DIR", "value": DATA},
        {"name": "RUNAI_ALLOWED_HOSTS", "value": ",".join(["runai-api", *hosts, *options.allowed_hosts])},
        *([_database(options)] if component.name in RECORDING else []),
        *([{"name": "RUNAI_SECRETS_KEY_FILE", "value": f"{KEYS}/{KEY_FILE}"}] if component.name == "api" else []),
        *(_link() if component.name == "operator" else []),
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]


def _database(options: Options) -> Manifest:
    if not options.database:
        return {"name": "RUNAI_DATABASE_URL", "value": f"sqlite:///{RECORDS}/runai.db"}
    source = {"secretKeyRef": {"name": options.database, "key": "url"}}  # a pod waits until it is there
    return {"name": "RUNAI_DATABASE_URL", "valueFrom": source}


def _link() -> list[Manifest]:
    """Return how the operator learns of a control plane; without the Secret there is none."""
    url = {"secretKeyRef": {"name": LINK_SECRET, "key": "url", "optional": True}}
    return [
        {"name": "RUNAI_CONTROL_PLANE_URL", "valueFrom": url},
        {"name": "RUNAI_JOIN_TOKEN_FILE", "value": f"{LINK}/token"},
        {"name": "RUNAI_CONTROL_PLANE_CA", "value": f"{LINK}/ca.pem"},
    ]


def link_digest(options: Options) -> str:
    """Return what is another one for another control plane: the operator starts anew then."""
    text = f"{options.control_plane_url}{options.join_token}{options.control_plane_ca}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _mounts(component: Component, options: Options) -> list[Manifest]:
    found: list[Manifest] = [
        {"name": "data", "mountPath": DATA},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    if component.name == "api":
        found.append({"name": "identity", "mountPath": f"{DATA}/{IDENTITY_FILE}", "subPath": IDENTITY_FILE})
        found.append({"name": "secrets", "mountPath": KEYS, "readOnly": True})
    if component.name == "operator":
        found.append({"name": "link", "mountPath": LINK, "readOnly": True})
    if _on_claim(component, options):
        found.append({"name": "records", "mountPath": RECORDS})
    return found


def _volumes(component: Component, options: Options) -> list[Manifest]:
    found: list[Manifest] = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    if component.name == "api":
        # Both are made by the operator at its first start; the pod waits for them.
        found.append({"name": "identity", "secret": {"secretName": IDENTITY_SECRET, "defaultMode": 0o440}})
        found.append({"name": "secrets", "secret": {"secretName": SECRETS_KEY_SECRET, "defaultMode": 0o440}})
    if component.name == "operator":
        link = {"secretName": LINK_SECRET, "defaultMode": 0o440, "optional": True}
        found.append({"name": "link", "secret": link})
    if _on_claim(component, options):
        found.append({"name": "records", "persistentVolumeClaim": {"claimName": RECORDS_CLAIM}})
    return found


def _on_claim(component: Component, options: Options) -> bool:
    return component.name in RECORDING and not options.database


def _beside_each_other() -> Manifest:
    """SQLite's file is shared by processes of one machine only, and most volumes can be mounted on one only."""
    chosen = [
        {"key": PART_OF_LABEL, "operator": "In", "values": ["runai"]},
        {"key": COMPONENT_LABEL, "operator": "In", "values": sorted(RECORDING)},
    ]
    term = {"labelSelector": {"matchExpressions": chosen}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _probe(path: str, port: str) -> Manifest:
    # The API answers only to names that it knows; the kubelet would send the pod's address.
    headers = [{"name": "Host", "value": "localhost"}]
    return {"httpGet": {"path": path, "port": port, "httpHeaders": headers}, "timeoutSeconds": 5}
