"""Pages of genotypes: filtered lists, one of them, two compared, drawings."""

import csv
import io
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from sqlalchemy import Connection

from db.lifecycle import operations, searches
from db.reads import lineage, ranked_genotypes, ranking
from db.schema.enums import Arm, CellScope, Order
from db.schema.session import snapshot, transaction
from pipeline.actions import figures
from pipeline.actions.genotypes import COLUMNS, find_stored, make_filter
from pipeline.dashboard.pages import page
from pipeline.dashboard.turns import in_turn
from pipeline.genotypes.differences import differences, in_words
from pipeline.genotypes.drawing import (
    Format,
    draw,
    picture_of,
    picture_of_comparison,
    svg_fragment,
)
from pipeline.plots import learning_curves
from pipeline.spaces.base import Genotype
from pipeline.spaces.cells.published import PUBLISHED

router = APIRouter(include_in_schema=False)

PER_PAGE = 50
CSV_PORTION = 2000


class GenotypeQuery(BaseModel):
    """A list as its address asks for it; an empty field asks for nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uses: list[str] = []
    without: list[str] = []
    place: CellScope = CellScope.EITHER
    arm: Arm | None = None
    min_reward: float | None = Field(None, allow_inf_nan=False)
    min_accuracy: float | None = Field(None, allow_inf_nan=False)
    max_parameters: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_macs: float | None = Field(None, ge=0, allow_inf_nan=False)
    sort: Order = Order.REWARD
    page: int = Field(1, ge=1, le=100_000)

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, list):
            return [text for text in value if text != ""]
        return cls.model_fields[info.field_name or ""].default if value == "" else value

    def filter(self) -> ranking.Filter:
        """As the store is asked.

        Raises:
            UserError: there is no such operation.
        """
        return make_filter(
            uses=self.uses,
            without=self.without,
            place=self.place,
            arm=self.arm,
            min_reward=self.min_reward,
            min_accuracy=self.min_accuracy,
            max_parameters=self.max_parameters,
            max_macs=self.max_macs,
        )


def listed(
    connection: Connection, name: str, asked: GenotypeQuery, limit: int, offset: int
) -> list[dict[str, object]]:
    """Genotypes of a search, ranked and filtered, as plain values.

    Raises:
        UserError: there is no such search, or no such operation.
    """
    rows = ranking.ranked(
        connection,
        searches.get(connection, name).id,
        asked.filter(),
        order=asked.sort,
        limit=limit,
        offset=offset,
    )
    return [{column: getattr(row, column) for column in COLUMNS} for row in rows]


@router.get("/searches/{name}/genotypes")
def show_list(request: Request, name: str, asked: Annotated[GenotypeQuery, Query()]) -> Response:
    """A page of the list."""
    offset = (asked.page - 1) * PER_PAGE
    with transaction(read_only=True) as connection:
        rows = listed(connection, name, asked, PER_PAGE + 1, offset)
        known = operations.known(connection)
    return page(
        request,
        "genotypes.html",
        name=name,
        asked=asked,
        operations=list(known),
        rows=rows[:PER_PAGE],
        first=offset + 1,
        more=len(rows) > PER_PAGE,
    )


@router.get("/searches/{name}/genotypes.csv")
def show_csv(name: str, asked: Annotated[GenotypeQuery, Query()]) -> Response:
    """The whole list as comma-separated values."""
    with transaction(read_only=True) as connection:
        listed(connection, name, asked, 1, 0)  # what cannot be asked is said before it begins
    return StreamingResponse(
        _csv(name, asked),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="genotypes.csv"'},
    )


def _csv(name: str, asked: GenotypeQuery) -> Iterator[str]:
    with snapshot() as connection:
        # a million rows need not fit
        connection.execution_options(yield_per=ranked_genotypes.MOST_IDS)
        search_id = searches.get(connection, name).id
        ids = ranking.ids(connection, search_id, asked.filter(), asked.sort)
    yield ",".join(COLUMNS) + "\r\n"
    for start in range(0, len(ids), CSV_PORTION):
        with transaction(read_only=True) as connection:
            rows = ranked_genotypes.of_children(connection, ids[start : start + CSV_PORTION])
        buffer = io.StringIO()
        csv.writer(buffer).writerows([[getattr(row, c) for c in COLUMNS] for row in rows])
        yield buffer.getvalue()


def found(connection: Connection, text: str) -> Genotype:
    """A genotype by its digest's first letters, or by a published name.

    Raises:
        UserError: none or more than one begins so.
    """
    if text in PUBLISHED:
        return PUBLISHED[text]
    return find_stored(connection, text).genotype


@router.get("/genotypes/{digest}")
@in_turn
def show(request: Request, digest: str) -> Response:
    """A genotype: its drawing, where it comes from, its curves, its neighbours."""
    with transaction(read_only=True) as connection:
        stored = find_stored(connection, digest)
        children = lineage.children_of_genotype(connection, stored.id)
        attempts = lineage.attempts_of(connection, stored.id)
        labels = {row.run_id: f"run {row.run_id}, {row.purpose.value}" for row in attempts}
        curves = figures.curves_of(connection, labels)
        near = lineage.neighbours(connection, stored.id)
    return page(
        request,
        "genotype.html",
        digest=stored.genotype.digest,
        svg=svg_fragment(picture_of(stored.genotype)),
        words=in_words(stored.genotype),
        children=children,
        attempts=attempts,
        near=near,
        figure=learning_curves(curves).to_json() if any(c.epochs for c in curves) else None,
    )


@router.get("/genotypes/{digest}/genotype.json")
def show_json(digest: str) -> Response:
    """The genotype as `nasnet genotype import` reads it."""
    with transaction(read_only=True) as connection:
        genotype = found(connection, digest)
    return PlainTextResponse(
        genotype.to_json() + "\n",
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{genotype.digest[:12]}.json"'},
    )


@router.get("/genotypes/{digest}/genotype.{form}")
@in_turn
def show_picture(digest: str, form: Format) -> Response:
    """Its cells as a picture."""
    with transaction(read_only=True) as connection:
        genotype = found(connection, digest)
    name = genotype.digest[:12]
    return Response(
        draw(picture_of(genotype, name), form),
        media_type={"svg": "image/svg+xml", "png": "image/png"}[form],
        headers={"Content-Disposition": f'attachment; filename="{name}.{form}"'},
    )


@router.get("/compare")
@in_turn
def compare(request: Request, a: str = "", b: str = "") -> Response:
    """Two genotypes side by side, what differs marked."""
    if not (a and b):
        return page(request, "compare.html", a=a, b=b, svg=None, rows=[])
    with transaction(read_only=True) as connection:
        first = found(connection, a)
        second = found(connection, b)
    return page(
        request,
        "compare.html",
        a=a,
        b=b,
        svg=svg_fragment(picture_of_comparison(first, second, (a, b))),
        rows=differences(first, second),
    )
