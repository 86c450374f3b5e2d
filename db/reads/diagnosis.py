"""Questions of the doctor: what stands in the rows that should not, or not for so long."""

import datetime as dt
from typing import Any

from sqlalchemy import Connection, func, select

from db.lifecycle.queue import MESSAGE_LOST_AFTER
from db.schema.clock import clock
from db.schema.enums import RunState, SearchState
from db.schema.models import Run, Search, Slot, Tick, is_state

# A lease that ended so long ago should have been freed: a turn of reconcile, and some room.
SHOULD_BE_FREED_AFTER = 20.0


def now(connection: Connection) -> dt.datetime:
    """The database's time."""
    return connection.execute(select(clock())).scalar_one()


def held_past_lease(connection: Connection) -> list[int]:
    """Runs whose lease ended and that nobody has freed."""
    return list(
        connection.scalars(
            select(Run.id).where(
                is_state(Run.state, RunState.RUNNING),
                Run.lease_until < clock(-SHOULD_BE_FREED_AFTER),
            )
        )
    )


def queued_too_long(connection: Connection) -> list[int]:
    """Runs whose message must be lost, and that nobody has put back."""
    return list(
        connection.scalars(
            select(Run.id).where(
                is_state(Run.state, RunState.QUEUED),
                Run.state_since < clock(-MESSAGE_LOST_AFTER - SHOULD_BE_FREED_AFTER),
            )
        )
    )


def last_reconciled(connection: Connection) -> dt.datetime | None:
    """When reconcile last took a turn."""
    return connection.scalar(select(func.max(Tick.ticked_at)))


def slots(connection: Connection) -> list[Any]:
    """Every worker process there was."""
    return list(connection.execute(select(Slot).order_by(Slot.host, Slot.home, Slot.name)))


def resting_searches(connection: Connection) -> list[Any]:
    """Searches that were paused or cannot go on, with the reason."""
    return list(
        connection.execute(
            select(Search.name, Search.state, Search.reason)
            .where(Search.state.in_([SearchState.PAUSED, SearchState.FAILED]))
            .order_by(Search.id)
        )
    )


def active_configs(connection: Connection) -> list[dict[str, Any]]:
    """The configurations of searches that go on."""
    states = [state for state in SearchState if state.is_active]
    return list(connection.scalars(select(Search.config).where(Search.state.in_(states))))
