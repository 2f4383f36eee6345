"""Puts a pod's volumes in place, then becomes the pod's program. Standard library only: it runs as a script.

A process of this machine has no file system of its own. Each volume is in the
pod's folder (a link to the host's directory, a checkout, files of a secret),
and ``RUNAI_VOLUME_<NAME>`` says where. A relative mount path is linked from the
working directory; an absolute one is used as it is where it leads to the same
place, and named in the log where it does not.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PLAN = "RUNAI_VOLUMES_PLAN"
"""Variable with the plan: {"folder": path, "volumes": [{"do", "name", "path", ...}]}. The program does not get it."""

GIT_PROTOCOLS = "https:http:ssh:git:file"
FAILED = 1
NOT_FOUND = 127


class VolumeError(Exception):
    """A volume cannot be put in place; the message is for the user."""


def main(argv: list[str]) -> int:
    """Carry out the plan and become the program; return an exit code where that fails."""
    plan = json.loads(os.environ.pop(PLAN))
    try:
        for volume in plan["volumes"]:
            os.environ[variable_of(volume["name"])] = str(_place(volume, Path(plan["folder"])))
    except (VolumeError, OSError) as error:
        _say(f"a volume cannot be put in place: {error}")
        return FAILED
    try:
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - there is no shell on purpose
    except OSError as error:
        _say(f"cannot run {argv[0]}: {error.strerror}")
    return NOT_FOUND


def _say(text: str) -> None:
    """Write a line to the pod's log."""
    sys.stderr.write(f"runai: {text}\n")
    sys.stderr.flush()


def variable_of(name: str) -> str:
    """Return the name of the variable that says where a volume is."""
    return "RUNAI_VOLUME_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def folder_of(name: str) -> str:
    """Return the name of a volume's folder."""
    return re.sub(r"[^-A-Za-z0-9]", "_", name)


def _place(volume: Mapping[str, Any], folder: Path) -> Path:
    """Put one volume into the folder and connect its mount path; return where it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = folder / folder_of(volume["name"])
    if not os.path.lexists(place):  # a run after the first finds it
        _DO[volume["do"]](volume, place)
    path = volume.get("path") or ""
    if path and not Path(path).is_absolute():
        link = Path.cwd() / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(link):
            link.symlink_to(place)
    elif path and not (Path(path).exists() and Path(path).samefile(place)):
        name = variable_of(volume["name"])
        _say(f"{path} is {place} on this machine: ${name}")
    return place


def _link(volume: Mapping[str, Any], place: Path) -> None:
    source = Path(volume["source"])
    if not source.exists():
        raise VolumeError(f"there is no {source} on this machine")
    place.symlink_to(source)


def _empty(_volume: Mapping[str, Any], place: Path) -> None:
    place.mkdir(mode=0o700)


def _files(volume: Mapping[str, Any], place: Path) -> None:
    place.mkdir(mode=0o700)
    for name, text in volume["files"].items():
        descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, int(volume.get("mode") or "600", 8))
        with os.fdopen(descriptor, "w") as file:
            file.write(text)


def _git(volume: Mapping[str, Any], place: Path) -> None:
    """Clone into a draft first: a clone that was cut off must not look like a whole one."""
    draft = place.with_name(f"{place.name}.{os.getpid()}.new")
    environment = {**os.environ, "GIT_ALLOW_PROTOCOL": GIT_PROTOCOLS, "GIT_TERMINAL_PROMPT": "0"}
    if volume.get("password"):
        pair = base64.b64encode(f"{volume.get('user', '')}:{volume['password']}".encode()).decode()
        # in the environment, not among the arguments, which everybody on the machine can read
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
        }
    branch = [f"--branch={volume['branch']}"] if volume.get("branch") else []
    commands = [["clone", "--quiet", *branch, "--", volume["repository"], str(draft)]]
    if volume.get("revision"):
        commands.append(["-C", str(draft), "checkout", "--quiet", "--detach", volume["revision"], "--"])
    for command in commands:
        try:
            done = subprocess.run(["git", *command], env=environment, capture_output=True, text=True, check=False)  # noqa: S607
        except FileNotFoundError:
            raise VolumeError("git is not installed on this machine") from None
        if done.returncode:
            raise VolumeError(f"git {command[0]} of {volume['repository']}: {done.stderr.strip()[-500:]}")
    draft.rename(place)


_DO: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {
    "link": _link,
    "empty": _empty,
    "files": _files,
    "git": _git,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
