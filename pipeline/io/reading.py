"""Files of others: opened only where reading them ends, and blamed for what a parser raises."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import NasnetError, UserError
from pipeline.io.text import storable

LONGEST_REASON = 200
# What a shell hands over open: its other end is there, or has been.
HANDED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@contextlib.contextmanager
def blaming(what: object, said: str = "cannot be read") -> Iterator[None]:
    """Turn whatever is raised over something of others into one line that names it.

    No parser says all that it raises over what is damaged or made on purpose: ValueError,
    KeyError, RecursionError, MemoryError, and what its libraries raise.

    Raises:
        UserError: in place of anything but our own errors and a missing package.
    """
    try:
        yield
    except (NasnetError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise UserError(f"{storable(str(what))}: {said}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why something could not be read, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "what is in it lies too deep in one another"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no text in UTF-8: save it as UTF-8, or name another file"
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


def open_file(path: Path) -> BinaryIO:
    """Open a file: nothing that would be waited for, or that has no end.

    Raises:
        OSError: it cannot be opened.
        UserError: it is a pipe, a device, a socket or a folder.
    """
    # not blocking: to open a pipe would wait for whoever writes into it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        is_handed = stat.S_ISFIFO(mode) and str(path).startswith(HANDED)
        if not (stat.S_ISREG(mode) or is_handed):
            raise UserError(f"{storable(str(path))}: {_kind(mode)}, not a file")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_file(path: Path) -> None:
    """Refuse what is no file: for what is read by others, or more than once.

    Raises:
        OSError: it is not there.
        UserError: it is a pipe, a device, a socket or a folder.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{storable(str(path))}: {_kind(mode)}, not a file; what comes through a pipe is to "
            "be written to a file first"
        )


def read_bytes(path: Path, most: int) -> bytes:
    """A whole file.

    Raises:
        OSError: it cannot be read.
        UserError: it is none, or has more bytes than such a file has.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UserError(f"{storable(str(path))}: larger than {most:,} bytes")
    return data


def check_target(path: Path) -> None:
    """Refuse to put a file in the place of what is none: a device, a pipe, a folder.

    Raises:
        UserError: such a thing is there.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing is there, or a link to nothing: whoever writes will say the rest
        return
    if not stat.S_ISREG(mode):
        raise UserError(f"{storable(str(path))}: is {_kind(mode)}, not a file")


def _kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "something else")
