"""The deployments target `runai`: a model becomes an inference workload.

``mlflow deployments create -t runai:/team-a --name digits -m models:/digits/1 -C gpus=0.5``
"""

# ruff: noqa: TID253 - MLflow imports this module itself

import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import httpx
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.tracking import get_tracking_uri
from mlflow.utils.proto_json_utils import dump_input_data

from runai_core.client import Client
from runai_core.client.ownership import is_leaving, page_url, sentence_of
from runai_core.client.results import Workload
from runai_core.client.sync.owned import delete_owned
from runai_core.model.errors import AlreadyExists, NotFound, RunaiError, Unavailable
from runai_mlflow.backend import absolute_uri
from runai_mlflow.config import OF_DEPLOYMENTS, help_of, options_of, read_config
from runai_mlflow.places import connection_here, is_loopback

MODEL = "mlflow.org/model-uri"
"""Annotation: the model that a deployment serves."""

PORT_IN_IMAGE = 8080
PERIOD = 0.5
TIMEOUT = 600.0
LOG_LINES = 20

CODES: Mapping[type[RunaiError], int] = {
    AlreadyExists: RESOURCE_ALREADY_EXISTS,
    NotFound: RESOURCE_DOES_NOT_EXIST,
    Unavailable: TEMPORARILY_UNAVAILABLE,
}


class RunaiDeploymentClient(BaseDeploymentClient):
    """Deployments of one project: ``runai:/<project>``, or ``runai`` for the environment's project."""

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        self.project = target_uri.partition(":")[2].strip("/")

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Serve the model, and wait until it answers."""
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            chosen = read_config(config or {}, OF_DEPLOYMENTS, source="config")
            options = _options(client, model_uri, chosen)
            workload = client.submit(
                "Inference", name, {**options, "project": chosen.get("project") or self.project or None}
            )
            self._until_ready(client, workload, float(chosen.get("timeout", TIMEOUT)))
            return {"name": name, "flavor": flavor or "python_function", **_shown(client, client.get(workload.id))}

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Replace the model or the resources, and wait until the new server answers."""
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            found = self._find(client, name)
            chosen = read_config(config or {}, OF_DEPLOYMENTS, source="config")
            spec = dict(found.raw.get("spec") or {})
            kept = {"port": spec["servingPort"]["container"], "image": spec.get("image")}
            options = _options(client, model_uri or _annotation(found), {**kept, **chosen})
            client.update(found, _changes(options, spec))
            self._until_ready(client, found, float(chosen.get("timeout", TIMEOUT)))
        return {"name": name, "flavor": flavor or "python_function"}

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Delete the deployment; harmless where there is none."""
        del config
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            try:
                found = self._find(client, name)
            except NotFound:
                return
            delete_owned(client, found.id)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments of the project."""
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            rows = client.list(project=self.project or client.project, filters=("type==Inference",))
            whole = [client.get(row.id) for row in rows]
            return [{"name": found.name, **_shown(client, found)} for found in whole if _annotation(found)]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return one deployment: where it is, and why."""
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            return {"name": name, **_shown(client, self._find(client, name))}

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Return what the model makes of the inputs: a data frame, an array, a list, or a ready request."""
        _no_endpoint(endpoint)
        with _Opened(self.project) as client:
            found = self._find(client, str(deployment_name or ""))
            address = _address(client, found)
        body = inputs if isinstance(inputs, str) else dump_input_data(inputs) if not isinstance(inputs, dict) else None
        try:
            answer = httpx.post(
                f"{address}/invocations",
                content=body,
                json=inputs if body is None else None,
                headers={"Content-Type": "application/json"},
                timeout=60,
                trust_env=False,
            )
        except httpx.TransportError as error:
            message = f"{sentence_of(found)} does not answer at {address}: {error}"
            raise MlflowException(message, TEMPORARILY_UNAVAILABLE) from None
        if not answer.is_success:
            raise MlflowException(f"{found.name} answered {answer.status_code}: {answer.text[:500]}", BAD_REQUEST)
        return PredictionsResponse.from_json(answer.text)

    def _find(self, client: Client, name: str) -> Workload:
        found = client.get(client.get(name, project=self.project).id)
        if not _annotation(found):
            raise NotFound(f"{found.name} is no deployment of MLflow: `mlflow deployments list -t {self.target_uri}`")
        return found

    def _until_ready(self, client: Client, workload: Workload, timeout: float) -> None:
        """Wait until the server answers; a deployment that does not come up is deleted again."""
        deadline, found = time.monotonic() + timeout, workload
        while time.monotonic() < deadline:
            found = client.get(workload.id)
            if is_leaving(found) or found.is_over or _gave_up(client, found):
                break
            if found.phase == "Running" and _answers(_address(client, found)):
                return
            time.sleep(PERIOD)
        log = _last_lines(client, found)
        delete_owned(client, found.id)
        raise MlflowException(f"{sentence_of(found)}. It was deleted again.{log}", BAD_REQUEST)


