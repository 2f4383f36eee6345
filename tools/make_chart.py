"""Write the Helm chart under deploy/helm/runai from the manifests that `runai admin install` applies.

The manifests are made once with marks where values go; marks become template
expressions. A test renders the chart and compares it with the manifests.
"""

import base64
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.operator.install.deployments import link_digest
from runai_core.operator.install.manifests import manifests, to_yaml
from runai_core.operator.install.names import DATABASE_SECRET, LINK_SECRET
from runai_core.operator.install.options import DEFAULT_IMAGE, Options
from runai_core.plugins.builtin import KINDS

CHART = Path(__file__).parent.parent / "deploy" / "helm" / "runai"

NAMESPACE, IMAGE, POLICY, HOSTS, LEVEL = "mark-namespace", "mark-image", "mark-policy", "mark-hosts", "mark-level"
SECRET, SELECTOR, TOLERATION = "mark-secret", "mark-selector", "mark-toleration"
DATABASE, URL, SIZE, CLASS = "mark-database", "mark-url", "mark-size", "mark-class"
LINK, TOKEN, AUTHORITY = "mark-link", "mark-token", "mark-authority"
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
    storage_size=SIZE,
    storage_class=CLASS,
    control_plane_url=LINK,
    join_token=TOKEN,
    control_plane_ca=AUTHORITY,
)

WITH_DATABASE = replace(MARKED, database_secret=DATABASE)
WITH_URL = replace(MARKED, database_url=URL)

EXPRESSIONS: Mapping[str, str] = {
    NAMESPACE: "{{ .Values.namespace }}",
    IMAGE: '"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"',
    POLICY: "{{ .Values.image.pullPolicy }}",
    f",{HOSTS}": "{{ range .Values.allowedHosts }},{{ . }}{{ end }}",
    LEVEL: "{{ .Values.logLevel }}",
    DATABASE: f'{{{{ .Values.database.existingSecret | default "{DATABASE_SECRET}" }}}}',
    base64.b64encode(URL.encode()).decode(): "{{ .Values.database.url | b64enc }}",
    **{
        base64.b64encode(mark.encode()).decode(): f"{{{{ .Values.controlPlane.{value} | b64enc }}}}"
        for mark, value in ((LINK, "url"), (TOKEN, "joinToken"), (AUTHORITY, "ca"))
    },
    link_digest(MARKED): "{{ with .Values.controlPlane }}"
    '{{ printf "%s%s%s" .url .joinToken .ca | sha256sum | trunc 16 | quote }}{{ end }}',
    SIZE: "{{ .Values.database.storage.size }}",
    str(REPLICAS): "{{ .Values.replicas }}",
    str(API_REPLICAS): "{{ .Values.api.replicas }}",
}

BLOCKS: tuple[tuple[str, str], ...] = (
    ("imagePullSecrets", "imagePullSecrets"),
    ("nodeSelector", "nodeSelector"),
    ("tolerations", "tolerations"),
)
"""Member of a pod's specification -> value of the chart that fills it."""

HAS_DATABASE = "or .Values.database.url .Values.database.existingSecret"
"""Says that there is a database; without one the records are on a volume."""

KEEP = {"helm.sh/resource-policy": "keep"}
"""Annotation of what stays when the chart is removed."""

KEPT = frozenset({"CustomResourceDefinition", "PersistentVolumeClaim"})

