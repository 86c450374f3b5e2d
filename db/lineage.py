"""Where a genotype comes from and what it took; what is like it; what failed."""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, literal_column, select

from db import ranking
from db.models import BAD, Attempt, Child, Genotype, Run, Search, Slot
from pipeline.errors import Failure

# The best of a search, among which neighbours are looked for.
AMONG = 1000


def attempts_of(connection: Connection, genotype_id: int, limit: int = 200) -> list[Any]:
    """Every attempt at training a genotype, for whatever purpose, in order."""
    return list(
        connection.execute(
            select(
                Run.id.label("run_id"),
                Run.purpose,
                Run.state,
                Run.accuracy,
                Run.test_accuracy,
                Attempt.number,
                Attempt.outcome,
                Attempt.failure,
                Attempt.message,
                Attempt.started_at,
                Attempt.ended_at,
                Slot.host,
                Slot.name.label("slot"),
            )
            .join(Attempt, Attempt.run_id == Run.id, isouter=True)
            .join(Slot, Slot.id == Attempt.slot_id, isouter=True)
            .where(Run.genotype_id == genotype_id)
            .order_by(Run.id, Attempt.number)
            .limit(limit)
        )
    )


def neighbours(connection: Connection, genotype_id: int, limit: int = 10) -> list[Any]:
    """(distance, row) of the genotypes most like one, among the best of its first search.

    The distance counts what differs between the canonical forms, place by place: a block has
    five places (two inputs, two operations, how they combine), a layer one for each value.
    """
    child = connection.execute(
        select(Child.search_id)
        .where(Child.search_id.in_(select(Search.id)), Child.genotype_id == genotype_id)
        .order_by(Child.id)
        .limit(1)
    ).one_or_none()
    if child is None:
        return []
    body = connection.execute(select(Genotype.body).where(Genotype.id == genotype_id)).scalar_one()
    places = list(_places(body))
    others = ranking.best(connection, child.search_id, limit=AMONG)
    near = (
        (_distance(places, list(_places(row.body))), number, row)
        for number, row in enumerate(others)
        if row.genotype_id != genotype_id
    )
    return [(distance, row) for distance, _, row in heapq.nsmallest(limit, near)]


def _places(body: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for cell in ("normal", "reduction"):
        for block, values in enumerate(body.get(cell, {}).get("blocks", ())):
            for place, value in enumerate(values):
                yield cell, block, place, value
    for number, layer in enumerate(body.get("layers", ())):
        for place, value in layer.items() if isinstance(layer, Mapping) else enumerate(layer):
            yield "layer", number, place, str(value)  # inputs and skips are lists


def _distance(one: list[Any], other: list[Any]) -> int:
    return max(len(one), len(other)) - len(set(one) & set(other))


def failures(
    connection: Connection,
    search_id: int | None,
    failure: Failure | None,
    limit: int,
    offset: int = 0,
) -> list[Any]:
    """Attempts that failed or were lost, the newest first."""
    statement = (
        select(
            Attempt.run_id,
            Attempt.number,
            Attempt.outcome,
            Attempt.failure,
            Attempt.message,
            Attempt.traceback,
            Attempt.ended_at,
            Run.purpose,
            Run.state.label("run_state"),
            Search.name.label("search"),
            Genotype.digest,
            Slot.host,
            Slot.name.label("slot"),
        )
        .join(Run, Run.id == Attempt.run_id)
        .join(Search, Search.id == Run.search_id, isouter=True)
        .join(Genotype, Genotype.id == Run.genotype_id, isouter=True)
        .join(Slot, Slot.id == Attempt.slot_id, isouter=True)
        .where(literal_column(BAD))
        .order_by(Attempt.id.desc())
        .limit(limit)
        .offset(offset)
    )
    if search_id is not None:
        statement = statement.where(Run.search_id == search_id)
    if failure is not None:
        statement = statement.where(Attempt.failure == failure)
    return list(connection.execute(statement))
