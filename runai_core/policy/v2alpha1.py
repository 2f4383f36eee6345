"""The older form of policies: objects of run.ai/v2alpha1, translated to the current one.

There is one policy for each kind and namespace; the one in the namespace
``runai`` is for projects that have none of that kind (`scopes.nearest_first`).
Every field is an object with ``value`` or ``items``; numbers of GPUs are texts.
"""

from collections.abc import Mapping
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.fields import FIELDS, unknown_name
from runai_core.policy.tree import get_at, set_at
from runai_core.policy.v2alpha1_fields import ITEMS, JOB_TYPES, SCALARS, member_value

GROUP_VERSION = "run.ai/v2alpha1"
GLOBAL_NAMESPACE = "runai"
PROJECT_NAMESPACE = "runai-"

KINDS: Mapping[str, PolicyType] = {
    "InteractivePolicy": PolicyType.WORKSPACE,
    "TrainingPolicy": PolicyType.TRAINING,
    "DistributedPolicy": PolicyType.DISTRIBUTED,
    "InferencePolicy": PolicyType.INFERENCE,
}

_SCALAR_RULES = ("required", "canEdit", "min", "max", "options")
_ITEM_FLAGS = ("canAdd", "required")
_KNOWN = (*SCALARS, *ITEMS, "gpu", "jobType")


def is_v2alpha1(document: object) -> bool:
    """Return whether a policy was written in the older form."""
    return isinstance(document, Mapping) and document.get("apiVersion") == GROUP_VERSION


def policy_of(manifest: Mapping[str, Any]) -> Policy:
    """Return the policy that a v2alpha1 object is, in the scope that its namespace stands for.

    The object stays the policy's document, as its author wrote it.

    Raises:
        InvalidRequest: the object or its namespace is none of a policy, or as `from_v2alpha1`.
    """
    if not is_v2alpha1(manifest):
        raise InvalidRequest.of(FieldError("apiVersion", f"must be {GROUP_VERSION}", manifest.get("apiVersion")))
    namespace, name = get_at(manifest, "metadata.namespace"), get_at(manifest, "metadata.name")
    workload, _ = from_v2alpha1(manifest)
    own = isinstance(namespace, str) and namespace.startswith(PROJECT_NAMESPACE)
    if not own and namespace != GLOBAL_NAMESPACE:
        message = f"must be {GLOBAL_NAMESPACE} for the global policy, or {PROJECT_NAMESPACE}<project>"
        raise InvalidRequest.of(FieldError("metadata.namespace", message, namespace))
    return Policy(
        meta=Meta(name=str(name or workload)),
        type=workload,
        scope_type="project" if own else "tenant",
        scope=str(namespace).removeprefix(PROJECT_NAMESPACE) if own else "",
        document=manifest,
    )


def from_v2alpha1(manifest: Mapping[str, Any]) -> tuple[PolicyType, dict[str, Any]]:
    """Return the type of workload that a v2alpha1 object is for, and its policy in the current form.

    Raises:
        InvalidRequest: an unknown kind or field, or a rule that has no counterpart; names each.
    """
    kind, spec = str(manifest.get("kind")), manifest.get("spec") or {}
    if kind not in KINDS:
        raise InvalidRequest.of(FieldError("kind", f"must be one of {', '.join(KINDS)}", kind))
    if not isinstance(spec, Mapping):
        raise InvalidRequest.of(FieldError("spec", "must be a mapping of fields", spec))
    translation = _Translation(KINDS[kind])
    for name, body in spec.items():
        translation.field(str(name), body)
    if translation.errors:
        raise InvalidRequest.of(*translation.errors)
    return KINDS[kind], translation.document


