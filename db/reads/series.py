"""What a search's figures are drawn from: rows in order, or an even sample of very many."""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    exists,
    func,
    literal_column,
    select,
    true,
    type_coerce,
    union_all,
)

from db.reads.progress import progress
from db.schema.conditions import FAILED_OR_LOST, IN_FULL, is_state
from db.schema.enums import Arm, ChildState, Outcome
from db.schema.models import Attempt, Child, Epoch, Genotype, PolicyVersion, Run, Slot
from db.schema.rows import EpochRow, columns, read_all
from pipeline.errors import Failure

# Of rows that a figure shows each as a mark; more cannot be told apart.
MOST = 2000
FEW = 5000  # children of a search whose runs are soon found
PORTION = 10_000  # rows fetched at a time


def last_ended(connection: Connection, search_id: int) -> dt.datetime | None:
    """When the last child with a reward ended."""
    return connection.scalar(
        select(Child.ended_at)
        .where(Child.search_id == search_id, is_state(Child.state, ChildState.REWARDED))
        .order_by(Child.ended_at.desc())
        .limit(1)
    )


def rewards(
    connection: Connection,
    search_id: int,
    after: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> Iterator[tuple[str, float | None]]:
    """(arm, reward) of the children that ended after a time until another, in that order.

    Fetched while they are read: there may be a million.
    """
    statement = (
        select(type_coerce(Child.arm, String), Child.reward)
        .where(Child.search_id == search_id, is_state(Child.state, ChildState.REWARDED))
        .order_by(Child.ended_at, Child.id)
    )
    if after is not None:
        statement = statement.where(Child.ended_at > after)
    if until is not None:
        statement = statement.where(Child.ended_at <= until)
    for rows in connection.execute(statement).partitions(PORTION):
        yield from ((row[0], row[1]) for row in rows)


def stamp(connection: Connection, search_id: int) -> tuple[int | None, ...]:
    """Another one once a child of a search has ended, a version has come, or anybody's attempt
    has come or failed.
    """
    now = progress(connection, search_id)
    if now is None:
        return ()
    newest = connection.scalar(select(func.max(Attempt.id)))
    bad = connection.scalar(
        select(func.count()).where(literal_column(FAILED_OR_LOST)).select_from(Attempt)
    )
    return now.completed, now.open, now.version, newest, bad


class PolicyPoint(NamedTuple):
    """What the update that made a policy version reported."""

    version: int
    entropy: float | None
    kl: float | None
    clip_fraction: float | None
    baseline: float | None
    mean_reward: float | None
    staleness: float | None
    duplicates: int | None


def versions(connection: Connection, search_id: int, most: int = MOST) -> list[PolicyPoint]:
    """Policy versions with their diagnostics, the newest among them; every n-th of very many."""
    return read_all(
        connection,
        PolicyPoint,
        select(*columns(PolicyVersion, PolicyPoint))
        .where(PolicyVersion.search_id == search_id, _is_nth(connection, search_id, most))
        .order_by(PolicyVersion.version),
    )


class VersionProbabilities(NamedTuple):
    """How likely a policy version finds each choice."""

    version: int
    probabilities: list[list[float]] | None  # per decision, of each choice


def probabilities(
    connection: Connection, search_id: int, most: int = 60
) -> list[VersionProbabilities]:
    """Probabilities of every n-th version, the newest among them."""
    return read_all(
        connection,
        VersionProbabilities,
        select(PolicyVersion.version, PolicyVersion.probabilities)
        .where(PolicyVersion.search_id == search_id, _is_nth(connection, search_id, most))
        .order_by(PolicyVersion.version),
    )


def _is_nth(connection: Connection, search_id: int, most: int) -> ColumnElement[bool]:
    newest = connection.scalar(
        select(func.max(PolicyVersion.version)).where(PolicyVersion.search_id == search_id)
    )
    step = (newest or 0) // most + 1
    return PolicyVersion.version % step == (newest or 0) % step


class SampledChild(NamedTuple):
    """A child with a reward, as figures show it."""

    id: int
    arm: Arm
    reward: float
    accuracy: float | None
    parameters: int | None
    macs: int | None
    ops_normal: int | None
    ops_reduction: int | None
    digest: str


def sample(connection: Connection, search_id: int, most: int = MOST) -> list[SampledChild]:
    """Rewarded children: all, or of very many every n-th."""
    by_version = (Child.version, Child.arm, Child.k)
    of_search = select(Child.id).where(Child.search_id == search_id).limit(1)
    first = connection.scalar(of_search.order_by(*by_version)) or 0
    last = connection.scalar(of_search.order_by(*(column.desc() for column in by_version))) or 0
    step = max(0, last - first) // most + 1
    wide = step * most  # a version's children need not have the highest ids
    sampled = Child.id.in_(range(last - wide, last + wide + 1, step)) if step > 1 else true()
    return read_all(
        connection,
        SampledChild,
        select(
            Child.id,
            Child.arm,
            Child.reward,
            Child.accuracy,
            Child.parameters,
            Child.macs,
            Child.ops_normal,
            Child.ops_reduction,
            Genotype.digest,
        )
        .join(Genotype, Genotype.id == Child.genotype_id)
        .where(
            Child.search_id == search_id,
            sampled,
            is_state(Child.state, ChildState.REWARDED),
        )
        .order_by(Child.id),
    )


def curves_of(connection: Connection, run_ids: list[int]) -> list[EpochRow]:
    """The learning curves of some runs."""
    statement = select(Epoch).where(Epoch.run_id.in_(run_ids))
    return read_all(connection, EpochRow, statement.order_by(Epoch.run_id, Epoch.epoch))


def runs_of_children(connection: Connection, child_ids: list[int]) -> dict[int, int]:
    """The run of each child that has one."""
    rows = connection.execute(select(Run.child_id, Run.id).where(Run.child_id.in_(child_ids)))
    return {row.child_id: row.id for row in rows}


class Hold(NamedTuple):
    """An attempt: how long a slot held a run."""

    run_id: int
    number: int
    started_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: Outcome | None
    failure: Failure | None
    host: str
    name: str


def holds(connection: Connection, search_id: int | None, most: int = 1000) -> list[Hold]:
    """The newest attempts, of all or of a search's newest runs, oldest first."""
    statement = (
        select(
            Attempt.run_id,
            Attempt.number,
            Attempt.started_at,
            Attempt.ended_at,
            Attempt.outcome,
            Attempt.failure,
            Slot.host,
            Slot.name,
        )
        .join(Slot, Slot.id == Attempt.slot_id)
        .order_by(Attempt.id.desc())
        .limit(most)
    )
    if search_id is not None:
        statement = statement.where(Attempt.run_id.in_(_newest_runs(search_id, most)))
    return read_all(connection, Hold, statement)[::-1]


def _newest_runs(search_id: int, most: int) -> Select[tuple[int]]:
    """Runs of a search of which its newest attempts are: of the children that ended last, and of
    those without an end; in full; of shared weights.

    Found by the children, since SQLite would ask an index of runs by search in place of others
    that leave far less.
    """
    ended = (
        select(Child.id)
        .where(Child.search_id == search_id, is_state(Child.state, state))
        .order_by(Child.ended_at.desc())
        .limit(most)
        for state in (ChildState.REWARDED, ChildState.SKIPPED, ChildState.OPEN)
    )
    of_children = (
        select(Run.id).where(Run.child_id.in_(ids.subquery().select())) for ids in ended
    )
    others = (
        select(Run.id).where(Run.search_id == search_id, literal_column(IN_FULL)),
        select(Run.id).where(Run.search_id == search_id, Run.version.is_not(None)),
    )
    found = union_all(*of_children, *others).subquery()
    return select(found.c.id)


def of_search(connection: Connection, search_id: int) -> ColumnElement[bool]:
    """Whether an attempt is of a search: by its runs where they are few, else by the attempt's.

    A page of a small search among large ones would else look at every attempt that failed.
    """
    some = select(Child.id).where(Child.search_id == search_id).limit(FEW).subquery()
    if (connection.scalar(select(func.count()).select_from(some)) or 0) < FEW:
        return Attempt.run_id.in_(_newest_runs(search_id, FEW))
    return exists().where(Run.id == Attempt.run_id, Run.search_id == search_id)


def failures(
    connection: Connection, search_id: int | None
) -> tuple[dict[str, int], dict[str, int]]:
    """By class: how many attempts failed, and how many children; of a search or of all."""
    attempts = select(Attempt.failure, func.count()).where(literal_column(FAILED_OR_LOST))
    children = select(Child.failure, func.count()).where(Child.failure.is_not(None))
    if search_id is not None:
        attempts = attempts.where(of_search(connection, search_id))
        children = children.where(Child.search_id == search_id)
    return (
        {str(name): n for name, n in connection.execute(attempts.group_by(Attempt.failure))},
        {str(name): n for name, n in connection.execute(children.group_by(Child.failure))},
    )
