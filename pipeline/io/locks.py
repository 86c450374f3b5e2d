"""File locks that live exactly as long as the process that holds them, however it ends."""

import contextlib
import fcntl
import os
import time
from pathlib import Path


def acquire(path: Path, *, patience: float = 2.0) -> int | None:
    """Take a lock for the rest of this process's life; returns its descriptor, None if held.

    The holder's process id is written into the file. ``patience`` outlasts somebody who merely
    looks (``holder``).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.05)
    write_holder(descriptor, os.getpid())
    return descriptor


def write_holder(descriptor: int, pid: int) -> None:
    """Say which process a held lock stands for."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def holder(path: Path) -> int | None:
    """The process that holds a lock, or None where nobody does (0 where it is not told yet)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a disk may be read-only
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0)
        return int(text) if text.isdigit() else 0
    else:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return None
    finally:
        os.close(descriptor)


class Waiting:
    """A lock that is waited for, and given back by ``close``."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the next one have it."""
        os.close(self._descriptor)
