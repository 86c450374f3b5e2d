"""What worker processes do at this moment, and what waits for them."""

import datetime as dt
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, literal_column, select

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.lifecycle.slots import IMPORTED_HOME
from db.schema import config_keys
from db.schema.clock import clock, seconds_between
from db.schema.conditions import IN_FULL, UNFINISHED, is_state
from db.schema.enums import Arm, Purpose, RunState, SearchState, SlotState
from db.schema.models import Child, Epoch, Run, Search, Slot
from db.schema.rows import read_all


class SlotAtWork(NamedTuple):
    """A training slot, and the run it holds, if it holds one."""

    host: str
    name: str
    state: SlotState
    reason: str | None
    run: int | None
    purpose: Purpose | None
    search: str | None
    version: int | None
    arm: Arm | None
    k: int | None
    epoch: int | None  # the last that ended
    of: int | None
    accuracy: float | None
    seconds: float | None  # since it was taken


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
        config_keys.epochs.label("of"),
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


def slots(connection: Connection, limit: int = 100) -> list[SlotAtWork]:
    """The slots that are there, each with the run it holds and how far that is."""
    return read_all(connection, SlotAtWork, _slots, {"limit": limit})


def held(connection: Connection, host: str, home: str) -> int:
    """How many runs the slots of one home hold."""
    return connection.execute(_held, {"host": host, "home": home}).scalar_one()


class Process(NamedTuple):
    """A worker process."""

    host: str
    name: str
    pid: int


def alive_elsewhere(connection: Connection, host: str) -> list[Process]:
    """Processes of other hosts that were heard of lately."""
    return read_all(
        connection,
        Process,
        select(Slot.host, Slot.name, Slot.pid).where(
            Slot.host != host,
            is_state(Slot.state, SlotState.UP, SlotState.REFUSING),
            Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
        ),
    )


class ListedSlot(NamedTuple):
    """A worker process, what it holds, and the database's time beside its heartbeat."""

    host: str
    home: str
    name: str
    pid: int
    device_names: str | None
    state: SlotState
    reason: str | None
    versions: dict[str, str] | None  # of libraries
    lease: float  # seconds
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    run_id: int | None
    now: dt.datetime


def list_slots(connection: Connection) -> list[ListedSlot]:
    """This store's worker processes, what each holds, and how long it has been silent."""
    return read_all(
        connection,
        ListedSlot,
        select(
            Slot.host,
            Slot.home,
            Slot.name,
            Slot.pid,
            Slot.device_names,
            Slot.state,
            Slot.reason,
            Slot.versions,
            Slot.lease,
            Slot.started_at,
            Slot.heartbeat_at,
            Run.id.label("run_id"),
            clock().label("now"),
        )
        .join(Run, _holds, isouter=True)
        .where(Slot.home != IMPORTED_HOME)
        .order_by(Slot.host, Slot.home, Slot.name),
    )


class WaitingQueue(NamedTuple):
    """The runs that wait for one kind of slot."""

    device: str
    devices: int
    pending: int
    queued: int
    oldest_seconds: float


def waiting_by_queue(connection: Connection) -> list[WaitingQueue]:
    """What each kind of slot has before it, where runs wait for one."""
    pending, queued = is_state(Run.state, RunState.PENDING), is_state(Run.state, RunState.QUEUED)
    return read_all(
        connection,
        WaitingQueue,
        select(
            Run.device,
            Run.devices,
            func.count().filter(pending).label("pending"),
            func.count().filter(queued).label("queued"),
            seconds_between(func.min(Run.state_since), clock()).label("oldest_seconds"),
        )
        .where(literal_column(UNFINISHED), is_state(Run.state, RunState.PENDING, RunState.QUEUED))
        .group_by(Run.device, Run.devices)
        .order_by(Run.device, Run.devices),
    )


def active_threads(connection: Connection) -> int:
    """The most threads a training uses of an active search or in full; 1 where there is none."""
    active = [state for state in SearchState if state.is_active]
    of_searches = select(func.max(config_keys.search_threads)).where(Search.state.in_(active))
    in_full = select(func.max(config_keys.run_threads)).where(
        literal_column(UNFINISHED), literal_column(IN_FULL)
    )
    return max(connection.scalar(of_searches) or 1, connection.scalar(in_full) or 1)
