"""Credentials of the control plane as secrets in the namespaces of projects, made when a workload needs them.

A secret of the same name that somebody else made is left alone, and used.
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
    for name in sorted({name for part in parts for name in cluster_secrets_of(part)}):
        secret = await secrets.secret(workload.meta.project, name)
        if secret is not None and await _may_write(api, name, namespace):
            await api.apply(SECRETS, secret_object(secret, namespace))


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
