"""What an asset puts into a specification, and how that is laid under what the user wrote. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from runai_core.model.assets import Asset, AssetKind
from runai_core.policy.fields import FIELDS, ValueType
from runai_core.policy.tree import copied

CredentialName = Callable[[str], str]
"""From the id of a credential to the name of its secret."""

STORAGE: Mapping[AssetKind, str] = {
    AssetKind.HOST_PATH: "hostPath",
    AssetKind.NFS: "nfs",
    AssetKind.PVC: "pvc",
    AssetKind.GIT: "git",
    AssetKind.S3: "s3",
    AssetKind.CONFIG_MAP: "configMapVolume",
    AssetKind.SECRET: "secretVolume",
}
"""Kind of a data source -> member of `storage`."""

MOUNT: Mapping[str, str] = {
    "hostPath": "mountPath",
    "nfs": "mountPath",
    "pvc": "path",
    "git": "path",
    "s3": "path",
    "configMapVolume": "mountPath",
    "secretVolume": "mountPath",
}
"""Member of `storage` -> the member that says where it appears in the container."""

SECURITY = frozenset(
    {
        "uidGidSource",
        "runAsUid",
        "runAsGid",
        "supplementalGroups",
        "runAsNonRoot",
        "capabilities",
        "seccompProfileType",
        "allowPrivilegeEscalation",
        "readOnlyRootFilesystem",
        "hostIpc",
        "hostNetwork",
    }
)
"""Members of an environment that belong to `security`."""

NOT_IN_SPEC = frozenset({"connections", "overrideUidGidInWorkspace", "environmentVariables"})


def fields_of(
    asset: Asset, name_of: CredentialName, *, overrides: Mapping[str, Any] | None = None, serves: bool = False
) -> dict[str, Any]:
    """Return the part of a specification that the asset stands for.

    `overrides` is what a submission says of a data source; `serves` that the
    workload is an inference, whose tools have a serving port.
    """
    if asset.kind is AssetKind.ENVIRONMENT:
        return _environment(asset.spec, name_of, serves=serves)
    if asset.kind is AssetKind.COMPUTE:
        return {"compute": copied(asset.spec)}
    section = STORAGE[asset.kind]
    instance = {"name": asset.title, **_storage(asset, name_of)}
    if overrides and overrides.get("containerPath"):
        instance[MOUNT[section]] = overrides["containerPath"]
    return {"storage": {section: [instance]}}


def credentials_of(asset: Asset) -> list[str]:
    """Return the ids of the credentials that the asset needs."""
    spec = asset.spec
    ids = [spec.get(name) for name in ("passwordAssetId", "credentialId", "accessKeyAssetId", "credentialAssetId")]
    ids += [(variable.get("credential") or {}).get("assetId") for variable in spec.get("environmentVariables", ())]
    return [found for found in ids if found]


def under(base: Mapping[str, Any], given: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return the given fields, completed by those of the base; instances of lists are told by their key."""
    result: dict[str, Any] = copied(given)
    for name, value in base.items():
        path = f"{at}.{name}" if at else name
        mine = result.get(name)
        entry = FIELDS.get(path)
        if mine is None:
            result[name] = copied(value)
        elif entry is not None and entry.type is ValueType.ITEMIZED:
            result[name] = _items(entry.key, value, mine)
        elif isinstance(mine, dict) and isinstance(value, Mapping):
            result[name] = under(value, mine, path)
    return result


def _items(key: str, base: Any, given: Any) -> Any:
    """Return the instances of both; of two with one key, the given one."""
    if not isinstance(base, list | tuple) or not isinstance(given, list | tuple):
        return given  # what is no list is refused later, by name
    taken = {item.get(key) for item in given if isinstance(item, Mapping)} - {None}
    kept = [copied(item) for item in base if not isinstance(item, Mapping) or item.get(key) not in taken]
    return kept + [copied(item) for item in given]


def _environment(spec: Mapping[str, Any], name_of: CredentialName, *, serves: bool) -> dict[str, Any]:
    result: dict[str, Any] = {name: copied(value) for name, value in spec.items() if name not in SECURITY | NOT_IN_SPEC}
    security = {name: copied(value) for name, value in spec.items() if name in SECURITY}
    if security:
        result["security"] = security
    if spec.get("environmentVariables"):
        result["environmentVariables"] = [_variable(item, name_of) for item in spec["environmentVariables"]]
    for connection in spec.get("connections", ()):
        _connect(result, connection, serves=serves)
    return result


def _variable(variable: Mapping[str, Any], name_of: CredentialName) -> dict[str, Any]:
    result: dict[str, Any] = {name: copied(value) for name, value in variable.items() if name != "credential"}
    if (credential := variable.get("credential")) is not None:
        result["secret"] = {"name": name_of(credential["assetId"]), "key": credential["key"]}
    return result


def _connect(result: dict[str, Any], connection: Mapping[str, Any], *, serves: bool) -> None:
    """Add the port or link of one tool."""
    name = connection["name"]
    if (external := connection.get("externalToolInfo")) is not None:
        link = {"name": name, "url": external["externalUrl"], "type": external["toolType"]}
        result.setdefault("relatedUrls", []).append(link)
    if (tool := connection.get("internalToolInfo")) is None:
        return
    entry = {"name": name, "container": tool["containerPort"], "toolType": tool["toolType"], "toolName": name}
    kind = tool["connectionType"]
    if kind == "ServingPort":
        if serves:
            result["servingPort"] = {"container": tool["containerPort"], **copied(tool.get("servingPortInfo") or {})}
        return
    if kind == "ExternalUrl":
        info = tool.get("externalUrlInfo") or {}
        if info.get("externalUrl"):
            entry["url"] = info["externalUrl"]
        result.setdefault("exposedUrls", []).append(entry)
        return
    port = (tool.get("nodePortInfo") or {}).get("nodePort")
    external_port = {} if port is None else {"external": port}
    result.setdefault("ports", []).append({**entry, "serviceType": kind, **external_port})


def _storage(asset: Asset, name_of: CredentialName) -> dict[str, Any]:
    spec = copied(asset.spec)
    if asset.kind is AssetKind.GIT:
        credential = spec.pop("credentialId", None) or spec.get("passwordAssetId")
        spec.pop("passwordAssetId", None)
        return spec if credential is None else {**spec, "passwordSecret": name_of(credential)}
    if asset.kind is AssetKind.S3 and (credential := spec.pop("accessKeyAssetId", None)) is not None:
        keys = {"secretKeyOfAccessKeyId": "AccessKeyId", "secretKeyOfSecretKey": "SecretKey"}
        return {**spec, "accessKeySecret": name_of(credential), **keys}
    if asset.kind is AssetKind.SECRET:
        secret = name_of(spec.pop("credentialAssetId"))
        return {**spec, "secret": secret}
    return dict(spec)
