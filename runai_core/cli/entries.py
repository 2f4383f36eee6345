"""Values with parts, such as ``claimname=data,path=/data``: tables of the parts, and one reader.

A comma separates parts only before a known key or word, so that a value may
hold commas itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.client.specs import put
from runai_core.model.errors import FieldError, InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How one kind of value with parts is written, and what it becomes."""

    keys: Mapping[str, str] = field(default_factory=dict)  # key -> path in the result
    words: Mapping[str, tuple[str, Any]] = field(default_factory=dict)  # bare word -> path and value
    always: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()  # values separated by ':'
    first: str = ""  # path of the part before the first '=': ``NAME=...``
    first_value: str = ""  # path of the part after it
    first_form: str = ""  # how those two are written

    @property
    def form(self) -> str:
        """How it is written, for help."""
        head = f"{self.first_form}," if self.first else ""
        parts = [f"{key}=" if key in self.required else f"[{key}=]" for key in self.keys]
        return (head + ",".join([*parts, *(f"[{word}]" for word in self.words)])).rstrip(",")


RESOURCE = Entry(first="resource", first_value="quantity", first_form="NAME=QUANTITY")
VARIABLE = Entry(first="name", first_value="value", first_form="NAME=VALUE")
ENV_SECRET = Entry(
    first="name", first_value="secret.name", first_form="NAME=SECRET", keys={"key": "secret.key"}, required=("key",)
)
ENV_FIELD = Entry(first="name", first_value="podFieldRef.path", first_form="NAME=PATH")
ENV_CREDENTIAL = Entry(
    keys={"type": "", "name": "name", "credential-name": "userCredential.name", "key": "userCredential.key"},
    required=("name", "credential-name"),
)
PULL_CREDENTIAL = Entry(keys={"type": "", "name": "name"}, always={"userCredential": True}, required=("name",))
DATA_SOURCE = Entry(keys={"type": "kind", "name": "id"}, required=("name",))
DATA_VOLUME = Entry(keys={"name": "id", "mountpath": "mountPath"}, required=("name", "mountpath"))
TOLERATION = Entry(
    keys={"operator": "operator", "key": "key", "value": "value", "effect": "effect", "seconds": "seconds"},
    numbers=frozenset({"seconds"}),
)
EXISTING_PVC = Entry(
    keys={"claimname": "claimName", "path": "path"},
    words={"ro": ("readOnly", True)},
    always={"existingPvc": True},
    required=("claimname", "path"),
)
NEW_PVC = Entry(
    keys={
        "claimname": "claimName",
        "storageclass": "claimInfo.storageClass",
        "size": "claimInfo.size",
        "path": "path",
    },
    words={
        "accessmode-rwo": ("claimInfo.accessModes.readWriteOnce", True),
        "accessmode-rom": ("claimInfo.accessModes.readOnlyMany", True),
        "accessmode-rwm": ("claimInfo.accessModes.readWriteMany", True),
        "ro": ("readOnly", True),
        "ephemeral": ("ephemeral", True),
    },
    always={"existingPvc": False},
    required=("size", "path"),
)
NFS = Entry(
    keys={"path": "path", "server": "server", "mountpath": "mountPath"},
    words={"readwrite": ("readOnly", False)},
    always={"readOnly": True},
    required=("path", "server"),
)
HOST_PATH = Entry(
    keys={"path": "path", "mount": "mountPath", "mount-propagation": "mountPropagation"},
    words={"readwrite": ("readOnly", False)},
    always={"readOnly": True},
    required=("path",),
)
GIT_SYNC = Entry(
    keys={
        "name": "name",
        "repository": "repository",
        "path": "path",
        "secret": "passwordSecret",
        "rev": "revision",
        "branch": "branch",
    },
    required=("repository",),
)
S3_BUCKET = Entry(
    keys={"name": "name", "bucket": "bucket", "path": "path", "accesskey": "accessKeySecret", "url": "url"},
    required=("bucket",),
)
CONFIG_MAP = Entry(
    keys={"name": "configMap", "path": "mountPath", "subpath": "subPath", "default-mode": "defaultMode"},
    required=("name", "path"),
)
SECRET_VOLUME = Entry(
    keys={"name": "secret", "path": "mountPath", "default-mode": "defaultMode"}, required=("name", "path")
)
EMPTY_DIR = Entry(
    keys={"name": "name", "path": "path", "medium": "medium", "size-limit": "sizeLimit"}, required=("path",)
)
PORT = Entry(
    keys={"service-type": "serviceType", "container": "container", "external": "external"},
    numbers=frozenset({"container", "external"}),
    required=("container",),
)
EXTERNAL_URL = Entry(
    keys={
        "container": "container",
        "url": "url",
        "authusers": "authorizedUsers",
        "authgroups": "authorizedGroups",
    },
    numbers=frozenset({"container"}),
    lists=frozenset({"authusers", "authgroups"}),
    required=("container",),
)
SERVING_PORT = Entry(
    keys={
        "container": "container",
        "protocol": "protocol",
        "authorization-type": "authorizationType",
        "authorized-users": "authorizedUsers",
        "authorized-groups": "authorizedGroups",
    },
    words={"cluster-local-access-only": ("clusterLocalAccessOnly", True)},
    numbers=frozenset({"container"}),
    lists=frozenset({"authorized-users", "authorized-groups"}),
    required=("container",),
)


