"""The programs of the test cluster: found, or built from Go modules whose versions are pinned here.

A program is looked for in ``KUBEBUILDER_ASSETS`` and on PATH (the habit of Kubernetes projects), then in our cache
outside the checkout, whose folders carry a hash of everything that decides the result. What is still missing is built
with Go.
"""
# ruff: noqa: T201 - minutes of work are announced

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "go"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runai-core" / "cluster"
"""Taken from the environment at import: later, tests hide the user's home."""
KUBERNETES = "1.36.3"
_STAMPS = {"gitVersion": f"v{KUBERNETES}", "gitMajor": "1", "gitMinor": "36", "gitTreeState": "clean"}


class Unavailable(Exception):
    """The test cluster cannot run here. The text says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """Where a program comes from. `package` is relative to the module, or the import path of a tool that it pins."""

    module: str
    package: str
    oldest: tuple[int, int] = (0, 0)
    """The oldest version that is taken from the machine; an older one is passed over."""
    version: tuple[str, ...] = ("--version",)
    tags: str = ""
    together: str = ""
    """Program that it must come with: a shim of another containerd would not do."""


def _kubernetes(name: str) -> Program:
    return Program("kubernetes", f"./{name}", oldest=(1, 36))


def _containerd(name: str, together: str = "containerd") -> Program:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Program("containerd", package, oldest=(2, 0), tags="no_btrfs no_zfs no_devmapper", together=together)


PROGRAMS: Mapping[str, Program] = {
    "etcd": Program("etcd", ".", oldest=(3, 5)),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "kubectl": Program("kubernetes", "./kubectl", oldest=(1, 35), version=("version", "--client")),
    "kwok": Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", oldest=(0, 7)),
    "containerd": _containerd("containerd", together=""),
    "containerd-shim-runc-v2": _containerd("containerd-shim-runc-v2"),
    "ctr": _containerd("ctr"),
    "coredns": Program("coredns", ".", oldest=(1, 11), version=("-version",)),
    "pause": Program("pause", "."),
    "helm": Program("helm", "helm.sh/helm/v3/cmd/helm", oldest=(3, 10), version=("version", "--short")),
}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl")
REAL_NODES = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "pause")


def install(names: Iterable[str]) -> dict[str, Path]:
    """Return the path of each program; build those that are nowhere.

    Raises:
        Unavailable: One is nowhere and cannot be built here.
    """
    return {name: found(name) or _build(name) for name in names}


@functools.cache
def found(name: str) -> Path | None:
    """Return where a program is, or None."""
    program = PROGRAMS[name]
    if name != "pause":
        with_it = found(program.together) if program.together else None
        for folder in (os.environ.get("KUBEBUILDER_ASSETS"), *os.environ.get("PATH", os.defpath).split(os.pathsep)):
            path = Path(folder or ".") / name
            if folder and _is_usable(path, program, with_it):
                return path
    cached = cache_of(name) / name
    return cached if cached.is_file() else None


def cache_of(name: str) -> Path:
    """The folder of a program that was built here: another source, flag or Go makes another folder."""
    program = PROGRAMS[name]
    folder = SOURCES / program.module
    digest = hashlib.sha256(f"{_go_version()} {_flags(program)}".encode())
    sources = (folder / program.package).glob("*.go") if program.package.startswith(".") else ()
    for path in (folder / "go.mod", folder / "go.sum", *sorted(sources)):
        if path.exists():  # a module that needs no other has no sums
            digest.update(path.read_bytes())
    return CACHE / digest.hexdigest()[:16]


def _is_usable(path: Path, program: Program, with_it: Path | None) -> bool:
    if not os.access(path, os.X_OK) or path.is_dir():
        return False
    if program.together:
        return with_it is not None and with_it.parent == path.parent
    answer = subprocess.run([path, *program.version], capture_output=True, text=True, check=False, timeout=120)
    numbers = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= program.oldest


def _flags(program: Program) -> list[str]:
    stamps = "".join(
        f" -X k8s.io/{package}/version.{key}={value}"
        for package in ("component-base", "client-go/pkg")
        for key, value in _STAMPS.items()
        if program.module == "kubernetes"
    )
    return [
        "-trimpath",
        "-buildvcs=false",
        *(["-tags", program.tags] * bool(program.tags)),
        "-ldflags",
        f"-s -w{stamps}",
    ]


def _build(name: str) -> Path:
    program = PROGRAMS[name]
    go = _go(name)
    folder = cache_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target = folder / name
        if not target.exists():
            print(f"Building {name} (first time only, up to some minutes) ...", file=sys.stderr, flush=True)
            unfinished = folder / f".{name}"
            command = ["nice", "-n", "10", go, "build", *_flags(program), "-o", str(unfinished), program.package]
            environment = {**os.environ, "CGO_ENABLED": "0"}
            built = subprocess.run(
                command, cwd=SOURCES / program.module, env=environment, capture_output=True, text=True, check=False
            )
            if built.returncode != 0:
                raise Unavailable(f"{name} could not be built: {' '.join(command)}\n{built.stdout}{built.stderr}")
            unfinished.rename(target)
    found.cache_clear()
    return target


def _needed_go() -> tuple[int, int]:
    text = (SOURCES / "kubernetes" / "go.mod").read_text()
    numbers = re.search(r"^go (\d+)\.(\d+)", text, re.MULTILINE)
    assert numbers is not None
    return int(numbers[1]), int(numbers[2])


@functools.cache
def _go_version() -> str:
    go = shutil.which("go")
    if go is None:
        return ""
    # GOTOOLCHAIN=local: the version that is installed, not one that a go.mod would make it fetch.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    return subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=environment
    ).stdout.strip()


def _is_new_enough(version: str) -> bool:
    numbers = re.search(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _needed_go()


def _go(name: str) -> str:
    """The Go compiler; Debian's, where it is new enough and may be installed."""
    if not _is_new_enough(_go_version()) and os.geteuid() == 0 and _is_new_enough(_candidate("golang-go")):
        debian("golang-go")
        _go_version.cache_clear()
    go = shutil.which("go")
    if go is None or not _is_new_enough(_go_version()):
        need = ".".join(map(str, _needed_go()))
        raise Unavailable(
            f"{name} is not in KUBEBUILDER_ASSETS, on PATH or built before, and cannot be built: "
            f"Go {need} or newer is needed, found {_go_version() or 'none'}."
        )
    return go


def _candidate(package: str) -> str:
    """The version of a Debian package that could be installed, or nothing."""
    if shutil.which("apt-cache") is None:
        return ""
    answer = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    version = re.search(r"Candidate: (?:\d+:)?(\S+)", answer)
    return version[1] if version else ""


def debian(*packages: str) -> None:
    """Install Debian packages.

    Raises:
        Unavailable: This is no Debian, we are not root, or the packages cannot be had.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"Needed: {names}. Install them (they can be installed here by root with apt-get only).")
    print(f"Installing {names} ...", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    for attempt in (command, ["apt-get", "update", "-q"], command):
        answer = subprocess.run(attempt, capture_output=True, text=True, check=False, env=environment)
        if attempt is command and answer.returncode == 0:
            return
    raise Unavailable(f"{names} could not be installed: {answer.stderr.strip() or answer.stdout.strip()}")
