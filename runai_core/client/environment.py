"""Where the orchestrator is and who asks: read from the environment, the credentials file and the configuration.

The order is the same everywhere: what is given, then `RUNAI_URL` with
`RUNAI_TOKEN`, then what `runai login` kept, then the credentials file that
`runai up` wrote into the data directory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runai_core import __version__
from runai_core.model.errors import FieldError, InvalidRequest, Unavailable
from runai_core.model.organization import DEFAULT_PROJECT
from runai_core.settings import default_data_dir

CREDENTIALS = "credentials.json"
CONFIG = "config.json"
NOT_RUNNING = "no orchestrator is running: start one with `runai up`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """All that is needed to talk to one orchestrator."""

    url: str
    token: str = ""
    client_id: str = ""
    client_secret: str = ""
    project: str = DEFAULT_PROJECT  # where workloads go when nobody says otherwise
    agent: str = f"runai-core/{__version__}"
    unreachable: str = ""  # what to say when nobody answers at the URL


def data_dir(environ: Mapping[str, str]) -> Path:
    """Return the data directory of the orchestrator of this user."""
    return Path(environ.get("RUNAI_DATA_DIR") or default_data_dir(environ)).expanduser().absolute()


def config_file(environ: Mapping[str, str]) -> Path:
    """Return the file where the command line keeps its settings (RUNAI_CLI_CONFIG_PATH, RUNAI_CLI_CONFIG_FILE)."""
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config"
    folder = Path(environ.get("RUNAI_CLI_CONFIG_PATH") or Path(base) / "runai").expanduser()
    return folder / (environ.get("RUNAI_CLI_CONFIG_FILE") or CONFIG)


def read_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of the command line; none where there is no file.

    Raises:
        InvalidRequest: the file is not a JSON object.
    """
    path = config_file(environ)
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidRequest.of(FieldError(str(path), f"cannot be read ({error}): mend it, or remove it")) from None
    if not isinstance(config, dict):
        raise InvalidRequest.of(FieldError(str(path), "must hold a JSON object: mend it, or remove it"))
    return config


def find_connection(environ: Mapping[str, str]) -> Connection:
    """Return how to reach the orchestrator that the environment means.

    Raises:
        Unavailable: no orchestrator was ever started here, or its credentials file cannot be read.
        InvalidRequest: a URL or a file has a wrong form.
    """
    config = read_config(environ)
    project = environ.get("RUNAI_PROJECT") or str(config.get("project") or DEFAULT_PROJECT)
    if url := environ.get("RUNAI_URL"):
        return Connection(
            url=_checked(url, "RUNAI_URL"),
            token=environ.get("RUNAI_TOKEN", ""),
            client_id=environ.get("RUNAI_CLIENT_ID", ""),
            client_secret=environ.get("RUNAI_CLIENT_SECRET", ""),
            project=project,
            unreachable=f"nobody answers at {url} (RUNAI_URL)",
        )
    if "RUNAI_DATA_DIR" not in environ and config.get("url"):
        kept = {key: str(config.get(key) or "") for key in ("token", "client_id", "client_secret")}
        url = _checked(str(config["url"]), str(config_file(environ)))
        return Connection(url=url, project=project, unreachable=f"nobody answers at {url} (`runai login`)", **kept)
    return read_credentials(data_dir(environ), project=project, token=environ.get("RUNAI_TOKEN"))


def read_credentials(folder: Path, *, project: str = DEFAULT_PROJECT, token: str | None = None) -> Connection:
    """Return how to reach the orchestrator of a data directory.

    Raises:
        Unavailable: there is no credentials file, or it cannot be read.
    """
    path = folder / CREDENTIALS
    not_running = f"{NOT_RUNNING} (data directory {folder})"
    try:
        content = json.loads(path.read_text())
        return Connection(
            url=str(content["url"]).rstrip("/"),
            token=token or str(content["token"]),
            client_id=str(content.get("client_id", "")),
            client_secret=str(content.get("client_secret", "")),
            project=project,
            unreachable=not_running,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise Unavailable(not_running) from None
    except PermissionError:
        raise Unavailable(f"{path} belongs to another user: set RUNAI_DATA_DIR to a directory of yours") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise Unavailable(f"{path} is damaged: `runai down` and `runai up` write it anew") from None


def _checked(url: str, source: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError(source, "must begin with http:// or https://", url))
    return url.rstrip("/")
