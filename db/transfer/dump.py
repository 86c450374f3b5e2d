"""A whole search out of the store, a portion of rows at a time; the way back: ``restore``.

All of it wants ``db.schema.session.snapshot``: rows of one moment, fetched while others write.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, Outcome, RewardKind
from db.schema.models import Attempt, Child, Epoch, Genotype, Metric, PolicyVersion, Run, Slot
from db.schema.rows import EpochRow, JsonObject, RunRow, columns, from_rows, portions, read_all
from pipeline.errors import Failure

PORTION = 1000  # children, with all that belongs to them


class DumpedVersion(NamedTuple):
    """A policy version, without its state."""

    version: int
    created_at: dt.datetime
    learned: int
    total_learned: int
    loss: float | None
    entropy: float | None
    kl: float | None
    clip_fraction: float | None
    baseline: float | None
    mean_reward: float | None
    staleness: float | None
    duplicates: int | None
    probabilities: list[list[float]] | None
    sha256: str


class DumpedChild(NamedTuple):
    """A child with its genotype, and what child it repeats."""

    id: int
    search_id: int
    version: int
    arm: Arm
    k: int
    actions: list[int]
    log_probs: bytes
    genotype_id: int
    ops_normal: int | None
    ops_reduction: int | None
    state: ChildState
    created_at: dt.datetime
    ended_at: dt.datetime | None
    reward: float | None
    reward_kind: RewardKind | None
    stopped_epoch: int | None
    accuracy: float | None
    parameters: int | None
    macs: int | None
    failure: Failure | None
    duplicate_of: int | None
    score_run_id: int | None
    learned_by: int | None
    digest: str
    body: JsonObject
    first_version: int | None
    first_arm: Arm | None
    first_k: int | None


class EndedChild(NamedTuple):
    """A child with a reward."""

    arm: Arm
    reward: float
    accuracy: float | None
    parameters: int | None
    macs: int | None
    ended_at: dt.datetime


class DumpedAttempt(NamedTuple):
    """An attempt, and its slot."""

    run_id: int
    number: int
    device: str | None
    versions: dict[str, str] | None
    images_trained: int | None
    images_scored: int | None
    started_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: Outcome | None
    failure: Failure | None
    message: str | None
    traceback: str | None
    host: str | None
    slot: str | None


@dataclass(frozen=True, slots=True)
class DumpedRun:
    """A run's row; its genotype, where it is no child's; what it measured.

    That is its attempts, its learning curve, and the metrics of its end.
    """

    row: RunRow
    digest: str | None = None
    body: JsonObject | None = None
    attempts: list[DumpedAttempt] = field(default_factory=list)
    epochs: list[EpochRow] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


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


def configs(connection: Connection, search_id: int) -> list[JsonObject]:
    """The configurations of a search's runs, each once: few, and each stands in many rows."""
    statement = select(Run.config).where(Run.search_id == search_id).distinct()
    return list(connection.scalars(statement))


def versions(connection: Connection, search_id: int) -> Iterator[DumpedVersion]:
    """Policy versions in order, without their state."""
    statement = (
        select(*columns(PolicyVersion, DumpedVersion))
        .where(PolicyVersion.search_id == search_id)
        .order_by(PolicyVersion.version)
        .execution_options(yield_per=PORTION)
    )
    return from_rows(DumpedVersion, connection.execute(statement))


def other_runs(connection: Connection, search_id: int) -> Iterator[DumpedRun]:
    """Runs that are no child's, such as retrainings, in order; with their genotypes."""
    statement = (
        select(Run, Genotype.digest, Genotype.body)
        .join(Genotype, Genotype.id == Run.genotype_id, isouter=True)
        .where(Run.search_id == search_id, Run.child_id.is_(None))
        .order_by(Run.id)
        .execution_options(yield_per=PORTION)
    )
    size = len(RunRow._fields)
    for rows in connection.execute(statement).partitions():
        runs = [DumpedRun(RunRow._make(row[:size]), row.digest, row.body) for row in rows]
        yield from _with_details(connection, runs)


def child_rows(connection: Connection, search_id: int) -> Iterator[list[DumpedChild]]:
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
    return portions(DumpedChild, connection.execute(statement))


def children(
    connection: Connection, search_id: int
) -> Iterator[tuple[DumpedChild, DumpedRun | None]]:
    """Children in the order they were proposed, with the run of each, where it has one."""
    for rows in child_rows(connection, search_id):
        statement = select(Run).where(Run.child_id.in_([row.id for row in rows]))
        trained = [DumpedRun(row) for row in read_all(connection, RunRow, statement)]
        runs = {run.row.child_id: run for run in _with_details(connection, trained)}
        for row in rows:
            yield row, runs.get(row.id)


def ended(connection: Connection, search_id: int) -> Iterator[EndedChild]:
    """Children with a reward, in the order in which they ended."""
    statement = (
        select(*columns(Child, EndedChild))
        .where(Child.search_id == search_id, is_state(Child.state, ChildState.REWARDED))
        .order_by(Child.ended_at, Child.id)
        .execution_options(yield_per=PORTION)
    )
    return from_rows(EndedChild, connection.execute(statement))


_of_attempt = [
    getattr(Attempt, name) for name in DumpedAttempt._fields if name not in {"host", "slot"}
]


def _with_details(connection: Connection, dumped: Sequence[DumpedRun]) -> Sequence[DumpedRun]:
    """Runs with their attempts, epochs and metrics, each in order."""
    runs = {run.row.id: run for run in dumped}
    ids = list(runs)
    attempts = (
        select(*_of_attempt, Slot.host, Slot.name.label("slot"))
        .join(Slot, Slot.id == Attempt.slot_id, isouter=True)
        .where(Attempt.run_id.in_(ids))
        .order_by(Attempt.run_id, Attempt.number)
    )
    for attempt in from_rows(DumpedAttempt, connection.execute(attempts)):
        runs[attempt.run_id].attempts.append(attempt)
    epochs = select(Epoch).where(Epoch.run_id.in_(ids)).order_by(Epoch.run_id, Epoch.epoch)
    for epoch in from_rows(EpochRow, connection.execute(epochs)):
        runs[epoch.run_id].epochs.append(epoch)
    metrics = select(Metric).where(Metric.run_id.in_(ids)).order_by(Metric.run_id, Metric.name)
    for metric in connection.execute(metrics):
        runs[metric.run_id].metrics[metric.name] = metric.value
    return dumped
