"""Why is nothing running? One line for each cause that is found, with its cure."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db.lifecycle import notices, runs
from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.reads import diagnosis
from db.schema import migrations
from db.schema.enums import SlotState
from db.schema.rows import SlotRow
from db.schema.session import fault, transaction
from pipeline.config.search import load_config
from pipeline.data.dataset_names import check_dataset
from pipeline.errors import MachineError, UserError
from pipeline.io import files, locks
from pipeline.io.file_urls import path_of_url
from pipeline.machine.broker import try_message
from pipeline.settings import Settings, redacted
from tasks.devices import cuda_count, slot_specs
from tasks.slot import SUPERVISOR_LOCK
from tasks.worker import CONTROL, RECONCILE

CLOCK_SKEW = 5.0  # seconds that a host's clock may differ from the database's
START_OURS = "nasnet up, or nasnet run"  # a supervisor replaces an embedded broker


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps work from being done, and what to do about it."""

    check: str
    problem: str
    cure: str


@dataclass(frozen=True, slots=True)
class SystemState:
    """What the checks look at."""

    settings: Settings
    connection: Connection
    now: dt.datetime
    slots: list[SlotRow]

    @property
    def alive(self) -> list[SlotRow]:
        """Worker processes that were heard of lately."""
        return [
            slot
            for slot in self.slots
            if slot.state is not SlotState.DOWN
            and (self.now - slot.heartbeat_at).total_seconds() < LEASES_UNTIL_GONE * slot.lease
        ]


def diagnose(settings: Settings) -> list[Finding]:
    """All that is found, most fundamental first; where the store cannot be read, that alone."""
    return [replace(found, problem=redacted(found.problem)) for found in _found(settings)]


def _found(settings: Settings) -> list[Finding]:
    try:
        migrations.require()
        with transaction(read_only=True) as connection:
            system = SystemState(
                settings, connection, diagnosis.now(connection), diagnosis.slots(connection)
            )
            found = [finding for check in CHECKS for finding in check(system)]
    except UserError as error:
        return [Finding("schema", str(error), "nasnet db upgrade")]
    except DBAPIError as error:
        return [
            Finding("database", fault(error), "start the database, or set NASNET_DATABASE_URL")
        ]
    return found


def _broker(system: SystemState) -> Iterator[Finding]:
    is_ours = system.settings.broker_url is None
    try:
        try_message(system.settings)
    except ResponseError as error:
        cure = START_OURS if is_ours else _cure(error)
        yield Finding("broker", f"the broker takes no messages: {_line(error)}", cure)
    except (RedisError, OSError) as error:
        reason = _line(error) or "it does not answer"
        cure = START_OURS if is_ours else "start the server"
        yield Finding("broker", f"the broker does not answer: {reason}", cure)


def _cure(refusal: ResponseError) -> str:
    """What to do about a server of somebody else's that takes no messages."""
    if isinstance(refusal, OutOfMemoryError):
        return "make room in that server, or raise its maxmemory"
    if isinstance(refusal, ReadOnlyError):
        return "let NASNET_BROKER_URL name the primary, not a replica"
    return "let our user write to keys nasnet:* there (LPUSH, DEL)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _devices(system: SystemState) -> Iterator[Finding]:
    """Whether NASNET_DEVICES names slots that this machine can have."""
    listed = system.settings.devices
    try:
        if listed is not None and not slot_specs(listed):
            yield Finding("devices", f"NASNET_DEVICES={listed} has no slot", "leave it out")
    except UserError as error:
        yield Finding("devices", str(error), "set NASNET_DEVICES, or leave it out")


def _processes(system: SystemState) -> Iterator[Finding]:
    names = {slot.name for slot in system.alive}
    if not any(slot.devices for slot in system.alive):
        waiting = _waiting(system)
        elsewhere = [kind for kind in waiting if kind not in _started_here(system.settings)]
        cure = "nasnet up, or nasnet worker start train"
        if waiting and len(elsewhere) == len(waiting):  # what would start here takes none of them
            cure = _cure_for(*elsewhere[0])
        yield Finding("slots", "no training slot is alive", cure)
    if CONTROL not in names:
        yield Finding(
            "control",
            "no control process is alive: nothing is sampled and nothing learned",
            "nasnet up, or nasnet worker start control",
        )
    if RECONCILE not in names:
        yield Finding(
            "reconcile",
            "no reconciler is alive: leases that end are not freed",
            "nasnet up, or nasnet worker start reconcile",
        )


def _waiting(system: SystemState) -> dict[tuple[str, int], list[int]]:
    """Runs that no slot takes, by the kind of device and how many each needs."""
    waiting: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in runs.without_slot(system.connection):
        waiting[row.device, row.devices].append(row.id)
    return waiting


def _started_here(settings: Settings) -> set[tuple[str, int]]:
    """The slots that `nasnet up` starts on this machine: the kind of device, and how many."""
    try:
        return {(spec.kind, spec.devices) for spec in slot_specs(settings.devices)}
    except UserError:  # said by another check
        return set()


def _cure_for(device: str, devices: int) -> str:
    """How runs get a slot of devices that `nasnet up` does not start here."""
    if device == "cuda" and cuda_count() < devices:
        here = "training.device=cpu" if devices == 1 else "fewer training.devices"
        return f"nasnet up on a machine with {devices} x {device}, or a new search with {here}"
    kind = "cpu" if device == "cpu" else "cuda:N"
    return f"NASNET_DEVICES={'+'.join([kind] * devices)}, then nasnet up"


