"""How an attempt ends, under the fence of ``leases``: done, failed, lost or given back.

running -> done | failed
running -> pending     lease ended, given back, or another attempt allowed
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import (
    Boolean,
    Connection,
    Integer,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    or_,
    select,
    update,
)

from db.lifecycle import children, searches
from db.lifecycle.leases import HELD, lost
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Outcome, Purpose, RunState
from db.schema.models import Attempt, Metric, Run, Search, Slot
from db.schema.rows import read_all, read_one_or_none
from pipeline.config.rules import rules_from_text
from pipeline.config.search import FailureRule, FailuresConfig, RewardConfig
from pipeline.errors import Failure, LeaseLostError
from pipeline.io.text import storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run that ended well leaves in its row."""

    accuracy: float | None = None
    test_accuracy: float | None = None  # None where the test images were not touched
    parameters: int | None = None
    macs: int | None = None
    images_trained: int | None = None  # that the result stands on
    images_scored: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  # that have no column, by name


@dataclass(frozen=True, slots=True)
class Earned:
    """What a child's run earns it."""

    reward: float
    stopped_epoch: int | None = None  # None where it was trained in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an attempt did, repeated work too."""

    images_trained: int = 0
    images_scored: int = 0


_end = (
    update(Run)
    .where(HELD)
    .values(
        state=bindparam("to_state"),
        state_since=clock(),
        ended_at=case((bindparam("over", type_=Boolean), clock()), else_=None),
        lease_until=None,
        slot_id=None,
        tries=func.coalesce(bindparam("tries", type_=Integer), Run.tries),
        failure=bindparam("failure"),
        message=bindparam("message"),
        accuracy=bindparam("accuracy"),
        test_accuracy=bindparam("test_accuracy"),
        parameters=bindparam("parameters"),
        macs=bindparam("macs"),
        images_trained=bindparam("images_trained"),
        images_scored=bindparam("images_scored"),
    )
    .returning(Run.child_id, Run.purpose, Run.search_id)
)
_close_attempt = (
    update(Attempt)
    .where(
        Attempt.run_id == bindparam("of_run"),
        Attempt.number == bindparam("of_number"),
        Attempt.ended_at.is_(None),
    )
    .values(
        ended_at=clock(),
        outcome=bindparam("outcome"),
        failure=bindparam("failure"),
        message=bindparam("message"),
        traceback=bindparam("traceback"),
        images_trained=bindparam("images_trained"),
        images_scored=bindparam("images_scored"),
    )
)


class _LeftRun(NamedTuple):
    """What a run that was left is of."""

    child_id: int | None
    purpose: Purpose
    search_id: int | None


def _leave(
    connection: Connection,
    run_id: int,
    attempt: int,
    to_state: RunState,
    outcome: Outcome,
    *,
    work: Work,
    result: Result | None = None,
    tries: int | None = None,
    failure: Failure | None = None,
    message: str | None = None,
    traceback: str | None = None,
) -> _LeftRun:
    """The one way out of ``running``: the run's row and the attempt's, under the fence."""
    over = to_state is not RunState.PENDING
    row = read_one_or_none(
        connection,
        _LeftRun,
        _end,
        {
            "held_run": run_id,
            "held_attempt": attempt,
            "to_state": to_state,
            "over": over,
            "tries": tries,
            "failure": failure if over else None,
            "message": message if over else None,
            **_columns(result or Result()),
        },
    )
    if row is None:
        raise lost(run_id, attempt)
    connection.execute(
        _close_attempt,
        {
            "of_run": run_id,
            "of_number": attempt,
            "outcome": outcome,
            "failure": failure,
            "message": message,
            "traceback": traceback,
            **dataclasses.asdict(work),
        },
    )
    return row


def _columns(result: Result) -> dict[str, object]:
    columns = dataclasses.asdict(result)
    del columns["metrics"]
    return columns


_add_metrics = insert(Metric).values(
    run_id=bindparam("run_id"), name=bindparam("name"), value=bindparam("value")
)


def finish(
    connection: Connection,
    run_id: int,
    attempt: int,
    result: Result,
    work: Work,
    earned: Earned | None = None,
) -> None:
    """End a run well, and its child with a reward, under the fence.

    Raises:
        LeaseLostError: the run is somebody else's, or has ended.
    """
    run = _leave(
        connection, run_id, attempt, RunState.DONE, Outcome.DONE, work=work, result=result
    )
    if result.metrics:
        rows = [{"run_id": run_id, "name": n, "value": v} for n, v in result.metrics.items()]
        connection.execute(_add_metrics, rows)
    if run.child_id is not None:
        assert earned is not None
        children.settle(
            connection,
            run.child_id,
            children.Evaluation(
                reward=earned.reward,
                stopped_epoch=earned.stopped_epoch,
                accuracy=result.accuracy,
                parameters=result.parameters,
                macs=result.macs,
            ),
        )


