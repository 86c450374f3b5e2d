"""Train: a slot takes a queued run, trains it under a lease, and writes its end once."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog
import torch
from sqlalchemy import Connection

from db.lifecycle import attempts, leases, queue, retention, runs
from db.schema.enums import Purpose
from db.schema.session import is_away, retrying, transaction
from pipeline import logs
from pipeline.config.networks import AnyNetworkConfig, NetworkConfig
from pipeline.config.search import DataConfig, RunConfig, load_run_config
from pipeline.data.datasets import ImageData, load_dataset
from pipeline.data.image_files import ImageFiles
from pipeline.errors import (
    ChildError,
    DataChangedError,
    Failure,
    InvalidGenotypeError,
    LeaseLostError,
    LeaseReturnedError,
    MachineError,
    UserError,
)
from pipeline.io import files
from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.transfer import load_body
from pipeline.settings import get_settings
from pipeline.spaces.building import build
from pipeline.spaces.cells.genotype import Genotype, genotype_from_data
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training import checkpoint
from pipeline.training.group import Group
from pipeline.training.parallel import Job, together
from pipeline.training.trainer import out_of_memory_is_an_answer
from pipeline.training.trainer import train as train_network
from tasks import devices, leftovers, sharing
from tasks.app import Task, app, ring, send_runs
from tasks.changed_data import explain_change
from tasks.route import Route
from tasks.slot import Hold, Slot, current_slot, leave

log = structlog.get_logger("tasks")

# How long a finished training waits for a database that is away before its lease is let go.
WRITE_PATIENCE = 3600.0
# Failures in a row, before their first step, after which the slot has to prove itself (law 8).
EARLY_FAILURES = 3


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: what to write under the fence, and what becomes of the slot."""

    write: Callable[[Connection], object] | None  # None: the lease was lost, nothing is ours
    leaves_files: bool = False  # maybe some that no row points at
    goes_on: bool = True  # whether another run may be queued for the slot
    machine_fault: str | None = None


@app.task(name=Task.TRAIN)
def train(run_id: int) -> None:
    """Train a queued run; a second delivery finds nothing to claim."""
    slot = current_slot()
    reason = no_room()
    if reason is not None:
        slot.rest(reason, no_room)
    claim = _claim(slot, run_id)
    if claim is None:
        return
    bound = {"search": claim.search_id, "run": run_id, "attempt": claim.attempt}
    with logs.about(**bound):
        config = load_run_config(claim.config)
        with slot.holding(claim, config.training.timeout) as hold:
            end = _attempt(claim, config, hold)
            hold.trains = False
            _write(slot, claim, end)
        if end.machine_fault is not None:
            slot.rest(end.machine_fault, functools.partial(check_machine, run_id))
        elif slot.early_failures >= EARLY_FAILURES:
            _prove_slot(slot, run_id)


def _claim(slot: Slot, run_id: int) -> leases.Claim | None:
    assert slot.spec is not None
    with transaction() as connection:
        return leases.claim(
            connection,
            run_id,
            slot_id=slot.id,
            lease=slot.lease,
            device=slot.spec.device_names,
            versions=slot.versions,
        )


def _attempt(claim: leases.Claim, config: RunConfig, hold: Hold) -> End:
    """Train, and say how it ended; no transaction is open meanwhile."""
    route = Route(claim, hold)
    try:
        finish = perform(claim, config, route)
    except LeaseLostError as error:
        log.warning("lease lost", reason=str(error))
        return End(None)
    except LeaseReturnedError as error:
        return End(route.released(str(error)), goes_on=False)
    except MachineError as error:
        _cached_data.cache_clear()  # the images may be what is away: looked for anew
        return End(route.released(str(error)), goes_on=False, machine_fault=str(error))
    except InvalidGenotypeError as error:
        return End(route.failed(Failure.INVALID, error))
    except ChildError as error:
        _note_early_failure(error.failure, route)
        return End(route.failed(error.failure, error))
    except Exception as error:  # noqa: BLE001 - whatever a child's code raises is its `error`
        return _unforeseen(error, route)
    current_slot().early_failures = 0
    return End(finish, leaves_files=route.leaves_files)


