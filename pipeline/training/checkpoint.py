"""Checkpoint files: written whole under a name never used before, read only if unchanged.

Any fsspec URL will do. Whoever writes a file commits its row afterwards, with the sha256 given
here; a file without a row is nobody's.
"""

import contextlib
import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import fsspec
import torch

from pipeline.errors import MachineError, NasnetError


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
    try:
        if _is_local(url):
            _write_locally(Path(_local_path(url)), data)
        else:  # an object appears whole or not at all
            with fsspec.open(url, "wb") as file:
                file.write(data)
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise MachineError(f"{url}: cannot be written: {reason or error}") from error
    return hashlib.sha256(data).hexdigest(), data.nbytes


def _write_locally(path: Path, data: memoryview) -> None:
    """Temporary name, fsync, rename, fsync of the folder: whole, or not there, after any crash."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(url: str, sha256: str) -> dict[str, Any]:
    """Read a state whose file is the one that was written.

    Raises:
        CorruptCheckpointError: it is missing, or another.
    """
    try:
        with fsspec.open(_local_path(url) if _is_local(url) else url, "rb") as file:
            data = file.read()
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        raise CorruptCheckpointError(f"{url}: {error}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptCheckpointError(f"{url}: not the file that was written")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CorruptCheckpointError(f"{url}: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict):
        raise CorruptCheckpointError(f"{url}: not a checkpoint")
    return state


def delete(url: str) -> None:
    """Delete a file, and its folder if it was the last; one that is gone is fine."""
    if _is_local(url):
        path = Path(_local_path(url))
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
        return
    with contextlib.suppress(Exception):
        file_system, path_text = fsspec.url_to_fs(url)
        file_system.rm(path_text)


def _is_local(url: str) -> bool:
    return "://" not in url or url.startswith(("file://", "local://"))


def _local_path(url: str) -> str:
    return url.partition("://")[2] if "://" in url else url
