"""What a slot is asked before it takes runs, and after they failed: is it to blame itself?

Each answers with a reason why no run may start here, or with None.
"""

import functools
from typing import NoReturn

import torch

from db.lifecycle import retention, runs
from db.schema.session import transaction
from pipeline.config.run import RunConfig, load_run_config
from pipeline.errors import ChildError, Failure, MachineError
from pipeline.io import files
from pipeline.settings import get_settings
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training import checkpoint, trainer
from pipeline.training.device import torch_device
from pipeline.training.hooks import NoHooks
from pipeline.training.image_problem import ImageProblem
from tasks.slot import Slot, current_slot
from tasks.work import run_data
from tasks.work.network import seeded_network

# Failures in a row, before their first step, after which the slot has to prove itself.
EARLY_FAILURES = 3


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
    """Why this machine cannot train a run now, or None: artifacts, data, device."""
    config = _config_now(run_id)
    if config is None:
        return None
    uri = f"{get_settings().artifact_url}/check-{current_slot().id}"
    try:
        checkpoint.write(uri, {})
        files.delete(uri)
        run_data.load(config)
        torch.zeros(1, device=torch_device(config.training.device))
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


class _EndAfterFirstStep(NoHooks):
    """Hooks of a training that ends with its first step."""

    def on_step(self, images: int) -> NoReturn:
        raise _FirstStepTakenError


def probe_slot(run_id: int) -> str | None:
    """Why a small known child cannot take one step here on a run's data, or None."""
    try:
        config = _config_now(run_id)
        if config is None:
            return None
        problem = ImageProblem(run_data.load(config))
        small = NetworkConfig(num_cells=1, num_filters=4)
        network = seeded_network(NASNET_A, small, problem.inputs, seed=0)
        device = torch_device(config.training.device)
        alone = config.training.model_copy(update={"devices": 1, "freeze": False})
        hooks = _EndAfterFirstStep()
        trainer.train(network, problem, alone, seed=0, device=device, resume=None, hooks=hooks)
    except _FirstStepTakenError:
        return None
    except Exception as error:  # noqa: BLE001 - any error says that the fault is the slot's
        return f"a known child cannot be trained here: {type(error).__name__}: {error}"
    return None


def note_early_failure(failure: Failure, steps: int) -> None:
    """Count a failure for what the child is not, before its first step."""
    if failure in {Failure.DATA, Failure.ERROR} and steps == 0:
        current_slot().early_failures += 1


def prove_slot(slot: Slot, run_id: int) -> None:
    """After several children failed at once: are they to blame, or is this slot?"""
    if slot.early_failures < EARLY_FAILURES:
        return
    slot.early_failures = 0
    reason = probe_slot(run_id)
    if reason is not None:
        slot.rest(reason, functools.partial(probe_slot, run_id))
