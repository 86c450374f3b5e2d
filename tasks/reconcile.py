"""Reconcile: make queue and leases agree with the rows, whatever died or was lost.

A plain loop guarded by a lease in the store: it works while the broker is away, and any number
of machines may run one.
"""

import os
import socket
import threading

import structlog

from db.lifecycle import attempts, notices, queue, retention, searches, slots
from db.schema.session import AWAY, checkpoint_wal, transaction
from pipeline.io.files import delete as delete_file
from pipeline.settings import get_settings
from tasks import leftovers
from tasks.app import app, ring, send_runs
from tasks.messages import Task

log = structlog.get_logger("tasks")

INTERVAL = 5.0  # seconds; less where leases are short
TURN = "reconcile"


@app.task(name=Task.RECONCILE)
def reconcile() -> None:
    """Take a turn now, if nobody has had one lately; a second delivery finds the turn taken."""
    take_turn(f"{socket.gethostname()}:{os.getpid()}")


def take_turn(owner: str) -> bool:
    """Repair what there is to repair; returns whether the turn was ours."""
    settings = get_settings()
    with transaction() as connection:
        turn = slots.take_turn(connection, TURN, owner, 3 * interval())
        if turn is None:
            return False
        # after a sleep of the whole machine, or where the clock was set, every lease looks ended:
        # let the workers speak first
        if turn.since_last is not None and not (
            0 <= turn.since_last.total_seconds() <= settings.lease
        ):
            slots.grant_grace(connection, TURN, settings.lease / 4)
        freed = {} if slots.in_grace(connection, TURN) else attempts.expire(connection)
        lost = queue.unqueue_lost(connection)
        late = queue.late(connection)
        queued = queue.queue_for_idle(connection)
        active = searches.active(connection)
        unneeded = retention.forget_ended(connection)
        unneeded += retention.forget_losers(connection, settings.keep)
        unneeded += retention.forget_shared(connection)
        if settings.disk is not None:
            unneeded += retention.forget_above(connection, settings.disk)
        notices.add_stalled(connection)
    for uri in unneeded:
        delete_file(uri)
    if freed or lost:
        log.warning("runs put back", leases_ended=list(freed), messages_lost=lost)
    for run_id, attempt in freed.items():
        leftovers.clean(run_id, attempt)
    send_runs(late + queued)
    for search_id in active:
        ring(search_id)
    leftovers.sweep(owner)
    checkpoint_wal()
    return True


def interval() -> float:
    """Seconds between two turns: a lease that ended is noticed within 5 s, and a third of one."""
    return min(INTERVAL, get_settings().lease / 3)


def loop(stop: threading.Event, owner: str) -> None:
    """Take turns until told to stop; a database that is away is waited for."""
    while not stop.is_set():
        try:
            take_turn(owner)
        except AWAY as error:
            log.warning("the database is away", error=str(error))
        stop.wait(interval())
