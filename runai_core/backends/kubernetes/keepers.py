"""How each kind of the model is kept as custom resources: where, read how, written how. Nothing here is sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec import organization, workloads
from runai_core.backends.kubernetes.codec.meta import KEPT_ANNOTATIONS, meta_of
from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.backends.kubernetes.names import (
    CREATED_ANNOTATION,
    CREATED_BY_ANNOTATION,
    FINALIZER,
    ID_ANNOTATION,
)
from runai_core.backends.kubernetes.resources import DEPARTMENTS, NODE_POOLS, POLICIES, PROJECTS, TOPOLOGIES, Resource
from runai_core.backends.kubernetes.tenancy import namespace_of, project_of
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import RunaiError, Unsupported
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Phase, Policy, Workload, WorkloadType

INVALID = "InvalidSpecification"
"""Reason of a workload whose object says what cannot be."""


class Keeper(Protocol):
    """One kind of the model as objects of the cluster."""

    @property
    def kind(self) -> type[Any]:
        """The class of the model."""
        ...

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Where its objects are."""
        ...

    def read(self, item: Object) -> Any | None:
        """Return what an object is; None where it is none of the kind (yet)."""
        ...

    def place(self, item: Any) -> tuple[Resource, str]:
        """Return where a new object goes: its resource and namespace."""
        ...

    def name_of(self, item: Object) -> str:
        """Return what the model calls an object."""
        ...

    def object_of(self, item: Any, namespace: str) -> Object:
        """Return a new object, without its status."""
        ...

    def changed(self, item: Any, known: Object) -> Object | None:
        """Return the object with the changes of its specification; None where there is none."""
        ...

    def status(self, item: Any, known: Object, *, wrote: bool) -> Object | None:
        """Return the object's status; None where we keep none there. `wrote`: `known` has our specification."""
        ...


@dataclass(frozen=True, slots=True)
class UnitKeeper:
    """Departments, projects, node pools, network topologies: one object of the same name."""

    kind: type[Any]
    resource: Resource
    reads: Callable[[Object], Any]
    writes: Callable[[Any], Object]

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The one resource."""
        return (self.resource,)

    def read(self, item: Object) -> Any | None:
        """Return what an object is; None while it is being deleted, or where it is damaged."""
        if item["metadata"].get("deletionTimestamp"):
            return None
        try:
            return self.reads(item)
        except RunaiError:
            return None  # whoever makes queues and namespaces of it says so on the object

    def place(self, item: Any) -> tuple[Resource, str]:  # noqa: ARG002 - as the protocol has it
        """Return the resource; these kinds live in no namespace."""
        return self.resource, ""

    def name_of(self, item: Object) -> str:
        """Return the object's name."""
        return str(item["metadata"]["name"])

    def object_of(self, item: Any, namespace: str) -> Object:  # noqa: ARG002 - as the protocol has it
        """Return a new object."""
        return self.writes(item)

    def changed(self, item: Any, known: Object) -> Object | None:
        """Return the whole object anew."""
        return over(self.writes(item), known)

    def status(self, item: Any, known: Object, *, wrote: bool) -> Object | None:  # noqa: ARG002 - as the protocol
        """Return nothing: the operator writes their status."""
        return None


@dataclass(frozen=True, slots=True)
class PolicyKeeper:
    """Policies: an object of the kind for their type of workload, in the namespace of their scope."""

    world: World
    kind: type[Any] = Policy
    resources: tuple[Resource, ...] = POLICIES

    def read(self, item: Object) -> Any | None:
        """Return what an object is."""
        if item["metadata"].get("deletionTimestamp"):
            return None
        try:
            return organization.policy_of(item, lambda namespace: project_of(self.world, namespace))
        except RunaiError:
            return None

    def place(self, item: Any) -> tuple[Resource, str]:
        """Return the resource; the namespace is the object's own."""
        return organization.policy_resource(item.type), namespace_of(self.world, item.scope)

    def name_of(self, item: Object) -> str:
        """Return what the policy is called: by its type and scope."""
        found = self.read(item)
        return "" if found is None else str(found.meta.name)

    def object_of(self, item: Any, namespace: str) -> Object:
        """Return a new object."""
        return organization.policy_object(item, namespace)

    def changed(self, item: Any, known: Object) -> Object | None:
        """Return the whole object anew, under the name that it has."""
        body = over(organization.policy_object(item, known["metadata"].get("namespace", "")), known)
        body["metadata"]["name"] = known["metadata"]["name"]
        return body

    def status(self, item: Any, known: Object, *, wrote: bool) -> Object | None:  # noqa: ARG002 - as the protocol
        """Return nothing: the operator writes their status."""
        return None