def read_entry(entry: Entry, text: str, flag: str) -> dict[str, Any]:
    """Return what a value with parts stands for.

    Raises:
        InvalidRequest: a part is unknown, missing or not a number; names the flag and the form.
    """
    result: dict[str, Any] = {}
    for path, value in entry.always.items():
        put(result, path, value)
    seen: set[str] = set()
    parts = _split(entry, text)
    if entry.first:
        _read_first(entry, parts.pop(0) if parts else "", result, _wrong(entry, flag, text))
    for part in parts:
        key, equals, value = part.partition("=")
        if key in entry.words and _said_yes(key, value or "true", flag):
            put(result, *entry.words[key])
        elif equals and key in entry.keys:
            seen.add(key)
            if entry.keys[key]:
                put(result, entry.keys[key], _value(entry, key, value, flag))
        elif key not in entry.words:
            raise _wrong(entry, flag, text, f"{key[:80]!r} is unknown; ")
    if missing := [key for key in entry.required if key not in seen]:
        raise _wrong(entry, flag, text, f"{' and '.join(missing)} missing; ")
    return result


def _said_yes(key: str, value: str, flag: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise InvalidRequest.of(FieldError(flag, f"{key} is true or false", value))
    return value.lower() == "true"


def _read_first(entry: Entry, part: str, result: dict[str, Any], wrong: InvalidRequest) -> None:
    name, equals, value = part.partition("=")
    if not name or not equals:
        raise wrong
    put(result, entry.first, name)
    put(result, entry.first_value, value)


def _split(entry: Entry, text: str) -> list[str]:
    names = "|".join(map(re.escape, sorted([*entry.keys, *entry.words], key=len, reverse=True)))
    if not names:
        return [text]
    if not entry.first:
        # Without a free text at the front every comma before something like a key separates.
        return [part.strip() for part in re.split(rf",(?=(?:{names})(?:=|,|$)|[a-z-]+=)", text) if part.strip()]
    return [part.strip() for part in re.split(rf",(?=(?:{names})(?:=|,|$))", text)]


def _value(entry: Entry, key: str, value: str, flag: str) -> Any:
    if key in entry.lists:
        return [item for item in value.split(":") if item]
    if key not in entry.numbers:
        return value
    try:
        return int(value)
    except ValueError:
        raise InvalidRequest.of(FieldError(flag, f"{key} must be a whole number", value)) from None


def _wrong(entry: Entry, flag: str, text: str, why: str = "") -> InvalidRequest:
    return InvalidRequest.of(FieldError(flag, f"{why}it is written {entry.form}", text))
