"""Write the Helm chart under deploy/helm/runai from the manifests that `runai admin install` applies.

The manifests are made once with marks where values go; marks become template
expressions. A test renders the chart and compares it with the manifests.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.operator.install.manifests import manifests, to_yaml
from runai_core.operator.install.options import DEFAULT_IMAGE, Options
from runai_core.plugins.builtin import KINDS

CHART = Path(__file__).parent.parent / "deploy" / "helm" / "runai"

NAMESPACE, IMAGE, POLICY, HOSTS, LEVEL = "mark-namespace", "mark-image", "mark-policy", "mark-hosts", "mark-level"
SECRET, SELECTOR, TOLERATION = "mark-secret", "mark-selector", "mark-toleration"
REPLICAS, API_REPLICAS = 987651, 987652

MARKED = Options(
    image=IMAGE,
    namespace=NAMESPACE,
    pull_policy=POLICY,
    pull_secrets=(SECRET,),
    replicas=REPLICAS,
    api_replicas=API_REPLICAS,
    node_selector={SELECTOR: "x"},
    tolerations=({"key": TOLERATION},),
    allowed_hosts=(HOSTS,),
    log_level=LEVEL,
)

EXPRESSIONS: Mapping[str, str] = {
    NAMESPACE: "{{ .Values.namespace }}",
    IMAGE: '"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"',
    POLICY: "{{ .Values.image.pullPolicy }}",
    f",{HOSTS}": "{{ range .Values.allowedHosts }},{{ . }}{{ end }}",
    LEVEL: "{{ .Values.logLevel }}",
    str(REPLICAS): "{{ .Values.replicas }}",
    str(API_REPLICAS): "{{ .Values.api.replicas }}",
}

BLOCKS: tuple[tuple[str, str], ...] = (
    ("imagePullSecrets", "imagePullSecrets"),
    ("nodeSelector", "nodeSelector"),
    ("tolerations", "tolerations"),
)
"""Member of a pod's specification -> value of the chart that fills it."""

FILES: Mapping[str, tuple[str, ...]] = {
    "namespaces.yaml": ("Namespace",),
    "crds.yaml": ("CustomResourceDefinition",),
    "priority-classes.yaml": ("PriorityClass",),
    "rbac.yaml": ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "webhooks.yaml": ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
    "services.yaml": ("Service", "NetworkPolicy"),
    "deployments.yaml": ("PodTemplate", "Deployment"),
}

CONDITIONS: Mapping[str, str] = {
    "namespaces.yaml": ".Values.createNamespaces",
    "crds.yaml": ".Values.crds",
    "priority-classes.yaml": ".Values.priorityClasses",
    "webhooks.yaml": ".Values.webhooks",
}
"""File -> the value that turns it off."""

VALUES = f"""\
# Namespace of our own processes; policies for all projects, and leases, are in "runai", whatever this is.
namespace: runai
# Make that namespace and runai-reservation.
createNamespaces: true
image:
  repository: {DEFAULT_IMAGE}
  # The chart's own version when left empty.
  tag: ""
  pullPolicy: IfNotPresent
imagePullSecrets: []
# Of scheduler and operator: one leads, the others wait.
replicas: 1
api:
  replicas: 1
# Names under which the web pages are reached from outside.
allowedHosts: []
logLevel: info
nodeSelector: {{}}
tolerations: []
# Admission webhooks; they fail open.
webhooks: true
# Custom resource definitions; they stay when the chart is removed.
crds: true
priorityClasses: true
rbac:
  # Further rules for our processes, for kinds of plug-ins: `runai admin manifests` prints what yours need.
  extraRules: []
"""

NOTES = """\
runai is installed in namespace {{ .Values.namespace }}.

  kubectl -n {{ .Values.namespace }} get pods
  kubectl get projects.run.ai

Records (history, accounts, tokens) are kept in each pod unless the Secret runai-database
of that namespace has a database's URL under the key url; see docs/kubernetes.md.
"""


def chart() -> dict[str, str]:
    """Return the chart's files by their paths."""
    objects = manifests(MARKED, KINDS)
    found = {
        "Chart.yaml": _chart_yaml(version("runai-core")),
        "values.yaml": VALUES,
        "values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "templates/NOTES.txt": NOTES,
    }
    for name, kinds in FILES.items():
        text = "".join(_template(item) for item in objects if item["kind"] in kinds)
        if name in CONDITIONS:
            text = f"{{{{- if {CONDITIONS[name]} }}}}\n{text}{{{{- end }}}}\n"
        found[f"templates/{name}"] = text
    return found