def fail(
    connection: Connection,
    run_id: int,
    attempt: int,
    failure: Failure,
    *,
    message: str,
    traceback: str | None = None,
    work: Work | None = None,
    outcome: Outcome = Outcome.FAILED,
) -> bool:
    """End an attempt badly: the run is tried again, or ends and its child with it.

    The search's rule says how often for each class, and whether the child earns the reward of
    failures (it failed for what it is) or is skipped. A search cannot go on without its shared
    weights or scores: it is paused, and says why.

    Returns:
        Whether the run has ended.

    Raises:
        LeaseLostError: the run is somebody else's, or has ended.
    """
    message = storable(message)
    before, config = connection.execute(_tries, {"run_id": run_id}).one()
    alike = connection.execute(
        _alike, {"run_id": run_id, "before": before, "failure": failure}
    ).scalar_one()
    rule = _rule(config, failure)
    again = alike + 1 < rule.tries
    run = _leave(
        connection,
        run_id,
        attempt,
        RunState.PENDING if again else RunState.FAILED,
        outcome,
        work=work or Work(),
        tries=before + 1,
        failure=failure,
        message=message,
        traceback=None if traceback is None else storable(traceback),
    )
    if again:
        return False
    if run.child_id is not None:
        if rule.reward is None:
            children.skip(connection, run.child_id, failure)
        else:
            evaluation = children.Evaluation(reward=rule.reward, failure=failure)
            children.settle(connection, run.child_id, evaluation)
    elif run.purpose.uses_shared_weights and run.search_id is not None:
        reason = f"run {run_id} ({run.purpose}): {message}"
        searches.pause_active(connection, run.search_id, reason)
    return True


_tries = (
    select(Run.tries, cast(Search.config, Text))
    .join(Search, Search.id == Run.search_id, isouter=True)
    .where(Run.id == bindparam("run_id"))
)
# Of the attempts in a row that ended badly: a worker that was killed makes no hang a second one.
_in_a_row = (
    select(Attempt.failure)
    .where(Attempt.run_id == bindparam("run_id"), Attempt.failure.is_not(None))
    .order_by(Attempt.number.desc())
    .limit(bindparam("before"))
    .subquery()
)
_alike = select(func.count()).where(_in_a_row.c.failure == bindparam("failure"))


@dataclass(frozen=True, slots=True)
class _Rule:
    """What becomes of a run whose attempt failed."""

    tries: int
    reward: float | None  # of its child; None: skipped


def _rule(config: str | None, failure: Failure) -> _Rule:
    """The rule of a search, or the default of a run that is no search's."""
    rules = None if config is None else rules_from_text(config)
    failures = FailuresConfig() if rules is None else rules.failures
    reward = RewardConfig() if rules is None else rules.reward
    rule: FailureRule = getattr(failures, failure.value)
    return _Rule(rule.tries, reward.failed if rule.then == "penalise" else None)


def release(
    connection: Connection, run_id: int, attempt: int, *, message: str, work: Work | None = None
) -> None:
    """Give a run back; the attempt is not counted against it.

    Raises:
        LeaseLostError: the run is somebody else's, or has ended.
    """
    _leave(
        connection,
        run_id,
        attempt,
        RunState.PENDING,
        Outcome.RETURNED,
        work=work or Work(),
        message=storable(message),
    )


_lease = select(Slot.lease).where(Slot.id == Run.slot_id).scalar_subquery()
_expired = select(Run.id, Run.attempt).where(
    is_state(Run.state, RunState.RUNNING),
    # longer than any lease lasts: the clock was set back, and its holder has not spoken since
    or_(Run.lease_until < clock(), Run.lease_until > clock(2 * _lease)),
)
_held_by = select(Run.id, Run.attempt).where(
    is_state(Run.state, RunState.RUNNING), Run.slot_id == bindparam("slot_id")
)


def expire(connection: Connection) -> dict[int, int]:
    """Close every lease that has ended; returns the runs, with their attempts."""
    return _close_lost(connection, read_all(connection, _Held, _expired), "the lease ended")


def close_slot(connection: Connection, slot_id: int) -> dict[int, int]:
    """Close what a slot holds, whose process is known to be dead; returns the same."""
    rows = read_all(connection, _Held, _held_by, {"slot_id": slot_id})
    return _close_lost(connection, rows, "the worker process died")


class _Held(NamedTuple):
    """A run, and the attempt that holds it."""

    id: int
    attempt: int


def _close_lost(connection: Connection, held: Sequence[_Held], message: str) -> dict[int, int]:
    closed = {}
    for run_id, attempt in held:
        try:
            fail(
                connection,
                run_id,
                attempt,
                Failure.LOST,
                message=message,
                outcome=Outcome.LOST,
            )
        except LeaseLostError:  # its holder was quicker
            continue
        closed[run_id] = attempt
    return closed
