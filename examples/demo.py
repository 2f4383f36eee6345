"""The main job on one machine, in under a minute: real gangs on real data, shared fairly.

    make demo

Starts an orchestrator on a free loopback port with a temporary database, and
drives it as a user does: by the command line and the public client. The GPUs
are simulated, and shown as such; the processes, the training and the requests
are real. Exits with 0 only if all that it tells was seen to happen.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from demo_board import Board, key_of, node_table, project_table, story_table
from demo_run import DemoFailed, run_in_a_folder

from runai_core import Client
from runai_core.client import quota
from runai_core.client.results import Workload
from runai_core.model.errors import RunaiError

HERE = Path(__file__).parent
LOOK_EVERY = 0.2
"""Seconds between looks at the workloads."""

PATIENCE = 45.0
"""Seconds that one step may take before the demo gives up."""

GOOD_ACCURACY = 0.9
EVICT_AFTER_EPOCH = 4
LOG_TAIL = 40
"""Lines of a log that are shown when something failed."""

NODES = """\
- name: node-1
  gpus: 4
  gpuProduct: NVIDIA-H100-80GB-HBM3
  gpuMemory: 80Gi
  cpu: 64
  memory: 512Gi
- name: node-2
  gpus: 4
  gpuProduct: NVIDIA-H100-80GB-HBM3
  gpuMemory: 80Gi
  cpu: 64
  memory: 512Gi
