"""A page with one table: what the address asks for, as a page or as a CSV file."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.web.pages.frame import HEADERS, page
from runai_core.web.pages.tables import Column, Row, arranged, choice_of, csv_of


def table_page(
    request: Request, template: str, title: str, columns: Sequence[Column], rows: Sequence[Row], **values: Any
) -> Response:
    """Return the page, or all of its rows as CSV where the address says ``format=csv``."""
    table = arranged(title, columns, rows, choice_of(request.query_params))
    if table.choice.as_csv:
        return csv_response(csv_of(table), title.lower().replace(" ", "-"))
    return page(request, template, table=table, **values)


def csv_response(text: str, name: str) -> Response:
    """Return a CSV file to be saved under this name."""
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
