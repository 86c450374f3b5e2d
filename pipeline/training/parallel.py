"""One network on several devices of a machine: a process each, DistributedDataParallel between.

The process that calls is the first of them: it holds the lease, scores, and writes checkpoints.
It starts the others, and none outlives it.
"""

import contextlib
import datetime as dt
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipeline.config.search import load_run_config
from pipeline.data.datasets import load_dataset
from pipeline.errors import ChildError, Failure, MachineError, UserError
from pipeline.io.child_processes import end_with_parent
from pipeline.spaces.building import build
from pipeline.spaces.cells.genotype import genotype_from_data
from pipeline.training.group import ALONE, Group
from pipeline.training.trainer import out_of_memory_is_an_answer, train

# Others wait so long for the first while it scores; a process that dies is noticed at once.
TIMEOUT = dt.timedelta(days=1)
JOIN_PATIENCE = 10.0  # seconds for a process to say why it ends


@dataclass(frozen=True, slots=True)
class Job:
    """All that another process needs to train its share."""

    genotype: dict[str, Any]
    config: dict[str, Any]  # of the run
    seed: int
    data_folder: Path
    loaders: int


@dataclass(frozen=True, slots=True)
class _Other:
    """A process that was started, and where it says why it ended."""

    rank: int
    process: BaseProcess
    words: Connection


@contextlib.contextmanager
def together(job: Job, size: int) -> Iterator[Group]:
    """Start the other processes for as long as the block runs.

    Raises:
        ChildError: what ended another process: its own failure, or class lost where it was killed.
        MachineError: the images are away on this machine, or others.
    """
    if size == 1:
        yield ALONE
        return
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
        others = []
        try:
            for rank in range(1, size):
                words, theirs = context.Pipe(duplex=False)
                arguments = (rank, size, f"{folder}/store", job, theirs)
                process = context.Process(target=_be_another, args=arguments)
                process.start()
                theirs.close()
                others.append(_Other(rank, process, words))
            _join_group(0, size, f"{folder}/store", job.config)
            yield Group(0, size)
        except RuntimeError as error:  # the connection broke, or the fault is our own
            raise _reason(others) or error from error
        finally:
            for other in others:
                other.process.kill()
                other.process.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _join_group(rank: int, size: int, store: str, config: dict[str, Any]) -> None:
    # all are on this machine, whatever its name resolves to
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if os.uname().sysname == "Darwin" else "lo")
    backend = "nccl" if config["training"]["device"] == "cuda" else "gloo"
    # not by a URL: TMPDIR may hold a "#"
    meeting = torch._C._distributed_c10d.FileStore(store, size)
    distributed.init_process_group(
        backend, store=meeting, rank=rank, world_size=size, timeout=TIMEOUT
    )


def _reason(others: list[_Other]) -> ChildError | MachineError | None:
    """Why another process ended, if one did."""
    for other in others:
        other.process.join(JOIN_PATIENCE)
        if other.words.poll():
            with contextlib.suppress(EOFError):
                failure, message = other.words.recv()
                if failure is None:
                    return MachineError(message)
                return ChildError(Failure(failure), f"process {other.rank}: {message}")
    for other in others:
        if other.process.exitcode is not None:
            code = other.process.exitcode
            return ChildError(Failure.LOST, f"process {other.rank} of the run died ({code})")
    return None


class _Silence:
    """Hooks of a process that is not the first."""

    def on_step(self, images: int) -> None: ...

    def on_scored(self) -> None: ...

    def on_epoch(self, result: object) -> None: ...

    def on_checkpoint(self, state: object, epoch: int, step: int) -> None: ...


def _be_another(rank: int, size: int, store: str, job: Job, words: Connection) -> None:
    """Train one share, and end with the first process."""
    end_with_parent()
    config = load_run_config(job.config)
    try:
        _join_group(rank, size, store, job.config)
        data = load_dataset(config, job.data_folder)
        device = torch.device("cpu")
        if config.training.device == "cuda":
            device = torch.device("cuda", rank)
            torch.cuda.set_device(device)
        with out_of_memory_is_an_answer():
            network = build(
                genotype_from_data(job.genotype),
                config.network,
                image_shape=data.image_shape,
                classes=data.classes,
            )
        train(
            network,
            data,
            config.training,
            seed=job.seed,
            device=device,
            resume=None,
            hooks=_Silence(),
            loaders=job.loaders,
            group=Group(rank, size),
        )
    except ChildError as error:
        words.send((error.failure.value, str(error)))
    except MachineError as error:  # its images are away, or others
        words.send((None, str(error)))
    except UserError as error:  # its images
        words.send((Failure.DATA.value, str(error)))
    except RuntimeError:  # of torch, most likely that the first process has left
        raise
    except Exception as error:  # noqa: BLE001 - whatever a network's code raises
        words.send((Failure.ERROR.value, f"{type(error).__name__}: {error}"))