SERVES = frozenset({WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE})
"""Types whose specification may be changed while they run."""

Specs = tuple[WorkloadSpec, WorkloadSpec | None]


class WorkloadKeeper:
    """Workloads: the specification is read once for each generation of an object."""

    kind: type[Any] = Workload
    resources: tuple[Resource, ...] = tuple(workloads.RESOURCES.values())

    def __init__(self, world: World) -> None:
        self._world = world
        self._specs: dict[str, tuple[tuple[Any, ...], Specs | RunaiError]] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of an object that is gone."""
        self._specs.pop(uid, None)

    def read(self, item: Object) -> Any | None:
        """Return what an object is: a workload that cannot be understood is Failed, and says why."""
        if not workloads.is_workload(item):
            return None
        project = project_of(self._world, item["metadata"].get("namespace", ""))
        specs = self.specs(item)
        try:
            if isinstance(specs, RunaiError):
                raise specs
            return workloads.workload_of(item, project, specs)
        except RunaiError as error:
            return _unreadable(item, project, error)

    def specs(self, item: Object) -> Specs | RunaiError:
        """Return the specification of an object and of its master, or what is wrong with it."""
        meta = item["metadata"]
        mark = (meta.get("generation"), *((meta.get("annotations") or {}).get(name) for name in sorted(_IN_NOTES)))
        known = self._specs.get(meta.get("uid", ""))
        if known is not None and known[0] == mark:
            return known[1]
        found: Specs | RunaiError
        try:
            found = workloads.specs_of(item)
        except RunaiError as error:
            if known is not None and not isinstance(known[1], RunaiError):
                return known[1]  # a workload that exists goes on as it was; admission refuses such changes
            found = error
        self._specs[meta.get("uid", "")] = (mark, found)
        return found

    def place(self, item: Any) -> tuple[Resource, str]:
        """Return the resource for its type, and the namespace of its project."""
        if item.type not in workloads.RESOURCES:
            raise Unsupported(f"{item.type} workloads are made by the framework's own objects")
        return workloads.RESOURCES[item.type], namespace_of(self._world, item.meta.project)

    def name_of(self, item: Object) -> str:
        """Return the workload's name."""
        return workloads.name_of(item)

    def object_of(self, item: Any, namespace: str) -> Object:
        """Return a new object."""
        return workloads.object_of(item, namespace)

    def changed(self, item: Any, known: Object) -> Object | None:
        """Return the object with another specification, switch or metadata; None where only the status is another."""
        was = self.read(known)
        kept = FINALIZER in (known["metadata"].get("finalizers") or ()) or known["metadata"].get("deletionTimestamp")
        if was is not None and kept and _asked(was) == _asked(item):
            return None
        specs = self.specs(known)
        same = not isinstance(specs, RunaiError) and (item.spec, item.master_spec) == specs
        fresh = workloads.object_of(item, known["metadata"].get("namespace", ""), known["metadata"]["name"])
        body = over(fresh, known)
        if same:
            body["spec"] = {**known.get("spec", {}), **_switch(fresh, known)}
        else:
            body["spec"] = {**_beside(known.get("spec", {})), **fresh["spec"]}
        return body

    def status(self, item: Any, known: Object, *, wrote: bool) -> Object | None:
        """Return the status; what others keep there stays.

        The generation that a server's status knows is the one that its pods are
        made from, and that of a refused object the one that was judged: by it a
        change that somebody else made is noticed.
        """
        was, generation = known.get("status") or {}, known["metadata"].get("generation", 0)
        same_pods = item.type in SERVES and was.get("attempt") == item.attempt
        if not wrote and (same_pods or was.get("phaseReason") == INVALID):
            generation = was.get("observedGeneration", generation)
        ours = workloads.status_of(item, generation)
        others = {name: value for name, value in (known.get("status") or {}).items() if name not in workloads.OURS}
        return {**others, **ours}


