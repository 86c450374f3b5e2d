"""A whole search out of the store, a portion of rows at a time; the way back: ``restore``.

All of it wants ``db.schema.session.snapshot``: rows of one moment, fetched while others write.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from db.schema.enums import ChildState
from db.schema.models import Attempt, Child, Epoch, Genotype, PolicyVersion, Run, Slot, is_state

PORTION = 1000  # children, with all that belongs to them


@dataclass(frozen=True, slots=True)
class DumpedRun:
    """A run's row, its attempts and its learning curve."""

    row: Any
    attempts: list[Any] = field(default_factory=list)
    epochs: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of each kind a search has."""

    versions: int
    runs: int  # that are no child's
    children: int


def counts(connection: Connection, search_id: int) -> Counts:
    """How many rows there will be."""
    statements = (
        select(func.count()).where(PolicyVersion.search_id == search_id),
        select(func.count()).where(Run.search_id == search_id, Run.child_id.is_(None)),
        select(func.count()).where(Child.search_id == search_id),
    )
    return Counts(*(connection.execute(statement).scalar_one() for statement in statements))


def configs(connection: Connection, search_id: int) -> list[dict[str, Any]]:
    """The configurations of a search's runs, each once: few, and each stands in many rows."""
    statement = select(Run.config).where(Run.search_id == search_id).distinct()
    return list(connection.scalars(statement))


def versions(connection: Connection, search_id: int) -> Iterator[Any]:
    """Policy versions in order, without their state; `at` is when each was learned."""
    columns = [c for c in PolicyVersion.__table__.columns if c.key != "state"]
    columns.append(PolicyVersion.created_at.label("at"))
    statement = (
        select(*columns)
        .where(PolicyVersion.search_id == search_id)
        .order_by(PolicyVersion.version)
        .execution_options(yield_per=PORTION)
    )
    yield from connection.execute(statement)


def other_runs(connection: Connection, search_id: int) -> Iterator[DumpedRun]:
    """Runs that are no child's, such as retrainings, in order; with their genotypes."""
    statement = (
        select(Run, Genotype.digest, Genotype.body)
        .join(Genotype, Genotype.id == Run.genotype_id, isouter=True)
        .where(Run.search_id == search_id, Run.child_id.is_(None))
        .order_by(Run.id)
        .execution_options(yield_per=PORTION)
    )
    for rows in connection.execute(statement).partitions():
        yield from _with_details(connection, rows)


def child_rows(connection: Connection, search_id: int) -> Iterator[Sequence[Any]]:
    """Children in the order they were proposed, a portion at a time, with their genotypes."""
    first = aliased(Child)
    statement = (
        select(
            Child,
            Genotype.digest,
            Genotype.body,
            first.version.label("first_version"),
            first.arm.label("first_arm"),
            first.k.label("first_k"),
        )
        .join(Genotype, Genotype.id == Child.genotype_id)
        .join(first, first.id == Child.duplicate_of, isouter=True)
        .where(Child.search_id == search_id)
        .order_by(Child.id)
        .execution_options(yield_per=PORTION)
    )
    yield from connection.execute(statement).partitions()


def children(connection: Connection, search_id: int) -> Iterator[tuple[Any, DumpedRun | None]]:
    """Children in the order they were proposed, with the run of each, where it has one."""
    for rows in child_rows(connection, search_id):
        statement = select(Run).where(Run.child_id.in_([row.id for row in rows]))
        found = _with_details(connection, connection.execute(statement).all())
        runs = {run.row.child_id: run for run in found}
        for row in rows:
            yield row, runs.get(row.id)


def ended(connection: Connection, search_id: int) -> Iterator[Any]:
    """Children with a reward, in the order in which they ended."""
    statement = (
        select(
            Child.arm,
            Child.reward,
            Child.accuracy,
            Child.parameters,
            Child.macs,
            Child.ended_at.label("at"),
        )
        .where(Child.search_id == search_id, is_state(Child.state, ChildState.REWARDED))
        .order_by(Child.ended_at, Child.id)
        .execution_options(yield_per=PORTION)
    )
    yield from connection.execute(statement)


def _with_details(connection: Connection, rows: Sequence[Any]) -> list[DumpedRun]:
    """Runs with their attempts and epochs, each in order."""
    ids = [row.id for row in rows]
    runs: dict[int, DumpedRun] = {row.id: DumpedRun(row) for row in rows}
    attempts = (
        select(Attempt, Slot.host, Slot.name.label("slot"))
        .join(Slot, Slot.id == Attempt.slot_id, isouter=True)
        .where(Attempt.run_id.in_(ids))
        .order_by(Attempt.run_id, Attempt.number)
    )
    for attempt in connection.execute(attempts):
        runs[attempt.run_id].attempts.append(attempt)
    epochs = select(Epoch).where(Epoch.run_id.in_(ids)).order_by(Epoch.run_id, Epoch.epoch)
    for epoch in connection.execute(epochs):
        runs[epoch.run_id].epochs.append(epoch)
    return list(runs.values())
