"""Kubeflow Pipelines: all pods of a pipeline under the scheduler, and steps that are gangs of their own.

A step of a pipeline is one pod, and later steps do not exist while it runs: a
gang over a whole pipeline would wait for ever. So `gang` marks every pod of a
pipeline with its project, and `runai_workload` is a step that submits a
distributed workload, which starts whole or not at all, and waits for it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.stamping import Marks

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask
    from kfp.dsl.graph_component import GraphComponent

PLATFORM = "kubernetes"


def gang(
    pipeline: "GraphComponent",
    *,
    project: str,
    priority: str = "",
    preemptibility: str = "",
    node_pool: str = "",
) -> "GraphComponent":
    """Mark every pod that a pipeline will make with its project; returns the same pipeline, ready to compile.

    The scheduler's name cannot be written into a pipeline (kfp-kubernetes 2.16
    has no field for it): on a cluster the admission webhook sets it in the
    project's namespace, which is why the labels are enough.

    Raises:
        InvalidRequest: this is no pipeline, or a mark is wrong.
    """
    from google.protobuf import json_format

    specification = getattr(pipeline, "pipeline_spec", None)
    executors = _executors(specification)
    labels = Marks(project=project, priority=priority, preemptibility=preemptibility, node_pool=node_pool).labels
    platform = pipeline.platform_spec
    document = json_format.MessageToDict(platform)
    kubernetes = document.setdefault("platforms", {}).setdefault(PLATFORM, {})
    known = kubernetes.setdefault("deploymentSpec", {}).setdefault("executors", {})
    for executor in executors:
        metadata = known.setdefault(executor, {}).setdefault("podMetadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    json_format.ParseDict(document, platform)
    return pipeline


def runai_workload(  # noqa: PLR0913 - named, and most are left out
    *,
    name: str,
    project: str,
    command: Sequence[str],
    replicas: int = 1,
    gpu: float = 0,
    image: str = "",
    base_image: str = "python:3.11",
    packages: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> "PipelineTask":
    """Return a step that submits a workload, passes on its log and ends as it ends; cancelling it deletes the workload.

    With `replicas` above 1 the workload is a distributed training: a gang.
    `options` are those of the client (`cpus`, `memory`, `env`, `priority`,
    `framework`, ...). The step itself needs no GPU; it is never taken from the cache. `base_image` must have
    runai-kubeflow, or `packages` name what installs it.

    Raises:
        InvalidRequest: an option is unknown or contradicts another; told when the pipeline is built.
    """
    from kfp import dsl

    from runai_core.client.specs import build_spec

    type_ = "Distributed" if replicas > 1 else "Training"
    words: dict[str, Any] = {"project": project, "command": list(command), **(options or {})}
    words |= {"gpus": gpu} if gpu else {}
    words |= {"image": image} if image else {}
    words |= {"workers": replicas, "has_master": False} if replicas > 1 else {}
    build_spec(type_, words)  # what is wrong is told here, not when the step runs

    def launch_workload(type_: str, name: str, options: dict, owner: str) -> None:  # type: ignore[type-arg]
        from runai_kubeflow.launcher import step

        step(type_, name, options, owner)

    component = dsl.component(
        launch_workload, base_image=base_image, packages_to_install=list(packages), install_kfp_package=False
    )
    task = component(type_=type_, name=name, options=words, owner=f"kubeflow:{dsl.PIPELINE_JOB_ID_PLACEHOLDER}/{name}")
    task.set_caching_options(enable_caching=False)
    task.set_display_name(name)
    return cast("PipelineTask", task)


def _executors(specification: Any) -> list[str]:
    if specification is None:
        raise InvalidRequest.of(FieldError("pipeline", "must be a function with @dsl.pipeline", str(specification)))
    return list(specification.deployment_spec["executors"])
