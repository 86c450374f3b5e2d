"""What pages and JSON show of a search: read in one transaction, as plain values."""

from typing import Any

from sqlalchemy import Connection

from db import forecast, queries, runs, searches
from db.progress import progress


def overview(connection: Connection, row: Any) -> dict[str, Any]:
    """A search in a line: state, counts, best and mean reward."""
    now = progress(connection, row.id)
    assert now is not None
    best, mean = queries.rewards(connection, row.id)
    return {
        "name": row.name,
        "state": row.state.value,
        "reason": row.reason,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "completed": now.completed,
        "budget": now.budget,
        "version": now.version,
        "best": best,
        "mean": mean,
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
        "control": queries.control_arm(connection, now),
        "eta_seconds": eta.seconds if eta is not None and now.state.is_active else None,
        "policy": None if version is None else dict(version._mapping),
        "no_slot_for": [f"run {run.id}: {run.devices} x {run.device}" for run in lonely],
    }
