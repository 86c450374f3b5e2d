"""Which runs are queued: few at a time, so that a message is answered at once or was lost.

A queued row is the outbox: it commits with its cause, the message follows the commit, and may
fail or repeat.
"""

from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, exists, func, not_, or_, select, update

from db.lifecycle import children
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Purpose, RunState, SearchState, SlotState
from db.schema.models import Child, Run, Search, Slot
from db.schema.rows import JsonObject, read_all

# Seconds after which a queued row has no message any more: one queued for a slot is taken at once.
MESSAGE_LOST_AFTER = 30.0
# Seconds after which a queued row is rung for again: the broker may have died with its messages.
MESSAGE_LATE_AFTER = 3.0
# What becomes of a run that is opened again by hand: its attempts in a row are counted anew.
REOPENED: dict[str, object] = dict(
    state=RunState.PENDING,
    state_since=clock(),
    tries=0,
    ended_at=None,
    failure=None,
    message=None,
)
# Leases without a heartbeat after which a slot is taken to be gone.
LEASES_UNTIL_GONE = 2

# A run waits while its search is paused, or, where it earns a reward, is not active.
_may_be_queued = or_(
    Run.search_id.is_(None),
    exists().where(
        Search.id == Run.search_id,
        or_(
            is_state(Search.state, SearchState.RUNNING, SearchState.STOPPING),
            and_(
                not_(is_state(Run.purpose, Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE)),
                not_(is_state(Search.state, SearchState.PAUSED)),
            ),
        ),
    ),
)
_next = (
    select(Run.id)
    .where(
        is_state(Run.state, RunState.PENDING),
        Run.device == bindparam("of_device"),
        Run.devices == bindparam("of_devices"),
        or_(Run.not_before.is_(None), Run.not_before <= clock()),
        _may_be_queued,
    )
    .order_by(Run.priority, Run.id)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)
    # PostgreSQL runs it once; as a subquery, in a loop over all runs where it takes them for few,
    # and each time it would find others
    .cte("next_runs")
)
_queue = (
    update(Run)
    .where(Run.id.in_(select(_next.c.id)))
    .values(state=RunState.QUEUED, state_since=clock())
    .returning(Run.id)
)


def queue_next(connection: Connection, device: str, devices: int, count: int = 1) -> list[int]:
    """Queue the next pending runs of a kind of slot; the caller rings after its commit."""
    parameters = {"of_device": device, "of_devices": devices, "count": count}
    return sorted(connection.execute(_queue, parameters).scalars())


class _IdleSlots(NamedTuple):
    """How many slots of a kind hold nothing."""

    device: str
    devices: int
    idle: int


_idle = (
    select(Slot.device, Slot.devices, func.count().label("idle"))
    .where(
        Slot.devices > 0,  # it has a kind of device then
        is_state(Slot.state, SlotState.UP),
        Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
        not_(exists().where(Run.slot_id == Slot.id, is_state(Run.state, RunState.RUNNING))),
    )
    .group_by(Slot.device, Slot.devices)
)
_queued = (
    select(Run.device, Run.devices, func.count())
    .where(is_state(Run.state, RunState.QUEUED))
    .group_by(Run.device, Run.devices)
)


def queue_for_idle(connection: Connection) -> list[tuple[int, str, int]]:
    """Queue as many pending runs as there are idle slots that nothing is queued for.

    Returns:
        (run, device kind, number of devices) of each; the caller rings after its commit.
    """
    idle = read_all(connection, _IdleSlots, _idle)
    queued = {(row[0], row[1]): row[2] for row in connection.execute(_queued)} if idle else {}
    rung = []
    for device, devices, count in idle:
        room = count - queued.get((device, devices), 0)
        if room > 0:
            runs = queue_next(connection, device, devices, room)
            rung += [(run_id, device, devices) for run_id in runs]
    return rung


# what became queued later than now: the clock was set back, and nobody knows how long it waits
_from_the_future = Run.state_since > clock(MESSAGE_LATE_AFTER)
_forget_queued = (
    update(Run)
    .where(
        is_state(Run.state, RunState.QUEUED),
        or_(Run.state_since < clock(-MESSAGE_LOST_AFTER), _from_the_future),
    )
    .values(state=RunState.PENDING, state_since=clock())
    .returning(Run.id)
)


def unqueue_lost(connection: Connection) -> list[int]:
    """Put back runs whose message must have been lost; returns them."""
    return list(connection.execute(_forget_queued).scalars())


_late = select(Run.id, Run.device, Run.devices).where(
    is_state(Run.state, RunState.QUEUED), Run.state_since < clock(-MESSAGE_LATE_AFTER)
)


def late(connection: Connection) -> list[tuple[int, str, int]]:
    """Queued runs whose message is late: ring again, a second message harms nothing."""
    return [row._tuple() for row in connection.execute(_late)]


def unqueue_search(connection: Connection, search_id: int) -> None:
    """Take a search's runs out of the queue (it was paused)."""
    connection.execute(
        update(Run)
        .where(Run.search_id == search_id, is_state(Run.state, RunState.QUEUED))
        .values(state=RunState.PENDING, state_since=clock())
    )


def change_config(connection: Connection, search_id: int, values: JsonObject) -> list[int]:
    """Give a search's runs that wait other values in their configurations; returns them.

    Ask ``is_worked_on`` after it, in the same transaction: a slot may have taken one meanwhile.
    """
    waits = is_state(Run.state, RunState.PENDING, RunState.QUEUED)
    rows = connection.execute(select(Run.id, Run.config).where(Run.search_id == search_id, waits))
    runs = rows.all()
    for run_id, config in runs:
        changed = update(Run).where(Run.id == run_id, waits).values(config={**config, **values})
        connection.execute(changed)
    return [run.id for run in runs]


def is_worked_on(connection: Connection, search_id: int) -> bool:
    """Whether a slot holds a run of a search."""
    running = select(Run.id).where(
        Run.search_id == search_id, is_state(Run.state, RunState.RUNNING)
    )
    return connection.scalar(running.limit(1)) is not None


def cancel_unstarted(connection: Connection, search_id: int) -> None:
    """Withdraw a search's children that no slot has begun: skipped, with their duplicates."""
    cancelled = connection.execute(
        update(Run)
        .where(
            Run.search_id == search_id,
            is_state(Run.state, RunState.PENDING, RunState.QUEUED),
            is_state(Run.purpose, Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE),
        )
        .values(state=RunState.CANCELLED, state_since=clock(), ended_at=clock())
        .returning(Run.id, Run.child_id)
    ).all()
    ids = [row.child_id for row in cancelled if row.child_id is not None]
    scored = select(Child.id).where(Child.score_run_id.in_([row.id for row in cancelled]))
    children.withdraw(connection, [*ids, *connection.scalars(scored)])


def reopen_shared(connection: Connection, search_id: int) -> None:
    """Let what a search with shared weights waits for be tried again.

    Passes that failed or were cancelled; scorings that failed: the children of cancelled ones
    were withdrawn.
    """
    failed = is_state(Run.state, RunState.FAILED)
    cancelled = is_state(Run.state, RunState.CANCELLED)
    connection.execute(
        update(Run)
        .where(
            Run.search_id == search_id,
            or_(
                and_(is_state(Run.purpose, Purpose.SHARED), or_(failed, cancelled)),
                and_(is_state(Run.purpose, Purpose.SCORE), failed),
            ),
        )
        .values(**REOPENED)
    )
