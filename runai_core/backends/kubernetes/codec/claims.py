"""Resource claims (DRA): what pods ask of devices that drivers publish in slices, and which are given.

GPUs are counted together, whatever their driver is called; devices of other
kinds are counted for each class. A claim is given concrete devices of one node
when its pod is bound (`allocate`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes.codec import expressions
from runai_core.backends.kubernetes.codec.nodes import GPU
from runai_core.backends.kubernetes.codec.selectors import Terms, node_terms
from runai_core.backends.kubernetes.codec.values import key_of, labels_of
from runai_core.model.snapshot import ResourceClaim

Object = Mapping[str, Any]

GPU_WORD = "gpu"
"""A class or driver whose name holds it offers GPUs (KAI)."""

PREFIX = "claim/"
"""Before the name of a class, where devices that are no GPUs are counted among extended resources."""

QUEUE_LABEL = "kai.scheduler/queue"


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a node, as its driver published it."""

    driver: str
    pool: str
    name: str
    raw: Object

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it itself."""
        return self.driver, self.pool, self.name


def claim_names(pod: Object) -> tuple[str, ...]:
    """Return the claims that a pod uses as ``namespace/name``; one that is still to be made has a name that is not."""
    namespace = pod["metadata"].get("namespace", "")
    wanted = pod["spec"].get("resourceClaims") or ()
    made = {
        item["name"]: item.get("resourceClaimName") or ""
        for item in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    names = []
    for item in wanted:
        name = item.get("resourceClaimName") or made.get(item["name"])
        if name is None:
            names.append(f"{namespace}/{item['name']} (to be made)")
        elif name:  # empty: the template says that none is needed
            names.append(f"{namespace}/{name}")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a claim."""

    name: str
    device_class: str
    count: int
    everything: bool  # all devices of a node that match
    selectors: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """How it is counted."""
        return GPU if GPU_WORD in self.device_class.lower() else f"{PREFIX}{self.device_class}"


def asks_of(claim: Object) -> tuple[Ask, ...]:
    """Return the requests of a claim; of alternatives (`firstAvailable`), the first."""
    found = []
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        exact = request.get("exactly") or next(iter(request.get("firstAvailable") or ()), None) or request
        everything = exact.get("allocationMode") == "All"
        found.append(
            Ask(
                name=request["name"],
                device_class=exact.get("deviceClassName") or "",
                count=1 if everything else int(exact.get("count") or 1),
                everything=everything,
                selectors=_selectors(exact),
            )
        )
    return tuple(found)


def counts_of(claims: Iterable[Object]) -> dict[str, int]:
    """Return how many devices of each kind the claims ask for."""
    total: dict[str, int] = {}
    for claim in claims:
        for ask in asks_of(claim):
            total[ask.kind] = total.get(ask.kind, 0) + ask.count
    return total


def claim_entry(claim: Object, queue: str) -> ResourceClaim:
    """Return a claim as the engine sees it.

    `queue` is that of the pod that the claim was made for; a claim of its own
    carries the label of its queue (KAI).
    """
    labels = dict(labels_of(claim))
    own = labels.get(QUEUE_LABEL) or labels.get("runai/queue")
    if own or queue:
        labels[QUEUE_LABEL] = own or queue
    asks = asks_of(claim)
    reserved = (claim.get("status") or {}).get("reservedFor") or ()
    namespace = claim["metadata"].get("namespace", "")
    return ResourceClaim(
        name=key_of(claim),
        device_class=asks[0].device_class if asks else "",
        device_count=sum(ask.count for ask in asks),
        labels=tuple(sorted(labels.items())),
        reserved_for=tuple(f"{namespace}/{item['name']}" for item in reserved if item.get("resource") == "pods"),
    )


