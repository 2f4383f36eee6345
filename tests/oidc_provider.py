"""A real OpenID Connect provider on loopback: Glewlwyd, as Debian packages it, unpacked and not installed.

It was chosen because it is small, certified behaviour in C that shares no code
with what is tested, and starts within a second.
"""

import contextlib
import gzip
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.ports import free_port
from tests.waiting import eventually

PACKAGES = (
    "glewlwyd",
    "glewlwyd-common",
    "libcbor0.8",
    "libconfig9",
    "libhoel1.4",
    "libiddawc1.1",
    "libjansson4",
    "libldap-2.5-0",
    "libmariadb3",
    "libmicrohttpd12",
    "liboath0",
    "liborcania2.3",
    "libpq5",
    "librhonabwy1.1",
    "libulfius2.7",
    "libyder2.0",
)
"""The program and the libraries of which it cannot be said that every Debian has them."""

CLIENT, SECRET = "runai", "the secret of the client"
PASSWORD = "the password of the person"

CONFIG = """
port={port}
bind_address="127.0.0.1"
external_url="{url}"
login_url="login.html"
api_prefix="api"
static_files_path="{root}/usr/share/glewlwyd/webapp/"
log_mode="console"
log_level="ERROR"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{modules}/user"
user_middleware_module_path="{folder}/none"
client_module_path="{modules}/client"
user_auth_scheme_module_path="{modules}/scheme"
plugin_module_path="{modules}/plugin"
hash_algorithm="SHA512"
database={{ type="sqlite3"; path="{folder}/provider.db"; }};
"""


@dataclass
class Provider:
    """A provider that runs; people and clients are added through its own API."""

    url: str
    admin: httpx.Client

    @property
    def discovery(self) -> str:
        return f"{self.url}/api/oidc/.well-known/openid-configuration"

    def add_client(self, name: str, redirect_uri: str) -> None:
        body = {
            "client_id": name,
            "name": name,
            "confidential": True,
            "password": SECRET,
            "client_secret": SECRET,
            "token_endpoint_auth_method": ["client_secret_basic"],
            "redirect_uri": [redirect_uri],
            "authorization_type": ["code"],
            "enabled": True,
            "scope": [],
        }
        self.admin.post("/api/client/", params={"source": "database"}, json=body).raise_for_status()

    def add_person(self, name: str, groups: list[str]) -> None:
        body = {
            "username": name,
            "name": name.capitalize(),
            "email": f"{name}@example.com",
            "password": PASSWORD,
            "enabled": True,
            "scope": ["openid"],
            "groups": groups,
        }
        self.admin.post("/api/user/", params={"source": "database"}, json=body).raise_for_status()

    def authorize(self, name: str, location: str) -> httpx.URL:
        """Sign somebody in at the provider, as its own page would; return where it sends the browser back to."""
        client = httpx.URL(location).params["client_id"]
        with httpx.Client(base_url=self.url, timeout=60) as browser:
            browser.post("/api/auth/", json={"username": name, "password": PASSWORD}).raise_for_status()
            browser.put(f"/api/auth/grant/{client}", json={"scope": "openid"}).raise_for_status()
            answer = browser.get(f"{location}&g_continue=")
        return httpx.URL(answer.headers["location"])


@contextlib.contextmanager
def a_provider(folder: Path) -> Iterator[Provider]:
    """Run a provider until the context is left; skip the test where it cannot be had."""
    root = _unpacked()
    port = free_port()
    url = f"http://localhost:{port}"
    init = root / "usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz"
    with contextlib.closing(sqlite3.connect(folder / "provider.db")) as database:
        database.executescript(gzip.decompress(init.read_bytes()).decode())
    (folder / "none").mkdir()
    modules = root / "usr/lib/glewlwyd"
    config = folder / "provider.conf"
    config.write_text(CONFIG.format(port=port, url=url, root=root, modules=modules, folder=folder))
    libraries = ":".join(str(found) for found in root.glob("*lib/*-linux-gnu")) or f"{root}/usr/lib"
    libraries += ":" + ":".join(str(found) for found in root.glob("usr/lib/*-linux-gnu"))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    process = subprocess.Popen([root / "usr/bin/glewlwyd", "-c", config], env=environment)
    try:
        with httpx.Client(base_url=url, timeout=60) as admin:
            _wait(admin, process)
            admin.post("/api/auth/", json={"username": "admin", "password": "password"}).raise_for_status()
            _configure(admin, url)
            yield Provider(url, admin)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _configure(admin: httpx.Client, url: str) -> None:
    """Add OpenID Connect with the code flow and PKCE, and the claim of groups."""
    module: dict[str, Any] = admin.get("/api/mod/user/database").json()
    module["parameters"]["data-format"]["groups"] = {"multiple": True, "read": True, "write": True}
    admin.put("/api/mod/user/database", json=module).raise_for_status()
    admin.put("/api/mod/user/database/reset").raise_for_status()
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    flows = ("token", "none", "password", "client", "device")
    parameters = {
        "iss": f"{url}/api/oidc",
        "jwt-type": "rsa",
        "jwt-key-size": "256",
        "key": private.decode(),
        "cert": public.decode(),
        "access-token-duration": 3600,
        "refresh-token-duration": 86400,
        "code-duration": 600,
        "refresh-token-rolling": True,
        "allow-non-oidc": False,
        "auth-type-code-enabled": True,
        "auth-type-id-token-enabled": True,
        "auth-type-refresh-enabled": True,
        **{f"auth-type-{flow}-enabled": False for flow in flows},
        "scope": [],
        "claims": [{"name": "groups", "user-property": "groups", "mandatory": True, "type": "string"}],
        "email-claim": "mandatory",
        "name-claim": "mandatory",
        "scope-claim": "no",
        "subject-type": "public",
        "pkce-allowed": True,
        "pkce-required": True,
        "pkce-method-plain-allowed": False,
        "jwks-show": True,
        "request-parameter-allow": False,
    }
    body = {"module": "oidc", "name": "oidc", "display_name": "OIDC", "parameters": parameters, "enabled": True}
    admin.post("/api/mod/plugin/", json=body).raise_for_status()


def _wait(admin: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the identity provider does not start")
        with contextlib.suppress(httpx.HTTPError):
            return bool(admin.get("/api/"))
        return False

    eventually(answers, "an answer of the identity provider")


def _unpacked() -> Path:
    """Return where the packages are unpacked, fetching them once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runai-core-tests" / "glewlwyd"
    if (cache / "usr/bin/glewlwyd").exists():
        return cache
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip("the identity provider Glewlwyd comes as a Debian package, and this machine has no apt-get")
    draft = cache.with_name(f"glewlwyd.{os.getpid()}")
    draft.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(
        ["apt-get", "download", "-q", *PACKAGES], cwd=draft, capture_output=True, text=True, check=False
    )
    if got.returncode != 0:
        shutil.rmtree(draft)
        pytest.skip(f"the identity provider Glewlwyd cannot be fetched: {got.stderr.strip()[-200:]}")
    for package in draft.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, draft], check=True)
        package.unlink()
    with contextlib.suppress(OSError):  # somebody else was faster
        draft.rename(cache)
    return cache
