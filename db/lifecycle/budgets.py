"""What ends a search before its last child: hours, a target, a plateau.

Asked before children are proposed; a budget that is spent stops the search: what has begun ends,
the last update follows. Budgets count children with a reward or hours, never attempts, and may be
changed on a search that exists. Of rewards alone (target, plateau), the answer in synchronous mode
is a function of the configuration.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, or_, select

from db.schema.clock import clock, seconds_between
from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, Purpose
from db.schema.models import Attempt, Child, Run, Search
from db.schema.rows import SearchRow, read_one_or_none
from pipeline.errors import UserError


class _BestChild(NamedTuple):
    """Where the best reward was found."""

    reward: float
    version: int
    k: int


def spent(connection: Connection, search: SearchRow) -> str | None:
    """Why a search has had enough, or None."""
    budget = search.rules.budget
    for key, reason in _REASONS.items():
        limit = getattr(budget, key)
        if limit is not None and (found := reason(connection, search.id, limit)) is not None:
            return f"{found} (budget.{key} = {limit:g})"
    return None


def device_hours(connection: Connection, search_id: int) -> float:
    """Hours that devices were held for a search's children so far, a device each."""
    held = seconds_between(Attempt.started_at, func.coalesce(Attempt.ended_at, clock()))
    seconds = connection.scalar(
        select(func.sum(held * Run.devices))
        .select_from(Attempt)
        .join(Run, Attempt.run_id == Run.id)
        .where(
            Run.search_id == search_id,
            Run.purpose.in_([Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE]),
        )
    )
    return float(seconds or 0.0) / 3600


def _device_hours_spent(connection: Connection, search_id: int, limit: float) -> str | None:
    hours = device_hours(connection, search_id)
    return f"devices were held for {hours:.2f} hours" if hours >= limit else None


def _hours_spent(connection: Connection, search_id: int, limit: float) -> str | None:
    since = select(seconds_between(Search.created_at, clock())).where(Search.id == search_id)
    hours = connection.execute(since).scalar_one() / 3600
    return f"the search was created {hours:.2f} hours ago" if hours >= limit else None


def _best(connection: Connection, search_id: int) -> _BestChild | None:
    """The best child of the policy, the first of equals."""
    return read_one_or_none(
        connection,
        _BestChild,
        select(Child.reward, Child.version, Child.k)
        .where(
            Child.search_id == search_id,
            Child.arm == Arm.POLICY,
            is_state(Child.state, ChildState.REWARDED),
        )
        .order_by(Child.reward.desc(), Child.version, Child.k)
        .limit(1),
    )


def _target_reached(connection: Connection, search_id: int, limit: float) -> str | None:
    best = _best(connection, search_id)
    if best is None or best.reward < limit:
        return None
    return f"a reward of {best.reward:.4f} was reached"


def _on_a_plateau(connection: Connection, search_id: int, limit: float) -> str | None:
    best = _best(connection, search_id)
    if best is None:
        return None
    after = or_(
        Child.version > best.version, and_(Child.version == best.version, Child.k > best.k)
    )
    since = connection.execute(
        select(func.count()).where(
            Child.search_id == search_id,
            Child.arm == Arm.POLICY,
            is_state(Child.state, ChildState.REWARDED),
            after,
        )
    ).scalar_one()
    return f"{since} children in a row were no better than the best" if since >= limit else None


Reason = Callable[[Connection, int, float], str | None]

_REASONS: dict[str, Reason] = {
    "hours": _hours_spent,
    "device_hours": _device_hours_spent,
    "target_reward": _target_reached,
    "plateau": _on_a_plateau,
}


def _completed(connection: Connection, search_id: int, limit: float) -> str | None:
    completed = connection.execute(
        select(func.count()).where(
            Child.search_id == search_id,
            Child.arm != Arm.DERIVE,
            is_state(Child.state, ChildState.REWARDED),
        )
    ).scalar_one()
    return f"{completed} children have a reward" if completed > limit else None


def check_change(
    connection: Connection, search: SearchRow, budget: Mapping[str, float | None]
) -> None:
    """Refuse a budget that is below what is done: the search would end where it stands.

    Raises:
        UserError: naming the key.
    """
    before = search.rules.budget
    for key, reason in {"children": _completed, **_REASONS}.items():
        limit = budget.get(key)
        if limit is None or limit == getattr(before, key):
            continue
        found = reason(connection, search.id, limit)
        if found is not None:
            raise UserError(
                f"budget.{key} = {limit:g} is spent: {found}; `nasnet search stop {search.name}` "
                "ends the search"
            )
