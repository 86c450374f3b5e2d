"""``nasnet worker list``: worker processes, and what each holds."""

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.reads import at_work
from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.cli.output import JsonFlag, duration, print_rows


def list_workers(as_json: JsonFlag = False) -> None:
    """List worker processes, what each holds, and how long it has been silent."""
    open_store()
    with transaction(read_only=True) as connection:
        rows = [_row(row) for row in at_work.list_slots(connection)]
    columns = ["name", "host", "pid", "device", "state", "run", "silent", "reason"]
    print_rows(rows, columns, as_json=as_json)


def _row(row: at_work.ListedSlot) -> dict[str, object]:
    silent = (row.now - row.heartbeat_at).total_seconds()
    gone = row.state != "down" and silent > LEASES_UNTIL_GONE * row.lease
    return {
        "name": row.name,
        "host": row.host,
        "home": row.home,
        "pid": row.pid,
        "device": row.device_names,
        "state": "gone" if gone else str(row.state),
        "reason": row.reason,
        "run": row.run_id,
        "silent": duration(silent),
        "started_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "versions": row.versions,
    }
