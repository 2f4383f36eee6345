"""Schemathesis over the whole OpenAPI document: whatever is sent, nothing answers 5xx, and errors have one form."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from tests.orchestrators import OrchestratorProcess, an_orchestrator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.core.result import Ok
    from schemathesis.generation import GenerationMode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = int(os.environ.get("RUNAI_FUZZ_EXAMPLES", "2"))
"""Requests for each operation that fit its description, and as many that do not.

Hundreds find more: RUNAI_FUZZ_EXAMPLES=200, some time and patience.
"""

LEFT_OUT = ("/logout", "/watch", "/api/v1/link")
"""Parts of paths: what would end our own session, what never ends, and what clusters alone use."""

TIMEOUT = 90
"""Seconds in which every answer must come."""


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """Run a server with something in it."""
    nodes = [{"name": "node-a", "gpus": 2, "cpu": 8, "memory": "16Gi"}]
    with an_orchestrator(tmp_path_factory.mktemp("fuzz"), nodes) as running:
        running.submit("there", ["sleep", "600"])
        yield running


def test_nothing_that_is_sent_makes_the_server_fail(orchestrator: OrchestratorProcess) -> None:
    """Every operation gets requests that fit its description, and some that do not."""
    token = json.loads((orchestrator.data_dir / "credentials.json").read_text())["token"]
    document = orchestrator.client.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    headers = {"Authorization": f"Bearer {token}"}
    base = str(orchestrator.client.base_url).rstrip("/")
    wrong: list[str] = []
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation: Any = found.ok()
        if any(part in operation.path for part in LEFT_OUT):
            continue
        tried += 1
        for mode in GenerationMode:
            _try(operation, base, headers, wrong, mode)

    assert tried > 300
    assert wrong == []


def _try(operation: Any, base: str, headers: dict[str, str], wrong: list[str], mode: Any) -> None:
    """Send requests that fit the description, or that do not; where nothing can be wrong, nothing is sent."""

    @seed(2026)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if case.query and "follow" in case.query:
            case.query["follow"] = "false"
        answer = case.call(base_url=base, headers=headers, timeout=TIMEOUT)
        if said := _wrong(operation, answer):
            wrong.append(said)

    with contextlib.suppress(Unsatisfiable):
        send()


def _wrong(operation: Any, answer: Any) -> str:
    """Return what is wrong with an answer; empty where it is as it should be."""
    where = f"{operation.method.upper()} {operation.path}"
    if answer.status_code >= 500:
        return f"{where} answered {answer.status_code}: {answer.content[:300]!r}"
    if answer.status_code < 400:
        return ""
    try:
        body = json.loads(answer.content)
    except ValueError:
        return f"{where}: the error is no JSON: {answer.content[:200]!r}"
    if not isinstance(body, dict) or not {"code", "message", "details"} <= body.keys():
        return f"{where}: the error has another form: {body}"
    return ""
