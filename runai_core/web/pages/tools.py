"""What of a workload can be connected to: its ports and links, as people are offered them."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from runai_core.model.spec import WorkloadSpec

NAMES = {
    "jupyter-notebook": "Jupyter",
    "visual-studio-code": "VS Code",
    "tensorboard": "TensorBoard",
    "rstudio": "RStudio",
    "mlflow": "MLflow",
    "matlab": "MATLAB",
    "chatbot-ui": "Chatbot",
    "pycharm": "PyCharm",
}
"""Kind of a tool -> what people call it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something to connect to: a port of the workload, or a link."""

    name: str
    port: int = 0  # 0: a link only
    url: str = ""  # where it is reached from outside, if anywhere
    access: str = ""  # who may


def tools_of(spec: WorkloadSpec) -> tuple[Tool, ...]:
    """Return the tools of a specification: exposed URLs, ports, the serving port, related links; a port once."""
    found: dict[str, Tool] = {}
    for tool in _tools(spec):
        found.setdefault(str(tool.port) if tool.port else tool.url, tool)
    return tuple(found.values())


def _tools(spec: WorkloadSpec) -> Iterator[Tool]:
    for url in spec.exposed_urls:
        name = url.name or url.tool_name or NAMES.get(url.tool_type or "", "") or f"port {url.container}"
        yield Tool(name, url.container, _web(url.url), url.authorization_type or "")
    for port in spec.ports:
        name = port.name or port.tool_name or NAMES.get(port.tool_type or "", "") or f"port {port.container}"
        yield Tool(name, port.container)
    if spec.serving_port is not None:
        yield Tool("serving", spec.serving_port.container, "", spec.serving_port.authorization_type or "")
    for link in spec.related_urls:
        if address := _web(link.url):
            yield Tool(link.name or link.type or urlsplit(address).netloc, 0, address)


def _web(url: str | None) -> str:
    """Return the link where it is one that may be clicked: never ``javascript:`` or the like."""
    return url if url and urlsplit(url).scheme in ("http", "https") else ""
