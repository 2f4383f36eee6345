"""The specification of a workload as v2alpha1 writes it, and as the current API does.

Which field is which is told by one table (`policy.v2alpha1_kinds`); here is how
values are read and written. Reading takes every spelling that the table knows;
writing uses one. What the public fields cannot express is left to `patches`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import PolicyType
from runai_core.policy.fields import FIELDS, unknown_name
from runai_core.policy.tree import copied, drop_at, get_at, set_at
from runai_core.policy.v2alpha1_fields import ITEMS, JOB_TYPES, SCALARS, member_value
from runai_core.policy.v2alpha1_kinds import Form, KindField, Shape, kind_fields

Tree = dict[str, Any]

NOT_SPECIFICATION = frozenset(
    {"name", "namePrefix", "usage", "baseWorkload", "active", "username", "userId", "ingressUrl", "noMaster"}
)
"""Fields that say something about the workload, not about its pods: `workloads` reads them."""

NOT_SUPPORTED: Mapping[str, str] = {
    "jupyter": "give the command of the notebook server, and its port in ports",
    "notebookToken": "give the token in the command of the notebook server",
    "tensorboard": "start it in a workload of its own",
    "tensorboardLogdir": "start TensorBoard in a workload of its own",
    "mpi": "use a DistributedWorkload with jobType MPIJob",
    "processes": "use a DistributedWorkload with jobType MPIJob and workers",
    "class": "leave it out",
}
"""Fields of the older product line that are refused rather than ignored, with what to do."""

NOT_WRITTEN = frozenset(
    {"nodePool", "ttlAfterFinish", "preemptible", "nonPreemptible", "runAsUser", "isPrivateServiceUrl", "gpuDevices"}
)
"""Spellings that are read only: another field says the same."""

GENERATED = re.compile(r"^[A-Za-z0-9]+--[0-9]+$")
"""Labels that stand for entries without a name (Run:ai writes ``pvc--0``)."""

SECRET = "SECRET:"  # noqa: S105 - a prefix
DEVICES, PORTION, REQUEST_TYPE = "compute.gpuDevicesRequest", "compute.gpuPortionRequest", "compute.gpuRequestType"


# -- reading


def read_spec(spec: Mapping[str, Any], workload: PolicyType, *, at: str = "spec") -> Tree:
    """Return the specification in the current API's form; `at` is the path that errors begin with.

    Raises:
        InvalidRequest: a field is unknown, is not one of this kind, or has the wrong form; names each.
    """
    reader = _Reader(workload, at)
    for name, body in spec.items():
        reader.field(str(name), body)
    reader.finish()
    if reader.errors:
        raise InvalidRequest.of(*reader.errors)
    return reader.tree


class _Reader:
    """Builds the current form, field by field."""

    def __init__(self, workload: PolicyType, at: str) -> None:
        self.tree: Tree = {}
        self.errors: list[FieldError] = []
        self._at = at
        self._fields = kind_fields(workload)
        self._told: Tree = {}  # fields that change how others are read
        self._special: Mapping[str, Callable[[Any], None]] = {
            "gpu": self._gpu,
            "podAffinity": lambda value: self._told.__setitem__("podAffinity", value),
            "mountPropagation": lambda value: self._told.__setitem__("mountPropagation", value),
            "serviceType": lambda value: self._told.__setitem__("serviceType", value),
            "metricName": lambda value: self._told.__setitem__("metricName", value),
            "mps": lambda value: self._told.__setitem__("mps", value),
        }

    def field(self, name: str, body: Any) -> None:
        entry = self._fields.get(name)
        if entry is None:
            self._refuse(name, unknown_name(name, self._fields))
        elif name not in NOT_SPECIFICATION and body is not None:
            if entry.shape is Shape.PLAIN:
                self._plain(name, body)
            elif not isinstance(body, Mapping):
                self._refuse(name, f"must be an object with {entry.shape.value}", body)
            elif entry.shape is Shape.ITEMS:
                self._items(entry, body)
            elif body.get("value") is not None:
                self._value(entry, body["value"])

    def finish(self) -> None:
        """Let the fields bite that speak about others."""
        told = self._told
        if told.get("podAffinity") is False:
            drop_at(self.tree, "podAffinity")
        elif told.get("podAffinity"):
            self.tree.setdefault("podAffinity", {})
        if told.get("mountPropagation"):
            for entry in get_at(self.tree, "storage.hostPath") or ():
                entry.setdefault("mountPropagation", "HostToContainer")
        if told.get("serviceType"):
            for entry in self.tree.get("ports") or ():
                entry.setdefault("serviceType", told["serviceType"])
        if told.get("metricName") and get_at(self.tree, "autoscaling.metric") == "custom":
            set_at(self.tree, "autoscaling.metric", told["metricName"])
        if told.get("mps"):
            self.tree.setdefault("annotations", []).append({"name": "mps", "value": "true"})
        if get_at(self.tree, "security.uidGidSource") == "fromIdpToken" and _names_user(self.tree):
            set_at(self.tree, "security.uidGidSource", "custom")  # runAsUser with runAsUid: Run:ai before 2.16

    def _refuse(self, at: str, message: str, given: Any = None) -> None:
        self.errors.append(FieldError(f"{self._at}.{at}", message, given))

    def _plain(self, name: str, body: Any) -> None:
        if name == "jobType":
            self.tree["distributedFramework"] = JOB_TYPES.get(str(body), body)
            return
        if not isinstance(body, Mapping):
            self._refuse(name, "must be an object", body)
            return
        for key, path in _FRAMEWORK_EXTRAS.items():
            if (value := get_at(body, key)) is not None:
                set_at(self.tree, path, value)

    def _value(self, entry: KindField, value: Any) -> None:
        if entry.name in NOT_SUPPORTED:
            if value:
                advice = NOT_SUPPORTED[entry.name]
                self._refuse(entry.name, f"is of an older product line and has no effect here: {advice}", value)
        elif entry.name in self._special:
            self._special[entry.name](value)
        elif entry.name in SCALARS:
            path, convert = SCALARS[entry.name]
            set_at(self.tree, path, convert(value))
        else:
            set_at(self.tree, entry.path, copied(value))

    def _gpu(self, value: Any) -> None:
        """One text stands for whole devices or for a part of one."""
        number = SCALARS["cpu"][1](value)
        if isinstance(number, int | float) and 0 < number < 1:
            self.tree.setdefault("compute", {}).setdefault("gpuDevicesRequest", 1)
            set_at(self.tree, REQUEST_TYPE, "portion")
            set_at(self.tree, PORTION, number)
        else:
            set_at(self.tree, DEVICES, SCALARS["gpuDevices"][1](value))

    def _items(self, entry: KindField, body: Mapping[str, Any]) -> None:
        items = body.get("items") or {}
        if not isinstance(items, Mapping):
            self._refuse(f"{entry.name}.items", "must be a mapping of labels to {value: ...}", items)
            return
        members = ITEMS[entry.name][1] if entry.name in ITEMS else {name: name for name in entry.members}
        found = []
        for label, item in items.items():
            if not isinstance(item, Mapping):
                self._refuse(f"{entry.name}.items.{label}", "must be an object with value", item)
                continue
            read = self._entry(f"{entry.name}.items.{label}", members, item)
            key = key_of(entry)
            if read.get(key) is None and not GENERATED.match(str(label)):
                read[key] = str(label)
            found.append(read)
        set_at(self.tree, entry.path, found)

    def _entry(self, at: str, members: Mapping[str, str], item: Mapping[str, Any]) -> Tree:
        value = item.get("value")
        found: Tree = {"exclude": True} if item.get("deleted") else {}
        if "" in members:
            return found | (_whole_value(members[""], value) if value is not None else {})
        if value is not None and not isinstance(value, Mapping):
            self._refuse(f"{at}.value", f"must be an object with {', '.join(members)}", value)
            return found
        for name, given in (value or {}).items():
            if name not in members:
                self._refuse(f"{at}.value.{name}", unknown_name(str(name), members))
            elif given is not None:
                set_at(found, members[name], member_value(members[name], given))
        return found


_FRAMEWORK_EXTRAS: Mapping[str, str] = {
    "cleanPodPolicy": "cleanPodPolicy",
    "backoffLimit": "backoffLimit",
    "slotsPerWorker": "slotsPerWorker",
    "sshAuthMountPath": "sshAuthMountPath",
    "launcherCreationPolicy": "mpiLauncherCreationPolicy",
    "elasticPolicy.minReplicas": "minReplicas",
    "elasticPolicy.maxReplicas": "maxReplicas",
}
"""Members of mpiJob, pyTorchJob and runPolicy (Kubeflow's names) -> path."""


def _names_user(tree: Tree) -> bool:
    return any(get_at(tree, f"security.{name}") is not None for name in ("runAsUid", "runAsGid"))


def key_of(entry: KindField) -> str:
    """Return the member of an entry that is its label."""
    return FIELDS[entry.path].key if entry.path in FIELDS else "name"


def _whole_value(member: str, value: Any) -> Tree:
    """Return an item that is one value; ``SECRET:<name>,<key>`` is a reference to a secret."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if member == "value" and text.startswith(SECRET):
        name, _, key = text.removeprefix(SECRET).partition(",")
        return {"secret": {"name": name.strip(), "key": key.strip()}}
    return {member: text}


# -- writing


def write_spec(spec: Mapping[str, Any], workload: PolicyType) -> Tree:
    """Return the public fields of the custom resource that express a specification, as far as they can."""
    return dict(_written(spec, workload))


def _written(spec: Mapping[str, Any], workload: PolicyType) -> Iterator[tuple[str, Any]]:
    if (gpu := _gpu_text(spec)) is not None:
        yield "gpu", {"value": gpu}
    if "podAffinity" in spec:
        yield "podAffinity", {"value": True}
    for name, entry in kind_fields(workload).items():
        value = get_at(spec, entry.path) if entry.path else None
        if value is None or name in NOT_WRITTEN or (gpu is not None and entry.path in (DEVICES, PORTION, REQUEST_TYPE)):
            continue
        if entry.shape is Shape.ITEMS:
            yield name, {"items": _items_of(entry, value)}
        elif name == "distributedFramework" and (job := _JOB_OF.get(value)):
            yield "jobType", job
        else:
            yield name, {"value": _text_of(entry, value)}
    if gpu is None and (devices := get_at(spec, DEVICES)) is not None:
        yield "gpuDevices", {"value": devices}


_JOB_OF = {framework: job for job, framework in JOB_TYPES.items()}


def _gpu_text(spec: Mapping[str, Any]) -> str | None:
    """Return the one text for devices or a part of one, where it says all there is to say."""
    devices, portion, kind = (get_at(spec, path) for path in (DEVICES, PORTION, REQUEST_TYPE))
    if portion is None and kind is None and devices is not None:
        return str(devices)
    if portion is not None and 0 < portion < 1 and kind == "portion" and devices == 1:
        return f"{portion:.15g}"
    return None


def _text_of(entry: KindField, value: Any) -> Any:
    if entry.form in (Form.OBJECT, Form.WHOLE, Form.BOOLEAN):
        return copied(value)
    if entry.name == "podAffinitySchedulingRule":
        return {"Required": "hard", "Preferred": "soft"}.get(value, value)
    if isinstance(value, list | tuple):
        return ("," if entry.name == "capabilities" else " ").join(map(str, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _items_of(entry: KindField, entries: Any) -> Tree:
    """Return the entries by their labels; those that have none get one by their place."""
    members = ITEMS[entry.name][1] if entry.name in ITEMS else {name: name for name in entry.members}
    key, items = key_of(entry), {}
    width = len(str(len(entries)))
    for place, item in enumerate(entries):
        label = item.get(key) or f"{entry.name}--{place:0{width}d}"
        found: Tree = {"deleted": True} if item.get("exclude") else {}
        value = _entry_value(members, item)
        items[label] = found | ({} if value is None else {"value": value})
    return items


def _entry_value(members: Mapping[str, str], item: Mapping[str, Any]) -> Any:
    if "" in members:
        if (secret := item.get("secret")) and members[""] == "value":
            return f"{SECRET}{secret.get('name', '')},{secret.get('key', '')}"
        return item.get(members[""])
    value: Tree = {}
    for name, path in members.items():
        if name not in _OLDER_MEMBERS and (given := get_at(item, path)) is not None:
            value[name] = copied(given)
    return value


_OLDER_MEMBERS = frozenset({"source"})
"""Members that are read only: another one says the same."""
