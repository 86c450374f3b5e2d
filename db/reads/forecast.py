"""When will a search be done? From trainings that ended, and from those on their way."""

import itertools
import statistics
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from db.reads.progress import Progress
from db.schema import config_keys
from db.schema.clock import clock, seconds_between
from db.schema.conditions import is_state
from db.schema.enums import ChildState, Outcome, Purpose, RunState
from db.schema.models import Attempt, Child, Epoch, Run
from db.schema.rows import read_all


class RunningTraining(NamedTuple):
    """How far a training is."""

    epochs: int  # of its recipe
    done: int
    mean: float | None  # seconds of an epoch; None before the first
    elapsed: float  # seconds since the last epoch ended, or since the run was taken


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until the budget of children is met."""

    seconds: float
    spread: float  # standard deviation


def ahead(connection: Connection, now: Progress) -> Forecast | None:
    """When a search's budget will be met, or None where nothing tells yet."""
    if now.sharing is not None:
        return forecast_phases(now, phase_seconds(connection, now.search_id))
    trained = recent_seconds(connection, now.search_id)
    return forecast(now, trained, running(connection, now.search_id))


def recent_seconds(connection: Connection, search_id: int, count: int = 50) -> list[float]:
    """How long the trainings of the children took that ended last."""
    latest = (
        select(Child.id)
        .where(
            Child.search_id == search_id,
            is_state(Child.state, ChildState.REWARDED),
            Child.duplicate_of.is_(None),
        )
        .order_by(Child.ended_at.desc(), Child.id.desc())
        .limit(count)
        .subquery()
    )
    took = (
        select(Attempt.started_at, Attempt.ended_at)
        .join(Run, Run.id == Attempt.run_id)
        .where(Run.child_id.in_(latest.select()), Attempt.outcome == Outcome.DONE)
    )
    return [  # a clock that was set back makes none faster than nothing
        max(0.0, (row.ended_at - row.started_at).total_seconds())
        for row in connection.execute(took)
    ]


def running(connection: Connection, search_id: int) -> list[RunningTraining]:
    """How far each training of a search's children is."""
    curve = (
        select(
            Epoch.run_id,
            func.max(Epoch.epoch).label("done"),
            func.avg(Epoch.seconds).label("mean"),
            func.max(Epoch.created_at).label("last"),
        )
        .join(Run, Run.id == Epoch.run_id)
        .where(Run.search_id == search_id, is_state(Run.state, RunState.RUNNING))
        .group_by(Epoch.run_id)
        .subquery()
    )
    since = func.coalesce(curve.c.last, Run.state_since)
    return read_all(
        connection,
        RunningTraining,
        select(
            config_keys.epochs.label("epochs"),
            func.coalesce(curve.c.done, 0).label("done"),
            curve.c.mean,
            seconds_between(since, clock()).label("elapsed"),
        )
        .join(curve, curve.c.run_id == Run.id, isouter=True)
        .where(
            Run.search_id == search_id,
            is_state(Run.purpose, Purpose.SEARCH),
            is_state(Run.state, RunState.RUNNING),
        ),
    )


def phase_seconds(connection: Connection, search_id: int, count: int = 5) -> list[float]:
    """How long the last phases of a search with shared weights took, from pass to pass."""
    ended = connection.scalars(
        select(Run.ended_at)
        .where(
            Run.search_id == search_id,
            is_state(Run.purpose, Purpose.SHARED),
            is_state(Run.state, RunState.DONE),
        )
        .order_by(Run.version.desc())
        .limit(count + 1)
    ).all()
    times = [at for at in ended if at is not None]
    return [(later - before).total_seconds() for later, before in itertools.pairwise(times)]


def forecast_phases(now: Progress, seconds: list[float]) -> Forecast | None:
    """When all phases of a search will be done, from the seconds that the last ones took."""
    if not now.state.is_active or not seconds or now.sharing is None:
        return None
    left = max(0.0, now.phases - (now.version or 0) / now.sharing.updates)
    mean = statistics.fmean(seconds)
    spread = statistics.stdev(seconds) if len(seconds) > 1 else mean / 2
    return Forecast(left * mean, left**0.5 * spread)


def forecast(
    now: Progress, seconds: list[float], running: list[RunningTraining]
) -> Forecast | None:
    """When a search's budget will be met, or None where nothing tells yet.

    Args:
        seconds: that the latest trainings took; before the first ends, those on their way tell.
        running: as ``running`` has it; a training without an epoch has a mean one before it.
    """
    if not now.state.is_active:
        return None
    seconds = seconds or [row.epochs * row.mean for row in running if row.mean]
    if not seconds:
        return None
    mean = statistics.fmean(seconds)
    spread = statistics.stdev(seconds) if len(seconds) > 1 else mean / 2
    left = 0.0
    for row in running:
        whole = (row.epochs - row.done) * row.mean if row.mean else mean
        left += max(0.0, whole - row.elapsed)
    children = max(0, now.lacking + now.open - len(running))
    slots = max(1, now.slots)
    uncertain = (children + len(running) / 3) ** 0.5
    return Forecast((left + children * mean) / slots, uncertain * spread / slots)