def run_local(
    target: str, name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None
) -> NoReturn:
    """Refuse: the embedded orchestrator is the local mode."""
    del name, flavor, config
    raise MlflowException(
        f"there is no other local mode: start `runai up`, then `mlflow deployments create -t {target} -m {model_uri}`",
        INVALID_PARAMETER_VALUE,
    )


def target_help() -> str:
    """Return what ``mlflow deployments help -t runai`` prints."""
    return (
        "Targets: runai, or runai:/<project>. The orchestrator is found as `runai` finds it: RUNAI_URL and "
        "RUNAI_TOKEN, `runai login`, or `runai up` on this machine.\n\nConfiguration (-C name=value):\n"
        + help_of(OF_DEPLOYMENTS)
    )


class _Opened:
    """A client, and our errors as MLflow's."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._client: Client | None = None

    def __enter__(self) -> Client:
        try:
            self._client = Client.connect_to(connection_here())
        except RunaiError as error:
            raise MlflowException(error.message, TEMPORARILY_UNAVAILABLE) from None
        return self._client

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._client is not None:
            self._client.close()
        if isinstance(error, RunaiError):
            code = next((code for known, code in CODES.items() if isinstance(error, known)), INVALID_PARAMETER_VALUE)
            raise MlflowException(f"{type(error).__name__}: {error.message}", code) from None


def _options(client: Client, model_uri: str, config: Mapping[str, Any]) -> dict[str, Any]:
    here = is_loopback(client.transport.connection.url) and not config.get("image")
    port = config.get("port") or (_free_port() if here else PORT_IN_IMAGE)
    python = config.get("python") or (sys.executable if here else "python")
    serve = ["-m", "mlflow", "models", "serve", "-m", model_uri, "-h", "127.0.0.1" if here else "0.0.0.0"]  # noqa: S104
    path = {"PATH": os.environ.get("PATH", "")} if here else {}
    return {
        **options_of(config),
        "command": [python, *serve, "-p", str(port), "--env-manager", "local"],
        "port": port,
        "readiness_path": "/ping",
        "min_replicas": config.get("replicas"),
        "annotations": {MODEL: model_uri},
        "env": {"MLFLOW_TRACKING_URI": absolute_uri(get_tracking_uri()), **path, **(config.get("env") or {})},
    }


def _changes(options: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a running deployment that change, in the API's names."""
    from runai_core.client.specs import build_spec

    wanted = build_spec("Inference", {name: value for name, value in options.items() if value is not None})
    return {name: value for name, value in wanted.items() if spec.get(name) != value}


def _shown(client: Client, found: Workload) -> dict[str, Any]:
    return {
        "model_uri": _annotation(found),
        "status": str(found.phase),
        "message": found.phase_message,
        "endpoint": _address(client, found),
        "workload_id": found.id,
        "page": page_url(client.transport.connection.url, found.id),
    }


def _address(client: Client, found: Workload) -> str:
    """Return where the server answers: its published address, or its first pod's."""
    published = [item.get("url") for item in found.raw.get("externalConnections") or () if item.get("url")]
    if published or found.raw.get("urls"):
        return str([*published, *found.raw["urls"]][0]).rstrip("/")
    port = ((found.raw.get("spec") or {}).get("servingPort") or {}).get("container", PORT_IN_IMAGE)
    if is_loopback(client.transport.connection.url):
        return f"http://127.0.0.1:{port}"
    pods = client.pods(found)
    return f"http://{pods[0].ip if pods else found.name}:{port}"


def _annotation(found: Workload) -> str:
    annotations = (found.raw.get("spec") or {}).get("annotations") or ()
    return next((str(item["value"]) for item in annotations if item["name"] == MODEL), "")


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ping", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _gave_up(client: Client, found: Workload) -> bool:
    """Return whether the server ends again and again."""
    return any(int(pod.raw.get("restarts") or 0) > 1 for pod in client.pods(found))


def _last_lines(client: Client, found: Workload) -> str:
    try:
        text = client.log_text(found, tail=LOG_LINES)
    except RunaiError:
        return ""
    return f" The end of its log:\n{text}" if text else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint:
        message = f"endpoint {endpoint}: this target has none; name the project in the target, as in runai:/team-a"
        raise MlflowException(message, INVALID_PARAMETER_VALUE)
