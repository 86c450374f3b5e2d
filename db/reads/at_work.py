"""What each training slot does at this moment, as a display shows it."""

from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.schema.clock import clock, seconds_between
from db.schema.enums import RunState, SlotState
from db.schema.models import Child, Epoch, Run, Search, Slot, is_state

_holds = (Run.slot_id == Slot.id) & is_state(Run.state, RunState.RUNNING)
_epochs = select(func.max(Epoch.epoch)).where(Epoch.run_id == Run.id).correlate(Run)
_accuracy = (
    select(Epoch.accuracy)
    .where(Epoch.run_id == Run.id)
    .order_by(Epoch.epoch.desc())
    .limit(1)
    .correlate(Run)
)
_slots = (
    select(
        Slot.host,
        Slot.name,
        Slot.state,
        Slot.reason,
        Run.id.label("run"),
        Run.purpose,
        Search.name.label("search"),
        Child.version,
        Child.arm,
        Child.k,
        _epochs.scalar_subquery().label("epoch"),
        Run.config["training"]["epochs"].as_integer().label("of"),
        _accuracy.scalar_subquery().label("accuracy"),
        seconds_between(Run.state_since, clock()).label("seconds"),
    )
    .select_from(Slot)
    .join(Run, _holds, isouter=True)
    .join(Search, Search.id == Run.search_id, isouter=True)
    .join(Child, Child.id == Run.child_id, isouter=True)
    .where(
        Slot.devices > 0,
        is_state(Slot.state, SlotState.UP, SlotState.REFUSING),
        Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
    )
    .order_by(Slot.host, Slot.home, Slot.name)
    .limit(bindparam("limit"))
)
_held = (
    select(func.count())
    .select_from(Slot)
    .join(Run, _holds)
    .where(Slot.host == bindparam("host"), Slot.home == bindparam("home"))
)


def slots(connection: Connection, limit: int = 100) -> list[Any]:
    """The slots that are there, each with the run it holds and how far that is."""
    return list(connection.execute(_slots, {"limit": limit}))


def held(connection: Connection, host: str, home: str) -> int:
    """How many runs the slots of one home hold."""
    return connection.execute(_held, {"host": host, "home": home}).scalar_one()


def alive_elsewhere(connection: Connection, host: str) -> list[Any]:
    """Processes of other hosts that were heard of lately: (host, name, pid)."""
    return list(
        connection.execute(
            select(Slot.host, Slot.name, Slot.pid).where(
                Slot.host != host,
                is_state(Slot.state, SlotState.UP, SlotState.REFUSING),
                Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
            )
        )
    )
