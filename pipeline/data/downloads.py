"""Data sets that are downloaded once, by one process at a time."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.known_datasets import DATASETS
from pipeline.data.sources import blaming_the_user, read_known
from pipeline.errors import MachineError
from pipeline.io import locks
from pipeline.io.terminal import unescaped


def fetch_dataset(name: str, folder: Path) -> None:
    """Download a data set that must be and is not there yet; one process at a time.

    Raises:
        UserError: it cannot be had.
    """
    if name not in DATASETS or not DATASETS[name].is_downloaded:
        return
    lock = folder / f".{name}.lock"
    what = f"dataset {name} cannot be downloaded to {folder}"
    with blaming_the_user(what), _leaving_nothing(folder, lock):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.closing(locks.Waiting(lock)):
            try:
                read_known(name, folder)
            except MachineError:
                _download(name, folder)


@contextlib.contextmanager
def _leaving_nothing(folder: Path, lock: Path) -> Iterator[None]:
    """Take away the folders and the lock that were made for what then could not be done."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(lock.with_suffix(".partial"), ignore_errors=True)
            lock.unlink(missing_ok=True)
        for path in new:
            with contextlib.suppress(OSError):  # somebody else put something there
                path.rmdir()
        raise


def _download(name: str, folder: Path) -> None:
    """Download beside, and move file by file what could be read.

    torchvision would take half a file of an interrupted download for a whole one.
    """
    beside = folder / f".{name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    with contextlib.redirect_stderr(unescaped(sys.stderr)):  # its bar moves the cursor
        DATASETS[name].read(beside, download=True)
    for file in sorted(beside.rglob("*")):
        if file.is_file():
            target = folder / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(beside)
