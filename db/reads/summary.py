"""A search at a glance: its counts, its rewards, its newest version, and what ended last."""

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    func,
    select,
)

from db.reads.progress import Progress
from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, Purpose, RunState
from db.schema.models import Child, Genotype, PolicyVersion, Run
from db.schema.rows import columns, read_all, read_one_or_none
from pipeline.errors import Failure

_search_id = bindparam("search_id", type_=Integer)


@dataclass(frozen=True, slots=True)
class Rewards:
    """How many children carry a reward; the best, and the mean."""

    count: int
    best: float | None
    mean: float | None


_of_control = is_state(Child.arm, Arm.CONTROL)
# not grouped, for which SQLite would sort a million rows
_means = select(
    func.count(),
    func.avg(Child.reward),
    func.count().filter(_of_control),
    func.avg(Child.reward).filter(_of_control),
).where(Child.search_id == _search_id, Child.reward.is_not(None))
_best = (
    select(Child.reward)
    .where(Child.search_id == _search_id, Child.reward.is_not(None))
    .order_by(Child.reward.desc())
    .limit(1)
)
_best_of_control = _best.where(_of_control)


def rewards(connection: Connection, search_id: int) -> tuple[Rewards, Rewards]:
    """The rewards of a search, and those of its control arm: a walk through an index."""
    asked = {"search_id": search_id}
    count, mean, control, control_mean = connection.execute(_means, asked).one()
    best = connection.scalar(_best, asked)
    best_of_control = connection.scalar(_best_of_control, asked) if control else None
    return Rewards(count, best, mean), Rewards(control, best_of_control, control_mean)


def state_counts(connection: Connection, search_id: int) -> dict[str, int]:
    """Children that are done, skipped, failed, duplicates or running; each by its own index."""
    of_search = Child.search_id == search_id

    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).where(*conditions)) or 0

    return {
        "done": count(of_search, is_state(Child.state, ChildState.REWARDED)),
        "skipped": count(of_search, is_state(Child.state, ChildState.SKIPPED)),
        "failed": count(of_search, Child.failure.is_not(None)),
        "duplicates": count(of_search, Child.duplicate_of.is_not(None)),
        "running": count(
            Run.search_id == search_id,
            Run.purpose.in_([Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE]),
            is_state(Run.state, RunState.RUNNING),
        ),
    }


def control_arm(now: Progress, control: Rewards) -> dict[str, float | None] | None:
    """What random search found beside the policy; None where the search has no control arm."""
    if not now.share:
        return None
    return {"completed": now.control, "best": control.best, "mean": control.mean}


class Diagnostics(NamedTuple):
    """What the update that made a policy version reported."""

    version: int
    learned: int
    entropy: float | None
    mean_reward: float | None
    loss: float | None
    kl: float | None
    clip_fraction: float | None
    baseline: float | None
    staleness: float | None


def newest_version(connection: Connection, search_id: int) -> Diagnostics | None:
    """The newest version's diagnostics, or None."""
    return read_one_or_none(
        connection,
        Diagnostics,
        select(*columns(PolicyVersion, Diagnostics))
        .where(PolicyVersion.search_id == search_id)
        .order_by(PolicyVersion.version.desc())
        .limit(1),
    )


class EndedChild(NamedTuple):
    """A child that ended, as its end is told."""

    id: int
    ended_at: dt.datetime
    version: int
    arm: Arm
    k: int
    state: ChildState
    reward: float | None
    accuracy: float | None
    failure: Failure | None
    duplicate_of: int | None
    parameters: int | None
    stopped_epoch: int | None
    digest: str
    message: str | None  # why it failed


def ended_children(
    connection: Connection, search_id: int, after: dt.datetime | None
) -> list[EndedChild]:
    """Children that ended after a time, oldest first."""
    statement = (
        select(
            Child.id,
            Child.ended_at,
            Child.version,
            Child.arm,
            Child.k,
            Child.state,
            Child.reward,
            Child.accuracy,
            Child.failure,
            Child.duplicate_of,
            Child.parameters,
            Child.stopped_epoch,
            Genotype.digest,
            Run.message,
        )
        .join(Genotype, Child.genotype_id == Genotype.id)
        .join(Run, Run.child_id == Child.id, isouter=True)
        .where(Child.search_id == search_id, Child.ended_at.is_not(None))
        .order_by(Child.ended_at, Child.id)
    )
    if after is not None:
        statement = statement.where(Child.ended_at > after)
    return read_all(connection, EndedChild, statement)
