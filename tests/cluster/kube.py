"""Requests of tests to an API server: plain dicts in and out, errors with the server's own sentence."""

import base64
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.waiting import PATIENCE

Object = dict[str, Any]
PATCHES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


BUSY_TRIES = 10
"""Times that a request is sent while the server is busy, or opens the storage of a new kind."""


class Refused(AssertionError):
    """The API server said no; `status` is the HTTP status."""

    def __init__(self, response: httpx.Response) -> None:
        request = response.request
        super().__init__(f"{request.method} {request.url.path}: {response.status_code} {response.text[:2000]}")
        self.status = response.status_code


class Kube:
    """One user's requests. Not safe to share among threads."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=authority)
        if "client-certificate" in user:
            trust.load_cert_chain(user["client-certificate"], user["client-key"])
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self.http = httpx.Client(
            base_url=cluster["server"], verify=trust, headers=headers, timeout=PATIENCE, trust_env=False
        )

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()

    def get(self, path: str, **query: str) -> Object:
        """Read an object or a list. `query` holds labelSelector and the like."""
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Object) -> Object:
        """Create an object in the collection at `path`, or post to a sub-resource such as binding."""
        return self._send("POST", path, json=body)

    def put(self, path: str, body: Object) -> Object:
        """Replace an object."""
        return self._send("PUT", path, json=body)

    def patch(self, path: str, body: Object | list[Object], kind: str = "merge") -> Object:
        """Change an object; `kind` is a key of `PATCHES`."""
        query = {"fieldManager": "tests", "force": "true"} if kind == "apply" else {}
        return self._send("PATCH", path, json=body, headers={"Content-Type": PATCHES[kind]}, params=query)

    def delete(self, path: str, *, grace: int | None = None, propagation: str = "Background") -> None:
        """Delete an object, or all objects of a collection; one that is gone is no error."""
        options: Object = {"propagationPolicy": propagation}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self._send("DELETE", path, json=options)
        except Refused as refused:
            if refused.status != 404:
                raise

    def wait(self, path: str, until: Callable[[Object], object], *, seconds: float = PATIENCE, **query: str) -> Object:
        """Read `path` until the condition holds. A missing object is an empty dict to the condition."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self._seen(path, query)
            if until(seen):
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"{path} did not become what was waited for in {seconds} s: {str(seen)[:3000]}")
            time.sleep(0.1)

    def wait_gone(self, path: str, *, seconds: float = PATIENCE) -> None:
        """Wait until nothing is at `path`."""
        self.wait(path, lambda seen: not seen, seconds=seconds)

    def _seen(self, path: str, query: Mapping[str, str]) -> Object:
        try:
            return self.get(path, **query)
        except Refused as refused:
            if refused.status != 404:
                raise
            return {}

    def _send(self, method: str, path: str, **how: Any) -> Object:
        for _ in range(BUSY_TRIES):
            response = self.http.request(method, path, **how)
            if response.status_code != 429:
                break
            time.sleep(float(response.headers.get("Retry-After", 1)))
        if response.status_code >= 400:
            raise Refused(response)
        answer: Object = response.json()
        return answer


def kubectl(program: Path, kubeconfig: Path, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
    """Run kubectl and return what it printed.

    Raises:
        AssertionError: It failed; the text is its error output.
    """
    command = [str(program), "--kubeconfig", str(kubeconfig), *arguments]
    answer = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=seconds)
    if answer.returncode != 0:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {answer.stderr or answer.stdout}")
    return answer.stdout
