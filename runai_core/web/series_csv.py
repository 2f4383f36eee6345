"""Measurements as CSV for who asks for it: `Accept: text/csv` at the paths of metrics."""

import csv
import io
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

COLUMNS = ("type", "labels", "timestamp", "value")


class CsvToo(APIRoute):
    """A route whose measurements can be had as CSV."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which writes the answer anew where CSV is asked for."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            response = await answer(request)
            return with_csv(response) if "text/csv" in request.headers.get("accept", "") else response

        return handler


def with_csv(response: Response) -> Response:
    """Return the answer's measurements as CSV; an answer without any stays as it is."""
    content = json.loads(bytes(response.body))
    if "measurements" not in content:
        return response
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for series in content["measurements"]:
        labels = ";".join(f"{name}={value}" for name, value in sorted((series.get("labels") or {}).items()))
        table.writerows((series["type"], labels, point["timestamp"], point["value"]) for point in series["values"])
    return Response(text.getvalue(), response.status_code, media_type="text/csv; charset=utf-8")
