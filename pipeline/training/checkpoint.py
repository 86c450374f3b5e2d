"""Checkpoint files: written whole under a name never used before, read only if unchanged.

Any fsspec URL will do. Whoever writes a file commits its row afterwards, with the sha256 given
here; a file without a row is nobody's.
"""

import hashlib
import io
from typing import Any

import torch

from pipeline import files
from pipeline.errors import NasnetError


class CorruptCheckpointError(NasnetError):
    """A checkpoint is missing, damaged, or does not fit; an older one may do."""


def write(url: str, state: dict[str, Any]) -> tuple[str, int]:
    """Write a state; returns the file's sha256 and its size in bytes.

    Raises:
        MachineError: it cannot be written (disk full, no rights, store away).
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    files.write(url, data)
    return hashlib.sha256(data).hexdigest(), data.nbytes


def read(url: str, sha256: str) -> dict[str, Any]:
    """Read a state whose file is the one that was written.

    Nothing is unpickled before the sha256 is right, and then tensors and plain values only.

    Raises:
        CorruptCheckpointError: it is missing, or another.
        MachineError: the store that should have it is away.
    """
    try:
        data = files.read(url)
    except FileNotFoundError as error:
        raise CorruptCheckpointError(f"{url}: {error}") from error
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
