"""Workloads that another tool owns: submitted once, found again, deleted however often it is asked.

A tool derives the name from an object of its own (a task, a run), so that a repetition after a crash names the
same workload. The annotation `run.ai/owner` says whose it is, and `run.ai/time-to-live-seconds` bounds its life
where nobody is left who would delete it.
"""

import time
from collections.abc import Mapping
from typing import Any

from runai_core.client.client import AsyncClient
from runai_core.client.ownership import OWNER, is_leaving, owner_of
from runai_core.client.results import Workload
from runai_core.model.errors import AlreadyExists, NotFound, Unavailable

PATIENCE = 60.0
"""Seconds for which an orchestrator that does not answer is tried again."""

PAUSE = 0.5
"""Seconds between two tries."""


async def submit_owned(
    client: AsyncClient, type_: str, name: str, options: Mapping[str, Any], *, owner: str, patience: float = PATIENCE
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
            return await client.submit(type_, name, marked)
        except AlreadyExists:
            found = await _find(client, name, str(options.get("project") or ""))
            if time.monotonic() >= deadline or (found is not None and owner_of(found) != owner):
                raise
            if found is not None and not is_leaving(found):
                return found  # else the name is free, or soon will be
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        await client.transport.sleep(PAUSE)


async def find_owned(client: AsyncClient, name: str, *, owner: str, project: str = "") -> Workload | None:
    """Return the workload of this name if it is this owner's."""
    found = await _find(client, name, project)
    return found if found is not None and owner_of(found) == owner else None


async def _find(client: AsyncClient, name: str, project: str) -> Workload | None:
    """Return the workload of this name with its specification, which lists leave out."""
    try:
        return await client.get((await client.get(name, project=project)).id)
    except NotFound:
        return None


async def delete_owned(client: AsyncClient, uid: str) -> bool:
    """Delete a workload; return whether there was one. What is gone already is as it should be."""
    try:
        await client.delete(uid)
    except NotFound:
        return False
    return True