def _unforeseen(error: Exception, route: Route) -> End:
    if is_away(error):  # the database, as the training read what it starts from
        return End(route.released(f"the database is away: {error}"))
    if devices.is_device_lost(error):
        leave()  # the process's CUDA context is spoiled: only a new process has a new one
        return End(route.released(str(error)), goes_on=False)
    _note_early_failure(Failure.ERROR, route)
    return End(route.failed(Failure.ERROR, error))


def _note_early_failure(failure: Failure, route: Route) -> None:
    if failure in {Failure.DATA, Failure.ERROR} and route.steps == 0:
        current_slot().early_failures += 1


def _write(slot: Slot, claim: leases.Claim, end: End) -> None:
    """Write an attempt's end and queue one run for its slot, in one transaction; then ring."""
    if end.write is None:
        leftovers.clean(claim.run_id, claim.attempt)
        return
    queued: list[int] = []
    assert slot.spec is not None
    kind = slot.spec.kind, slot.spec.devices
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


def perform(
    claim: leases.Claim, config: RunConfig, route: Route
) -> Callable[[Connection], object]:
    """Do what a run is for; returns how to write its end."""
    if not claim.purpose.is_of_all:
        return _train_network(claim, config, route)
    data = _load_data(config)
    assert isinstance(data, ImageData)  # `image_size` is refused where weights are shared
    do = sharing.train_pass if claim.purpose is Purpose.SHARED else sharing.score
    return do(claim, config, data, route)


def _train_network(
    claim: leases.Claim, config: RunConfig, route: Route
) -> Callable[[Connection], object]:
    """Build the run's network and train it from its newest checkpoint that can be read."""
    assert claim.genotype is not None
    settings = get_settings()
    job = Job(claim.genotype, claim.config, claim.seed, settings.data_folder, settings.loaders)
    for state in route.states():
        try:
            with route.going_on(state), together(job, config.training.devices) as group:
                return _train_from(state, claim, config, route, group)
        except checkpoint.CorruptCheckpointError as error:
            if state is None:  # the weights to start from
                raise ChildError(Failure.DATA, str(error)) from error
            log.warning("checkpoint does not fit; an older one is tried", error=str(error))
    raise AssertionError("the last state is None, which always fits")


def _train_from(
    state: dict[str, Any] | None,
    claim: leases.Claim,
    config: RunConfig,
    route: Route,
    group: Group,
) -> Callable[[Connection], object]:
    assert claim.genotype is not None
    data = _load_data(config)
    with out_of_memory_is_an_answer():
        network = _seeded_network(
            genotype_from_data(claim.genotype), config.network, data, claim.seed
        )
        if state is None and (weights := route.start_weights()) is not None:
            load_body(network, weights)
        parameters = count_parameters(network)
        macs = count_macs(network, data.image_shape)
    in_full = claim.purpose is not Purpose.SEARCH
    trained = train_network(
        network,
        data,
        config.training,
        seed=claim.seed,
        device=devices.torch_device(config.training.device or "cpu"),
        resume=state,
        hooks=route,
        test=in_full,
        loaders=get_settings().loaders,
        group=group,
        is_hopeless=route.judge(),
    )
    if in_full:
        route.keep_weights(trained.weights)
    elif route.is_worth_keeping(trained.accuracies, trained.stopped):
        with contextlib.suppress(MachineError):  # the child's result does not depend on them
            route.keep_weights(trained.weights)
    result = attempts.Result(
        accuracy=trained.accuracies[-1],
        test_accuracy=trained.test_accuracy,
        parameters=parameters,
        macs=macs,
        images_trained=trained.images_trained,
        images_scored=trained.images_scored,
    )
    return functools.partial(route.finish, result, trained.accuracies, trained.stopped)


