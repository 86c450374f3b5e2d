"""What pages and JSON show of a search: read in one transaction, as plain values."""

from typing import Any

from sqlalchemy import Connection

from db import forecast, queries, runs, searches
from db.enums import Arm
from db.progress import progress
from pipeline.dashboard.kept import Kept

# by a search's uid: a walk through all its rewards, a tenth of a second for a million
_rewards = Kept()


def rewards_by_arm(connection: Connection, row: Any) -> dict[Arm, queries.Rewards]:
    """The rewards of a search's arms; of a very large search as they were a little ago."""
    return _rewards.get(row.uid, lambda: queries.rewards_by_arm(connection, row.id))


def overview(connection: Connection, row: Any) -> dict[str, Any]:
    """A search in a line: state, counts, best and mean reward."""
    now = progress(connection, row.id)
    assert now is not None
    rewards = queries.together(rewards_by_arm(connection, row))
    return {
        "name": row.name,
        "state": row.state.value,
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
    seconds = forecast.recent_seconds(connection, row.id)
    eta = forecast.forecast(now, seconds, forecast.running(connection, row.id))
    lonely = runs.without_slot(connection, search_id=row.id)
    version = queries.newest_version(connection, row.id)
    return {
        **overview(connection, row),
        **queries.state_counts(connection, row.id),
        "waiting": now.unstarted,
        "control": queries.control_arm(now, rewards_by_arm(connection, row)),
        "eta_seconds": eta.seconds if eta is not None and now.state.is_active else None,
        "policy": None if version is None else dict(version._mapping),
        "no_slot_for": [f"run {run.id}: {run.devices} x {run.device}" for run in lonely],
    }
