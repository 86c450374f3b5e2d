"""What is particular to a device: threads, determinism, layout, precision, seeds, memory."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pipeline.errors import ChildError, Failure

# Steps between two looks at the loss on CUDA, where looking waits for the device.
CUDA_LOSS_CHECK = 50
# How the libraries word an allocation that failed; cuDNN and cuBLAS name a status.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory", "STATUS_ALLOC_FAILED")


def torch_device(kind: str | None, rank: int = 0) -> torch.device:
    """A device of this process: on CUDA the one of a rank, of those that its slot exposes."""
    return torch.device("cuda", rank) if kind == "cuda" else torch.device("cpu")


def is_device_lost(error: BaseException) -> bool:
    """Whether an error says that the device is gone or its context is poisoned."""
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA error" in text or "NVML" in text or "no CUDA-capable device" in text
    )


def prepare(device: torch.device, threads: int) -> None:
    """Let this process compute as every other one does: the same number of threads and sums.

    A different number of threads adds in another order. cuDNN would pick its convolutions by
    timing, and some of them add in any order.
    """
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """A network on its device, in the layout in which convolutions are fastest."""
    return network.to(device).to(memory_format=torch.channels_last)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA; on a CPU it is slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def seed_layers(device: torch.device, number: int) -> None:
    """Seed what is random inside a network: dropout, drop-path.

    Not by torch.manual_seed, which formats a stack trace for each device it may start later:
    0.1 ms, and more the deeper the caller.
    """
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(number)


def reads_loss(device: torch.device, step: int) -> bool:
    """Whether the losses so far are read after a step (counted from 1)."""
    return device.type == "cpu" or step % CUDA_LOSS_CHECK == 0


@contextlib.contextmanager
def oom_as_child_error() -> Iterator[None]:
    """Raise every way of running out of memory as the child's failure.

    Raises:
        ChildError: of class oom.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(phrase in str(error) for phrase in OUT_OF_MEMORY):
            raise
        raise ChildError(Failure.OOM, str(error) or "out of memory") from error