def made_for(claim: Object) -> str:
    """Return the name of the pod that a claim was made for from a template, ``namespace/name``; empty for others."""
    for owner in claim["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == "Pod":
            return f"{claim['metadata'].get('namespace', '')}/{owner['name']}"
    return ""


def allocation_terms(claim: Object) -> Terms | None:
    """Return the terms of the nodes where an allocated claim can be used; None: anywhere, or not allocated."""
    allocation = (claim.get("status") or {}).get("allocation")
    selector = (allocation or {}).get("nodeSelector")
    return None if not selector else node_terms(selector.get("nodeSelectorTerms"))


def devices_of(slices: Iterable[Object]) -> dict[str, list[Device]]:
    """Return the devices of each node, of the newest generation of each driver's pool."""
    newest: dict[tuple[str, str], int] = {}
    for item in slices:
        spec = item["spec"]
        key = (spec["driver"], spec["pool"]["name"])
        newest[key] = max(newest.get(key, 0), int(spec["pool"].get("generation") or 0))
    found: dict[str, list[Device]] = {}
    for item in slices:
        spec = item["spec"]
        key = (spec["driver"], spec["pool"]["name"])
        if spec.get("nodeName") and int(spec["pool"].get("generation") or 0) == newest[key]:
            mine = found.setdefault(spec["nodeName"], [])
            mine += [Device(*key, str(device["name"]), device) for device in spec.get("devices") or ()]
    for devices in found.values():
        devices.sort(key=lambda device: device.key)
    return found


Matches = Callable[[Device, str], bool]
"""Whether a device belongs to a class, by the class's name."""


def class_matcher(device_class: Callable[[str], Object | None]) -> Matches:
    """Return how devices are found to belong to classes."""

    def matches(device: Device, name: str) -> bool:
        found = device_class(name)
        if found is None:
            return False
        return all(expressions.holds(text, device) for text in _selectors(found.get("spec") or {}))

    return matches


def claimable(devices: Iterable[Device], classes: Iterable[str], matches: Matches) -> dict[str, int]:
    """Return how many devices of each kind a node offers."""
    counts: dict[str, int] = {}
    names = tuple(classes)
    for device in devices:
        mine = [name for name in names if matches(device, name)]
        if GPU_WORD in device.driver.lower() or any(GPU_WORD in name.lower() for name in mine):
            counts[GPU] = counts.get(GPU, 0) + 1
        for name in mine:
            if GPU_WORD not in name.lower():
                counts[f"{PREFIX}{name}"] = counts.get(f"{PREFIX}{name}", 0) + 1
    return counts


def taken_devices(claims: Iterable[Object]) -> set[tuple[str, str, str]]:
    """Return the devices that claims hold."""
    return {
        (result["driver"], result["pool"], result["device"])
        for claim in claims
        for result in _results(claim)
        if not result.get("adminAccess")
    }


def _results(claim: Object) -> Iterable[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or ()


def allocate(
    claim: Object, node: str, devices: Iterable[Device], taken: set[tuple[str, str, str]], matches: Matches
) -> dict[str, Any] | None:
    """Return the allocation of a claim on a node, adding its devices to `taken`; None where there are too few."""
    chosen: list[dict[str, Any]] = []
    free = [device for device in devices if device.key not in taken]
    for ask in asks_of(claim):
        fitting = [
            device
            for device in free
            if matches(device, ask.device_class) and all(expressions.holds(text, device) for text in ask.selectors)
        ]
        if not ask.everything:
            fitting = fitting[: ask.count]
        if len(fitting) < ask.count:
            return None
        for device in fitting:
            free.remove(device)
            chosen.append({"request": ask.name, "driver": device.driver, "pool": device.pool, "device": device.name})
    taken.update((item["driver"], item["pool"], item["device"]) for item in chosen)
    spec = ((claim.get("spec") or {}).get("devices") or {}).get("config") or ()
    given: dict[str, Any] = {"results": chosen}
    if spec:
        given["config"] = [{**item, "source": "FromClaim"} for item in spec]
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"devices": given, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}


def _selectors(holder: Object) -> tuple[str, ...]:
    found = (item.get("cel") or {} for item in holder.get("selectors") or ())
    return tuple(str(item["expression"]) for item in found if item.get("expression"))
