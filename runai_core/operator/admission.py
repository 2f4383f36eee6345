"""What we say when the API server asks about an object, before it is kept.

Nothing is decided here that is not decided elsewhere too: policies judge as
they do for the API, units as they do when they are created there. Where we
cannot judge, the answer is yes, with a warning: the operator looks again at
everything that was let through.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes.codec import organization as units
from runai_core.backends.kubernetes.codec.fields import read_spec, write_spec
from runai_core.backends.kubernetes.codec.groups import group_of
from runai_core.backends.kubernetes.codec.queues import queue_of
from runai_core.backends.kubernetes.codec.workloads import Request as Wanted
from runai_core.backends.kubernetes.codec.workloads import request_of as wanted_of
from runai_core.backends.kubernetes.names import PREEMPTIBILITY_LABEL, QUEUE_LABELS, SCHEDULER
from runai_core.backends.kubernetes.resources import POLICIES
from runai_core.backends.kubernetes.sharing import with_share
from runai_core.backends.kubernetes.tenancy import project_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, PolicyViolation, RunaiError
from runai_core.model.nodes import NodePool
from runai_core.model.organization import SYSTEM, Department, Project
from runai_core.model.workload import POLICY_TYPES
from runai_core.operator.reviews import ALLOWED, Answer, Request, completed, operations, refusal
from runai_core.policy.tree import get_at
from runai_core.policy.v2alpha1_kinds import KIND_FIELDS
from runai_core.service.organization import OrganizationService
from runai_core.service.policies import PolicyService
from runai_core.service.submissions import Preview, Submission, Submissions

log = logging.getLogger(__name__)

Object = dict[str, Any]

PINNED = frozenset({"DaemonSet", "Node"})
"""Owners whose pods have their node already: another scheduler would only be in the way."""

DEFAULT_SCHEDULER = "default-scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """The services that decide."""

    submissions: Submissions
    policies: PolicyService
    organization: OrganizationService


class Admission:
    """Answers the questions of one cluster's API server."""

    def __init__(self, world: World, judges: Judges) -> None:
        self._world = world
        self._judges = judges
        self._questions: Mapping[str, Callable[[Request], Awaitable[Answer]]] = {
            "/mutate/pods": self._pod,
            "/mutate/workloads": self._complete,
            "/validate/workloads": self._workload,
            "/validate/objects": self._object,
        }
        self._kinds: Mapping[str, Callable[[Request], Awaitable[Sequence[str]]]] = {
            "Project": self._unit(units.project_of),
            "Department": self._unit(units.department_of),
            "NodePool": self._unit(units.node_pool_of),
            "Queue": self._queue,
            "PodGroup": self._pod_group,
            **{item.kind: self._policy for item in POLICIES},
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the questions are asked."""
        return tuple(self._questions)

    async def answer(self, path: str, request: Request) -> Answer:
        """Return the answer to one question; whatever goes wrong with us is a yes with a warning."""
        try:
            return await self._questions[path](request)
        except RunaiError as error:
            about = request.object if path.endswith("workloads") else None
            found = refusal(error, about)
            if found is not None:
                return found
            log.warning("%s %s/%s was not judged: %s", path, request.namespace, request.name, error.message)
            return Answer(warnings=(f"runai did not judge this object: {error.message}",))
        except Exception:  # the top of a question: the cluster goes on without us
            log.exception("%s %s/%s was not judged", path, request.namespace, request.name)
            return Answer(warnings=("runai did not judge this object: see the log of the operator",))

    def _project(self, namespace: str) -> str:
        return project_of(self._world, namespace)

    # -- pods

    async def _pod(self, request: Request) -> Answer:
        project = self._project(request.namespace)
        owners = (request.object.get("metadata") or {}).get("ownerReferences") or ()
        if not project or any(owner.get("kind") in PINNED for owner in owners):
            return ALLOWED
        pod = with_share(request.object, request.uid) if _is_ours(request.object) else dict(request.object)
        if (pod.get("spec") or {}).get("schedulerName", DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER:
            pod = with_share({**pod, "spec": {**pod.get("spec", {}), "schedulerName": SCHEDULER}}, request.uid)
        metadata = pod.get("metadata") or {}
        labels = metadata.get("labels") or {}
        if not any(labels.get(name) for name in QUEUE_LABELS):
            pod = {**pod, "metadata": {**metadata, "labels": {**labels, QUEUE_LABELS[0]: project}}}
        return Answer(operations=operations(request.object, pod))

    # -- workloads

    async def _complete(self, request: Request) -> Answer:
        """Add what policies give; what is wrong is said by the question that follows."""
        wanted = wanted_of(request.object)
        if wanted.is_template or wanted.base:
            return ALLOWED
        try:
            preview = await self._preview(request, wanted)
        except InvalidRequest:
            return ALLOWED
        if preview is None:
            return ALLOWED
        kind = POLICY_TYPES[wanted.type]
        given = request.object.get("spec") or {}
        known = read_spec(given, kind)
        more = write_spec(preview.spec, kind)
        said = [name for name in more if name not in given and _is_said(name, known)]
        return Answer(operations=operations({"spec": given}, {"spec": completed(given, more, skip=said)}))

    async def _workload(self, request: Request) -> Answer:
        item, old = request.object, request.old
        if item["metadata"].get("deletionTimestamp") or (old is not None and _asks_the_same(old, item)):
            return ALLOWED
        wanted = wanted_of(item)
        if wanted.is_template or wanted.base:
            return ALLOWED  # its form is right; the whole is judged when it is completed
        preview = await self._preview(request, wanted)
        if preview is None:
            project = self._project(request.namespace)
            return Answer(warnings=(f"project {project} is not known yet: the workload waits until it is",))
        if preview.violations:
            raise PolicyViolation("not allowed by policy", preview.violations)
        return ALLOWED

    async def _preview(self, request: Request, wanted: Wanted) -> Preview | None:
        """Return what a workload would become; None where its project is not known yet."""
        project = self._project(request.namespace)
        if not project:
            message = f"belongs to no project: label it {QUEUE_LABELS[0]}=<project>, or create the project"
            raise InvalidRequest.of(FieldError("metadata.namespace", message, request.namespace))
        submission = Submission(
            name=wanted.name,
            project=project,
            type=wanted.type,
            spec=wanted.spec,
            master_spec=wanted.master_spec,
            has_master=wanted.has_master,
            name_is_prefix=wanted.name_is_prefix,
            source="Other",
        )
        try:
            return (await self._judges.submissions.resolve(SYSTEM, submission))[1]
        except NotFound:
            return None

    # -- everything else

    async def _object(self, request: Request) -> Answer:
        going = request.operation == "DELETE" or bool(request.object["metadata"].get("deletionTimestamp"))
        if going and request.kind not in _UNITS:
            return ALLOWED
        unchanged = request.old is not None and request.old.get("spec") == request.object.get("spec")
        if request.operation == "UPDATE" and (going or unchanged):
            return ALLOWED
        return Answer(warnings=await self._kinds[request.kind](request))

    def _unit(
        self, reader: Callable[[Object], Department | Project | NodePool]
    ) -> Callable[[Request], Awaitable[Sequence[str]]]:
        async def judge(request: Request) -> Sequence[str]:
            unit = reader(request.object)
            if request.operation == "DELETE":
                await self._judges.organization.require_unused(unit)
                return ()
            await self._judges.organization.validate(unit)
            return self._missing(unit)

        return judge

    def _missing(self, unit: Department | Project | NodePool) -> Sequence[str]:
        """Return what a unit names that is not there (yet); refuse what can never be right."""
        pools = {str(item["metadata"]["name"]): item for item in self._world.node_pools.all()}
        if isinstance(unit, NodePool):
            _refuse_same_label(unit, pools)
            return ()
        warnings = [f"there is no node pool {name} yet" for name in unit.resources if pools and name not in pools]
        if isinstance(unit, Project) and self._world.departments.get(unit.department) is None:
            warnings.append(f"there is no department {unit.department} yet: the project is NotReady until there is")
        return warnings

    async def _policy(self, request: Request) -> Sequence[str]:
        policy = units.policy_of(request.object, self._project)
        errors = await self._judges.policies.validate(policy)
        if errors:
            raise InvalidRequest.of(*errors)
        scope = get_at(request.object, "spec.scope")
        resource = next(item for item in POLICIES if item.kind == request.kind)
        for other in self._world.crd(resource).all():
            meta = other["metadata"]
            same = meta.get("namespace") == request.namespace and get_at(other, "spec.scope") == scope
            if same and meta["name"] != request.name:
                message = f"there is one {request.kind} for each namespace already: {meta['name']}; change that one"
                raise InvalidRequest.of(FieldError("metadata.name", message, request.name))
        return ()

    async def _queue(self, request: Request) -> Sequence[str]:
        if not (request.object.get("spec") or {}).get("resources"):
            message = "is required: what a queue does not name it may not use"
            raise InvalidRequest.of(FieldError("spec.resources", message))
        parent = queue_of(request.object).parent
        if parent and self._world.queues.get(parent) is None:
            return (f"there is no queue {parent} yet: until there is, this queue is left out",)
        return ()

    async def _pod_group(self, request: Request) -> Sequence[str]:
        group = group_of(request.object, {})
        refuse_broken_tree([(part.name, part.parent) for part in group.sub_groups])
        word = (request.object["metadata"].get("labels") or {}).get(PREEMPTIBILITY_LABEL)
        return (
            () if word in (None, "preemptible", "non-preemptible") else (f"{PREEMPTIBILITY_LABEL}={word} is ignored",)
        )


_UNITS = frozenset({"Project", "Department", "NodePool"})


def _is_ours(pod: Mapping[str, Any]) -> bool:
    return bool((pod.get("spec") or {}).get("schedulerName") == SCHEDULER)


def _is_said(name: str, known: Mapping[str, Any]) -> bool:
    """Return whether a field says what another spelling in the object says already."""
    path = "compute.gpuDevicesRequest" if name == "gpu" else KIND_FIELDS[name].path
    return bool(path) and get_at(known, path) is not None


def _asks_the_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether an update changes nothing that policies judge: stopping and running are always allowed."""
    return _asked(old) == _asked(new)


def _asked(item: Mapping[str, Any]) -> tuple[Object, Any]:
    spec = {name: body for name, body in (item.get("spec") or {}).items() if name not in ("active", "username")}
    return spec, item.get("masterSpec")


def _refuse_same_label(unit: NodePool, pools: Mapping[str, Mapping[str, Any]]) -> None:
    for name, item in pools.items():
        spec = item.get("spec") or {}
        if (
            name != unit.name
            and unit.label_key
            and (spec.get("labelKey"), spec.get("labelValue"))
            == (
                unit.label_key,
                unit.label_value,
            )
        ):
            message = f"is that of node pool {name}: a node belongs to one pool"
            raise InvalidRequest.of(FieldError("spec.labelValue", message, f"{unit.label_key}={unit.label_value}"))


def refuse_broken_tree(parts: Sequence[tuple[str, str | None]]) -> None:
    """Refuse sub-groups that are no tree (KAI's webhook): names twice, parents that are not there, circles.

    Raises:
        InvalidRequest: names the sub-group.
    """
    parents = dict(parts)
    for index, (name, parent) in enumerate(parts):
        at = f"spec.subGroups.{index}"
        if [other for other, _ in parts].index(name) != index:
            raise InvalidRequest.of(FieldError(f"{at}.name", "is there twice", name))
        if parent and parent not in parents:
            raise InvalidRequest.of(FieldError(f"{at}.parent", "there is no sub-group of this name", parent))
    for index, (name, _) in enumerate(parts):
        seen, above = {name}, parents[name]
        while above:
            if above in seen:
                message = "the sub-groups hang from each other in a circle"
                raise InvalidRequest.of(FieldError(f"spec.subGroups.{index}.parent", message, above))
            seen.add(above)
            above = parents[above]


__all__ = ["Admission", "Judges", "refuse_broken_tree"]
