"""What a worker process is: the lock of its slot, its devices and memory, heartbeat, watchdog.

Celery's solo pool runs one task at a time in the main thread. Two threads stand beside it: the
heartbeat keeps the slot's row and the lease of the run it holds, and hears what should happen
to that run; the watchdog ends a process whose training takes no step any more.
"""

import contextlib
import os
import platform
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata

import structlog

from db.lifecycle import attempts, leases, queue, slots
from db.schema.enums import SearchState, SlotState
from db.schema.session import AWAY, get_engine, transaction
from pipeline.errors import Failure, LeaseLostError, LeaseReturnedError
from pipeline.io import locks
from pipeline.settings import Settings
from tasks import leftovers
from tasks.app import send_runs
from tasks.devices import SlotSpec
from tasks.hearing import Hearing

log = structlog.get_logger("tasks")

# Set by a supervisor for the processes it starts: they leave when no supervisor is left.
SUPERVISED = "NASNET_SUPERVISED"
SUPERVISOR_LOCK = "supervisor"
BROKER_LOCK = "broker"
DASHBOARD_LOCK = "dashboard"
KEEPER_LOCKS = "keeper-"  # of each command that wants the home's workers: its process id, or ...
UP_LOCK = f"{KEEPER_LOCKS}up"  # ... of `nasnet up`, which is there once

# A training hangs if it takes no step for this many seconds, or for as long as five epochs.
LEAST_TIMEOUT = 600.0
MEDIAN_EPOCHS = 5
# Seconds between two looks of the watchdog, which looks each second, from which on the whole
# process stood still, and not the training alone.
STOPPED = 5.0
EXIT_HUNG = 75


@dataclass(slots=True)
class Hold:
    """A run in hand, between its training loop and the threads beside it."""

    run_id: int
    attempt: int
    timeout: float | None = None  # of the configuration, once that is read
    lost: bool = False  # the fence fell: write nothing
    wanted_back: str | None = None  # why the run is to be given back
    trains: bool = True  # until its training has ended: what is left waits for the database
    last_step: float = field(default_factory=time.monotonic)
    epoch_seconds: list[float] = field(default_factory=list)

    def step(self) -> None:
        """Note a step, and hear what has happened meanwhile.

        Raises:
            LeaseLostError: the run is somebody else's by now.
            LeaseReturnedError: the run is to be given back.
        """
        self.last_step = time.monotonic()
        if self.lost:
            raise LeaseLostError(f"run {self.run_id}: attempt {self.attempt} was taken away")
        if self.wanted_back is not None:
            raise LeaseReturnedError(self.wanted_back)

    @property
    def patience(self) -> float:
        """Seconds a step may take."""
        if self.timeout is not None:
            return self.timeout
        epoch = statistics.median(self.epoch_seconds) if self.epoch_seconds else 0.0
        return max(LEAST_TIMEOUT, MEDIAN_EPOCHS * epoch)

    def hangs(self, now: float, since_look: float) -> bool:
        """Whether its training has taken no step for too long, as a look each second finds."""
        if since_look > STOPPED:  # the whole process stood still: no child's fault
            self.last_step = now
        return self.trains and now - self.last_step > self.patience


