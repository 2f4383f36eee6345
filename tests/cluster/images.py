"""The two images that real nodes need, made here: no registry is asked.

``runai-test/pause`` holds a pod's namespaces. ``runai-test/host`` is an almost empty root file system: with the
machine's own ``/usr`` and this Python mounted read-only into it, a real container runs the programs of the machine.
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.kube import Object

PAUSE, HOST = "docker.io/runai-test/pause:latest", "docker.io/runai-test/host:latest"
ROOT = Path(__file__).parents[2]
FOLDERS = (
    "bin",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "usr",
    "var",
)
_FILES: Mapping[str, str] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def write_images(pause: Path, target: Path) -> None:
    """Write both images as one archive in the format of ``docker save``."""
    layers = {PAUSE: _pause_layer(pause), HOST: _host_layer()}
    manifest = []
    with tarfile.open(target, "w") as archive:
        for name, layer in layers.items():
            digest = hashlib.sha256(layer).hexdigest()
            settings = {"Entrypoint": ["/pause"]} if name == PAUSE else {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
            manifest.append(_described(archive, name, digest, settings))
            _add(archive, f"{digest}/layer.tar", layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def write_image(target: Path, name: str, layer: Path, settings: Mapping[str, object]) -> None:
    """Write an image of one layer, a tar file, as an archive in the format of ``docker save``."""
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    with tarfile.open(target, "w") as archive:
        manifest = [_described(archive, name, digest, settings)]
        archive.add(layer, f"{digest}/layer.tar")
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _described(archive: tarfile.TarFile, name: str, digest: str, settings: Mapping[str, object]) -> Object:
    """Add an image's configuration to an archive; return its entry in the manifest."""
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    written = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(written).hexdigest()}.json"
    _add(archive, config_name, written)
    return {"Config": config_name, "RepoTags": [name.removeprefix("docker.io/")], "Layers": [f"{digest}/layer.tar"]}


def a_container(command: Sequence[str], *, name: str = "main", gpus: int = 0) -> Object:
    """A container that runs a program of this machine; its pod needs `host_volumes`.

    ``python`` as the first word is the Python that runs the tests, with what is installed beside it and the checkout.
    """
    words = [sys.executable, *command[1:]] if command[0] == "python" else list(command)
    container: Object = {
        "name": name,
        "image": HOST,
        "imagePullPolicy": "Never",
        "command": words,
        "workingDir": "/tmp",
        "env": [{"name": "PYTHONPATH", "value": str(ROOT)}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "volumeMounts": [
            {"name": f"host-{number}", "mountPath": str(path), "readOnly": True} for number, path in _mounted().items()
        ],
    }
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return container


def host_volumes() -> list[Object]:
    """The volumes of a pod with such containers."""
    return [
        {"name": f"host-{number}", "hostPath": {"path": str(path.resolve())}} for number, path in _mounted().items()
    ]


def a_real_pod(
    name: str, command: Sequence[str], *, gpus: int = 0, node: str = "", scheduler: str = "", **metadata: object
) -> Object:
    """A pod that runs a program of this machine in a real container, once."""
    spec: Object = {
        "containers": [a_container(command, gpus=gpus)],
        "volumes": host_volumes(),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
    }
    if node:
        spec["nodeName"] = node
    if scheduler:
        spec["schedulerName"] = scheduler
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def _mounted() -> dict[int, Path]:
    """The folders that a program needs, without those inside another."""
    system = [Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64")]
    ours = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    wanted = [path for path in [*system, *ours] if path.exists()]
    kept = [path for path in wanted if not any(other in path.parents for other in wanted)]
    return dict(enumerate(dict.fromkeys(kept)))


def _pause_layer(pause: Path) -> bytes:
    return _layer({"pause": pause.read_bytes()}, folders=(), mode=0o755)


def _host_layer() -> bytes:
    return _layer({name: text.encode() for name, text in _FILES.items()}, folders=FOLDERS, mode=0o644)


def _layer(files: Mapping[str, bytes], *, folders: Sequence[str], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for name in (*folders, *(["tmp"] if folders else [])):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            layer.addfile(entry)
        for name, content in files.items():
            _add(layer, name, content, mode)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    import platform

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
