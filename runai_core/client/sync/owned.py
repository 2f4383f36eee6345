"""Generated from runai_core/client/owned.py by tests/unit/client/test_sync_twin.py: change that file instead.

A tool derives the name from an object of its own (a task, a run), so that a repetition after a crash names the
same workload. The annotation `run.ai/owner` says whose it is, and `run.ai/time-to-live-seconds` bounds its life
where nobody is left who would delete it.
"""

# ruff: noqa: C416, RUF100, UP028

import time
from collections.abc import Mapping
from typing import Any

from runai_core.client.ownership import OWNER, is_leaving, owner_of
from runai_core.client.results import Workload
from runai_core.client.sync.client import Client
from runai_core.model.errors import AlreadyExists, NotFound, Unavailable

PATIENCE = 60.0
"""Seconds for which an orchestrator that does not answer is tried again."""

PAUSE = 0.5
"""Seconds between two tries."""


def submit_owned(
    client: Client, type_: str, name: str, options: Mapping[str, Any], *, owner: str, patience: float = PATIENCE
) -> Workload:
    """Create the workload, or return the one that this owner created under the name before.

    An orchestrator that is starting again is waited for; the repetition does not create a second workload.

    Raises:
        AlreadyExists: the name belongs to somebody else.
        InvalidRequest, PolicyViolation, NotFound (project), Unavailable
    """
    marked = {**options, "annotations": {**(options.get("annotations") or {}), OWNER: owner}}
    deadline = time.monotonic() + patience
    while True:
        try:
            return client.submit(type_, name, marked)
        except AlreadyExists:
            found = _find(client, name, str(options.get("project") or ""))
            if time.monotonic() >= deadline or (found is not None and owner_of(found) != owner):
                raise
            if found is not None and not is_leaving(found):
                return found  # else the name is free, or soon will be
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        client.transport.sleep(PAUSE)


def find_owned(client: Client, name: str, *, owner: str, project: str = "") -> Workload | None:
    """Return the workload of this name if it is this owner's."""
    found = _find(client, name, project)
    return found if found is not None and owner_of(found) == owner else None


def _find(client: Client, name: str, project: str) -> Workload | None:
    """Return the workload of this name with its specification, which lists leave out."""
    try:
        return client.get((client.get(name, project=project)).id)
    except NotFound:
        return None


def delete_owned(client: Client, uid: str) -> bool:
    """Delete a workload; return whether there was one. What is gone already is as it should be."""
    try:
        client.delete(uid)
    except NotFound:
        return False
    return True
