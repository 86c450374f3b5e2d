"""Checkpoint files: written whole under a name never used before, read only if unchanged.

Any fsspec URL will do. Whoever writes a file commits its row afterwards, with the sha256 given
here; a file without a row is nobody's.
"""

import contextlib
import dataclasses
import hashlib
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from pipeline.errors import NasnetError
from pipeline.io import files

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


# What ``torch.save`` keeps: tensors and plain values by name.
State = dict[str, Any]


class CorruptCheckpointError(NasnetError):
    """A checkpoint is missing, damaged, or does not fit; an older one may do."""


def write(url: str, state: State) -> tuple[str, int]:
    """Write a state; returns the file's sha256 and its size in bytes.

    Raises:
        MachineError: it cannot be written (disk full, no rights, store away).
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    files.write(url, data)
    return hashlib.sha256(data).hexdigest(), data.nbytes


def read(url: str, sha256: str) -> State:
    """Read a state whose file is the one that was written.

    Nothing is unpickled before the sha256 is right, and then tensors and plain values only.

    Raises:
        CorruptCheckpointError: it is missing, or another.
        MachineError: the store that should have it is away.
    """
    try:
        data = files.read(url)
    except (FileNotFoundError, MemoryError) as error:  # ours fit into memory as they are written
        raise CorruptCheckpointError(f"{url}: {error or 'too large'}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptCheckpointError(f"{url}: not the file that was written")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not say what it raises over bytes of another kind
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptCheckpointError(f"{url}: {reason}") from error
    if not isinstance(state, dict):
        raise CorruptCheckpointError(f"{url}: not a checkpoint")
    return state


def check_numbers(state: object) -> None:
    """Refuse a state with numbers that are not finite: no training goes on from them.

    Raises:
        ValueError: there is one.
    """
    if isinstance(state, torch.Tensor):
        finite = not state.is_floating_point() or bool(state.isfinite().all())
    elif isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            check_numbers(value)
        return
    else:
        finite = not isinstance(state, float) or math.isfinite(state)
    if not finite:
        raise ValueError("a number is not finite")


def check_progress(found: "DataclassInstance", fresh: "DataclassInstance") -> None:
    """Refuse how far a training is where it is told in values of other types, or below zero.

    Raises:
        ValueError: one is.
    """
    for field in dataclasses.fields(fresh):
        value, like = getattr(found, field.name), getattr(fresh, field.name)
        if type(value) is not type(like) or (isinstance(value, int | float) and value < 0):
            raise ValueError(f"{field.name} is {value!r}")


@contextlib.contextmanager
def must_fit() -> Iterator[None]:
    """Take over a state, or say that it does not fit.

    Raises:
        CorruptCheckpointError: it is another network's, or another release's.
    """
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CorruptCheckpointError(f"does not fit: {reason}") from error
