"""Types of workloads: the native ones, kinds that plug-ins bring, and kinds that administrators teach."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import NotFound
from runai_core.model.kinds import TaughtKind, name_of_kind
from runai_core.model.organization import Actor
from runai_core.model.workload import PRIORITIES, WorkloadType
from runai_core.plugins.types import WorkloadKind
from runai_core.service.kinds import CATEGORIES, KindChange, a_kind
from runai_core.web.answers.properties import TypeItem, TypeList
from runai_core.web.context import Door, Names, Who
from runai_core.web.schemas import Body, Name
from runai_core.web.views.kinds import identity, key_of, kind_item, native_types, statuses_of, taught_item

router = APIRouter(prefix="/api/v1/workload-types", tags=["workload properties"])

Interfaces = Annotated[
    list[dict[str, Any]],
    Field(max_length=4, description="A ResourceInterface (optimization.nvidia.com) for each version of the kind."),
]


class TypeUpdate(Body):
    """What is changed of a type; what is left out stays. Of a plug-in's kind only the defaults can be."""

    category_id: Annotated[Name | None, Field(description="Id or name.")] = None
    priority_id: Annotated[Name | None, Field(description="Id or name of a priority class.")] = None
    resource_interfaces: Annotated[
        Interfaces | None, Field(description="Versions can be added and taken away, but not changed.")
    ] = None


class TypeCreate(Body):
    """A kind to teach."""

    name: Annotated[str, Field(pattern="^[A-Z][A-Za-z0-9]{0,62}$", description="The kind, such as PyTorchJob.")]
    group: Annotated[str, Field(pattern="^[a-z](?:[a-z0-9.-]{0,251}[a-z0-9])?$", description="Its API group.")]
    category_id: Annotated[Name, Field(description="Id or name.")]
    priority_id: Annotated[Name, Field(description="Id or name of a priority class.")]
    resource_interfaces: Interfaces = Field(default_factory=list)


@router.get("", summary="List types of workloads")
async def list_types(
    door: Door,
    actor: Who,
    external_only: Annotated[bool, Query(alias="externalTypesOnly")] = False,  # noqa: FBT002
) -> TypeList:
    """The native types, and kinds that plug-ins bring or administrators taught."""
    external = tuple((await _external(door, actor)).values())
    return TypeList(types=external if external_only else (*native_types(), *external))


@router.post("", status_code=201, summary="Teach a kind of workloads")
async def create_type(body: TypeCreate, door: Door, actor: Who, names: Names) -> TypeItem:
    """Its objects are workloads from now on, in clusters that have the kind and let us see it."""
    taught = a_kind(
        body.group,
        body.name,
        category=_named("category", body.category_id, CATEGORIES),
        priority_class=_named("priority", body.priority_id, PRIORITIES),
        interfaces=tuple(body.resource_interfaces),
    )
    created = await door.kinds.create(actor, taught)
    return await _with_statuses(taught_item(created), door, names)


@router.get("/{workload_type_id}", summary="Get a type of workloads")
async def get_type(workload_type_id: str, door: Door, actor: Who, names: Names) -> TypeItem:
    """By id or by name."""
    return await _with_statuses(await _one(workload_type_id, door, actor), door, names)


@router.put("/{workload_type_id}", summary="Change a type of workloads")
async def update_type(workload_type_id: str, body: TypeUpdate, door: Door, actor: Who, names: Names) -> TypeItem:
    """What is left out stays; workloads that exist keep their priority."""
    item = await _one(workload_type_id, door, actor)
    interfaces = body.resource_interfaces
    change = KindChange(
        category=None if body.category_id is None else _named("category", body.category_id, CATEGORIES),
        priority_class=None if body.priority_id is None else _named("priority", body.priority_id, PRIORITIES),
        interfaces=None if interfaces is None else tuple(interfaces),
    )
    changed = await door.kinds.update(actor, name_of_kind(*key_of(item)), change)
    return await _with_statuses(taught_item(changed), door, names)


@router.delete("/{workload_type_id}", summary="Forget a kind of workloads")
async def delete_type(workload_type_id: str, door: Door, actor: Who) -> TypeItem:
    """There must be no workload of it any more; of a plug-in's kind, its own defaults come back."""
    item = await _one(workload_type_id, door, actor)
    return taught_item(await door.kinds.delete(actor, name_of_kind(*key_of(item))))


async def _external(door: Orchestrator, actor: Actor) -> Mapping[str, TypeItem]:
    taught: Mapping[str, TaughtKind] = await door.kinds.taught(actor)
    found: dict[str, TypeItem] = {}
    for (group, name), kind in door.plugins.kinds.by_group.items():
        if kind.workload_type is WorkloadType.EXTERNAL:
            key = name_of_kind(group, name)
            found[key] = kind_item(kind, taught.get(key))
    return found


async def _one(given: str, door: Orchestrator, actor: Actor) -> TypeItem:
    for item in (*native_types(), *(await _external(door, actor)).values()):
        if given in (item.id, item.name):
            return item
    raise NotFound(f"there is no workload type {given[:80]}; see /api/v1/workload-types")


async def _with_statuses(item: TypeItem, door: Orchestrator, names: Names) -> TypeItem:
    kinds: list[WorkloadKind] = [
        kind for kind in door.plugins.kinds.values() if (kind.api_version.rpartition("/")[0], kind.kind) == key_of(item)
    ]
    found = statuses_of(await door.kinds.statuses(kinds), names)
    return item.model_copy(update={"cluster_statuses": found})


def _named(what: str, given: str, known: Mapping[str, object]) -> str:
    """Return the name that an id, or a name, stands for; the service refuses what is none."""
    return next((name for name in known if given in (name, identity(what, name))), given)
