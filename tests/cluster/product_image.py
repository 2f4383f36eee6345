"""An image of this checkout, made here as `deploy/Dockerfile` would: no registry and no Docker is asked.

It holds this Python, what runai-core depends on for a cluster, the checkout's own package, the machine's shared
libraries that those need, and the few programs of a shell. Nothing is mounted into it: what works in it works from
the image alone.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster.images import ROOT, write_image

RUNAI = "docker.io/runai-test/runai-core:test"
HOME = "opt/python"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"{HOME}/lib/{VERSION}/site-packages"
USER = 65532
PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/sleep", "/bin/ls")
EXTRAS = ("kubernetes", "postgres")
_LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "turtledemo", "ensurepip", "__pycache__", "lib2to3"}


def write_product_image(target: Path) -> None:
    """Write the image as an archive in the format of ``docker save``."""
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as archive:
        for name, path in sorted(_files().items()):
            archive.add(path, name, recursive=False, filter=_anybody)
        for name in ("tmp", "var/lib/runai"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o1777, USER, USER
            archive.addfile(entry)
    settings = {
        "Entrypoint": [f"/{HOME}/bin/{VERSION}", "-m", "runai_core.cli.main"],
        "Env": [f"PATH=/{HOME}/bin:/usr/bin:/bin", "RUNAI_DATA_DIR=/var/lib/runai", "PYTHONDONTWRITEBYTECODE=1"],
        "User": f"{USER}:{USER}",
    }
    write_image(target, RUNAI, layer, settings)
    layer.unlink()


def _files() -> dict[str, Path]:
    """Return name in the image -> file here."""
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    python = Path(sys.base_prefix) / "bin" / VERSION
    found = {f"{HOME}/bin/{name}": python.resolve() for name in (VERSION, "python3")}
    found |= {f"{HOME}/lib/{VERSION}/{path.relative_to(library)}": path for path in _below(library)}
    found |= {
        f"{SITE}/runai_core/{path.relative_to(ROOT / 'runai_core')}": path for path in _below(ROOT / "runai_core")
    }
    for distribution in _distributions("runai-core", EXTRAS):
        base = Path(str(distribution.locate_file("")))
        for file in distribution.files or ():
            path = base / file
            # An editable installation's own files point at the checkout, which is in the image already.
            if ".." not in file.parts and path.suffix not in {".pyc", ".pth"} and path.is_file():
                found[f"{SITE}/{file}"] = path
    found |= {program.lstrip("/"): Path(program).resolve() for program in PROGRAMS}
    objects = [path for path in found.values() if path.suffix == ".so" or ".so." in path.name]
    return found | _libraries([*objects, python, *(Path(each) for each in PROGRAMS)], found.values())


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        yield from (Path(place) / name for name in files if not name.endswith((".pyc", ".a")))


def _distributions(name: str, extras: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Return a distribution and all that it needs with these extras."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [(name, tuple(extras))]
    while wanted:
        project, parts = wanted.pop()
        if canonicalize_name(project) not in found:
            distribution = importlib.metadata.distribution(project)
            found[canonicalize_name(project)] = distribution
            for line in distribution.requires or ():
                need = Requirement(line)
                if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *parts)):
                    wanted.append((need.name, tuple(need.extras)))
    return list(found.values())


def _libraries(objects: Iterable[Path], known: Iterable[Path]) -> dict[str, Path]:
    """Return the shared libraries of the machine that these files are linked with, the loader too."""
    bundled = {path.name for path in known}
    answer = subprocess.run(["ldd", *map(str, objects)], capture_output=True, text=True, check=False).stdout
    paths = {Path(match) for match in re.findall(r"(?:=> )?(/\S+\.so[.\d]*) \(0x", answer)}
    return {str(path).lstrip("/"): path.resolve() for path in paths if path.name not in bundled}


def _anybody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mode |= 0o444
    if entry.mode & 0o100:
        entry.mode |= 0o111
    return entry
