"""Metadata of a Kubernetes object and of ours.

The server decides on uid, version and time of creation. What it cannot keep,
an id of our own and fractions of a second, is in annotations.
"""

from collections.abc import Mapping
from typing import Any

from runai_core.backends.kubernetes.codec.times import seconds_of, text_of
from runai_core.backends.kubernetes.names import (
    CREATED_ANNOTATION,
    CREATED_BY_ANNOTATION,
    ID_ANNOTATION,
    MASTER_SPECIFICATION_ANNOTATION,
    ORDER_ANNOTATION,
    OWNER_ANNOTATION,
    POLICY_TYPE_ANNOTATION,
    SPECIFICATION_ANNOTATION,
    SUBMITTED_ANNOTATION,
    UPDATED_ANNOTATION,
    UPDATED_BY_ANNOTATION,
)
from runai_core.backends.kubernetes.trimming import LAST_APPLIED
from runai_core.model.meta import Meta

Object = dict[str, Any]

KEPT_ANNOTATIONS = frozenset(
    {
        CREATED_ANNOTATION,
        CREATED_BY_ANNOTATION,
        ID_ANNOTATION,
        MASTER_SPECIFICATION_ANNOTATION,
        ORDER_ANNOTATION,
        OWNER_ANNOTATION,
        POLICY_TYPE_ANNOTATION,
        SPECIFICATION_ANNOTATION,
        SUBMITTED_ANNOTATION,
        UPDATED_ANNOTATION,
        UPDATED_BY_ANNOTATION,
        LAST_APPLIED,
    }
)
"""Annotations of the system: they are no annotations of the model's object."""


def meta_of(item: Mapping[str, Any], project: str = "", *, name: str = "", updated_at: float | None = None) -> Meta:
    """Return our metadata of an object; `name` is the workload's where it has another than the object."""
    metadata = item.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    created = seconds_of(annotations.get(CREATED_ANNOTATION)) or seconds_of(metadata.get("creationTimestamp")) or 0.0
    updated = updated_at or seconds_of(annotations.get(UPDATED_ANNOTATION)) or created
    version = str(metadata.get("resourceVersion", ""))
    return Meta(
        name=name or metadata.get("name", ""),
        project=project,
        uid=annotations.get(ID_ANNOTATION) or metadata.get("uid", ""),
        version=int(version) if version.isdigit() else 0,
        created_at=created,
        updated_at=updated,
        created_by=annotations.get(CREATED_BY_ANNOTATION, ""),
        updated_by=annotations.get(UPDATED_BY_ANNOTATION, ""),
        owner=annotations.get(OWNER_ANNOTATION, ""),
        labels=dict(metadata.get("labels") or {}),
        annotations={key: value for key, value in annotations.items() if key not in KEPT_ANNOTATIONS},
    )


def metadata_of(
    meta: Meta, namespace: str = "", *, name: str = "", annotations: Mapping[str, str] | None = None
) -> Object:
    """Return the object's metadata; `annotations` are further ones of the system."""
    system = {
        CREATED_ANNOTATION: text_of(meta.created_at) if meta.created_at else "",
        UPDATED_BY_ANNOTATION: meta.updated_by,
        OWNER_ANNOTATION: meta.owner,
        **(annotations or {}),
    }
    kept = {**meta.annotations, **{key: value for key, value in system.items() if value}}
    metadata: Object = {"name": name or meta.name}
    if namespace:
        metadata["namespace"] = namespace
    if meta.labels:
        metadata["labels"] = dict(meta.labels)
    if kept:
        metadata["annotations"] = kept
    return metadata
