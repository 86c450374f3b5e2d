"""What pages and JSON show of a search: read in one transaction, as plain values."""

from typing import Any, NamedTuple

from sqlalchemy import Connection

from db.lifecycle import runs, searches
from db.reads import forecast, queries
from db.reads.progress import Progress, progress
from pipeline.dashboard.kept import Kept

_counted = Kept()  # by a search's uid


class Counted(NamedTuple):
    """What takes a walk through all children of a search to find."""

    rewards: queries.Rewards
    control: queries.Rewards  # of the control arm
    states: dict[str, int]


def counted(connection: Connection, row: Any, now: Progress) -> Counted:
    """A search's counts; of a very large one that goes on as they were a little ago."""
    return _counted.get(
        row.uid,
        lambda: Counted(
            *queries.rewards(connection, row.id), queries.state_counts(connection, row.id)
        ),
        stamp=(now.completed, now.open, now.unstarted, now.state),
    )


def overview(connection: Connection, row: Any) -> dict[str, Any]:
    """A search in a line: state, counts, best and mean reward."""
    now = progress(connection, row.id)
    assert now is not None
    rewards = counted(connection, row, now).rewards
    return {
        "name": row.name,
        "tags": searches.tags_of(connection, row.id),
        "note": row.note,
        "state": row.state.value,
        "status": now.status,
        "reason": row.reason,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "completed": now.completed,
        "budget": now.budget,
        "version": now.version,
        "best": rewards.best,
        "mean": rewards.mean,
    }


def status(connection: Connection, name: str) -> dict[str, Any]:
    """A search as it is now: what a page follows live.

    Raises:
        UserError: there is no such search.
    """
    row = searches.get(connection, name)
    now = progress(connection, row.id)
    assert now is not None
    eta = forecast.ahead(connection, now)
    lonely = runs.without_slot(connection, search_id=row.id)
    version = queries.newest_version(connection, row.id)
    counts = counted(connection, row, now)
    return {
        **overview(connection, row),
        **counts.states,
        "waiting": now.unstarted,
        "shares": now.sharing is not None,
        "phases": now.phases,
        "phases_done": (now.version or 0) // now.sharing.updates if now.sharing else 0,
        "control": queries.control_arm(now, counts.control),
        "eta_seconds": eta.seconds if eta is not None and now.state.is_active else None,
        "policy": None if version is None else dict(version._mapping),
        "no_slot_for": [f"run {run.id}: {run.devices} x {run.device}" for run in lonely],
    }
