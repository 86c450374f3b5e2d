"""What every face shows of a search: how far it is, its rewards, what it waits for."""

from typing import NamedTuple

from sqlalchemy import Connection

from db.lifecycle import runs
from db.reads import summary
from db.reads.progress import Progress, progress
from pipeline.errors import UserError


class Counts(NamedTuple):
    """What takes a walk through all children of a search to find."""

    rewards: summary.Rewards
    control: summary.Rewards  # of the control arm
    states: dict[str, int]  # children by state


def progress_of(connection: Connection, search_id: int) -> Progress:
    """How far a search is.

    Raises:
        UserError: it was deleted meanwhile.
    """
    now = progress(connection, search_id)
    if now is None:
        raise UserError("the search was deleted")
    return now


def count(connection: Connection, search_id: int) -> Counts:
    """A search's rewards, and its children by state."""
    return Counts(
        *summary.rewards(connection, search_id), summary.state_counts(connection, search_id)
    )


def without_slot(connection: Connection, search_id: int) -> list[str]:
    """Which of a search's runs no slot can take, a line for each: its devices and their kind."""
    rows = runs.without_slot(connection, search_id=search_id)
    return [f"run {run.id}: {run.devices} x {run.device}" for run in rows]
