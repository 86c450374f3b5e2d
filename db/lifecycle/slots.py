"""Worker processes as rows: who is there, what they can take, and who does what is periodic."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Boolean, Connection, Float, bindparam, insert, select, update

from db.schema.clock import clock
from db.schema.enums import SlotState
from db.schema.models import Slot, Store, Tick
from db.schema.rows import read_all
from pipeline.io.text import storable

# The home of slots that are no process of this store: attempts of an imported search name them.
IMPORTED_HOME = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A worker process as it introduces itself."""

    host: str
    home: str
    name: str
    pid: int
    lease: float
    device: str | None = None
    devices: int = 0
    device_names: str | None = None
    versions: Mapping[str, str]


def register(connection: Connection, holder: Holder) -> int:
    """Take over the slot's row, or add one; returns its id.

    The caller holds the slot's lock, so the last holder is dead.
    """
    columns = {
        "pid": holder.pid,
        "lease": holder.lease,
        "device": holder.device,
        "devices": holder.devices,
        "device_names": holder.device_names,
        "versions": dict(holder.versions),
        "state": SlotState.UP,
        "reason": None,
    }
    times = {"started_at": clock(), "heartbeat_at": clock()}
    found = connection.scalar(
        update(Slot)
        .where(Slot.host == holder.host, Slot.home == holder.home, Slot.name == holder.name)
        .values(**columns, **times)
        .returning(Slot.id)
    )
    if found is not None:
        return int(found)
    return connection.execute(
        insert(Slot)
        .values(host=holder.host, home=holder.home, name=holder.name, **columns, **times)
        .returning(Slot.id)
    ).scalar_one()


_beat = (
    update(Slot)
    .where(Slot.id == bindparam("slot_id"), Slot.pid == bindparam("of_pid"))
    .values(heartbeat_at=clock())
)


def beat(connection: Connection, slot_id: int, pid: int) -> None:
    """Say that the process is alive."""
    connection.execute(_beat, {"slot_id": slot_id, "of_pid": pid})


def set_state(
    connection: Connection, slot_id: int, pid: int, state: SlotState, reason: str | None = None
) -> None:
    """Say that a slot takes work, refuses it (and why), or has left; no-op for an old holder."""
    connection.execute(
        update(Slot)
        .where(Slot.id == slot_id, Slot.pid == pid)
        .values(
            state=state,
            reason=None if reason is None else storable(reason),
            heartbeat_at=clock(),
        )
    )


_take = (
    update(Tick)
    .where(
        Tick.name == bindparam("of_name"),
        Tick.until.is_(None)
        | (Tick.until < clock())
        | (Tick.until > clock(bindparam("seconds", type_=Float)))  # the clock was set back
        | ((Tick.owner == bindparam("by")) & bindparam("again", type_=Boolean)),
    )
    .values(
        owner=bindparam("by"),
        ticked_at=clock(),
        until=clock(bindparam("seconds", type_=Float)),
    )
)
_last = (
    select(Tick.ticked_at, clock().label("now"))
    .where(Tick.name == bindparam("of_name"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A periodic turn that is ours; how long ago the one before it was, if there was one."""

    since_last: dt.timedelta | None


def take_turn(
    connection: Connection, name: str, owner: str, seconds: float, *, keeps: bool = True
) -> Turn | None:
    """Take the next turn at something periodic, unless somebody has had it lately.

    Args:
        keeps: whether whoever had the last turn may have the next one before its seconds end.
    """
    last = connection.execute(_last, {"of_name": name}).one()
    parameters = {"of_name": name, "by": owner, "seconds": seconds, "again": keeps}
    taken = connection.execute(_take, parameters)
    if not taken.rowcount:
        return None
    return Turn(None if last.ticked_at is None else last.now - last.ticked_at)


def grant_grace(connection: Connection, name: str, seconds: float) -> None:
    """Free no lease for some seconds."""
    connection.execute(update(Tick).where(Tick.name == name).values(grace_until=clock(seconds)))


def in_grace(connection: Connection, name: str) -> bool:
    """Whether no lease may be freed yet."""
    return (
        connection.scalar(select(Tick.name).where(Tick.name == name, Tick.grace_until > clock()))
        is not None
    )


def store_uid(connection: Connection) -> str:
    """The store's random name: the broker's key prefix."""
    return connection.execute(select(Store.uid)).scalar_one()


class HomeSlot(NamedTuple):
    """A worker process of a home, and the database's time beside it."""

    id: int
    name: str
    pid: int
    state: SlotState
    reason: str | None
    lease: float  # seconds
    heartbeat_at: dt.datetime
    now: dt.datetime


def by_home(connection: Connection, host: str, home: str) -> list[HomeSlot]:
    """The worker processes of one home."""
    return read_all(
        connection,
        HomeSlot,
        select(
            Slot.id,
            Slot.name,
            Slot.pid,
            Slot.state,
            Slot.reason,
            Slot.lease,
            Slot.heartbeat_at,
            clock().label("now"),
        ).where(Slot.host == host, Slot.home == home),
    )
