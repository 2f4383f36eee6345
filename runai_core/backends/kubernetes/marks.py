"""What changed since the last look, by what the watches show."""

from dataclasses import dataclass, field

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec import claims as dra
from runai_core.backends.kubernetes.codec import volumes
from runai_core.backends.kubernetes.codec.conditions import statuses_of
from runai_core.backends.kubernetes.codec.values import key_of
from runai_core.backends.kubernetes.world import World


@dataclass(slots=True)
class Dirty:
    """Names of what changed, in the order in which it did."""

    nodes: dict[str, None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    pods: dict[str, None] = field(default_factory=dict)
    gangs: dict[str, None] = field(default_factory=dict)
    queues: bool = False
    topologies: bool = False
    claims: bool = False
    slices: bool = False
    classes: bool = False
    pools: bool = False


class Marks:
    """Follows a world and notes what must be read anew."""

    def __init__(self, world: World) -> None:
        self.dirty = Dirty(queues=True, topologies=True, claims=True, slices=True, classes=True, pools=True)
        self._world = world
        world.pods.index("node", _node_of_pod)
        world.pods.index("claim", _claims_of_pod)
        world.pods.index("device claim", dra.claim_names)
        world.pods.on_change(lambda _, old, new: self._pod(old, new))
        world.nodes.on_change(lambda _, old, new: self._node(old, new))
        world.pod_groups.on_change(lambda _, old, new: self._group(old, new))
        world.claims.on_change(lambda _, old, new: self._users("claim", old, new))
        world.volumes.on_change(lambda _, old, new: self._volume(new or old or {}))
        world.resource_claims.on_change(lambda _, old, new: self._claim(old, new))
        self._flags(world)
        for pod in world.pods:
            self._pod(None, pod)
        for group in world.pod_groups:
            self._group(None, group)
        for node in world.nodes:
            self._node(None, node)

    def take(self) -> Dirty:
        """Return what changed, and begin anew."""
        dirty, self.dirty = self.dirty, Dirty()
        return dirty

    def _flags(self, world: World) -> None:
        for informer, flag in (
            (world.queues, "queues"),
            (world.topologies, "topologies"),
            (world.priority_classes, "classes"),
            (world.node_pools, "pools"),
            (world.resource_slices, "slices"),
            (world.device_classes, "slices"),
        ):
            informer.on_change(lambda *_, flag=flag: setattr(self.dirty, flag, True))

    def _pod(self, old: Object | None, new: Object | None) -> None:
        self.dirty.pods[key_of(new or old or {})] = None

    def _group(self, old: Object | None, new: Object | None) -> None:
        self.dirty.groups[key_of(new or old or {})] = None

    def _node(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or node_differs(old, new):  # else it is a heartbeat
            self.dirty.nodes[(new or old or {})["metadata"]["name"]] = None

    def _users(self, index: str, old: Object | None, new: Object | None) -> None:
        for pod in self._world.pods.find(index, key_of(new or old or {})):
            self.dirty.pods[key_of(pod)] = None

    def _volume(self, volume: Object) -> None:
        held_by = (volume.get("spec") or {}).get("claimRef")
        if held_by:
            for pod in self._world.pods.find("claim", f"{held_by.get('namespace', '')}/{held_by.get('name', '')}"):
                self.dirty.pods[key_of(pod)] = None
            return
        for name in self._world.pods.keys("claim"):  # a free one: whoever waits for any may have it
            for pod in self._world.pods.find("claim", name):
                if not pod["spec"].get("nodeName"):
                    self.dirty.pods[key_of(pod)] = None

    def _claim(self, old: Object | None, new: Object | None) -> None:
        self.dirty.claims = True
        self._users("device claim", old, new)


def _node_of_pod(pod: Object) -> tuple[str, ...]:
    node = pod["spec"].get("nodeName")
    return (node,) if node else ()


def _claims_of_pod(pod: Object) -> tuple[str, ...]:
    namespace = pod["metadata"].get("namespace", "")
    return tuple(f"{namespace}/{name}" for name in volumes.claim_names(pod))


def node_differs(old: Object, new: Object) -> bool:
    """Return whether a node changed in what schedulers look at: heartbeats come every few minutes for each."""
    parts = (("metadata", "labels"), ("status", "allocatable"), ("status", "capacity"))
    if old.get("spec") != new.get("spec") or any(
        (old.get(part) or {}).get(name) != (new.get(part) or {}).get(name) for part, name in parts
    ):
        return True
    return statuses_of(old) != statuses_of(new)