class Slot:
    """This process's place in the store. ``spec`` is None where it trains nothing."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        spec: SlotSpec | None,
        *,
        leaves_last: bool = False,
    ) -> None:
        self.name = name
        self._leaves_last = leaves_last
        self.spec = spec
        self.lease = settings.lease
        self.home = settings.home_text
        self.versions = library_versions()
        self.stopping = threading.Event()
        self.retiring = False
        self.early_failures = 0  # in a row, of class data or error, before their first step
        self.id = 0
        self.hearing: Hearing | None = None  # where it takes messages
        self._hold: Hold | None = None
        self._supervised = bool(os.environ.get(SUPERVISED))
        self._supervisor = settings.lock_path(SUPERVISOR_LOCK)
        self._alone_since: float | None = None

    def register(self) -> None:
        """Take over the slot's row, close what its dead holder held, and ask for work."""
        holder = slots.Holder(
            host=socket.gethostname(),
            home=self.home,
            name=self.name,
            pid=os.getpid(),
            lease=self.lease,
            device=self.spec.kind if self.spec else None,
            devices=self.spec.devices if self.spec else 0,
            device_names=self.spec.device_names if self.spec else None,
            versions=self.versions,
        )
        with transaction() as connection:
            self.id = slots.register(connection, holder)
            closed = attempts.close_slot(connection, self.id)
            queued = queue.queue_for_idle(connection)
        if closed:
            log.warning("the slot's last process died with a run", runs=list(closed))
        for run_id, attempt in closed.items():
            leftovers.clean(run_id, attempt)
        if self.spec is not None or closed:
            send_runs(queued)

    @property
    def trains_on(self) -> SlotSpec:
        """Its devices; only a slot that has some hears of runs."""
        if self.spec is None:
            raise RuntimeError(f"slot {self.name!r} trains nothing")
        return self.spec

    @property
    def takes_more(self) -> bool:
        """Whether another run may be queued for this slot."""
        return not (self.stopping.is_set() or self.retiring)

    @contextlib.contextmanager
    def holding(self, run_id: int, attempt: int) -> Iterator[Hold]:
        """Keep a claimed run's lease alive while it is worked on."""
        self._hold = Hold(run_id, attempt)
        if self.stopping.is_set():
            self._hold.wanted_back = "the worker was told to stop"
        try:
            yield self._hold
        finally:
            self._hold = None
            if self.retiring:
                leave()

    def stop(self) -> None:
        """Give back what is held and take no more; the process then ends."""
        self.stopping.set()
        if self._hold is not None:
            self._hold.wanted_back = "the worker was told to stop"

    def start_threads(self) -> None:
        """Start the heartbeat and the watchdog."""
        threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True).start()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _keep_alive(self) -> None:
        while not self.stopping.wait(self.lease / 4) or self._hold is not None:
            try:
                self._beat()
            except AWAY as error:  # never aborts a training: the fence decides at the end
                log.warning("heartbeat failed", error=str(error))
            self._retire_if_alone()
            if self.stopping.is_set():
                time.sleep(min(1.0, self.lease / 4))

    def _beat(self) -> None:
        hold = self._hold
        with transaction() as connection:
            slots.beat(connection, self.id, os.getpid())
            if hold is None:
                return
            try:
                state = leases.renew(connection, hold.run_id, hold.attempt, lease=self.lease)
            except LeaseLostError:
                hold.lost = True
                return
        if state is SearchState.PAUSED and hold.wanted_back is None:
            hold.wanted_back = "the search was paused"

    def _retire_if_alone(self) -> None:
        """Leave after the run in hand once no supervisor has been there for two leases."""
        if not self._supervised or locks.holder(self._supervisor) is not None:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > queue.LEASES_UNTIL_GONE * self.lease:
            if self._leaves_last and self._others_live():
                return
            log.warning("no supervisor is left: leaving")
            self.retiring = True
            if self._hold is None:
                leave()

    def _others_live(self) -> bool:
        """Whether another worker of this home lives."""
        beside = {self.name, SUPERVISOR_LOCK, BROKER_LOCK, DASHBOARD_LOCK}
        return any(
            locks.holder(path) is not None
            for path in self._supervisor.parent.glob("*.lock")
            if path.stem not in beside and not path.stem.startswith(KEEPER_LOCKS)
        )

    def _watch(self) -> None:
        looked = time.monotonic()
        while True:
            time.sleep(1.0)
            last, looked = looked, time.monotonic()
            hold = self._hold
            if hold is not None and hold.hangs(looked, looked - last):
                self._give_up(hold)
            if self.hearing is not None and not self.stopping.is_set():
                self.hearing.look(looked, looked - last)

    def _give_up(self, hold: Hold) -> None:
        """End an attempt whose main thread hangs, then the process: only that ends the hang."""
        message = f"no step for {hold.patience:.0f} s"
        log.error("training hangs")
        with contextlib.suppress(*AWAY, LeaseLostError), transaction() as connection:
            attempts.fail(
                connection,
                hold.run_id,
                hold.attempt,
                Failure.TIMEOUT,
                message=message,
            )
        os._exit(EXIT_HUNG)

    def rest(self, reason: str, check: Callable[[], str | None]) -> None:
        """Take nothing until the check passes; it is made again each minute.

        A fault of this machine would else use up the attempts of one child after another.
        """
        log.error("this slot takes no more runs", reason=reason)
        while not self.stopping.is_set():
            with contextlib.suppress(*AWAY), transaction() as connection:
                slots.set_state(connection, self.id, os.getpid(), SlotState.REFUSING, reason)
            if self.stopping.wait(min(60.0, 4 * self.lease)):
                return
            try:
                found = check()
                if found is None:
                    with transaction() as connection:
                        slots.set_state(connection, self.id, os.getpid(), SlotState.UP)
                    break
            except AWAY as error:  # asked again next time
                found = f"the database is away: {error}"
            reason = found
        log.info("this slot takes runs again")

    def say_goodbye(self) -> None:
        """Note that the process left in order."""
        with contextlib.suppress(*AWAY), transaction() as connection:
            slots.set_state(connection, self.id, os.getpid(), SlotState.DOWN)
        get_engine().dispose()


_current: list[Slot] = []


def current_slot() -> Slot:
    """The slot that this process is."""
    return _current[0]


def become(slot: Slot) -> None:
    """Make a slot the one this process is."""
    _current[:] = [slot]


def leave() -> None:
    """End this process as SIGTERM would: Celery then takes no further message."""
    os.kill(os.getpid(), signal.SIGTERM)


def library_versions() -> dict[str, str]:
    """What a result may depend on beside its configuration."""
    versions = {name: metadata.version(name) for name in ("nasnet-pipeline", "torch", "numpy")}
    return {**versions, "python": platform.python_version()}