FILES: Mapping[str, tuple[str, ...]] = {
    "namespaces.yaml": ("Namespace",),
    "crds.yaml": ("CustomResourceDefinition",),
    "priority-classes.yaml": ("PriorityClass",),
    "rbac.yaml": ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "webhooks.yaml": ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
    "services.yaml": ("Service", "NetworkPolicy"),
    "records.yaml": ("Secret", "PersistentVolumeClaim"),
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
# Where history, accounts, tokens and access rules are kept.
database:
  # Of PostgreSQL, for example postgresql://runai:secret@postgres.example/runai; kept in the Secret {DATABASE_SECRET}.
  url: ""
  # Or the name of a Secret of the same namespace that has it under the key "url".
  existingSecret: ""
  # Without a database: SQLite on a volume. All processes that keep records then run on one node.
  storage:
    size: 5Gi
    # The cluster's default class when left empty.
    className: ""
# Links the cluster to a control plane; kept in the Secret {LINK_SECRET}, which may be made by hand instead.
controlPlane:
  # For example https://runai.example.com:8443.
  url: ""
  # What `runai control-plane cluster install-info` gave; needed once.
  joinToken: ""
  # PEM of the authorities that may sign its certificate; the usual ones when left empty.
  ca: ""
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

{{- if not (or .Values.database.url .Values.database.existingSecret) }}

Records (history, accounts, tokens, access rules) are an SQLite file on the volume runai-records,
which needs a storage class; it stays when the chart is removed. See docs/kubernetes.md.
{{- end }}
"""


def chart() -> dict[str, str]:
    """Return the chart's files by their paths."""
    objects = _conditional()
    found = {
        "Chart.yaml": _chart_yaml(version("runai-core")),
        "values.yaml": VALUES,
        "values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "templates/NOTES.txt": NOTES,
    }
    for name, kinds in FILES.items():
        text = "".join(text for kind, text in objects if kind in kinds)
        if name in CONDITIONS:
            text = f"{{{{- if {CONDITIONS[name]} }}}}\n{text}{{{{- end }}}}\n"
        found[f"templates/{name}"] = text
    return found


def _conditional() -> list[tuple[str, str]]:
    """Return kind and template of every object; what depends on the database says so."""
    texts = [_by_name(options) for options in (MARKED, WITH_DATABASE, WITH_URL)]
    found = []
    for key in dict.fromkeys(key for each in texts for key in each):
        volume, database, url = (each.get(key, "") for each in texts)
        if url and not (volume or database):
            text = (
                f"{{{{- if and .Values.database.url (not .Values.database.existingSecret) }}}}\n{url}{{{{- end }}}}\n"
            )
        else:
            text = _either(HAS_DATABASE, database, volume)
        found.append((key[0], text))
    return found


def _by_name(options: Options) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for item in manifests(options, KINDS):
        key = (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        found[key] = _template(item)
    return found


def _either(condition: str, yes: str, no: str) -> str:
    """Return a text that is `yes` where the condition holds, and `no` where not; what both have is there once."""
    some, others = yes.splitlines(keepends=True), no.splitlines(keepends=True)
    found = []
    for tag, a, b, c, d in SequenceMatcher(None, some, others, autojunk=False).get_opcodes():
        there, absent = "".join(some[a:b]), "".join(others[c:d])
        if tag == "equal":
            found.append(there)
        elif there and absent:
            found.append(f"{{{{- if {condition} }}}}\n{there}{{{{- else }}}}\n{absent}{{{{- end }}}}\n")
        else:
            test = condition if there else f"not ({condition})"
            found.append(f"{{{{- if {test} }}}}\n{there or absent}{{{{- end }}}}\n")
    return "".join(found)


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
        "database": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "pattern": "^$|^postgresql"},
                "existingSecret": text,
                "storage": {
                    "type": "object",
                    "properties": {"size": text, "className": text},
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
        "controlPlane": {
            "type": "object",
            "properties": {"url": {"type": "string", "pattern": "^$|^https://"}, "joinToken": text, "ca": text},
            "additionalProperties": False,
        },
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


_STORAGE_CLASS = (
    r"\1{{- with .Values.database.storage.className }}\n\1storageClassName: {{ . | quote }}\n\1{{- end }}\n"
)


def _template(item: dict[str, Any]) -> str:
    if item["kind"] in KEPT:
        metadata = {**item["metadata"], "annotations": KEEP}
        item = {**item, "metadata": metadata}
    text = to_yaml([item])
    for mark, expression in EXPRESSIONS.items():
        text = text.replace(mark, expression)
    text = re.sub(rf"^( +)storageClassName: {CLASS}\n", _STORAGE_CLASS, text, flags=re.MULTILINE)
    for member, value in BLOCKS:
        text = _block(text, member, value)
    if item["kind"] == "ClusterRole" and not item["metadata"]["name"].startswith("runai-project"):
        text += "{{- with .Values.rbac.extraRules }}\n{{ toYaml . }}\n{{- end }}\n"
    if item["kind"] == "Namespace" and item["metadata"]["name"] == SYSTEM_NAMESPACE:
        text = f'{{{{- if ne .Values.namespace "{SYSTEM_NAMESPACE}" }}}}\n{text}{{{{- end }}}}\n'
    if item["kind"] == "Service" and item["metadata"]["name"] == "runai-webhook":
        text = f"{{{{- if .Values.webhooks }}}}\n{text}{{{{- end }}}}\n"
    if item["metadata"]["name"] == LINK_SECRET:
        text = f"{{{{- if .Values.controlPlane.url }}}}\n{_LINK_MEMBER.sub(_if_given, text)}{{{{- end }}}}\n"
    return _arguments(text)


_LINK_MEMBER = re.compile(r"^  (?:token|ca\.pem): \{\{ (\.Values\.controlPlane\.\w+) .*\n", flags=re.MULTILINE)


def _if_given(found: re.Match[str]) -> str:
    return f"  {{{{- if {found[1]} }}}}\n{found[0]}  {{{{- end }}}}\n"


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
