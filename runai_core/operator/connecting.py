"""From a kubeconfig to the API that runs on the cluster: where it answers, and who may ask."""

import json
from typing import Any

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.conditions import holds
from runai_core.backends.kubernetes.resources import PODS, SERVICES
from runai_core.backends.kubernetes.runtime import ERROR, STREAMS
from runai_core.model.errors import NotFound, Unavailable
from runai_core.operator.install.deployments import DATA
from runai_core.operator.install.names import COMPONENT_LABEL, NAME_LABEL

API_SERVICE = "runai-api"
FILE = f"{DATA}/credentials.json"
"""Where an API server keeps the secret of its first account, in its pod."""

_READ = "import sys; sys.stdout.write(open(sys.argv[1]).read())"


async def address_of(api: Api, namespace: str) -> str:
    """Return the URL of the API where a load balancer shows it; empty where none does.

    Raises:
        NotFound: we are not installed there.
    """
    try:
        service = await api.get(SERVICES, API_SERVICE, namespace)
    except NotFound:
        raise NotFound(
            f"there is no service {API_SERVICE} in namespace {namespace} of {api.server}: "
            "run `runai admin install`, or name the namespace with --namespace"
        ) from None
    shown = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    hosts = [each.get("hostname") or each.get("ip") for each in shown]
    port = service["spec"]["ports"][0]["port"]
    return f"http://{hosts[0]}{'' if port == 80 else f':{port}'}" if hosts else ""


async def credentials_of(api: Api, namespace: str) -> tuple[str, str]:
    """Return client id and secret of the account that the API made at its first start; read in its pod.

    Raises:
        Unavailable: no pod of the API is ready, or it has no account yet.
        Forbidden: the kubeconfig may not run commands in pods there.
    """
    labels = f"{NAME_LABEL}=runai,{COMPONENT_LABEL}=api"
    items, _ = await api.list(PODS, namespace, labels=labels)
    ready = [item for item in items if holds(item, "Ready")]
    if not ready:
        raise Unavailable(
            f"no pod of the API is ready in namespace {namespace}: `kubectl -n {namespace} get pods` shows why"
        )
    name = ready[0]["metadata"]["name"]
    text = await _output_of(api, namespace, name, ["python3", "-c", _READ, FILE])
    try:
        content: dict[str, Any] = json.loads(text)
        return str(content["client_id"]), str(content["client_secret"])
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"pod {name} has no account yet: try again in a moment") from None


async def _output_of(api: Api, namespace: str, pod: str, command: list[str]) -> str:
    """Return what a command in a pod's container prints; empty where it fails."""
    query = [("container", "api"), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in command)]
    found = b""
    async with api.websocket(PODS.path(namespace, pod, "exec"), query) as connection:
        async for message in connection:
            data = message.data.encode() if isinstance(message.data, str) else message.data
            if data and STREAMS.get(data[0]) == "stdout":
                found += data[1:]
            elif data and data[0] == ERROR:
                break
    return found.decode(errors="replace")