_IN_NOTES = frozenset({"run.ai/specification", "run.ai/master-specification", "run.ai/item-order"})


def _asked(workload: Workload) -> tuple[Any, ...]:
    """Return what of a workload is not in the status."""
    meta = workload.meta
    return (
        workload.spec,
        workload.master_spec,
        workload.has_master,
        workload.stop_requested,
        meta.labels,
        meta.annotations,
        meta.created_by,
        meta.owner,
    )


def _switch(fresh: Object, known: Object) -> Object:
    """Return the field that stops and resumes, where there is something to say."""
    if "active" in fresh["spec"]:
        return {"active": fresh["spec"]["active"]}
    return {"active": {"value": True}} if "active" in known.get("spec", {}) else {}


def _beside(spec: Mapping[str, Any]) -> Object:
    """Return the fields that say where the specification came from."""
    return {name: spec[name] for name in ("usage", "baseWorkload", "userId") if name in spec}


def _unreadable(item: Object, project: str, error: RunaiError) -> Workload:
    kind = workloads.TYPES.get(str(item.get("kind")), WorkloadType.TRAINING)
    status = item.get("status") or {}
    meta = meta_of(item, project, name=workloads.name_of(item))
    deleting = status.get("phase") == str(Phase.DELETING)
    return Workload(
        meta=meta,
        type=kind,
        phase=Phase.DELETING if deleting else Phase.FAILED,
        phase_message=error.message,
        phase_reason=INVALID,
        phase_updated_at=seconds_of(status.get("phaseUpdatedAt")) or meta.created_at,
        stop_requested=workloads.wants_stop(item),
        delete_requested=deleting,
    )


def over(fresh: Object, known: Object) -> Object:
    """Return a new form of an object that exists: identity, finalizers and notes of the system stay as they are."""
    old, new = known["metadata"], dict(fresh["metadata"])
    notes = old.get("annotations") or {}
    lasting = {name: notes[name] for name in _LASTING if name in notes}
    others = {name: notes[name] for name in KEPT_ANNOTATIONS - _IN_NOTES - _LASTING if name in notes}
    annotations = {**others, **(new.get("annotations") or {}), **lasting}
    for name in _LASTING - set(lasting):
        annotations.pop(name, None)
    finalizers = list(dict.fromkeys((*(old.get("finalizers") or ()), *(new.get("finalizers") or ()))))
    if old.get("deletionTimestamp"):  # none can be added any more
        finalizers = [name for name in finalizers if name in (old.get("finalizers") or ())]
    kept = {name: old[name] for name in ("uid", "ownerReferences", "generateName", "namespace") if name in old}
    metadata = {**new, **kept, "name": old["name"], "annotations": annotations, "finalizers": finalizers}
    return {**{k: v for k, v in known.items() if k not in ("metadata", "masterSpec")}, **fresh, "metadata": metadata}


_LASTING = frozenset({CREATED_ANNOTATION, CREATED_BY_ANNOTATION, ID_ANNOTATION})
"""Notes that are written once: nobody can forge the time of creation later."""


def keepers(world: World) -> tuple[Keeper, ...]:
    """Return a keeper for each kind whose objects are the cluster's."""
    return (
        WorkloadKeeper(world),
        UnitKeeper(Project, PROJECTS, organization.project_of, organization.project_object),
        UnitKeeper(Department, DEPARTMENTS, organization.department_of, organization.department_object),
        UnitKeeper(NodePool, NODE_POOLS, organization.node_pool_of, organization.node_pool_object),
        UnitKeeper(NetworkTopology, TOPOLOGIES, organization.network_topology_of, organization.network_topology_object),
        PolicyKeeper(world),
    )
