"""Files that no row points at: what a killed process had begun to write. They are deleted.

A file is written before its row, so a file without a row may also be one that is being written:
only those of an attempt that is over go at once, others when they are old.
"""

import re
import time
from pathlib import Path

import structlog

from db.lifecycle import retention, slots
from db.schema.session import AWAY, transaction
from pipeline.io import files
from pipeline.settings import get_settings
from tasks.app import store_uid

log = structlog.get_logger("tasks")

TURN = "leftovers"
INTERVAL = 3600.0  # seconds between sweeps of all
OLD = 3600.0  # seconds; a file this old is not being written any more

_OF_ATTEMPT = re.compile(r"\.?attempt-(\d+)-")


def run_folder(run_id: int) -> str:
    """Where the files of a run are."""
    return f"{get_settings().artifact_url}/{store_uid()}/run-{run_id}"


def clean(run_id: int, attempt: int) -> None:
    """Delete what attempts up to this one left of a run without a row, if that can be done now."""
    try:
        found = [
            path
            for path in files.names_in(run_folder(run_id))
            if (match := _OF_ATTEMPT.match(_name(path))) and int(match[1]) <= attempt
        ]
        for path in _unknown(run_id, found) if found else ():
            files.delete(path)
    except AWAY:  # the hourly sweep comes by
        log.warning("the database is away; files may be left", run=run_id)


def _name(path: str) -> str:
    """What a file is called in its run's folder: a folder has many spellings, a name has one."""
    return path.rpartition("/")[2]


def _unknown(run_id: int, found: list[str]) -> list[str]:
    """Those of a run's files that no row points at; none where the rows' files are elsewhere."""
    with transaction(read_only=True) as connection:
        known = {_name(place) for place in retention.places_of_run(connection, run_id)}
    there = {_name(path) for path in files.names_in(run_folder(run_id))}
    if known and not known & there:
        return []
    return [path for path in found if _name(path) not in known]


def files_without_row(older_than: float = OLD) -> list[str]:
    """Old files of this machine's artifact folder that no row points at."""
    folder = files.local_folder(get_settings().artifact_url)
    if folder is None:
        return []
    left: list[str] = []
    for path in files.folders_in(str(folder / store_uid())):
        run_id = _name(path).removeprefix("run-")
        found = [name for name in files.names_in(path) if _age(name) > older_than]
        if found and run_id.isdigit():
            left += _unknown(int(run_id), found)
    return sorted(left)


def _age(path: str) -> float:
    try:
        return time.time() - Path(path).stat().st_mtime
    except OSError:
        return 0.0


def sweep(owner: str) -> None:
    """Delete old files without a row, now and then."""
    with transaction() as connection:
        if slots.take_turn(connection, TURN, owner, INTERVAL, keeps=False) is None:
            return
    for path in files_without_row():
        files.delete(path)
