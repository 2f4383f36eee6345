"""Credentials of the control plane as secrets in the namespaces of projects, made when a workload needs them.

A secret of the same name that somebody else made is left alone, and used. Our
own follow the credential: they change with it, and go with it.
"""

import base64
from typing import Any

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.names import MANAGED_BY, MANAGED_BY_LABEL
from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.lifecycle.secrets import cluster_secrets_of
from runai_core.model.errors import NotFound
from runai_core.model.workload import Workload
from runai_core.ports import Secret, Secrets

Object = dict[str, Any]

NAME_LABEL = "run.ai/name"
"""Label of a secret with the name of its credential, as Run:ai has it."""


async def provide(api: Api, secrets: Secrets, workload: Workload, namespace: str) -> None:
    """Make the secrets that the workload names exist in its namespace, with their present content.

    Raises:
        Unavailable: one cannot be decrypted, or the cluster does not answer.
    """
    parts = [part for part in (workload.spec, workload.master_spec) if part is not None]
    for name in sorted({name for part in parts for _, name, _ in cluster_secrets_of(part)}):
        secret = await secrets.secret(workload.meta.project, name, workload.meta.created_by)
        if secret is not None and await _may_write(api, name, namespace):
            await api.apply(SECRETS, secret_object(secret, namespace))


async def follow(api: Api, secrets: Secrets, project: str, namespace: str) -> None:
    """Make the secrets that we made in the namespace of a project what their credentials are now, or delete them.

    Raises:
        Unavailable: one cannot be decrypted, or the cluster does not answer.
    """
    items, _ = await api.list(SECRETS, namespace, labels=f"{MANAGED_BY_LABEL}={MANAGED_BY},{NAME_LABEL}")
    for item in items:
        meta = item["metadata"]
        if meta["labels"][NAME_LABEL] != meta["name"]:
            continue  # somebody's copy of one of ours
        secret = await secrets.secret(project, meta["name"])
        wanted = None if secret is None else secret_object(secret, namespace)
        if wanted is None or wanted["type"] != item.get("type"):  # a secret's type can never be changed
            await api.delete(SECRETS, meta["name"], namespace, uid=meta["uid"])
        if wanted is not None and (wanted["type"], wanted["data"]) != (item.get("type"), item.get("data") or {}):
            await api.apply(SECRETS, wanted)


def secret_object(secret: Secret, namespace: str) -> Object:
    """Return the secret as an object of core/v1."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": secret.type,
        "metadata": {
            "name": secret.name,
            "namespace": namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, NAME_LABEL: secret.name},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(secret.data.items())},
    }


async def _may_write(api: Api, name: str, namespace: str) -> bool:
    try:
        found = await api.get(SECRETS, name, namespace)
    except NotFound:
        return True
    return bool((found["metadata"].get("labels") or {}).get(NAME_LABEL) == name)