class _Translation:
    """Builds the current form, field by field."""

    def __init__(self, workload: PolicyType) -> None:
        self.workload = workload
        self.document: dict[str, Any] = {"defaults": {}, "rules": {}}
        self.errors: list[FieldError] = []

    def field(self, name: str, body: Any) -> None:
        path = SCALARS[name][0] if name in SCALARS else ITEMS[name][0] if name in ITEMS else name
        if name not in _KNOWN:
            self._refuse(name, unknown_name(name, _KNOWN))
        elif path in FIELDS and self.workload not in FIELDS[path].workloads:
            self._refuse(name, f"does not apply to {self.workload} workloads")
        elif name == "jobType":
            self._default("distributedFramework", JOB_TYPES.get(str(body), body))
        elif not isinstance(body, Mapping):
            self._refuse(name, "must be a mapping with value, items or rules", body)
        elif name == "gpu":
            self._gpu(body)
        elif name in SCALARS:
            self._scalar(name, body)
        else:
            self._items(name, body)

    def _refuse(self, at: str, message: str, given: Any = None) -> None:
        self.errors.append(FieldError(f"spec.{at}", message, given))

    def _default(self, path: str, value: Any) -> None:
        set_at(self.document["defaults"], path, value)

    def _rule(self, path: str, name: str, value: Any) -> None:
        set_at(self.document["rules"], f"{path}.{name}", value)

    def _mapping(self, at: str, body: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
        if body is None:
            return {}
        if not isinstance(body, Mapping):
            self._refuse(at, f"must be a mapping with {', '.join(known)}", body)
            return {}
        for name in body:
            if name not in known:
                self._refuse(f"{at}.{name}", unknown_name(str(name), known))
        return {name: value for name, value in body.items() if name in known and value is not None}

    def _table(self, at: str, parts: Mapping[str, Any]) -> Mapping[str, Any]:
        table = parts.get(at.rpartition(".")[2], {})
        if isinstance(table, Mapping):
            return table
        self._refuse(at, "must be a mapping", table)
        return {}

    def _scalar(self, name: str, body: Mapping[str, Any]) -> None:
        path, convert = SCALARS[name]
        members = self._mapping(name, body, ("value", "rules"))
        if "value" in members:
            self._default(path, convert(members["value"]))
        for rule, value in self._mapping(f"{name}.rules", members.get("rules"), _SCALAR_RULES).items():
            if rule in ("min", "max"):
                self._rule(path, rule, convert(value))
            elif rule == "options" and isinstance(value, list):
                self._rule(path, rule, [_option(option, convert) for option in value])
            else:
                self._rule(path, rule, value)

    def _gpu(self, body: Mapping[str, Any]) -> None:
        """One text stands for whole devices or for a part of one; the current form has a field for each."""
        devices, portion = "compute.gpuDevicesRequest", "compute.gpuPortionRequest"
        whole, number = SCALARS["gpuDevices"][1], SCALARS["cpu"][1]
        members = self._mapping("gpu", body, ("value", "rules"))
        if "value" in members:
            value = number(members["value"])
            if _is_part(value):
                self._default(devices, 1)
                self._default("compute.gpuRequestType", "portion")
                self._default(portion, value)
            else:
                self._default(devices, whole(value))
        for rule, value in self._mapping("gpu.rules", members.get("rules"), _SCALAR_RULES).items():
            if rule == "options":
                self._refuse("gpu.rules.options", "has no counterpart in the current form: use min and max")
            elif rule in ("min", "max") and _is_part(number(value)):
                self._rule(portion, rule, number(value))
                if rule == "max":
                    self._rule(devices, rule, 1)
            elif rule in ("min", "max"):
                self._rule(devices, rule, whole(value))
            else:
                self._rule(devices, rule, value)
                if rule == "canEdit" and get_at(self.document, f"defaults.{portion}") is not None:
                    self._rule(portion, rule, value)

    def _items(self, name: str, body: Mapping[str, Any]) -> None:
        path, members = ITEMS[name]
        parts = self._mapping(name, body, ("items", "rules", "itemRules"))
        for rule, value in self._mapping(f"{name}.rules", parts.get("rules"), _ITEM_FLAGS).items():
            self._rule(path, f"instances.{rule}", value)
        for member, rules in self._table(f"{name}.itemRules", parts).items():
            if member not in members:
                self._refuse(f"{name}.itemRules.{member}", unknown_name(str(member), members))
                continue
            for rule, value in self._mapping(f"{name}.itemRules.{member}", rules, _SCALAR_RULES).items():
                self._rule(path, f"attributes.{members[member]}.{rule}", member_value(members[member], value))
        instances, locked = [], []
        for label, item in self._table(f"{name}.items", parts).items():
            found = self._mapping(f"{name}.items.{label}", item, ("value", "rules"))
            value = self._members(f"{name}.items.{label}.value", members, found.get("value"))
            if label == "DEFAULTS":
                self._default(f"{path}.attributes", value)
                continue
            instances.append({FIELDS[path].key: str(label)} | value)
            flags = self._mapping(f"{name}.items.{label}.rules", found.get("rules"), ("canRemove", "canEdit"))
            if False in flags.values():
                locked.append(str(label))
        if instances:
            self._default(f"{path}.instances", instances)
        if locked:
            self._rule(path, "instances.locked", locked)

    def _members(self, at: str, members: Mapping[str, str], value: Any) -> dict[str, Any]:
        if "" in members:
            return _whole_value(members[""], value)
        found: dict[str, Any] = {}
        for name, member in self._mapping(at, value, tuple(members)).items():
            set_at(found, members[name], member_value(members[name], member))
        return found


def _is_part(number: Any) -> bool:
    return isinstance(number, int | float) and 0 < number < 1


def _option(option: Any, convert: Any) -> Any:
    if isinstance(option, Mapping) and "value" in option:
        return {**option, "value": convert(option["value"])}
    return convert(option)


def _whole_value(member: str, value: Any) -> dict[str, Any]:
    """Return an item that is one value; ``SECRET:<name>,<key>`` is a reference to a secret."""
    text = "" if value is None else str(value)
    if member == "value" and text.startswith("SECRET:"):
        name, _, key = text.removeprefix("SECRET:").partition(",")
        return {"secret": {"name": name.strip(), "key": key.strip()}}
    return {member: text}
