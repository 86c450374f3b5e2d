"""Train: a slot takes a queued run, works on it under a lease, and writes its end once."""

import functools
from dataclasses import dataclass

import structlog

from db.lifecycle import leases, queue
from db.schema.enums import Purpose
from db.schema.session import is_away, retrying, transaction
from pipeline import logs
from pipeline.errors import (
    ChildError,
    Failure,
    InvalidGenotypeError,
    LeaseLostError,
    LeaseReturnedError,
    MachineError,
)
from pipeline.training.device import is_device_lost
from tasks import leftovers, probes
from tasks.app import app, ring, send_runs
from tasks.attempt import NetworkAttempt, SharedAttempt, parse
from tasks.messages import Task
from tasks.recorder import Recorder, Write
from tasks.slot import Hold, Slot, current_slot, leave
from tasks.work import network, run_data, scoring, shared_pass

log = structlog.get_logger("tasks")

# How long a finished training waits for a database that is away before its lease is let go.
WRITE_PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: what to write under the fence, and what becomes of the slot."""

    write: Write | None  # None: the lease was lost, nothing is ours
    leaves_files: bool = False  # maybe some that no row points at
    goes_on: bool = True  # whether another run may be queued for the slot
    machine_fault: str | None = None


@app.task(name=Task.TRAIN)
def train(run_id: int) -> None:
    """Train a queued run; a second delivery finds nothing to claim."""
    slot = current_slot()
    reason = probes.no_room()
    if reason is not None:
        slot.rest(reason, probes.no_room)
    claim = _claim(slot, run_id)
    if claim is None:
        return
    with logs.about(search=claim.search_id, run=run_id, attempt=claim.attempt):
        with slot.holding(run_id, claim.attempt) as hold:
            end = _attempt(claim, hold)
            hold.trains = False
            _write(slot, claim, end)
        if end.machine_fault is not None:
            slot.rest(end.machine_fault, functools.partial(probes.check_machine, run_id))
        else:
            probes.prove_slot(slot, run_id)


def _claim(slot: Slot, run_id: int) -> leases.Claim | None:
    with transaction() as connection:
        return leases.claim(
            connection,
            run_id,
            slot_id=slot.id,
            lease=slot.lease,
            device=slot.trains_on.device_names,
            versions=slot.versions,
        )


def _attempt(claim: leases.Claim, hold: Hold) -> End:
    """Work, and say how it ended; no transaction is open meanwhile."""
    recorder = Recorder(hold)
    try:
        attempt = parse(claim)
        hold.timeout = attempt.config.training.timeout
        done = perform(attempt, recorder)
    except LeaseLostError as error:
        log.warning("lease lost", reason=str(error))
        return End(None)
    except LeaseReturnedError as error:
        return End(recorder.released(str(error)), goes_on=False)
    except MachineError as error:
        run_data.forget()  # the images may be what is away
        return End(recorder.released(str(error)), goes_on=False, machine_fault=str(error))
    except InvalidGenotypeError as error:
        return End(recorder.failed(Failure.INVALID, error))
    except ChildError as error:
        probes.note_early_failure(error.failure, recorder.steps)
        return End(recorder.failed(error.failure, error))
    except Exception as error:  # noqa: BLE001 - whatever a child's code raises is its `error`
        return _unforeseen(error, recorder)
    current_slot().early_failures = 0
    return End(done, leaves_files=recorder.leaves_files)


def _unforeseen(error: Exception, recorder: Recorder) -> End:
    if is_away(error):  # the database, as the training read what it starts from
        return End(recorder.released(f"the database is away: {error}"))
    if is_device_lost(error):
        leave()  # the process's CUDA context is spoiled: only a new process has a new one
        return End(recorder.released(str(error)), goes_on=False)
    probes.note_early_failure(Failure.ERROR, recorder.steps)
    return End(recorder.failed(Failure.ERROR, error))


def perform(attempt: NetworkAttempt | SharedAttempt, recorder: Recorder) -> Write:
    """Do what a run is for; returns how to write its end."""
    if isinstance(attempt, NetworkAttempt):
        return network.train(attempt, recorder)
    if attempt.purpose is Purpose.SHARED:
        return shared_pass.train(attempt, recorder)
    return scoring.score(attempt, recorder)


def _write(slot: Slot, claim: leases.Claim, end: End) -> None:
    """Write an attempt's end and queue one run for its slot, in one transaction; then ring."""
    if end.write is None:
        leftovers.clean(claim.run_id, claim.attempt)
        return
    queued: list[int] = []
    kind = slot.trains_on.kind, slot.trains_on.devices
    try:
        for attempt in retrying(WRITE_PATIENCE, slot.stopping):
            with attempt, transaction() as connection:
                end.write(connection)
                if end.goes_on and slot.takes_more:
                    queued = queue.queue_next(connection, *kind)
    except LeaseLostError as error:
        log.warning("lease lost", reason=str(error))
        leftovers.clean(claim.run_id, claim.attempt)
        return
    if end.leaves_files:
        leftovers.clean(claim.run_id, claim.attempt)
    send_runs([(run_id, *kind) for run_id in queued])
    if claim.search_id is not None:
        ring(claim.search_id, again=False)
