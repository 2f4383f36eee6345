"""Where a pod's volumes let it run.

A bound claim has a volume that may be reachable from some nodes only; an
unbound one of a class that waits for its first consumer can be made, or found,
where the class allows it. What must be written before such a pod is bound is
`plan`'s answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.selectors import NOWHERE, Terms, node_terms
from runai_core.backends.kubernetes.codec.values import annotations_of, whole
from runai_core.model.snapshot import LabelRequirement
from runai_core.model.storage import StorageClass

Object = Mapping[str, Any]

WAITS = "WaitForFirstConsumer"
BY_HAND = "kubernetes.io/no-provisioner"
"""Provisioner of classes whose volumes somebody else makes: they are found, not made."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What there is of claims, volumes and classes."""

    claim: Callable[[str, str], Object | None]  # name, namespace
    volume: Callable[[str], Object | None]
    storage_class: Callable[[str], Object | None]
    volumes: Callable[[], Iterable[Object]]


def storage_class_of(item: Object) -> StorageClass:
    """Return a storage class in the form of the model."""
    is_default = annotations_of(item).get("storageclass.kubernetes.io/is-default-class") == "true"
    return StorageClass(
        name=item["metadata"]["name"],
        provisioner=str(item.get("provisioner") or ""),
        is_default=is_default,
        allow_volume_expansion=bool(item.get("allowVolumeExpansion")),
    )


def claim_names(pod: Object) -> tuple[str, ...]:
    """Return the names of the claims that a pod uses, in its namespace; those of ephemeral volumes among them."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.append(str(volume["persistentVolumeClaim"]["claimName"]))
        elif volume.get("ephemeral") is not None:
            found.append(f"{pod['metadata']['name']}-{volume['name']}")
    return tuple(found)


def reachable(pod: Object, storage: Storage) -> tuple[Terms, ...]:
    """Return the terms that a node must meet for each of a pod's claims."""
    namespace = pod["metadata"].get("namespace", "")
    terms = (_of_claim(storage.claim(name, namespace), storage) for name in claim_names(pod))
    return tuple(found for found in terms if found is not None)


def _of_claim(claim: Object | None, storage: Storage) -> Terms | None:
    """Return the terms for one claim; None where every node will do."""
    if claim is None:
        return NOWHERE  # it does not exist (yet): the pod waits
    spec = claim.get("spec") or {}
    if spec.get("volumeName"):
        volume = storage.volume(spec["volumeName"])
        return NOWHERE if volume is None else _of_volume(volume)
    sort = storage.storage_class(spec.get("storageClassName") or "")
    if sort is None or sort.get("volumeBindingMode") != WAITS:
        return NOWHERE  # the controller binds it at once: until then the pod waits
    chosen = annotations_of(claim).get(names.SELECTED_NODE_ANNOTATION)
    if chosen:  # being made for a node: the volume may be there already
        return ((LabelRequirement("metadata.name", "In", (chosen,)),),)
    if sort.get("provisioner") == BY_HAND:
        return _anywhere([_of_volume(volume) for volume in free_volumes(claim, storage)])
    allowed = sort.get("allowedTopologies")
    return None if not allowed else tuple(_topology_term(item) for item in allowed)


def _anywhere(several: list[Terms | None]) -> Terms | None:
    if None in several:
        return None
    return tuple(dict.fromkeys(term for terms in several for term in terms or ()))


def _of_volume(volume: Object) -> Terms | None:
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return None if not required else node_terms(required.get("nodeSelectorTerms"))


def _topology_term(item: Mapping[str, Any]) -> tuple[LabelRequirement, ...]:
    expressions = item.get("matchLabelExpressions") or ()
    return tuple(LabelRequirement(one["key"], "In", tuple(sorted(one["values"]))) for one in expressions)


def free_volumes(claim: Object, storage: Storage) -> list[Object]:
    """Return the volumes that could be given to a claim, the smallest first."""
    spec = claim.get("spec") or {}
    asked = whole(((spec.get("resources") or {}).get("requests") or {}).get("storage", 0))
    modes = set(spec.get("accessModes") or ())
    found = [
        volume
        for volume in storage.volumes()
        if _is_for(volume, claim)
        and (volume["spec"].get("storageClassName") or "") == (spec.get("storageClassName") or "")
        and whole((volume["spec"].get("capacity") or {}).get("storage", 0)) >= asked
        and modes <= set(volume["spec"].get("accessModes") or ())
    ]
    return sorted(found, key=lambda item: (whole(item["spec"]["capacity"]["storage"]), item["metadata"]["name"]))


def _is_for(volume: Object, claim: Object) -> bool:
    if (volume.get("status") or {}).get("phase") not in ("Available", None, "Pending"):
        return False
    wanted = volume["spec"].get("claimRef")
    if not wanted:
        return not volume["metadata"].get("deletionTimestamp")
    meta = claim["metadata"]
    return (wanted.get("namespace"), wanted.get("name")) == (meta.get("namespace"), meta.get("name"))


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """What must be written before a pod is bound to a node: claims to be made there, volumes to be given."""

    make: tuple[str, ...] = ()  # names of claims
    give: tuple[tuple[str, str], ...] = ()  # (volume, claim)
    missing: str = ""  # why it cannot be: a sentence

    @property
    def waits(self) -> bool:
        """Whether anything is to be written and waited for."""
        return bool(self.make or self.give)


def plan(pod: Object, node: str, storage: Storage, meets: Callable[[Terms], bool]) -> VolumePlan:
    """Return what a pod's claims need before it is bound; `meets` says whether the node meets the terms."""
    namespace = pod["metadata"].get("namespace", "")
    make: list[str] = []
    give: list[tuple[str, str]] = []
    for name in claim_names(pod):
        claim = storage.claim(name, namespace)
        if claim is None:
            return VolumePlan(missing=f"the claim {namespace}/{name} does not exist")
        spec = claim.get("spec") or {}
        if spec.get("volumeName"):
            continue
        sort = storage.storage_class(spec.get("storageClassName") or "")
        if sort is None or sort.get("volumeBindingMode") != WAITS:
            return VolumePlan(missing=f"the claim {namespace}/{name} is not bound")
        if sort.get("provisioner") != BY_HAND:
            make.append(name)
            continue
        taken = {volume for volume, _ in give}
        fitting = (
            volume["metadata"]["name"]
            for volume in free_volumes(claim, storage)
            if volume["metadata"]["name"] not in taken and ((terms := _of_volume(volume)) is None or meets(terms))
        )
        chosen = next(fitting, None)
        if chosen is None:
            return VolumePlan(missing=f"no volume is free for the claim {namespace}/{name} on node {node}")
        give.append((chosen, name))
    return VolumePlan(tuple(make), tuple(give))
