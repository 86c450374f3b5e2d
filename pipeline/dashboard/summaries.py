"""What pages and JSON show of a search: read in one transaction, as plain values."""

from typing import Any

from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import forecast, summary
from db.reads.progress import Progress
from pipeline.actions.summaries import Counts, count, progress_of, without_slot
from pipeline.dashboard.cache import Cache

_counts: Cache[Counts] = Cache()  # by a search's uid


def counted(connection: Connection, row: Any, now: Progress) -> Counts:
    """A search's counts; of a very large one that goes on as they were a little ago."""
    return _counts.get(
        row.uid,
        lambda: count(connection, row.id),
        stamp=(now.completed, now.open, now.unstarted, now.state),
    )


def overview(connection: Connection, row: Any) -> dict[str, object]:
    """A search in a line: state, counts, best and mean reward."""
    now = progress_of(connection, row.id)
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


def status(connection: Connection, name: str) -> dict[str, object]:
    """A search as it is now: what a page follows live.

    Raises:
        UserError: there is no such search.
    """
    row = searches.get(connection, name)
    now = progress_of(connection, row.id)
    eta = forecast.ahead(connection, now)
    version = summary.newest_version(connection, row.id)
    counts = counted(connection, row, now)
    return {
        **overview(connection, row),
        **counts.states,
        "waiting": now.unstarted,
        "shares": now.sharing is not None,
        "phases": now.phases,
        "phases_done": (now.version or 0) // now.sharing.updates if now.sharing else 0,
        "control": summary.control_arm(now, counts.control),
        "eta_seconds": eta.seconds if eta is not None and now.state.is_active else None,
        "policy": None if version is None else version._asdict(),
        "no_slot_for": without_slot(connection, row.id),
    }
