"""The page of failures: by class, and the newest with their words."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import lineage, series
from db.schema.session import transaction
from pipeline.dashboard.figures import drawn
from pipeline.dashboard.pages import page
from pipeline.dashboard.turns import in_turn
from pipeline.errors import Failure
from pipeline.plots import failures_by_class

router = APIRouter(include_in_schema=False)

PER_PAGE = 50


def listed(
    connection: Connection, search: str, failure: Failure | None, limit: int, offset: int
) -> list[dict[str, object]]:
    """Attempts that failed, the newest first; of a search, of a class, or all.

    Raises:
        UserError: there is no such search.
    """
    search_id = searches.get(connection, search).id if search else None
    rows = lineage.failures(connection, search_id, failure, limit, offset)
    return [row._asdict() for row in rows]


@router.get("/failures")
@in_turn
def show(
    request: Request,
    search: str = "",
    failure: str = "",
    page_number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """Failures, a page of them."""
    asked = Failure(failure) if failure in list(Failure) else None
    offset = (page_number - 1) * PER_PAGE
    with transaction(read_only=True) as connection:
        rows = listed(connection, search, asked, PER_PAGE + 1, offset)
        if search:
            figure = drawn(connection, searches.get(connection, search), "failures")
        else:
            figure = failures_by_class(*series.failures(connection, None)).to_json()
    return page(
        request,
        "failures.html",
        search=search,
        failure=asked,
        classes=list(Failure),
        rows=rows[:PER_PAGE],
        more=len(rows) > PER_PAGE,
        page_number=page_number,
        figure=figure,
    )