"""

UNITS = {"research": {"vision": (1, 2), "language": (4, 1)}, "products": {"serving": (3, 1)}}
"""Department -> project -> (GPU quota, over-quota weight). Together as many as there are GPUs."""


@dataclass
class Demo:
    """What the steps share."""

    folder: Path
    board: Board
    client: Client
    workloads: dict[str, Workload] = field(default_factory=dict)

    def submitted(self, workload: Workload) -> Workload:
        """Note a workload that was submitted."""
        self.workloads[workload.name] = workload
        self.look()
        return workload

    def look(self) -> dict[str, Workload]:
        """Return all workloads by name, as they are now, and show them."""
        self.workloads = {workload.name: workload for workload in self.client.list()}
        self.board.update(list(self.workloads.values()))
        return self.workloads

    def wait(
        self, what: str, holds: Callable[[dict[str, Workload]], bool], about: str, patience: float = PATIENCE
    ) -> None:
        """Wait until something holds.

        Raises:
            DemoFailed: it does not in time, or the workload that it is about failed.
        """
        deadline = time.monotonic() + patience
        while not holds(now := self.look()):
            if now[about].phase == "Failed":
                raise DemoFailed(f"{about} failed while the demo waited until {what}", now[about])
            if time.monotonic() > deadline:
                raise DemoFailed(f"after {patience:g} s it is still not true that {what}", now[about])
            time.sleep(LOOK_EVERY)

    def log(self, name: str) -> str:
        """Return the log of a workload, of its first pod that has one."""
        with contextlib.suppress(RunaiError):
            return self.client.log_text(self.workloads[name])
        return ""

    def python(self, script: str, *arguments: object) -> list[str]:
        """Return the command that runs one of the examples."""
        return [sys.executable, str(HERE / script), *map(str, arguments)]


def main(argv: list[str]) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description="Run the main job on this machine, in under a minute.")
    parser.add_argument("--plain", action="store_true", help="print lines, also on a terminal")
    options = parser.parse_args(argv)
    return run_in_a_folder(partial(play, Board(plain=options.plain)))


def play(board: Board, folder: Path) -> None:
    """Start an orchestrator and tell the story; raise SystemExit once a failure in the story has been reported."""
    with _orchestrator(folder, board) as client, board:
        demo = Demo(folder, board, client)
        try:
            run(demo)
        except (DemoFailed, RunaiError, OSError) as error:
            board.finish()
            _report(demo, error)
            raise SystemExit(1) from None
    board.say(f"done in {board.seconds:.0f} s; nothing is left running")


def run(demo: Demo) -> None:
    """Tell the whole story, one scene after the other."""
    organize(demo)
    share_a_device(demo)
    borrow(demo)
    serve(demo)
    reclaim(demo)
    never_fits(demo)
    finish(demo)


def organize(demo: Demo) -> None:
    """Show the nodes; make departments and projects."""
    for department, projects in UNITS.items():
        total = sum(deserved for deserved, _ in projects.values())
        demo.client.departments.create(department, resources=[quota(gpus=total)])
        for project, (deserved, weight) in projects.items():
            resources = [quota(gpus=deserved, over_quota_weight=weight)]
            demo.client.projects.create(project, department=department, resources=resources)
    known = [project for project in demo.client.projects.list() if project.department_name in UNITS]
    nodes = demo.client.nodes()
    demo.board.show(node_table(nodes), project_table(known))
    _require(all(node.simulated for node in nodes), "the inventory is not shown as simulated")


def share_a_device(demo: Demo) -> None:
    """Two workspaces with half a GPU each sit on one device."""
    demo.board.say("vision opens two workspaces with half a GPU each")
    for name in ("desk-a", "desk-b"):
        demo.submitted(
            demo.client.workspaces.submit(name, project="vision", gpus=0.5, command=demo.python("workspace.py"))
        )
    demo.wait(
        "both workspaces run and have written where",
        lambda now: all(now[name].phase == "Running" and "ready" in demo.log(name) for name in ("desk-a", "desk-b")),
        about="desk-b",
    )
    places = {name: _place(demo.log(name)) for name in ("desk-a", "desk-b")}
    _require(
        places["desk-a"] == places["desk-b"],
        f"the workspaces do not share a device: {places}",
        demo.workloads["desk-b"],
    )
    node, device = places["desk-a"]
    demo.board.say(f"both sit on device {device} of {node}")


def borrow(demo: Demo) -> None:
    """A gang trains on GPUs that nobody else uses now."""
    demo.board.say("vision starts a gang of four processes, one GPU each; its quota is 1, so it borrows")
    demo.submitted(
        demo.client.distributed.submit(
            "digits",
            project="vision",
            workers=3,  # and a master
            gpus=1,
            command=demo.python(
                "train_digits.py", "--epochs", 24, "--step-delay", 0.015, "--checkpoints", demo.folder / "digits"
            ),
        )
    )
    demo.board.say("serving tunes a model on two GPUs")
    demo.submitted(
        demo.client.trainings.submit(
            "tune",
            project="serving",
            gpus=2,
            command=demo.python(
                "train_digits.py", "--epochs", 12, "--step-delay", 0.01, "--checkpoints", demo.folder / "tune"
            ),
        )
    )
    demo.wait(
        "the whole gang runs",
        lambda now: now["digits"].phase == "Running" and now["digits"].running_pods == 4,
        about="digits",
    )


def serve(demo: Demo) -> None:
    """An inference workload becomes ready when there is a checkpoint, and answers a request."""
    port = _free_port()
    demo.board.say("serving puts the network behind HTTP; it is ready once there is a checkpoint")
    demo.submitted(
        demo.client.inferences.submit(
            "reader",
            project="serving",
            gpus=1,
            port=port,
            readiness_path="/healthz",
            command=demo.python("serve_digits.py", "--port", port, "--checkpoints", demo.folder / "digits"),
        )
    )
    demo.wait("the server is ready", lambda now: now["reader"].phase == "Running", about="reader")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict?sample=7", timeout=5) as answer:
            seen = json.load(answer)
    except (urllib.error.URLError, ValueError) as error:
        raise DemoFailed(
            f"the server says that it is ready but does not answer: {error}", demo.workloads["reader"]
        ) from None
    demo.board.say(
        f"asked it to read a handwritten {seen['truth']}: it says {seen['digit']} ({seen['probability']:.0%} sure)"
    )


def reclaim(demo: Demo) -> None:
    """A gang that is entitled to the borrowed GPUs gets them; the borrower waits and goes on later."""
    epoch = re.compile(rf"epoch\s+{EVICT_AFTER_EPOCH}/")
    demo.wait(
        f"digits has finished epoch {EVICT_AFTER_EPOCH}",
        lambda _: bool(epoch.search(demo.log("digits"))),
        about="digits",
    )
    demo.board.say("language asks for the four GPUs of its quota: all eight are taken, so vision must give back")
    demo.submitted(
        demo.client.distributed.submit(
            "letters",
            project="language",
            workers=3,
            gpus=1,
            command=demo.python(
                "train_digits.py", "--epochs", 8, "--step-delay", 0.015, "--checkpoints", demo.folder / "letters"
            ),
        )
    )
    demo.wait(
        "letters runs whole and digits waits",
        lambda now: now["letters"].running_pods == 4 and now["digits"].phase == "Pending",
        about="letters",
    )
    left = demo.workloads["digits"].running_pods
    _require(left == 0, f"digits was evicted, but {left} of its pods still run", demo.workloads["digits"])
    causes = [record.cause for record in demo.client.history(demo.workloads["digits"]) if record.phase == "Pending"]
    demo.board.say(f"digits was evicted whole: {causes[-1]}")
    demo.board.say(f"$ runai why digits -p vision: {demo.client.why(demo.workloads['digits']).sentence}")


def never_fits(demo: Demo) -> None:
    """A gang that is larger than the machine stays Pending, and the reason is one sentence."""
    demo.board.say("language asks for a gang that can never fit: two processes with eight GPUs each")
    demo.submitted(
        demo.client.distributed.submit(
            "giant", project="language", workers=1, gpus=8, command=demo.python("workspace.py")
        )
    )
    demo.wait(
        "giant waits",
        lambda now: now["giant"].phase == "Pending" and bool(demo.client.why(now["giant"]).verdict),
        about="giant",
    )
    demo.board.say(f"$ runai why giant -p language: {demo.client.why(demo.workloads['giant']).sentence}")


def finish(demo: Demo) -> None:
    """All that can end, ends; then the table, the story, the accuracy."""
    for name in ("letters", "tune", "digits"):
        demo.wait(f"{name} is complete", _is_complete(name), about=name)
    _require(demo.workloads["giant"].phase == "Pending", "giant is not Pending any more", demo.workloads["giant"])
    log = demo.log("digits")
    _require("resuming after epoch" in log, "digits did not resume from its checkpoint", demo.workloads["digits"])
    found = re.findall(r"^test accuracy ([0-9.]+)$", log, re.MULTILINE)
    _require(bool(found), "digits did not print its accuracy", demo.workloads["digits"])
    demo.board.finish()
    demo.board.show(story_table("vision/digits", demo.client.history(demo.workloads["digits"])))
    resumed = next(line for line in log.splitlines() if "resuming after epoch" in line)
    demo.board.raw(f"From its log: {resumed}; test accuracy {float(found[-1]):.2f}")
    _require(float(found[-1]) >= GOOD_ACCURACY, f"the accuracy is below {GOOD_ACCURACY}", demo.workloads["digits"])


@contextlib.contextmanager
def _orchestrator(folder: Path, board: Board) -> Iterator[Client]:
    """Start an orchestrator as a user does; stop it, with all that runs on it, whatever happens."""
    (folder / "nodes.yaml").write_text(NODES)
    data = folder / "data"
    try:
        up = _runai(board, "up", "--data-dir", data, "--nodes", folder / "nodes.yaml", "--port", "0", "--json")
        board.say(f"the orchestrator is at {json.loads(up)['url']}")
        with Client.from_env({"RUNAI_DATA_DIR": str(data)}) as client:
            yield client
    except (DemoFailed, ValueError, KeyError) as error:
        for log in sorted(data.glob("*.log")):
            print(f"--- {log.name}", *_tail(log.read_text(errors="replace")), sep="\n", file=sys.stderr)
        raise DemoFailed(str(error)) from None
    finally:
        _runai(board, "down", "--data-dir", data)


def _runai(board: Board, *arguments: object) -> str:
    """Run the command line; return what it printed."""
    program = shutil.which("runai", path=str(Path(sys.executable).parent)) or "runai"
    shown = " ".join(["runai", *(Path(str(item)).name if isinstance(item, Path) else str(item) for item in arguments)])
    board.say(f"$ {shown}")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNAI_")}
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=clean, timeout=60)
    if done.returncode:
        raise DemoFailed(f"`{shlex.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _report(demo: Demo, error: Exception) -> None:
    """Print what is known of a failure: the workload, why it is where it is, its log, and the orchestrator's."""
    print(f"\nThe demo failed: {error}", file=sys.stderr)
    workload = error.workload if isinstance(error, DemoFailed) else None
    if workload is not None:
        with contextlib.suppress(RunaiError):
            print(f"{key_of(workload)} is {workload.phase}: {demo.client.why(workload).sentence}", file=sys.stderr)
        print(f"--- log of {key_of(workload)}", *_tail(demo.log(workload.name)), sep="\n", file=sys.stderr)
    for log in sorted((demo.folder / "data").glob("*.log")):
        print(f"--- {log.name}", *_tail(log.read_text(errors="replace")), sep="\n", file=sys.stderr)


def _tail(text: str) -> list[str]:
    return text.splitlines()[-LOG_TAIL:]


def _place(log: str) -> tuple[str, str]:
    """Return the node and the device that a workspace wrote down."""
    values: dict[str, Any] = dict(line.partition("=")[::2] for line in log.splitlines() if "=" in line)
    return values.get("NODE_NAME", ""), values.get("RUNAI_VISIBLE_DEVICES", "")


def _is_complete(name: str) -> Callable[[dict[str, Workload]], bool]:
    return lambda now: now[name].phase == "Completed"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _require(holds: bool, message: str, workload: Workload | None = None) -> None:  # noqa: FBT001 - the condition itself
    if not holds:
        raise DemoFailed(message, workload)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
