"""Where a genotype comes from and what it took; what is like it; what failed."""

import datetime as dt
import functools
import heapq
import itertools
import json
import operator
from typing import NamedTuple

from pydantic import JsonValue
from sqlalchemy import Connection, Text, bindparam, cast, literal_column, select

from db.reads import ranked_genotypes, ranking, series
from db.reads.ranked_genotypes import RankedGenotype
from db.schema.conditions import FAILED_OR_LOST
from db.schema.enums import Arm, ChildState, Order, Outcome, Purpose, RewardKind, RunState
from db.schema.models import Attempt, Child, Genotype, Run, Search, Slot
from db.schema.rows import GenotypeRow, read_all
from pipeline.errors import Failure

# The best of a search, among which neighbours are looked for.
AMONG = 1000


class ProposedChild(NamedTuple):
    """Where a genotype was proposed, and what came of it."""

    search: str
    version: int
    arm: Arm
    k: int
    state: ChildState
    reward: float | None
    reward_kind: RewardKind | None
    accuracy: float | None
    failure: Failure | None
    duplicate_of: int | None
    scored_by: int | None  # a run
    learned_by: int | None  # a policy version
    run: int | None
    attempts: int | None


class AttemptOfGenotype(NamedTuple):
    """An attempt at training a genotype; without a number where the run has none yet."""

    run_id: int
    purpose: Purpose
    state: RunState
    accuracy: float | None
    test_accuracy: float | None
    number: int | None
    outcome: Outcome | None
    failure: Failure | None
    message: str | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    host: str | None
    slot: str | None


class FailedAttempt(NamedTuple):
    """An attempt that failed or was lost."""

    run_id: int
    number: int
    outcome: Outcome
    failure: Failure | None
    message: str | None
    traceback: str | None
    ended_at: dt.datetime | None
    purpose: Purpose
    run_state: RunState
    search: str | None
    digest: str | None
    host: str | None
    slot: str | None


def genotypes_by_prefix(connection: Connection, prefix: str, limit: int = 3) -> list[GenotypeRow]:
    """Genotypes whose digest begins so."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return read_all(
        connection,
        GenotypeRow,
        select(Genotype)
        .where(Genotype.digest >= prefix, Genotype.digest < end)
        .order_by(Genotype.digest)
        .limit(limit),
    )


def children_of_genotype(
    connection: Connection, genotype_id: int, limit: int = 20
) -> list[ProposedChild]:
    """Where a genotype was proposed, and what came of it."""
    return read_all(
        connection,
        ProposedChild,
        select(
            Search.name.label("search"),
            Child.version,
            Child.arm,
            Child.k,
            Child.state,
            Child.reward,
            Child.reward_kind,
            Child.accuracy,
            Child.failure,
            Child.duplicate_of,
            Child.score_run_id.label("scored_by"),
            Child.learned_by,
            Run.id.label("run"),
            Run.attempt.label("attempts"),
        )
        .join(Search, Child.search_id == Search.id)
        .join(Run, Run.child_id == Child.id, isouter=True)
        # named, so that the index of (search, genotype) is asked once a search
        .where(Child.search_id.in_(select(Search.id)), Child.genotype_id == genotype_id)
        .order_by(Child.id)
        .limit(limit),
    )


def attempts_of(
    connection: Connection, genotype_id: int, limit: int = 200
) -> list[AttemptOfGenotype]:
    """Every attempt at training a genotype, for whatever purpose, in order."""
    return read_all(
        connection,
        AttemptOfGenotype,
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
        .limit(limit),
    )


_bodies = (
    select(Child.id, Child.genotype_id, cast(Genotype.body, Text).label("body"))
    .join(Genotype, Genotype.id == Child.genotype_id)
    .where(Child.id.in_(bindparam("child_ids", expanding=True)))
)


def neighbours(
    connection: Connection, genotype_id: int, limit: int = 10
) -> list[tuple[int, RankedGenotype]]:
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
    rows = ranked_genotypes.of_children(connection, [best[rank] for _, rank in near])
    return [(distance, row) for (distance, _), row in zip(near, rows, strict=True)]


@functools.lru_cache(maxsize=4 * AMONG)  # the best of a search are so for long
def _places(body: str) -> list[list[JsonValue]]:
    """What a genotype, as JSON, has at each place: cell by cell, or of all its layers."""
    data = json.loads(body)
    cells = (data.get(cell, {}).get("blocks", ()) for cell in ("normal", "reduction"))
    layers = (
        layer.values() if isinstance(layer, dict) else layer for layer in data.get("layers", ())
    )
    return [list(itertools.chain.from_iterable(part)) for part in (*cells, layers)]


def _distance(one: list[list[JsonValue]], other: list[list[JsonValue]]) -> int:
    pairs = zip(one, other, strict=True)
    equal = sum(sum(map(operator.eq, mine, theirs)) for mine, theirs in pairs)
    return max(sum(map(len, one)), sum(map(len, other))) - equal


def failures(
    connection: Connection,
    search_id: int | None,
    failure: Failure | None,
    limit: int,
    offset: int = 0,
) -> list[FailedAttempt]:
    """Attempts that failed or were lost, the newest first.

    A page is found first, then what is shown of it: those before it are only counted off.
    """
    found = select(Attempt.id).where(literal_column(FAILED_OR_LOST)).order_by(Attempt.id.desc())
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
    return read_all(connection, FailedAttempt, statement)
