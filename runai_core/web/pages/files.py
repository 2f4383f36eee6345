"""Static files: read once, served under a path that changes with their content, so that browsers may keep them."""

import functools
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from runai_core.model.errors import NotFound

FOLDER = Path(__file__).parent.parent / "static"

TYPES: Mapping[str, str] = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served."""

    content: bytes
    digest: str
    media_type: str


@functools.cache
def files() -> Mapping[str, StaticFile]:
    """Return every file that may be served, by name: nothing else on the disk can be asked for."""
    return {path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.is_file()}


def url(name: str) -> str:
    """Return the path of a file for use in a page; raise KeyError for one that is not there."""
    return f"/static/{files()[name].digest}/{name}"


def serve(digest: str, name: str) -> Response:
    """Return the file; under an old digest the present one, which must then not be kept.

    Raises:
        NotFound: there is no file of this name.
    """
    found = files().get(name)
    if found is None:
        raise NotFound("there is no such file")
    caching = FOREVER if digest == found.digest else "no-cache"
    headers = {"Cache-Control": caching, "ETag": f'"{found.digest}"', "X-Content-Type-Options": "nosniff"}
    return Response(found.content, media_type=found.media_type, headers=headers)


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    guessed = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain; charset=utf-8"
    return StaticFile(content, hashlib.sha256(content).hexdigest()[:16], guessed)
