"""Environments that come with the product: the names of Run:ai's, images that are public. Data."""

import uuid
from collections.abc import Mapping
from typing import Any

from runai_core.model.assets import Asset, AssetKind, SupportedTypes
from runai_core.model.meta import Meta

_SPACE = uuid.UUID("b2f7c1f2-2a5f-5d0e-8a43-7d1d0f6d9c35")
"""Name space of their ids: the same in every installation."""

_BUILD = SupportedTypes(workspace=True, training=True, distributed=False, inference=False)
_TRAIN = SupportedTypes(workspace=True, training=True, distributed=True, inference=False)
_SERVE = SupportedTypes(workspace=False, training=False, distributed=False, inference=True)


def _tool(kind: str, port: int, name: str = "") -> dict[str, Any]:
    tool = {"toolType": kind, "connectionType": "ExternalUrl", "containerPort": port}
    return {"name": name or kind, "isExternal": False, "internalToolInfo": tool}


def _serving(port: int) -> dict[str, Any]:
    info = {"toolType": "custom", "connectionType": "ServingPort", "containerPort": port}
    return {
        "name": "serving",
        "isExternal": False,
        "internalToolInfo": {**info, "servingPortInfo": {"protocol": "http"}},
    }


_ROWS: tuple[tuple[str, str, SupportedTypes, Mapping[str, Any]], ...] = (
    (
        "jupyter-lab",
        "JupyterLab.",
        _BUILD,
        {"image": "jupyter/base-notebook", "command": "start-notebook.sh"}
        | {"connections": [_tool("jupyter-notebook", 8888, "Jupyter")]},
    ),
    (
        "jupyter-scipy",
        "JupyterLab with scientific packages.",
        _BUILD,
        {"image": "jupyter/scipy-notebook", "command": "start-notebook.sh"}
        | {"connections": [_tool("jupyter-notebook", 8888, "Jupyter")]},
    ),
    (
        "jupyter-tensorboard",
        "JupyterLab and TensorBoard.",
        _BUILD,
        {"image": "jupyter/tensorflow-notebook", "command": "start-notebook.sh"}
        | {"connections": [_tool("jupyter-notebook", 8888, "Jupyter"), _tool("tensorboard", 6006, "TensorBoard")]},
    ),
    (
        "tensorboard",
        "TensorBoard.",
        _BUILD,
        {"image": "tensorflow/tensorflow", "command": "tensorboard", "args": "--logdir /logs --host 0.0.0.0"}
        | {"connections": [_tool("tensorboard", 6006, "TensorBoard")]},
    ),
    (
        "vscode",
        "Visual Studio Code in the browser.",
        _BUILD,
        {"image": "codercom/code-server", "args": "--bind-addr 0.0.0.0:8080"}
        | {"connections": [_tool("visual-studio-code", 8080, "VSCode")]},
    ),
    (
        "rstudio",
        "RStudio.",
        _BUILD,
        {"image": "rocker/rstudio"} | {"connections": [_tool("rstudio", 8787, "RStudio")]},
    ),
    ("pytorch", "PyTorch.", _TRAIN, {"image": "pytorch/pytorch"}),
    (
        "llm-server",
        "A server for language models.",
        _SERVE,
        {"image": "vllm/vllm-openai", "connections": [_serving(8000)]},
    ),
    (
        "chatbot-ui",
        "A page to talk to a language model.",
        _BUILD,
        {"image": "ghcr.io/open-webui/open-webui", "connections": [_tool("chatbot-ui", 8080, "Chatbot")]},
    ),
    ("nemo", "NVIDIA NeMo.", _TRAIN, {"image": "nvcr.io/nvidia/nemo"}),
    ("bio-nemo", "NVIDIA BioNeMo.", _TRAIN, {"image": "nvcr.io/nvidia/clara/bionemo-framework"}),
)


PREINSTALLED: tuple[Asset, ...] = tuple(
    Asset(
        meta=Meta(
            name=f"environment/system/{title}",
            uid=str(uuid.uuid5(_SPACE, title)),
            created_by="system",
            updated_by="system",
        ),
        kind=AssetKind.ENVIRONMENT,
        title=title,
        scope_type="system",
        description=description,
        supported=supported,
        spec=spec,
    )
    for title, description, supported, spec in _ROWS
)
"""In the scope of the system: everybody may use them, nobody may change them."""
