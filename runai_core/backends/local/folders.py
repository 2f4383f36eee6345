"""The folders of pods: logs and working directories, kept as long as the pod is remembered."""

import asyncio
import shutil
from pathlib import Path

from runai_core.backends.local.store import LocalStore
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.workload import Pod
from runai_core.ports import Clock

PERIOD = 3600.0
"""Seconds between two looks for folders of pods that were forgotten."""

PAUSE = 0.01
"""Seconds between two folders: nobody waits for this."""


async def remove_forgotten(folders: Path, store: LocalStore, clock: Clock) -> None:
    """Remove the folders of pods that the store has forgotten for good, again and again."""
    while True:
        for folder in await asyncio.to_thread(_below, folders):
            if not await _is_remembered(store, folder.name):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            await clock.sleep(PAUSE)
        await clock.sleep(PERIOD)


def _below(folders: Path) -> list[Path]:
    return sorted(path for path in folders.iterdir() if path.is_dir()) if folders.is_dir() else []


async def _is_remembered(store: LocalStore, uid: str) -> bool:
    try:
        await store.get_by_uid(Pod, uid)
    except NotFound:
        return False
    except Unavailable:
        return True  # nobody knows now: better kept
    return True