def _seeded_network(
    genotype: Genotype, config: AnyNetworkConfig | None, data: ImageData | ImageFiles, seed: int
) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(genotype, config, image_shape=data.image_shape, classes=data.classes)


@functools.lru_cache(maxsize=2)
def _cached_data(config: DataConfig) -> ImageData | ImageFiles:
    return load_dataset(config, get_settings().data_folder)


def _load_data(config: RunConfig) -> ImageData | ImageFiles:
    wanted = {name: getattr(config, name) for name in DataConfig.model_fields}
    try:
        return _cached_data(DataConfig(**wanted))
    except DataChangedError as error:
        raise MachineError(explain_change(error, config)) from None
    except UserError as error:  # the images are here, and cannot be read
        raise ChildError(Failure.DATA, str(error)) from error


def no_room() -> str | None:
    """Why no run may start here: too little is free for its files, or files take too much."""
    settings = get_settings()
    free = files.free_bytes(settings.artifact_url)
    if free is not None and free < settings.free:
        return (
            f"{settings.artifact_url}: {free / 2**30:.2f} GiB are free, a run starts with "
            f"{settings.free / 2**30:.2f} (NASNET_FREE)"
        )
    if settings.disk is None:
        return None
    with transaction(read_only=True) as connection:
        taken = retention.kept_bytes(connection)
    if taken <= settings.disk:
        return None
    return (
        f"{settings.artifact_url}: what must be kept takes {taken / 2**30:.2f} GiB, more than "
        f"{settings.disk / 2**30:.2f} (NASNET_DISK)"
    )


def check_machine(run_id: int) -> str | None:
    """Why this machine cannot train a run now, or None (law 8): artifacts, data, device."""
    config = _config_now(run_id)
    if config is None:
        return None
    uri = f"{get_settings().artifact_url}/check-{current_slot().id}"
    try:
        checkpoint.write(uri, {})
        files.delete(uri)
        _load_data(config)
        torch.zeros(1, device=devices.torch_device(config.training.device or "cpu"))
    except (MachineError, ChildError, RuntimeError, OSError) as error:
        return str(error)
    return None


def _config_now(run_id: int) -> RunConfig | None:
    """A run's configuration, read anew: other images may have been accepted meanwhile.

    None where the run was deleted meanwhile.
    """
    with transaction(read_only=True) as connection:
        run = runs.get(connection, run_id)
    return None if run is None else load_run_config(run.config)


class _FirstStepTakenError(Exception):
    """Ends the probe of a slot."""


class _Probe:
    """Hooks of a training that ends with its first step."""

    def on_step(self, images: int) -> NoReturn:
        raise _FirstStepTakenError

    def on_scored(self) -> None: ...

    def on_epoch(self, result: object) -> None: ...

    def on_checkpoint(self, state: object, epoch: int, step: int) -> None: ...


def probe_slot(run_id: int) -> str | None:
    """Why a small known child cannot take one step here on a run's data, or None (law 8)."""
    config = _config_now(run_id)
    if config is None:
        return None
    try:
        data = _load_data(config)
        small = NetworkConfig(num_cells=1, num_filters=4)
        network = _seeded_network(NASNET_A, small, data, seed=0)
        device = devices.torch_device(config.training.device or "cpu")
        alone = config.training.model_copy(update={"devices": 1, "freeze": False})
        train_network(network, data, alone, seed=0, device=device, resume=None, hooks=_Probe())
    except _FirstStepTakenError:
        return None
    except Exception as error:  # noqa: BLE001 - any error says that the fault is the slot's
        return f"a known child cannot be trained here: {type(error).__name__}: {error}"
    return None


def _prove_slot(slot: Slot, run_id: int) -> None:
    """After several children failed at once: are they to blame, or is this slot?"""
    slot.early_failures = 0
    reason = probe_slot(run_id)
    if reason is not None:
        slot.rest(reason, functools.partial(probe_slot, run_id))