def _hosts(system: SystemState) -> Iterator[Finding]:
    """Processes of several hosts at a database that serves one."""
    path = system.settings.database_path
    hosts = {slot.host for slot in system.alive}
    if path is not None and len(hosts) > 1:
        yield Finding(
            "hosts",
            f"{path}: {' and '.join(sorted(hosts))} work on it, and SQLite serves one host",
            "nasnet down on all but one of them, or PostgreSQL (NASNET_DATABASE_URL)",
        )


def _refusing(system: SystemState) -> Iterator[Finding]:
    for slot in system.alive:
        if slot.state is SlotState.REFUSING:
            yield Finding(
                "slots", f"{slot.host} {slot.name} takes no runs: {slot.reason}", "mend that"
            )


def _silent(system: SystemState) -> Iterator[Finding]:
    for slot in system.slots:
        if slot.state is SlotState.DOWN or slot in system.alive:
            continue
        silent = (system.now - slot.heartbeat_at).total_seconds()
        yield Finding(
            "slots",
            f"{slot.host} {slot.name} has been silent for {silent:.0f} s",
            f"look at {slot.host}, or at {path_of_url(slot.home)}/logs/{slot.name}.log",
        )


def _leases(system: SystemState) -> Iterator[Finding]:
    held = diagnosis.held_past_lease(system.connection)
    if held:
        yield Finding(
            "leases",
            f"runs {_some(held)} are held though their lease has ended",
            "a reconciler frees them: nasnet worker start reconcile",
        )
    lost = diagnosis.queued_too_long(system.connection)
    if lost:
        yield Finding(
            "queue",
            f"runs {_some(lost)} have been queued for long: their messages are lost",
            "a reconciler rings again: nasnet worker start reconcile",
        )


def _no_slot(system: SystemState) -> Iterator[Finding]:
    here = _started_here(system.settings)
    has_slots = any(slot.devices for slot in system.alive)
    for (device, devices), run_ids in _waiting(system).items():
        is_started = (device, devices) in here
        if is_started and not has_slots:
            continue  # said of the processes
        yield Finding(
            "slots",
            f"no slot has {devices} x {device}, which runs {_some(run_ids)} wait for",
            "nasnet up" if is_started else _cure_for(device, devices),
        )


def _disk(system: SystemState) -> Iterator[Finding]:
    settings = system.settings
    for what, url in (("artifacts", settings.artifact_url), ("home", settings.home_text)):
        free = files.free_bytes(url)
        if free is not None and free < settings.free:
            yield Finding(
                "disk",
                f"{what} {url}: {free / 2**30:.2f} GiB are free, less than NASNET_FREE",
                "make room, or lower NASNET_FREE",
            )
            return


def _clocks(system: SystemState) -> Iterator[Finding]:
    skew = (dt.datetime.now(dt.UTC) - system.now).total_seconds()
    if abs(skew) > CLOCK_SKEW:
        yield Finding(
            "clock",
            f"this host's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the "
            "database's, which decides",
            "set the clock (chrony, ntp): log times are misleading until then",
        )


def _versions(system: SystemState) -> Iterator[Finding]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for slot in system.alive:
        for library, version in (slot.versions or {}).items():
            found[library][version] = slot.host
    for library, versions in sorted(found.items()):
        if len(versions) > 1:
            said = ", ".join(f"{version} on {host}" for version, host in sorted(versions.items()))
            yield Finding(
                "versions",
                f"workers have different {library}: {said}",
                "install the same everywhere: a result holds for one set of libraries",
            )


def _data(system: SystemState) -> Iterator[Finding]:
    for stored in diagnosis.active_configs(system.connection):
        config = load_config(stored)
        try:
            check_dataset(config.dataset)
        except (UserError, MachineError) as error:
            yield Finding("data", str(error), "copy the images to this machine")


def _searches(system: SystemState) -> Iterator[Finding]:
    for search in diagnosis.resting_searches(system.connection):
        yield Finding(
            "searches",
            f"search {search.name!r} is {search.state}: {search.reason or 'by hand'}",
            f"nasnet search resume {search.name}",
        )


def _notices(system: SystemState) -> Iterator[Finding]:
    late = notices.undelivered(system.connection)
    if late:
        yield Finding(
            "notices",
            f"{late} notices could not be delivered yet",
            "look at NASNET_NOTIFY, and at what a reconciler's log says",
        )


def _supervisor(system: SystemState) -> Iterator[Finding]:
    """A home whose processes live and that nobody looks after."""
    path = system.settings.lock_path(SUPERVISOR_LOCK)
    ours = [slot for slot in system.alive if slot.home == system.settings.home_text]
    if path.exists() and ours and locks.holder(path) is None:
        yield Finding(
            "supervisor", "no supervisor is left here; its processes will leave", "nasnet up"
        )


def _some(run_ids: list[int]) -> str:
    shown = ", ".join(map(str, run_ids[:5]))
    return f"{shown} and {len(run_ids) - 5} more" if len(run_ids) > 5 else shown


Check = Callable[[SystemState], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    _broker,
    _devices,
    _processes,
    _hosts,
    _refusing,
    _silent,
    _leases,
    _no_slot,
    _disk,
    _clocks,
    _versions,
    _data,
    _searches,
    _notices,
    _supervisor,
)
