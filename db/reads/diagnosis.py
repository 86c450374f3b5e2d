"""Questions of the doctor: what stands in the rows that should not, or not for so long."""

import datetime as dt
from typing import NamedTuple

from sqlalchemy import Connection, select

from db.lifecycle.queue import MESSAGE_LOST_AFTER
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import RunState, SearchState
from db.schema.models import Run, Search, Slot
from db.schema.rows import JsonObject, SlotRow, read_all

# Seconds after which a lease that ended should have been freed: a turn of reconcile, and more.
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


def slots(connection: Connection) -> list[SlotRow]:
    """Every worker process there was."""
    statement = select(Slot).order_by(Slot.host, Slot.home, Slot.name)
    return read_all(connection, SlotRow, statement)


class RestingSearch(NamedTuple):
    """A search that was paused or cannot go on, with the reason."""

    name: str
    state: SearchState
    reason: str | None


def resting_searches(connection: Connection) -> list[RestingSearch]:
    """Searches that were paused or cannot go on."""
    return read_all(
        connection,
        RestingSearch,
        select(Search.name, Search.state, Search.reason)
        .where(Search.state.in_([SearchState.PAUSED, SearchState.FAILED]))
        .order_by(Search.id),
    )


def active_configs(connection: Connection) -> list[JsonObject]:
    """The configurations of searches that go on."""
    states = [state for state in SearchState if state.is_active]
    return list(connection.scalars(select(Search.config).where(Search.state.in_(states))))