def _chart_yaml(number: str) -> str:
    return (
        "apiVersion: v2\n"
        "name: runai\n"
        "description: AI workload orchestrator - gang scheduling, fair sharing and one lifecycle for every job\n"
        "type: application\n"
        f'version: "{number}"\n'
        f'appVersion: "{number}"\n'
        'kubeVersion: ">=1.30.0-0"\n'
    )


def _schema() -> dict[str, Any]:
    text, number, switch = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "boolean"}
    texts = {"type": "array", "items": text}
    image = {"repository": text, "tag": text, "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]}}
    known: dict[str, Any] = {
        "namespace": text,
        "createNamespaces": switch,
        "image": {"type": "object", "properties": image, "additionalProperties": False},
        "imagePullSecrets": {"type": "array", "items": {"type": "object"}},
        "replicas": number,
        "api": {"type": "object", "properties": {"replicas": number}, "additionalProperties": False},
        "allowedHosts": texts,
        "logLevel": {"enum": ["debug", "info", "warning", "error"]},
        "nodeSelector": {"type": "object", "additionalProperties": text},
        "tolerations": {"type": "array", "items": {"type": "object"}},
        "webhooks": switch,
        "crds": switch,
        "priorityClasses": switch,
        "rbac": {"type": "object", "properties": {"extraRules": {"type": "array"}}, "additionalProperties": False},
        "global": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": known,
        "additionalProperties": False,
    }


def _template(item: dict[str, Any]) -> str:
    if item["kind"] == "CustomResourceDefinition":
        metadata = {**item["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}
        item = {**item, "metadata": metadata}
    text = to_yaml([item])
    for mark, expression in EXPRESSIONS.items():
        text = text.replace(mark, expression)
    for member, value in BLOCKS:
        text = _block(text, member, value)
    if item["kind"] == "ClusterRole" and not item["metadata"]["name"].startswith("runai-project"):
        text += "{{- with .Values.rbac.extraRules }}\n{{ toYaml . }}\n{{- end }}\n"
    if item["kind"] == "Namespace" and item["metadata"]["name"] == SYSTEM_NAMESPACE:
        text = f'{{{{- if ne .Values.namespace "{SYSTEM_NAMESPACE}" }}}}\n{text}{{{{- end }}}}\n'
    if item["kind"] == "Service" and item["metadata"]["name"] == "runai-webhook":
        text = f"{{{{- if .Values.webhooks }}}}\n{text}{{{{- end }}}}\n"
    return _arguments(text)


def _block(text: str, member: str, value: str) -> str:
    """Turn a member with a mark into one that is there only if the value is."""
    pattern = rf"^( +){member}:\n(?:\1[- ].*mark-.*\n(?:\1  .*\n)*)"
    return re.sub(
        pattern,
        lambda found: (
            f"{found[1]}{{{{- with .Values.{value} }}}}\n"
            f"{found[1]}{member}:\n"
            f"{found[1]}  {{{{- toYaml . | nindent {len(found[1]) + 2} }}}}\n"
            f"{found[1]}{{{{- end }}}}\n"
        ),
        text,
        flags=re.MULTILINE,
    )


def _arguments(text: str) -> str:
    """Let the operator answer webhooks only where there are some."""
    return re.sub(
        r"^( +)- --webhook-host=.*\n +- --webhook-port=.*\n",
        lambda found: (
            f"{found[1]}{{{{- if .Values.webhooks }}}}\n{found[0]}{found[1]}{{{{- else }}}}\n"
            f"{found[1]}- --no-webhook\n{found[1]}{{{{- end }}}}\n"
        ),
        text,
        flags=re.MULTILINE,
    )


def write(folder: Path, files: Mapping[str, str]) -> Sequence[Path]:
    """Write the files, and remove what is there besides them."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [folder / name for name in files]


def marks_left(files: Iterable[str]) -> list[str]:
    """Return the marks that no expression took the place of."""
    return sorted({mark for text in files for mark in re.findall(r"mark-\w+|98765\d", text)})


if __name__ == "__main__":
    for written in write(CHART, chart()):
        print(written)
