"""Where a genotype comes from and what it took; what is like it; what failed."""

import functools
import heapq
import itertools
import json
import operator
from typing import Any

from sqlalchemy import Connection, Text, bindparam, cast, literal_column, select

from db.reads import ranking, series
from db.schema.enums import Order
from db.schema.models import BAD, Attempt, Child, Genotype, Run, Search, Slot
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


_bodies = (
    select(Child.id, Child.genotype_id, cast(Genotype.body, Text).label("body"))
    .join(Genotype, Genotype.id == Child.genotype_id)
    .where(Child.id.in_(bindparam("child_ids", expanding=True)))
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
    written = select(cast(Genotype.body, Text)).where(Genotype.id == genotype_id)
    own, search_id = _places(connection.execute(written).scalar_one()), child.search_id
    best = ranking.ids(connection, search_id, ranking.EVERYTHING, Order.REWARD, limit=AMONG)
    ranks = {child_id: rank for rank, child_id in enumerate(best)}
    near = heapq.nsmallest(
        limit,
        (
            (_distance(own, _places(row.body)), ranks[row.id])
            for row in connection.execute(_bodies, {"child_ids": list(best)})
            if row.genotype_id != genotype_id
        ),
    )
    rows = ranking.rows(connection, [best[rank] for _, rank in near])
    return [(distance, row) for (distance, _), row in zip(near, rows, strict=True)]


@functools.lru_cache(maxsize=4 * AMONG)  # the best of a search are so for long
def _places(body: str) -> list[list[Any]]:
    """What a genotype, as JSON, has at each place: cell by cell, or of all its layers."""
    data = json.loads(body)
    cells = (data.get(cell, {}).get("blocks", ()) for cell in ("normal", "reduction"))
    layers = (
        layer.values() if isinstance(layer, dict) else layer for layer in data.get("layers", ())
    )
    return [list(itertools.chain.from_iterable(part)) for part in (*cells, layers)]


def _distance(one: list[list[Any]], other: list[list[Any]]) -> int:
    pairs = zip(one, other, strict=True)
    equal = sum(sum(map(operator.eq, mine, theirs)) for mine, theirs in pairs)
    return max(sum(map(len, one)), sum(map(len, other))) - equal


def failures(
    connection: Connection,
    search_id: int | None,
    failure: Failure | None,
    limit: int,
    offset: int = 0,
) -> list[Any]:
    """Attempts that failed or were lost, the newest first.

    A page is found first, then what is shown of it: those before it are only counted off.
    """
    found = select(Attempt.id).where(literal_column(BAD)).order_by(Attempt.id.desc())
    if search_id is not None:
        found = found.where(series.of_search(connection, search_id))
    if failure is not None:
        found = found.where(Attempt.failure == failure)
    page = found.limit(limit).offset(offset).subquery()
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
        .where(Attempt.id.in_(select(page.c.id)))
        .order_by(Attempt.id.desc())
    )
    return list(connection.execute(statement))
