"""Who this orchestrator is: a file in the data directory, drawn at the first start, readable by its owner only."""

import json
import os
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

from runai_core.model.errors import Unavailable

IDENTITY_FILE = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes this orchestrator itself: drawn at the first start, kept in the data directory, mode 0600."""

    cluster_id: str
    signing_key: str


def load_identity(data_dir: Path) -> Identity:
    """Return the identity kept in the data directory, drawing one at the first start.

    Raises:
        Unavailable: the directory cannot be written, or the file is damaged.
    """
    path = data_dir / IDENTITY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, json.dumps({"cluster_id": str(uuid.uuid4()), "signing_key": secrets.token_hex(32)}))
        content = json.loads(path.read_text())
        return Identity(cluster_id=str(content["cluster_id"]), signing_key=str(content["signing_key"]))
    except OSError as error:
        raise Unavailable(f"the data directory {data_dir} cannot be used: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise Unavailable(
            f"{path} is damaged: restore it, or remove it (all tokens must then be issued anew)"
        ) from None


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
