"""The supervisor: keeps a home's processes alive, and adopts those a dead one left behind.

A process lives exactly as long as its lock is held, whoever started it; so a new supervisor
needs no memory of the last one. Known supervisors (honcho, supervisord) start everything anew.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from db.lifecycle import slots
from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.reads import at_work
from db.schema.enums import SlotState
from db.schema.session import AWAY, transaction
from pipeline import logs
from pipeline.io import locks
from pipeline.machine.broker import Broker
from pipeline.settings import Settings
from tasks.devices import SlotSpec
from tasks.slot import (
    BROKER_LOCK,
    DASHBOARD_LOCK,
    KEEPER_LOCKS,
    SUPERVISED,
    SUPERVISOR_LOCK,
)
from tasks.worker import CONTROL, RECONCILE

log = structlog.get_logger("pipeline")

BACK_OFF = (0.5, 30.0)  # seconds between starts of a process that keeps ending, least and most
SETTLED = 15.0  # a process that lived so long is no crash loop: it starts again at once
EARLY_ENDS = 3  # so often in a row before that: somebody should look
START_PATIENCE = 60.0  # until a process that was started holds its lock
STOP_PATIENCE = 60.0  # for a step and a checkpoint, before SIGKILL
HUNG_CHECK = 2.0  # seconds between looks at the heartbeats
_NO_SLOTS = (CONTROL, RECONCILE, DASHBOARD_LOCK)


class Worker:
    """One process of this home, ours or adopted: a worker, or what ``command`` of `nasnet` is."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        environment: dict[str, str],
        command: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.command = command or ("worker", "start", name)
        self.lock_path = settings.lock_path(name)
        self.log_path = settings.home / "logs" / f"{name}.log"
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = BACK_OFF[0]
        self.early_ends = 0  # in a row

    @property
    def pid(self) -> int | None:
        """The process that holds the lock, or that was just started; None where none lives."""
        holder = locks.holder(self.lock_path)
        if holder is not None:
            return holder
        starting = self._process is not None and self._process.poll() is None
        if starting and time.monotonic() - self._started > START_PATIENCE:
            self.kill()
        return self._process.pid if self._process is not None and starting else None

    def ensure(self) -> None:
        """Start the process unless it lives; ever later while it keeps ending."""
        if self.pid is not None:
            return
        now = time.monotonic()
        lived = now - self._started
        if self._started and lived > SETTLED:
            self._pause = BACK_OFF[0]
            self.early_ends = 0
        elif self._started and lived < self._pause:
            return
        if self._started:
            self.early_ends += 1
            log.warning("a process ended; starting it again", process=self.name)
            self._pause = min(2 * self._pause, BACK_OFF[1])
        self._started = now
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is for the supervisor; workers outlive it
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it lives."""
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self.signal(signal.SIGKILL)


class Supervisor:
    """Keeps the broker, control, reconcile and the training slots of one home running.

    And, where it is given an address (host and port), the dashboard.

    Several commands may want the processes at once. One of them is in charge; when it has enough,
    the next one takes over, and the processes never notice.
    """

    def __init__(
        self,
        settings: Settings,
        specs: Iterable[SlotSpec],
        dashboard: tuple[str, int] | None = None,
    ) -> None:
        self.settings = settings
        specs = list(specs)
        environment = {
            "NASNET_HOME": str(settings.home),
            "NASNET_DEVICES": ",".join(spec.device_names for spec in specs),
            SUPERVISED: "1",
        }
        names = [CONTROL, RECONCILE, *(spec.name for spec in specs)]
        self.workers = [Worker(settings, name, environment) for name in names]
        if dashboard is not None:
            command = ("dashboard", "--host", dashboard[0], "--port", str(dashboard[1]))
            self.workers.append(Worker(settings, DASHBOARD_LOCK, environment, command))
        self.broker = None if settings.broker_url else Broker(settings)
        self._lock: int | None = None
        self._wish: int | None = None  # the lock by which the others know of us
        self._looked = 0.0
        self._listened = 0.0  # when the heartbeats could last be read
        self._heard: dict[str, tuple[object, float]] = {}  # each one's last, and since when
        self._noticed: set[str] = set()

    @property
    def processes(self) -> str:
        """What is kept running, in words."""
        slots = len([worker for worker in self.workers if worker.name not in _NO_SLOTS])
        names = [] if self.broker is None else [BROKER_LOCK]
        names += [worker.name for worker in self.workers if worker.name in _NO_SLOTS]
        return ", ".join([*names, f"{slots} worker{'' if slots == 1 else 's'}"])

    def leaving(self) -> str:
        """What `stop` is about to do, in words."""
        if self._lock is None or self.is_wanted:
            return "leaving; another command keeps the workers running"
        try:
            with transaction(read_only=True) as connection:
                host, home = socket.gethostname(), self.settings.home_text
                count = at_work.held(connection, host, home)
        except AWAY:
            count = 0
        what = f"giving back {count} run{'' if count == 1 else 's'}" if count else "ending workers"
        return f"{what}; Ctrl-C again to leave now"

    def take_over(self) -> bool:
        """Become the home's supervisor; False where there is one.

        From the first call on the home's processes stay until ``stop``, whoever is in charge.
        """
        if self._wish is None:
            self._wish = locks.acquire(_wish_path(self.settings, os.getpid()))
        if self._lock is None:
            self._lock = locks.acquire(self.settings.lock_path(SUPERVISOR_LOCK), patience=0.5)
            if self._lock is not None:
                self._end_strangers()
        return self._lock is not None

    def _end_strangers(self) -> None:
        """Let slots go that are left from other settings."""
        ours = {worker.name for worker in self.workers} | {SUPERVISOR_LOCK, BROKER_LOCK}
        for path in self.settings.lock_path("any").parent.glob("*.lock"):
            pid = locks.holder(path)
            if path.stem not in ours and not path.stem.startswith(KEEPER_LOCKS) and pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def tick(self) -> None:
        """Look after every process once; to be called about twice a second."""
        if self.broker is not None and self.broker.ensure():
            log.info("broker started")
        for worker in self.workers:
            worker.ensure()
        if time.monotonic() - self._looked > HUNG_CHECK:
            self._looked = time.monotonic()
            self._end_hung()
            for path in (self.settings.home / "logs").glob("*.log"):
                with contextlib.suppress(OSError):  # no room for the copy
                    logs.rotate(path)

    def notices(self) -> list[str]:
        """What a user should know and has not been told: processes that do not stay alive."""
        troubled = [w for w in self.workers if w.early_ends >= EARLY_ENDS]
        new = [worker for worker in troubled if worker.name not in self._noticed]
        self._noticed = {worker.name for worker in troubled}
        return [
            f"{worker.name} ended {worker.early_ends} times soon after its start: "
            f"see {worker.log_path}"
            for worker in new
        ]

    def _end_hung(self) -> None:
        """Kill processes that live and have been silent for two leases, while we listened."""
        now = time.monotonic()
        processes = {worker.name: worker for worker in self.workers}
        for row in self._listen(now):
            worker = processes.get(row.name)
            if worker is None or row.pid != worker.pid:
                continue
            silent = (row.now - row.heartbeat_at).total_seconds()
            listened = now - self._heard[row.name][1]
            if silent > LEASES_UNTIL_GONE * row.lease and listened > row.lease / 2:
                log.error("a process hangs; ending it", process=worker.name, silent=silent)
                worker.kill()

    def _listen(self, now: float) -> list[slots.HomeSlot]:
        """The heartbeats' rows; notes since when each has stood still before our eyes.

        After a database that was away, or a machine that slept, all look silent: they speak first.
        """
        try:
            with transaction(read_only=True) as connection:
                rows = slots.by_home(connection, socket.gethostname(), self.settings.home_text)
        except AWAY:
            self._heard.clear()
            return []
        if now - self._listened > 5 * HUNG_CHECK:
            self._heard.clear()
        self._listened = now
        for row in rows:
            beat = row.pid, row.heartbeat_at
            if self._heard.get(row.name, (None, 0.0))[0] != beat:
                self._heard[row.name] = beat, now
        return rows

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every process softly: leases given back, then the broker; removes the socket.

        Where another command wants the processes they stay, and it takes over, if it is not in
        charge already.

        Args:
            hurry: whether to wait no longer: then they are killed, and what they held goes on
                from its last checkpoint, later.
        """
        took_part = self._wish is not None
        self._withdraw()
        if self.is_wanted:
            self._leave()
            return
        if self._lock is None and took_part:  # who was in charge may have left them to us just now
            self._lock = locks.acquire(self.settings.lock_path(SUPERVISOR_LOCK), patience=0.5)
        if self._lock is not None:
            self._end_all(hurry)
            self._leave()

    def _end_all(self, hurry: Callable[[], bool]) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE
        killed = False
        while any(worker.pid is not None for worker in self.workers):
            if hurry() or time.monotonic() > deadline:
                killed = True
                for worker in self.workers:
                    worker.kill()
            time.sleep(0.05)
        if killed:
            self._note_ends()
        if self.broker is not None:
            self.broker.stop()

    def _note_ends(self) -> None:
        """Say of all slots of this home that they are down: who was killed could not."""
        host, home = socket.gethostname(), self.settings.home_text
        with contextlib.suppress(*AWAY), transaction() as connection:
            for row in slots.by_home(connection, host, home):
                slots.set_state(connection, row.id, row.pid, SlotState.DOWN)

    def _withdraw(self) -> None:
        """Want the processes no longer."""
        if self._wish is not None:
            _wish_path(self.settings, os.getpid()).unlink(missing_ok=True)
            os.close(self._wish)
            self._wish = None

    def _leave(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_wanted(self) -> bool:
        """Whether another command wants the home's processes to stay."""
        return any(pid != os.getpid() for pid in _wishers(self.settings).values())


def supervisor_pid(settings: Settings) -> int | None:
    """The home's supervisor, if there is one."""
    return locks.holder(settings.lock_path(SUPERVISOR_LOCK))


def _wish_path(settings: Settings, pid: int) -> Path:
    return settings.lock_path(f"{KEEPER_LOCKS}{pid}")


def _wishers(settings: Settings) -> dict[Path, int]:
    """The commands that want a home's processes: their locks, and process ids."""
    found = {}
    for path in settings.lock_path("any").parent.glob(f"{KEEPER_LOCKS}*.lock"):
        pid = locks.holder(path)
        if pid is not None:
            found[path] = pid
        elif not _lives(path.stem.removeprefix(KEEPER_LOCKS)):
            path.unlink(missing_ok=True)  # it was killed
    return found


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    return True


def end_home(settings: Settings) -> list[str]:
    """End every process of a home, supervised or not; returns the names of those that lived."""
    folder = settings.lock_path("any").parent
    pid = supervisor_pid(settings)
    for path, wisher in _wishers(settings).items():
        if wisher != pid:  # none may take over
            _end(path)
    ended = _end(folder / f"{SUPERVISOR_LOCK}.lock") if pid else []
    for path in sorted(folder.glob("*.lock")):
        of_command = path.stem.startswith(KEEPER_LOCKS)  # ended above
        if path.stem not in {BROKER_LOCK, SUPERVISOR_LOCK} and not of_command:
            ended += _end(path)
    broker = Broker(settings)
    ended += [BROKER_LOCK] if broker.pid else []
    broker.stop()
    return ended


def _end(path: Path) -> list[str]:
    """SIGTERM, and SIGKILL where that does not help in time; the name, if it lived."""
    if not locks.holder(path):
        return []
    for number, patience in ((signal.SIGTERM, STOP_PATIENCE + 10), (signal.SIGKILL, 10.0)):
        pid = locks.holder(path)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while locks.holder(path) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    return [path.stem]
