"""Commands that run on a node: a shell with the node's home, and the `ray` that is found there.

    python -m runai_ray.inside shell COMMAND
    python -m runai_ray.inside ray start|stop|... ARGUMENTS

`ray start` and `ray stop` are handed to the node's keeper (`runai_ray.node`):
what it starts belongs to the pod, and what it stops is the pod's own; the real
`ray stop` would end every Ray process of the host, other people's too.
Everything else goes to the real `ray`.
"""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

from runai_ray.place import Place, dashboard_file, inner_environment, place_of

SOCKET = "keeper.sock"
KEPT = frozenset({"start", "stop"})


def shell(place: Place, command: str) -> int:
    """Become a shell that runs the command on the node."""
    os.chdir(place.home)
    environment = inner_environment(place, os.environ)
    if dashboard_file(place).exists():  # Ray runs: programs that say `ray.init()` mean this cluster
        environment.setdefault("RAY_ADDRESS", place.address)
    os.execvpe("bash", ["bash", "-c", command], environment)  # noqa: S606, S607 - meant so


def ray(place: Place, arguments: list[str]) -> int:
    """Do what `ray` is asked to do on the node; return its exit code, or become the real `ray`."""
    if arguments and arguments[0] in KEPT:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return ask(place, {"do": arguments[0], "arguments": arguments[1:], "environment": environment})
    path = os.environ["PATH"].replace(str(place.ours / "bin") + os.pathsep, "", 1)
    real = shutil.which("ray", path=path)
    if real is None:
        sys.stderr.write("Ray is not installed here: pip install 'ray[default]'\n")
        return 127
    environment = {**os.environ, "PATH": path}
    environment.setdefault("RAY_ADDRESS", place.address)
    if dashboard_file(place).exists():
        environment.setdefault("RAY_API_SERVER_ADDRESS", dashboard_file(place).read_text())
        if arguments and arguments[0] == "job":
            environment["RAY_ADDRESS"] = environment["RAY_API_SERVER_ADDRESS"]
    return os.execve(real, ["ray", *arguments], environment)  # noqa: S606 - there is no shell on purpose


def ask(place: Place, request: dict[str, object]) -> int:
    """Ask the node's keeper, print what it says, and return the exit code."""
    os.chdir(place.ours)  # a socket's path may be too long; its name is not
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(SOCKET)
        except OSError as error:
            sys.stderr.write(f"the keeper of this node does not answer: {error}\n")
            return 1
        line.sendall(json.dumps(request).encode() + b"\n")
        for answer in line.makefile("rb"):
            said = json.loads(answer)
            if "code" in said:
                return int(said["code"])
            sys.stdout.write(said["text"])
            sys.stdout.flush()
    sys.stderr.write("the keeper of this node has ended\n")
    return 1


def main(words: list[str]) -> int:
    """Run one of the commands above."""
    place = place_of(os.environ, _pod_directory())
    return shell(place, " ".join(words[1:])) if words[0] == "shell" else ray(place, words[1:])


def _pod_directory() -> Path:
    """Return the pod's working directory, from wherever below the node's home we were called."""
    home = Path(os.environ.get("HOME", "/"))
    return home.parent if (home / ".runai-ray").is_dir() and home.name == "home" else Path.cwd()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
