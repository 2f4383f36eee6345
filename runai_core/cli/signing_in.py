"""`runai login` as a person: with a password, or in the browser.

What is kept is not the password: an access key of this machine is made, with
which the command asks for tokens from then on, and `runai logout` deletes it.
"""

import hashlib
import http.server
import secrets
import socket
import urllib.parse
import webbrowser
from base64 import urlsafe_b64encode
from typing import Any

import click

from runai_core.cli.context import App
from runai_core.client.requests import API, as_it_is, segment, send
from runai_core.client.sync.client import Client
from runai_core.model.errors import FieldError, Forbidden, InvalidRequest, RunaiError, Unavailable

KEY_SECONDS = 30 * 86400
"""How long a login lasts."""

WAIT = 300.0
"""Seconds for signing in in the browser."""

DONE = b"<!doctype html><title>runai</title><p>You are signed in. Go back to the terminal."


def with_password(url: str, name: str, password: str) -> str:
    """Return a token; a password that must be changed is asked for anew."""
    body = {"grantType": "password", "username": name, "password": password}
    try:
        return _token(url, body)
    except Forbidden as error:
        if "changed" not in error.message:
            raise
        click.echo("The password must be changed.", err=True)
        new = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        return _token(url, {**body, "newPassword": new})


def with_browser(app: App, url: str, *, opens: bool) -> str:
    """Return a token that a browser asked for; the code comes back to a door of this process on loopback."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with _Door(("127.0.0.1", 0), state) as door:
        here = f"http://127.0.0.1:{door.server_port}/callback"
        query = urllib.parse.urlencode({"redirect_uri": here, "code_challenge": challenge, "state": state})
        there = f"{url}/authorize?{query}"
        app.say(f"Sign in in the browser: {there}")
        if opens:
            webbrowser.open(there)
        code = door.wait()
    return _token(url, {"grantType": "authorization_code", "code": code, "codeVerifier": verifier, "redirectUri": here})


def key_for_this_machine(url: str, token: str) -> dict[str, str]:
    """Return id and secret of a new access key."""
    machine = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname().lower())[:40]
    name = f"cli-{machine or 'machine'}-{secrets.token_hex(3)}"
    with Client.connect(url=url, token=token) as client:
        made = client.transport.call(
            send("POST", f"{API}/access-keys", as_it_is, {"name": name, "expiresIn": KEY_SECONDS})
        )
    return {"client_id": made["clientId"], "client_secret": made["clientSecret"]}


def forget_key(url: str, client_id: str, client_secret: str) -> bool:
    """Delete the access key of a login; return whether that was possible."""
    try:
        with Client.connect(url=url, client_id=client_id, client_secret=client_secret) as client:
            client.transport.call(send("DELETE", f"{API}/access-keys/{segment(client_id)}", as_it_is))
    except RunaiError:
        return False
    return True


def checked_url(url: str) -> str:
    """Return an address without its last slash; raise InvalidRequest."""
    if not url.startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError("--url", "must begin with http:// or https://", url))
    return url.rstrip("/")


def _token(url: str, body: dict[str, Any]) -> str:
    with Client.connect(url=url, token="none") as client:  # noqa: S106  nobody has one yet
        return str(client.transport.call(send("POST", f"{API}/token", as_it_is, body))["accessToken"])


class _Door(http.server.HTTPServer):
    """Waits on loopback for the one request that brings the code."""

    def __init__(self, address: tuple[str, int], state: str) -> None:
        super().__init__(address, _Caller)
        self.timeout = WAIT
        self.state = state
        self.code = ""
        self.gave_up = False

    def wait(self) -> str:
        """Return the code; raise Unavailable when nobody comes."""
        while not self.code and not self.gave_up:
            self.handle_request()
        if not self.code:
            raise Unavailable("nobody signed in in the browser: try again")
        return self.code

    def handle_timeout(self) -> None:
        """Give up."""
        self.gave_up = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave a browser that hangs up alone."""


class _Caller(http.server.BaseHTTPRequestHandler):
    server: _Door

    def do_GET(self) -> None:  # the name is the library's
        """Take the code if it is the answer to our question."""
        parts = urllib.parse.urlsplit(self.path)
        given = dict(urllib.parse.parse_qsl(parts.query))
        ours = parts.path == "/callback" and secrets.compare_digest(given.get("state", ""), self.server.state)
        self.send_response(200 if ours else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if ours:
            self.wfile.write(DONE)
            self.server.code = given.get("code", "")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
        """Say nothing."""
