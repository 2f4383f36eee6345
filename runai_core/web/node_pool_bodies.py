"""What the API takes for node pools: the bodies of requests, in the API's names."""

from typing import Annotated, Literal

from pydantic import Field

from runai_core.web.schemas import Body, Name


class Placement(Body):
    """How nodes are chosen: binpack, spread, or a strategy that a plug-in brings."""

    gpu: Name | None = None
    cpu: Name | None = None


class TimeBasedFairShare(Body):
    """Whether, and how, past use lowers a queue's part of what is over quota."""

    enabled: bool | None = None
    history_weight: Annotated[
        float | None, Field(description="How much the past counts; 0: not at all.", ge=0, le=1000, allow_inf_nan=False)
    ] = None
    window: Annotated[str | None, Field(description="Past that counts, for example 7d.", max_length=32)] = None
    window_type: Annotated[
        Literal["sliding", "tumbling"] | None,
        Field(description="The last window before now, or windows that follow each other."),
    ] = None
    half_life: Annotated[
        str | None, Field(description="Age at which use counts half, for example 2d; 0s: never.", max_length=32)
    ] = None


class SchedulingConfiguration(Body):
    """How a node pool is scheduled."""

    placement_strategy: Placement | None = None
    time_based_fair_share: TimeBasedFairShare | None = None
    min_guaranteed_runtime: Annotated[
        str | None, Field(description="Time that preemptible work is protected, for example 5d8h40m.", max_length=32)
    ] = None


class NodePoolUpdate(Body):
    """Changes of a node pool; what is left out stays."""

    label_key: Annotated[str | None, Field(min_length=1, max_length=317)] = None
    label_value: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    placement_strategy: Placement | None = None
    scheduling_configuration: SchedulingConfiguration | None = None
    over_provisioning_ratio: Annotated[Literal[1] | None, Field(description="There is no over-provisioning.")] = None
    gpu_network_acceleration_detection: Literal["Auto", "DontUse"] | None = None
    network_topology_id: Annotated[
        str | None, Field(max_length=253, description="Gangs are kept near by it that say nothing; empty: by none.")
    ] = None


class NodePoolCreate(NodePoolUpdate):
    """A node pool to create: the nodes that have the label."""

    name: Name
    label_key: Annotated[str, Field(min_length=1, max_length=317)]
    label_value: Annotated[str, Field(min_length=1, max_length=63)]
    cluster_id: str | None = None
