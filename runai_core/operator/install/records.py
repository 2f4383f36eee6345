"""What our processes share besides the cluster: the records, in a database or on a volume; and their control plane.

The keys of credentials and the identity are Secrets that the operator makes at
its first start (`operator.shared`): a manifest that is kept in git or applied
again must not hold them, or change them.
"""

import base64
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.model.errors import Forbidden, NotFound
from runai_core.operator.install.names import DATABASE_SECRET, LINK_SECRET, RECORDS_CLAIM, labels_of
from runai_core.operator.install.options import Options

Manifest = dict[str, Any]


def records(options: Options) -> list[Manifest]:
    """Return where the records are kept: the Secret of a database's URL, a volume, or what is there already."""
    if options.database_secret:
        return []
    if options.database_url:
        url = base64.b64encode(options.database_url.encode()).decode()
        return [{**_named("Secret", DATABASE_SECRET, options), "type": "Opaque", "data": {"url": url}}]
    chosen = {"storageClassName": options.storage_class} if options.storage_class else {}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        **chosen,
        "resources": {"requests": {"storage": options.storage_size}},
    }
    return [{**_named("PersistentVolumeClaim", RECORDS_CLAIM, options), "spec": spec}]


def link(options: Options) -> list[Manifest]:
    """Return the Secret that says which control plane the cluster is linked to; none: what is there stays."""
    if not options.control_plane_url:
        return []
    given = {"url": options.control_plane_url, "token": options.join_token, "ca.pem": options.control_plane_ca}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in given.items() if text}
    return [{**_named("Secret", LINK_SECRET, options), "type": "Opaque", "data": data}]


async def with_known_database(api: Api, options: Options) -> Options:
    """Return the options with the database that the cluster's installation has, where they name none.

    So an upgrade whose command names no database does not leave the records behind.
    """
    if options.database or not options.workloads:
        return options
    try:
        await api.get(SECRETS, DATABASE_SECRET, options.namespace)
    except (NotFound, Forbidden):  # the installation says which rights are missing, all of them
        return options
    return replace(options, database_secret=DATABASE_SECRET)


def _named(kind: str, name: str, options: Options) -> Manifest:
    metadata = {"name": name, "namespace": options.namespace, "labels": labels_of("system")}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}
