"""Checkpoint files: written whole under a name never used before, read only if unchanged.

Any fsspec URL will do. Whoever writes a file commits its row afterwards, with the sha256 given
here; a file without a row is nobody's.
"""

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
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
    except Exception as error:  # each file system has errors of its own
        reason = error.strerror if isinstance(error, OSError) else None
        raise MachineError(f"{url}: cannot be written: {reason or error}") from error
    return hashlib.sha256(data).hexdigest(), data.nbytes


def _write_locally(path: Path, data: memoryview) -> None:
    """Temporary name, fsync, rename, fsync of the folder: whole, or not there, after any crash."""
    descriptor, temporary = _temporary_file(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _temporary_file(path: Path) -> tuple[int, str]:
    """A new file beside ``path``, for its owner alone."""
    try:
        _make_folder(path.parent)
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except FileNotFoundError:  # another process's `delete` found the folder empty in between
        _make_folder(path.parent)
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")


def _make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, all for the owner alone, and lasting."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(url: str, sha256: str) -> dict[str, Any]:
    """Read a state whose file is the one that was written.

    Nothing is unpickled before the sha256 is right, and then tensors and plain values only.

    Raises:
        CorruptCheckpointError: it is missing, or another.
        MachineError: the store that should have it is away.
    """
    data = _read_bytes(url)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptCheckpointError(f"{url}: not the file that was written")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptCheckpointError(f"{url}: {reason}") from error
    if not isinstance(state, dict):
        raise CorruptCheckpointError(f"{url}: not a checkpoint")
    return state


def _read_bytes(url: str) -> bytes:
    try:
        if _is_local(url):
            return Path(_local_path(url)).read_bytes()
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
            return data
    except Exception as error:
        # a file of a local disk that cannot be read stays so; a store away comes back (law 8)
        if isinstance(error, FileNotFoundError) or (_is_local(url) and isinstance(error, OSError)):
            raise CorruptCheckpointError(f"{url}: {error}") from error
        raise MachineError(f"{url}: cannot be read: {error}") from error


def delete(url: str) -> None:
    """Delete a file, and its folder if it was the last; one that is gone is fine.

    So is one that cannot be deleted: a file left over harms nobody.
    """
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
