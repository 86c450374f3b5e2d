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

import torch
from torch import distributed

from pipeline.config.run import RunConfig
from pipeline.data.datasets import load_dataset
from pipeline.errors import ChildError, Failure, MachineError, UserError
from pipeline.io.child_processes import end_with_parent
from pipeline.spaces.base import Genotype
from pipeline.spaces.building import build
from pipeline.training.device import oom_as_child_error, torch_device
from pipeline.training.group import ALONE, Group
from pipeline.training.hooks import NoHooks
from pipeline.training.image_problem import ImageProblem
from pipeline.training.trainer import train

# How long the others wait for the first while it scores. One that dies is noticed at once.
TIMEOUT = dt.timedelta(days=1)
JOIN_PATIENCE = 10.0  # seconds for a process to say why it ends


@dataclass(frozen=True, slots=True)
class Job:
    """All that another process needs to train its share."""

    genotype: Genotype
    config: RunConfig
    seed: int
    data_folder: Path
    loaders: int


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process that was started, and the pipe through which it says why it ended."""

    rank: int
    process: BaseProcess
    pipe: Connection


@contextlib.contextmanager
def process_group(job: Job, size: int) -> Iterator[Group]:
    """Start the worker processes of a group for as long as the block runs.

    Raises:
        ChildError: what ended a worker: its own failure, or class lost where it was killed.
        MachineError: the images are away on this machine, or others.
    """
    if size == 1:
        yield ALONE
        return
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
        workers = []
        try:
            for rank in range(1, size):
                pipe, theirs = context.Pipe(duplex=False)
                arguments = (rank, size, f"{folder}/store", job, theirs)
                process = context.Process(target=_worker_main, args=arguments)
                process.start()
                theirs.close()
                workers.append(_Worker(rank, process, pipe))
            _join_group(0, size, f"{folder}/store", job.config)
            yield Group(0, size)
        except RuntimeError as error:  # the connection broke, or the fault is our own
            raise _reason(workers) or error from error
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _join_group(rank: int, size: int, store: str, config: RunConfig) -> None:
    # all are on this machine, whatever its name resolves to
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if os.uname().sysname == "Darwin" else "lo")
    backend = "nccl" if config.training.device == "cuda" else "gloo"
    # not by a URL: TMPDIR may hold a "#"
    meeting = torch._C._distributed_c10d.FileStore(store, size)
    distributed.init_process_group(
        backend, store=meeting, rank=rank, world_size=size, timeout=TIMEOUT
    )


def _reason(workers: list[_Worker]) -> ChildError | MachineError | None:
    """Why a worker ended, if one did."""
    for worker in workers:
        worker.process.join(JOIN_PATIENCE)
        if worker.pipe.poll():
            with contextlib.suppress(EOFError):
                failure, message = worker.pipe.recv()
                if failure is None:
                    return MachineError(message)
                return ChildError(Failure(failure), f"process {worker.rank}: {message}")
    for worker in workers:
        if worker.process.exitcode is not None:
            code = worker.process.exitcode
            return ChildError(Failure.LOST, f"process {worker.rank} of the run died ({code})")
    return None


def _worker_main(rank: int, size: int, store: str, job: Job, pipe: Connection) -> None:
    """Train one share, and end with the first process."""
    end_with_parent()
    try:
        _train_share(rank, size, store, job)
    except ChildError as error:
        pipe.send((error.failure.value, str(error)))
    except MachineError as error:  # its images are away, or others
        pipe.send((None, str(error)))
    except UserError as error:  # its images
        pipe.send((Failure.DATA.value, str(error)))
    except RuntimeError:  # of torch, most likely that the first process has left
        raise
    except Exception as error:  # noqa: BLE001 - whatever a network's code raises
        pipe.send((Failure.ERROR.value, f"{type(error).__name__}: {error}"))


def _train_share(rank: int, size: int, store: str, job: Job) -> None:
    config = job.config
    _join_group(rank, size, store, config)
    problem = ImageProblem(load_dataset(config, job.data_folder))
    device = torch_device(config.training.device, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with oom_as_child_error():
        network = build(job.genotype, config.network, problem.inputs)
    train(
        network,
        problem,
        config.training,
        seed=job.seed,
        device=device,
        resume=None,
        hooks=NoHooks(),
        loaders=job.loaders,
        group=Group(rank, size),
    )
