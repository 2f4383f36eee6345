"""An object that somebody submitted is made what they say now, and nothing that others decide is touched.

Server-side apply drops the fields that we gave once and do not give any more.
What we wrote otherwise (at creation, when it was stopped) counts as given
first: the records of fields are joined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.names import FIELD_MANAGER
from runai_core.backends.kubernetes.resources import Resource
from runai_core.model.errors import Conflict, FieldError, InvalidRequest, NotFound, StaleVersion

TRIES = 8
"""Attempts at an object that its controller writes to at the same time."""


async def replaced(
    api: Api, resource: Resource, body: Object, uid: str, keeps: Callable[[Object], Callable[[Object], Object]]
) -> Object:
    """Return the object of this uid as it is after it was made what `body` says.

    `keeps` makes, of the object as it was, what changes the body first.

    Raises:
        Conflict: others decide fields of the body, and differ; names them. InvalidRequest: a field cannot be changed.
        NotFound: it is gone.
    """
    meta = body["metadata"]
    for _ in range(TRIES):
        was = await api.get(resource, meta["name"], meta["namespace"])
        if was["metadata"]["uid"] != uid:
            raise NotFound(f"{resource.kind} {meta['name']} was deleted; another has its name now")
        if body.get("apiVersion") != was["apiVersion"]:
            message = f"must be {was['apiVersion']}, as the cluster has it"
            raise InvalidRequest.of(FieldError("manifest.apiVersion", message, body.get("apiVersion")))
        wanted = keeps(was)(body)
        await api.apply(resource, wanted, force=True, dry_run=True)  # what can never be is refused before a change
        try:
            version = await _owned(api, resource, was)
            wanted = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
            return await api.apply(resource, wanted, force=False)
        except StaleVersion as error:
            if fields := error.details.get("causes"):
                named = ", ".join(str(field) for field, _ in fields)
                message = f"{resource.kind} {meta['name']}: others decide {named}: leave that out, or give what it is"
                raise Conflict(message) from None
    raise Conflict(f"{resource.kind} {meta['name']} is changed again and again by somebody else: try again later")


async def _owned(api: Api, resource: Resource, was: Object) -> str:
    """Let all that we ever wrote count as applied; return the version of the object then."""
    meta = was["metadata"]
    joined = joined_records(meta.get("managedFields") or ())
    if joined == meta.get("managedFields", joined):
        return str(meta["resourceVersion"])
    change = {"metadata": {"managedFields": joined, "resourceVersion": meta["resourceVersion"]}}
    answer = await api.patch(resource, meta["name"], change, meta["namespace"])
    return str(answer["metadata"]["resourceVersion"])


def joined_records(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return records of who gave which field, ours joined into one of what was applied."""
    ours = [record for record in records if record.get("manager") == FIELD_MANAGER and not record.get("subresource")]
    if not ours or all(record.get("operation") == "Apply" for record in ours):
        return list(records)
    fields: Mapping[str, Any] = {}
    for record in ours:
        fields = _joined(fields, record.get("fieldsV1") or {})
    return [
        *(record for record in records if record not in ours),
        {**ours[0], "operation": "Apply", "fieldsV1": fields},
    ]


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, **{name: _joined(one.get(name, {}), below) for name, below in other.items()}}
