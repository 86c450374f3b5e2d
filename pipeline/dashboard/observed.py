"""What pages and JSON show of a search: read in one transaction, as plain values."""

from typing import Any

from sqlalchemy import Connection

from db import forecast, queries, runs, searches
from db.progress import Progress, progress
from pipeline.dashboard.kept import Kept

# by a search's uid: a walk through all its rewards, a tenth of a second for a million
_rewards = Kept()


def rewards(
    connection: Connection, row: Any, now: Progress
) -> tuple[queries.Rewards, queries.Rewards]:
    """The rewards of a search and of its control arm; of a very large one that goes on as they
    were a little ago.
    """
    return _rewards.get(
        row.uid, lambda: queries.rewards(connection, row.id), stamp=(now.completed, now.state)
    )


def overview(connection: Connection, row: Any) -> dict[str, Any]:
    """A search in a line: state, counts, best and mean reward."""
    now = progress(connection, row.id)
    assert now is not None
    of_all, _ = rewards(connection, row, now)
    return {
        "name": row.name,
        "state": row.state.value,
        "reason": row.reason,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "completed": now.completed,
        "budget": now.budget,
        "version": now.version,
        "best": of_all.best,
        "mean": of_all.mean,
    }


def status(connection: Connection, name: str) -> dict[str, Any]:
    """A search as it is now: what a page follows live.

    Raises:
        UserError: there is no such search.
    """
    row = searches.get(connection, name)
    now = progress(connection, row.id)
    assert now is not None
    seconds = forecast.recent_seconds(connection, row.id)
    eta = forecast.forecast(now, seconds, forecast.running(connection, row.id))
    lonely = runs.without_slot(connection, search_id=row.id)
    version = queries.newest_version(connection, row.id)
    return {
        **overview(connection, row),
        **queries.state_counts(connection, row.id),
        "waiting": now.unstarted,
        "control": queries.control_arm(now, rewards(connection, row, now)[1]),
        "eta_seconds": eta.seconds if eta is not None and now.state.is_active else None,
        "policy": None if version is None else dict(version._mapping),
        "no_slot_for": [f"run {run.id}: {run.devices} x {run.device}" for run in lonely],
    }
