"""A page with one table: what the address asks for, as a page or as a CSV file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.web.pages.frame import HEADERS, page
from runai_core.web.pages.rights import may_somewhere
from runai_core.web.pages.tables import Column, Row, arranged, choice_of, csv_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A way on from a table, for who has the right somewhere."""

    path: str
    text: str
    right: tuple[str, str] | None = None  # action and resource type; None: for everybody
    is_main: bool = True


USUAL: Mapping[str, Any] = {"hint": "", "advice": "", "has_tabs": False, "has_legend": False}
"""What a page of a table has where it says nothing else."""


def table_page(
    request: Request,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *buttons: Button,
    most_first: str = "",
    **values: Any,
) -> Response:
    """Return the page, or all of its rows as CSV where the address says ``format=csv``.

    Templates know: hint (below the title), nothing and advice (where there is no row), has_tabs (those of people and
    rights), has_legend (of the bars). The template is `list.html` unless `template` names another. Rows are sorted by
    the first column, or by the most of another one, until somebody chooses.
    """
    choice = choice_of(request.query_params)
    if most_first and not choice.sort:
        choice = replace(choice, sort=most_first, descending=True)
    table = arranged(title, columns, rows, choice)
    if table.choice.as_csv:
        return csv_response(csv_of(table), title.lower().replace(" ", "-"))
    offered = [button for button in buttons if button.right is None or may_somewhere(request, *button.right)]
    return page(request, values.pop("template", "list.html"), table=table, buttons=offered, **{**USUAL, **values})


def csv_response(text: str, name: str) -> Response:
    """Return a CSV file to be saved under this name."""
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
