"""Equal segments of a gang's workers, each of which may want to be placed close together.

The annotations are KAI's, on the template of the workers: how many pods a
segment has, and the levels of a topology within which each segment must, or
should, find its place.
"""

from collections.abc import Mapping, Sequence

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import SubGroup, TopologyConstraint
from runai_core.plugins.types import PodGroupPlan

SEGMENT_SIZE = "kai.scheduler/segment-size"
REQUIRED = "kai.scheduler/segment-topology-required-placement"
PREFERRED = "kai.scheduler/segment-topology-preferred-placement"
TOPOLOGY = "kai.scheduler/topology"


def segment_size(annotations: Mapping[str, str], pods: int, *, at: str, least: int = 1) -> int:
    """Return how many pods a segment has; 0 where the pods are not divided. `at` is the path of the annotations.

    Raises:
        InvalidRequest: it is no number, or out of bounds.
    """
    text = annotations.get(SEGMENT_SIZE)
    if text is None:
        return 0
    if not str(text).isdecimal() or not least <= int(text) <= pods:
        raise InvalidRequest.of(FieldError(f"{at}[{SEGMENT_SIZE}]", f"must be a number from {least} to {pods}", text))
    return int(text)


def segment_topology(annotations: Mapping[str, str], owner: Mapping[str, str], *, at: str) -> TopologyConstraint | None:
    """Return how close together the pods of a segment are to be; the owner may name the topology.

    Raises:
        InvalidRequest: no topology is named.
    """
    required, preferred = annotations.get(REQUIRED), annotations.get(PREFERRED)
    if not required and not preferred:
        return None
    topology = annotations.get(TOPOLOGY) or owner.get(TOPOLOGY)
    if not topology:
        raise InvalidRequest.of(FieldError(f"{at}[{TOPOLOGY}]", "must name the topology whose levels are given"))
    return TopologyConstraint(topology=topology, required_level=required or None, preferred_level=preferred or None)


def segments(
    pods: int,
    size: int,
    *,
    name: str = "segment",
    parent: str | None = None,
    topology: TopologyConstraint | None = None,
    extra: int = 0,
) -> tuple[SubGroup, ...]:
    """Return the segments of so many pods; the first one has some `extra` ones, the last one may be smaller."""
    rest, sizes = pods - extra, []
    while rest > 0:
        sizes.append(min(size, rest))
        rest -= size
    sizes[0] += extra
    return tuple(
        SubGroup(name=f"{name}-{index}", min_members=count, parent=parent, topology=topology)
        for index, count in enumerate(sizes)
    )


def segment_of(plan: PodGroupPlan, sub_group: str, number: int) -> str:
    """Return the segment of the pod with this number in a sub-group, counted from 0; those beyond are in the last.

    A sub-group that the plan does not have stands for all pods of the gang.
    """
    inner = {part.parent for part in plan.sub_groups}
    within = sub_group if any(part.name == sub_group for part in plan.sub_groups) else None
    leaves: Sequence[SubGroup] = [
        part for part in plan.sub_groups if part.name not in inner and within in (None, part.parent)
    ]
    for leaf in leaves:
        if number < leaf.min_members:
            return leaf.name
        number -= leaf.min_members
    return leaves[-1].name if leaves else sub_group
