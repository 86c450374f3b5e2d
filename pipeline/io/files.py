"""Files by fsspec URL: written whole or not at all, read, deleted."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import fsspec

from pipeline.errors import MachineError, UserError
from pipeline.io.file_urls import path_of_url
from pipeline.io.reading import check_target


def write(url: str, data: memoryview) -> None:
    """Write a file under a name never used before; whole, or not there, after any crash.

    Raises:
        MachineError: it cannot be written (disk full, no rights, store away).
    """
    try:
        if is_local(url):
            _write_locally(Path(path_of_url(url)), data)
        else:  # an object appears whole or not at all
            with fsspec.open(url, "wb") as file:
                file.write(data)
    except UserError:
        raise
    except Exception as error:  # each file system has errors of its own
        reason = error.strerror if isinstance(error, OSError) else None
        raise MachineError(f"{url}: cannot be written: {reason or error}") from error


def _write_locally(path: Path, data: memoryview) -> None:
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A local file to write to, that takes its name at the end: whole, or not there at all.

    Temporary name, fsync, rename, fsync of the folder: that holds after any crash. A link stays,
    and the file that it names is replaced.

    Raises:
        UserError: what has the name is no file.
    """
    check_target(path)
    path = Path(os.path.realpath(path))
    descriptor, temporary = _temporary_file(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
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


def read(url: str) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError: it is not there, or a local disk cannot read it and never will.
        MachineError: the store that should have it is away, and will come back.
    """
    try:
        if is_local(url):
            return Path(path_of_url(url)).read_bytes()
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
            return data
    except Exception as error:
        if isinstance(error, FileNotFoundError) or (is_local(url) and isinstance(error, OSError)):
            raise FileNotFoundError(str(error)) from error
        raise MachineError(f"{url}: cannot be read: {error}") from error


def delete(url: str) -> None:
    """Delete a file, and its folder if it was the last; one that is gone is fine.

    So is one that cannot be deleted: a file left over harms nobody.
    """
    if is_local(url):
        path = Path(path_of_url(url))
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
        return
    with contextlib.suppress(Exception):
        file_system, path_text = fsspec.url_to_fs(url)
        file_system.rm(path_text)


def names_in(folder: str) -> list[str]:
    """The files of a folder, as URLs; none where there is no folder, or its store is away."""
    if is_local(folder):
        try:
            return [entry.path for entry in os.scandir(path_of_url(folder)) if entry.is_file()]
        except OSError:
            return []
    try:
        file_system, path = fsspec.url_to_fs(folder)
        return [file_system.unstrip_protocol(name) for name in file_system.ls(path, detail=False)]
    except Exception:  # noqa: BLE001 - each file system has errors of its own
        return []


def folders_in(folder: str) -> list[str]:
    """The folders in a folder of this machine; none where there is none."""
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []


def local_folder(url: str) -> Path | None:
    """A folder of this machine, or None where it is another's."""
    return Path(path_of_url(url)) if is_local(url) else None


def is_local(url: str) -> bool:
    """Whether a URL names a file of this machine."""
    return "://" not in url or url.startswith(("file://", "local://"))


def free_bytes(url: str) -> int | None:
    """What is free where a folder lies or will lie; None where only its store knows."""
    if not is_local(url):
        return None
    path = Path(path_of_url(url)).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
