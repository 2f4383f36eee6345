"""Which workloads a page of the table shows: all of it is in the page's address, so that it can be kept and sent."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from runai_core.model.workload import Phase, WorkloadType
from runai_core.ports import Filter, Op, Query
from runai_core.web.pages.lines import BY_KEY

SIZES = (25, 50, 100, 200)

Name = Annotated[str, Field(max_length=253)]

PREEMPTIBLE: Mapping[str, str] = {"yes": "preemptible", "no": "non-preemptible"}


class Listed(BaseModel):
    """The choice that an address makes; what it leaves out does not matter."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    search: Name = ""
    project: Name = ""
    department: Name = ""
    type: Name = ""  # a native type, or the kind of a framework
    phase: Name = ""
    user: Name = ""  # part of it
    pool: Name = ""
    preemptible: Literal["", "yes", "no"] = ""
    sort: Name = "created"
    order: Literal["asc", "desc"] = "desc"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Field(ge=1, le=max(SIZES))] = 50
    deleted: bool = False
    seen: str = ""  # version of the store that the browser shows already; never part of an address

    @property
    def is_filtered(self) -> bool:
        """Whether some workloads are left out."""
        return any((self.search, self.project, self.department, self.type, self.phase, self.user, self.pool)) or bool(
            self.preemptible
        )

    def address(self, path: str = "/workloads", **changes: Any) -> str:
        """Return the address of this choice with some changes; what is as usual is left out."""
        values = self.model_dump(exclude_defaults=True, exclude={"seen"}) | changes
        usual = {name: info.default for name, info in type(self).model_fields.items()}
        given = {name: value for name, value in values.items() if value != usual[name]}
        query = urlencode({name: str(value).lower() if value is True else value for name, value in given.items()})
        return f"{path}?{query}" if query else path

    def sorted_by(self, key: str) -> str:
        """Return the address sorted by a column; the other way round where it is sorted by it already."""
        order = "desc" if self.sort == key and self.order == "asc" else "asc"
        return self.address(sort=key, order=order, page=1)


OUR_PAGE = re.compile(r"/workloads(/[0-9A-Za-z-]{1,64})?(\?[^\\]*)?")


def back_to_list(address: str) -> str:
    """Return an address of the table or of a workload; the table's, whatever else a form gave."""
    return address if OUR_PAGE.fullmatch(address) and address.isprintable() else "/workloads"


def query_of(listed: Listed) -> Query:
    """Return the store's question for the choice."""
    column = BY_KEY.get(listed.sort)
    return Query(
        filters=tuple(_filters(listed)),
        project=listed.project or None,
        search=listed.search,
        sort_by=column.sort if column and column.sort else "meta.created_at",
        descending=listed.order == "desc",
        offset=(listed.page - 1) * listed.size,
        limit=listed.size,
        deleted=listed.deleted,
    )


NATIVE = frozenset(kind.value for kind in WorkloadType)

ACTIVE = "active"
"""Choice of a phase: all that have not ended."""

ENDED = (Phase.COMPLETED, Phase.FAILED, Phase.STOPPED)


def _filters(listed: Listed) -> list[Filter]:
    found = [
        Filter(field, op, value)
        for field, op, value in (
            ("department", Op.EQ, listed.department),
            ("node_pool", Op.EQ, listed.pool),
            ("meta.created_by", Op.CONTAINS, listed.user),
            ("preemptibility", Op.EQ, PREEMPTIBLE.get(listed.preemptible, "")),
            ("type" if listed.type in NATIVE else "kind", Op.EQ, listed.type),
        )
        if value
    ]
    if listed.phase == ACTIVE:
        return [*found, *(Filter("phase", Op.NE, phase.value) for phase in ENDED)]
    return [*found, Filter("phase", Op.EQ, listed.phase)] if listed.phase else found
