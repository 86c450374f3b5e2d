"""A worker process from its start to its end: ``nasnet worker start NAME``.

NAME is a slot (cpu-0, cuda-1), ``train`` for the first free one, ``control`` or ``reconcile``.
"""

import contextlib
import os
import resource
import signal
import socket
import threading
from types import FrameType

import structlog
from celery.signals import worker_ready, worker_shutting_down

from db.reads import at_work
from db.schema import migrations
from db.schema.session import transaction
from pipeline import logs
from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.io.text import whole_number
from pipeline.settings import LEAST_MEMORY, Settings, get_settings
from tasks import devices, notices, reconcile
from tasks.app import app, connect
from tasks.devices import SlotSpec
from tasks.hearing import Hearing
from tasks.messages import CONTROL_QUEUE, train_queue
from tasks.slot import BROKER_LOCK, Slot, become

log = structlog.get_logger("tasks")

TRAIN = "train"
CONTROL = "control"
RECONCILE = "reconcile"


def main(name: str) -> int:
    """Be the worker of that name until told to leave; returns the exit code.

    Raises:
        UserError: there is no such slot, it is taken, or the store cannot be used.
    """
    check_name(name)
    migrations.require()  # before the lock: what is refused has written nothing
    check_alone()
    settings = get_settings()
    specs = {spec.name: spec for spec in devices.slot_specs(settings.devices)}
    name = _take_lock(settings, name, specs)
    logs.configure(name)
    spec = _spec(name, specs)
    if spec is not None:
        devices.expose(spec)
        _limit_memory(settings, spec, specs)
    slot = Slot(settings, name, spec, leaves_last=name == RECONCILE)
    become(slot)
    connect()
    if name == RECONCILE:
        return _reconcile(settings, slot)
    return _work(slot, CONTROL_QUEUE if spec is None else train_queue(spec.kind, spec.devices))


def check_alone() -> None:
    """Refuse a SQLite store at which processes of another host work: it serves one host.

    Its log is shared memory, and our locks are this host's: neither is seen from elsewhere.

    Raises:
        UserError: there are such processes.
    """
    settings = get_settings()
    if settings.database_path is None or not migrations.is_made():
        return
    with transaction(read_only=True) as connection:
        others = at_work.alive_elsewhere(connection, socket.gethostname())
    for slot in others:
        if not _is_here(settings, slot.name, slot.pid):
            raise UserError(
                f"{settings.database_path}: {slot.name} of host {slot.host} works on it, and "
                "SQLite serves one host; `nasnet down` there, or use PostgreSQL "
                "(NASNET_DATABASE_URL)"
            )


def _is_here(settings: Settings, name: str, pid: int) -> bool:
    """Whether a process is this host's though another host is told: the host's name changed."""
    if locks.holder(settings.lock_path(name)) != pid:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def check_name(name: str) -> None:
    """Refuse a name that no worker of this machine has.

    Raises:
        UserError: there is no such slot.
    """
    specs = {spec.name: spec for spec in devices.slot_specs(get_settings().devices)}
    if name not in {TRAIN, CONTROL, RECONCILE} and _spec(name, specs) is None:
        raise UserError(f"no slot {name!r}; this machine has: {', '.join(specs)}")


def _spec(name: str, specs: dict[str, SlotSpec]) -> SlotSpec | None:
    """The slot's devices; None for control and reconcile. A supervisor may have opened more
    CPU slots than this machine has by default."""
    if name in {CONTROL, RECONCILE}:
        return None
    found = specs.get(name)
    number = whole_number(name.removeprefix("cpu-"))
    if found is None and name.startswith("cpu-") and number is not None:
        return SlotSpec(name, "cpu", (number,))
    return found


def _take_lock(settings: Settings, name: str, specs: dict[str, SlotSpec]) -> str:
    """Take the lock of that name, or for ``train`` of the first free slot; returns the name."""
    candidates = list(specs) if name == TRAIN else [name]
    for candidate in candidates:
        patience = 0.0 if name == TRAIN else 2.0
        if locks.acquire(settings.lock_path(candidate), patience=patience) is not None:
            return candidate
    taken = locks.holder(settings.lock_path(candidates[-1]))
    raise UserError(f"{' and '.join(candidates)}: taken already (by process {taken})")


def _limit_memory(settings: Settings, spec: SlotSpec, specs: dict[str, SlotSpec]) -> None:
    """Bound a CPU slot, so that a greedy child is an `oom` of its own and not of the machine."""
    if spec.kind != "cpu":
        return
    share = devices.usable_memory() // max(1, sum(spec.devices for spec in specs.values()))
    limit = settings.memory or max(share, LEAST_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _reconcile(settings: Settings, slot: Slot) -> int:
    """Reconcile until told to leave; without a supervisor be the last, and end the broker."""
    notices.check_addresses()

    def stop(_number: int, _frame: FrameType | None) -> None:
        slot.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    slot.register()
    slot.start_threads()
    owner = f"{socket.gethostname()}:{os.getpid()}"
    threading.Thread(
        target=notices.loop, args=(slot.stopping, owner), name="notices", daemon=True
    ).start()
    reconcile.loop(slot.stopping, owner)
    slot.say_goodbye()
    broker = locks.holder(settings.lock_path(BROKER_LOCK))
    if slot.retiring and settings.broker_url is None and broker:
        with contextlib.suppress(ProcessLookupError):
            os.kill(broker, signal.SIGTERM)
    return 0


def _work(slot: Slot, queue: str) -> int:
    """Run Celery's solo pool on one queue, in this thread, until SIGTERM."""
    # imported once the devices are exposed: torch looks at them, and these import it
    import torch

    from tasks import sample, train, update  # noqa: F401

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        slot.stop()

    @worker_ready.connect(weak=False)
    def _ready(**_: object) -> None:
        slot.register()
        slot.hearing = Hearing(slot, queue)
        slot.start_threads()

    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=solo",
            "--concurrency=1",
            f"--queues={queue}",
            f"--hostname={slot.name}@{socket.gethostname()}",
            "--without-mingle",
            "--without-gossip",
            "--without-heartbeat",
            "--loglevel=warning",
        ]
    )
    slot.say_goodbye()
    return 0
