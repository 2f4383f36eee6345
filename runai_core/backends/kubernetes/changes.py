"""Which changes of a cluster matter, and to whom."""

from collections.abc import Callable

from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.codec.pods import group_of, is_ours
from runai_core.backends.kubernetes.codec.values import key_of, labels_of
from runai_core.backends.kubernetes.informer import Informer
from runai_core.backends.kubernetes.marks import node_differs
from runai_core.backends.kubernetes.names import NODE_POOL_LABELS, WORKLOAD_UID_LABEL
from runai_core.backends.kubernetes.world import World
from runai_core.backends.listeners import Listeners
from runai_core.ports import ClusterChange

ENDED = ("Succeeded", "Failed")


class Changes(Listeners):
    """Follows a world and tells its listeners of what matters."""

    def __init__(self, world: World, *, expected: Callable[[str], bool], scheduler: str) -> None:
        super().__init__()
        self._expected = expected  # whether a pod's change is what we did ourselves
        self._scheduler = scheduler
        world.pods.on_change(self._pod)
        world.nodes.on_change(self._node)
        world.pod_groups.on_change(self._group)
        for informer in (
            world.queues,
            world.topologies,
            world.node_pools,
            world.priority_classes,
            world.claims,
            world.volumes,
            world.storage_classes,
            world.resource_claims,
            world.resource_slices,
            world.device_classes,
        ):
            informer.on_change(self._other)

    def follow_workloads(self, informers: "tuple[Informer, ...]") -> None:
        """Tell also when the object of a workload changes."""
        for informer in informers:
            informer.on_change(
                lambda _, old, new: self.tell(_of_workload((new or old or {})["metadata"].get("uid", "")))
            )

    def wake(self) -> None:
        """Let the scheduler look."""
        self.tell(ClusterChange())

    def _pod(self, _kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        uid = labels_of(pod).get(WORKLOAD_UID_LABEL, "")
        freed = new is None or _ended(new)  # whoever waits for a pod to leave looks when it has left
        if _matters(old, new, self._scheduler) and (freed or not self._expected(key_of(pod))):
            self.tell(ClusterChange(workload_uid=uid))
        elif uid:
            self.tell(_of_workload(uid))

    def _node(self, _kind: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or node_differs(old, new):
            self.tell(ClusterChange(node=(new or old or {})["metadata"]["name"]))

    def _group(self, _kind: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old.get("spec") != new.get("spec") or _pools(old) != _pools(new):
            self.wake()

    def _other(self, _kind: str, old: Object | None, new: Object | None) -> None:
        # Status is written by us, or says what an object's next version will say again.
        if old is None or new is None or _without_status(old) != _without_status(new) or "status" not in new:
            self.wake()


def _of_workload(uid: str) -> ClusterChange:
    return ClusterChange(workload_uid=uid, schedules=False)


def _matters(old: Object | None, new: Object | None, scheduler: str) -> bool:
    """Return whether a scheduler might decide otherwise after a pod's change."""
    if new is None or old is None:
        pod = new or old or {}
        placed = bool(pod["spec"].get("nodeName"))
        if new is None:
            return (placed and not _ended(pod)) or is_ours(pod, scheduler)
        return is_ours(pod, scheduler) and not _ended(pod)
    if _ended(new) != _ended(old):
        return True
    before, after = old["metadata"], new["metadata"]
    if bool(after.get("deletionTimestamp")) != bool(before.get("deletionTimestamp")):
        return True
    if not is_ours(new, scheduler) or new["spec"].get("nodeName"):
        return False
    return (
        group_of(old) != group_of(new)
        or before.get("labels") != after.get("labels")
        or old["spec"].get("schedulingGates") != new["spec"].get("schedulingGates")
        or _made_claims(old) != _made_claims(new)
    )


def _made_claims(pod: Object) -> object:
    return (pod.get("status") or {}).get("resourceClaimStatuses")


def _ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ENDED


def _pools(item: Object) -> list[str | None]:
    return [labels_of(item).get(key) for key in NODE_POOL_LABELS]


def _without_status(item: Object) -> Object:
    kept = {key: value for key, value in item.items() if key not in ("status", "metadata")}
    kept["labels"] = labels_of(item)
    kept["phase"] = (item.get("status") or {}).get("phase")
    kept["allocation"] = (item.get("status") or {}).get("allocation")
    return kept
