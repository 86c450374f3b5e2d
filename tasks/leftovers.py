"""Files that no row points at: what a killed process had begun to write. They are deleted.

A file is written before its row, so a file without a row may also be one that is being written:
only those of an attempt that is over go at once, others when they are old.
"""

import re
import time
from pathlib import Path

from db import retention, slots
from db.session import transaction
from pipeline import files
from pipeline.settings import get_settings
from tasks.app import store_uid

TURN = "leftovers"
INTERVAL = 3600.0  # seconds between sweeps of all
OLD = 3600.0  # seconds; nothing takes so long to be written

_OF_ATTEMPT = re.compile(r"\.?attempt-(\d+)-")


def run_folder(run_id: int) -> str:
    """Where the files of a run are."""
    return f"{get_settings().artifact_url}/{store_uid()}/run-{run_id}"


def clean(run_id: int, attempt: int) -> None:
    """Delete what attempts up to this one left of a run without a row."""
    found = [
        path
        for path in files.names_in(run_folder(run_id))
        if (match := _OF_ATTEMPT.match(path.rpartition("/")[2])) and int(match[1]) <= attempt
    ]
    if not found:
        return
    with transaction(read_only=True) as connection:
        known = retention.places_of_run(connection, run_id)
    for path in set(found) - known:
        files.delete(path)


def orphans(older_than: float = OLD) -> list[str]:
    """Old files of this machine's artifact folder that no row points at."""
    folder = files.local_folder(get_settings().artifact_url)
    if folder is None:
        return []
    found = [path for path in folder.glob(f"{store_uid()}/run-*/*") if _age(path) > older_than]
    with transaction(read_only=True) as connection:
        known = set().union(
            *(
                retention.places_of_run(connection, int(name))
                for path in {path.parent for path in found}
                if (name := path.name.removeprefix("run-")).isdigit()
            )
        )
    return sorted(str(path) for path in found if str(path) not in known)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def sweep(owner: str) -> None:
    """Delete old files without a row, now and then."""
    with transaction() as connection:
        if slots.take_turn(connection, TURN, owner, INTERVAL, keeps=False) is None:
            return
    for path in orphans():
        files.delete(path)
