"""The command line over a carrier that answers from a table and keeps what it was asked."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from runai_core.cli.context import App
from runai_core.cli.main import run
from runai_core.client.environment import Connection
from runai_core.client.sync.client import Client
from runai_core.client.sync.transport import Transport

UID = "0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a"


def workload(**fields: Any) -> dict[str, Any]:
    """Return a workload as the API shows it."""
    return {
        "id": UID,
        "name": "mnist",
        "type": "Training",
        "phase": "Running",
        "projectName": "default",
        "preemptible": True,
        "runningPods": 1,
        "requestedPods": {"number": 1},
        "allocatedResources": {"gpu": 0.5},
        "workloadRequestedResources": {"gpu": {"request": 0.5}},
        **fields,
    }


@dataclass
class Api:
    """Answers by method and path; anything else is 404."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get((request.method, request.url.path), (404, {"message": "there is no such thing"}))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer)
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json={"code": status, **body} if status >= 400 else body)

    def workloads(self, *items: Mapping[str, Any]) -> None:
        """Let these workloads exist, to be listed and to be got by id."""

        def page(request: httpx.Request) -> Any:
            conditions = [text.partition("==") for text in request.url.params.get_list("filterBy")]
            names = {"name": "name", "projectName": "projectName", "type": "type", "phase": "phase"}
            return {
                "workloads": [
                    item
                    for item in items
                    if all(item.get(names[field]) == value for field, _, value in conditions if field in names)
                ]
            }

        self.answers["GET", "/api/v1/workloads"] = page
        self.answers["GET", "/api/v1/workloads/pods"] = {"pods": []}
        self.answers["GET", "/api/v1/org-unit/projects/default"] = {"name": "default"}
        for item in items:
            self.answers["GET", f"/api/v1/workloads/{item['id']}"] = item

    @property
    def body(self) -> Any:
        """The body of the last request that had one."""
        return next(json.loads(request.content) for request in reversed(self.requests) if request.content)


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def runai(api: Api, capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line against the table of answers."""
    monkeypatch.delenv("RUNAI_DEBUG", raising=False)

    def connect(_environ: Mapping[str, str]) -> Client:
        return Client(Transport(Connection(url="http://localhost", token="t"), httpx.MockTransport(api)))

    def call(*words: str) -> Result:
        environ = {"HOME": str(tmp_path), "RUNAI_CLI_CONFIG_PATH": str(tmp_path)}
        code = run(words, App(environ=environ, connect=connect))
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def a_workload() -> Callable[..., dict[str, Any]]:
    return workload


@pytest.fixture
def requests_of(api: Api) -> Callable[[], Sequence[str]]:
    """Return what was asked, as ``METHOD path``."""
    return lambda: [f"{request.method} {request.url.path}" for request in api.requests]
