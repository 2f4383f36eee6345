"""Model servers under the scheduler: one function for the manifests of Seldon, KServe and Knative."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.stamping import Marks, changed_at, scheduled_spec, stamped, stamped_pod

Manifest = dict[str, Any]
Change = Callable[..., Any]
"""What is at a door, and ``marks``: what shall be there."""


class NotScheduled(UserWarning):
    """Some pods of an object cannot be told the scheduler's name in its manifest; says which, and what does it."""


@dataclass(frozen=True, slots=True)
class Door:
    """A place in a manifest that reaches pods: where it is, and how it is changed."""

    path: str
    change: Change


@dataclass(frozen=True, slots=True)
class Gap:
    """Pods that no place in the manifest reaches, for those manifests where there are such pods."""

    applies: Callable[[Manifest], bool]
    message: str


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of one kind of model server."""

    doors: Sequence[Door]
    gaps: Sequence[Gap] = ()


def _pod(template: Any, marks: Marks) -> Any:
    return stamped_pod(template, marks)


def _spec(spec: Any, marks: Marks) -> Any:
    del marks  # a bare PodSpec has no labels
    return scheduled_spec(spec)


def _server_spec(spec: Any, marks: Marks) -> Any:
    del marks
    return {**spec, "podSpec": scheduled_spec(spec.get("podSpec") or {})}


def _component(component: Any, marks: Marks) -> Any:
    """A component of KServe: a PodSpec with labels and annotations beside its fields."""
    return {**scheduled_spec(component), "labels": {**(component.get("labels") or {}), **marks.labels}}


def _predictor(predictor: Any, marks: Marks) -> Any:
    return {**predictor, "labels": {**(predictor.get("labels") or {}), **marks.labels}}


def _found(manifest: Manifest, *paths: str) -> list[Any]:
    found: list[Any] = []

    def note(value: Any) -> Any:
        found.append(value)
        return value

    for path in paths:
        changed_at(manifest, path, note)
    return found


def _engine_apart(manifest: Manifest) -> bool:
    places = _found(manifest, "metadata.annotations", "spec.annotations", "spec.predictors[].annotations")
    return any(str(place.get("seldon.io/engine-separate-pod", "")).lower() == "true" for place in places)


def _explains(manifest: Manifest) -> bool:
    return any(_found(manifest, "spec.predictors[].explainer"))


_WEBHOOK = "the admission webhook does it in namespaces of projects"

SELDON = Server(
    doors=(
        Door("spec.predictors[]", _predictor),
        Door("spec.predictors[].componentSpecs[]", _pod),
    ),
    gaps=(
        Gap(_engine_apart, f"the pod of the separate engine takes no scheduler name; {_WEBHOOK}"),
        Gap(_explains, f"the explainer's pod takes no scheduler name; {_WEBHOOK}"),
    ),
)
KSERVE = Server(
    doors=(
        Door("spec.predictor", _component),
        Door("spec.predictor.workerSpec", _spec),
        Door("spec.transformer", _component),
        Door("spec.explainer", _component),
    )
)
KNATIVE = Server(
    doors=(Door("spec.template", _pod),),
    gaps=(
        Gap(
            lambda _: True,
            "Knative refuses a scheduler name unless its ConfigMap config-features says "
            "`kubernetes.podspec-schedulername: enabled`",
        ),
    ),
)

SERVERS: Mapping[tuple[str, str], Server] = {
    ("machinelearning.seldon.io", "SeldonDeployment"): SELDON,
    ("mlops.seldon.io", "Server"): Server(doors=(Door("spec", _server_spec),)),
    ("serving.kserve.io", "InferenceService"): KSERVE,
    ("serving.knative.dev", "Service"): KNATIVE,
}
"""(API group, kind) -> where its pods can be reached. Sources: the types of each project's API."""


def schedule(
    manifest: Mapping[str, Any] | str,
    *,
    project: str,
    priority: str = "inference",
    preemptibility: str = "",
    node_pool: str = "",
) -> Any:
    """Return a model server's manifest with the scheduler's name and the project on every pod that it can reach.

    `manifest` is one object as a dictionary, or YAML text with one or several
    documents; what is returned has the same form. Objects that are no model
    servers (a Secret beside them) stay as they are. Doing it twice is doing it once.

    Raises:
        InvalidRequest: the text is no YAML, no object in it is a model server, or a mark is wrong.

    Warns:
        NotScheduled: for pods that the manifest cannot reach; says which.
    """
    marks = Marks(project=project, priority=priority, preemptibility=preemptibility, node_pool=node_pool)
    if not isinstance(manifest, str):
        return _scheduled(dict(manifest), marks)
    objects = _objects(manifest)
    done = [_scheduled(item, marks) if _server(item) else item for item in objects]
    if not any(_server(item) for item in objects):
        raise _unknown(objects[0])
    return yaml.safe_dump_all(done, sort_keys=False)


def _objects(text: str) -> list[Manifest]:
    try:
        objects = [item for item in yaml.safe_load_all(text) if item is not None]
    except yaml.YAMLError as error:
        raise InvalidRequest.of(FieldError("manifest", f"is no YAML: {error}")) from None
    if not objects or not all(isinstance(item, dict) for item in objects):
        raise InvalidRequest.of(FieldError("manifest", "must hold objects with apiVersion and kind"))
    return objects


def _scheduled(manifest: Manifest, marks: Marks) -> Manifest:
    server = _server(manifest)
    if server is None:
        raise _unknown(manifest)
    for gap in server.gaps:
        if gap.applies(manifest):
            name = (manifest.get("metadata") or {}).get("name", "")
            warnings.warn(f"{manifest['kind']} {name}: {gap.message}", NotScheduled, stacklevel=4)
    done: Any = stamped(manifest, marks)
    for door in server.doors:
        done = changed_at(done, door.path, functools.partial(door.change, marks=marks))
    return dict(done)


def _server(manifest: Manifest) -> Server | None:
    group = str(manifest.get("apiVersion", "")).partition("/")[0]
    return SERVERS.get((group, str(manifest.get("kind", ""))))


def _unknown(manifest: Manifest) -> InvalidRequest:
    known = ", ".join(f"{kind} ({group})" for group, kind in SERVERS)
    given = f"{manifest.get('kind', '?')} ({manifest.get('apiVersion', '?')})"
    return InvalidRequest.of(FieldError("kind", f"must be one of {known}", given))
