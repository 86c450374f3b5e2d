"""The page of workers and of the queue."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.reads import at_work, series
from db.schema.session import transaction
from pipeline.actions.figures import timeline
from pipeline.dashboard.pages import page
from pipeline.dashboard.turns import in_turn

router = APIRouter(include_in_schema=False)

SHOWN = 500  # attempts, the newest: to draw them is most of what the page costs


def slots(connection: Connection) -> list[dict[str, object]]:
    """Worker processes, what each holds, and how long it has been silent."""
    return [_slot(row) for row in at_work.list_slots(connection)]


def _slot(row: at_work.ListedSlot) -> dict[str, object]:
    silent = (row.now - row.heartbeat_at).total_seconds()
    gone = row.state.value != "down" and silent > LEASES_UNTIL_GONE * row.lease
    return {
        "host": row.host,
        "name": row.name,
        "pid": row.pid,
        "device": row.device_names,
        "state": "gone" if gone else row.state.value,
        "reason": row.reason,
        "run": row.run_id,
        "silent_seconds": silent,
        "started_at": row.started_at,
    }


@router.get("/workers")
@in_turn
def show(request: Request) -> Response:
    """Workers, what waits for them, and what each held."""
    with transaction(read_only=True) as connection:
        rows = slots(connection)
        waiting = at_work.waiting_by_queue(connection)
        figure = timeline(series.holds(connection, None, SHOWN)).to_json()
    return page(request, "workers.html", slots=rows, waiting=waiting, figure=figure)
