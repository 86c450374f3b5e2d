"""``nasnet worker``: the processes that do the work."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.reads import at_work
from db.schema.session import transaction
from pipeline.actions.stores import keep_private, open_store
from pipeline.cli.output import JsonFlag, duration, print_rows
from tasks import worker

if TYPE_CHECKING:
    pass

app = typer.Typer(help="The processes that do the work.", no_args_is_help=True)


@app.command()
def start(
    name: Annotated[
        str,
        typer.Argument(
            help="control, reconcile, train (the first free slot), or a slot such as cuda-0."
        ),
    ],
) -> None:
    """Be one worker process, until SIGTERM: for systemd, a Procfile, or `nasnet up` itself."""
    keep_private()
    raise typer.Exit(worker.main(name))


@app.command("list")
def list_workers(as_json: JsonFlag = False) -> None:
    """List worker processes, what each holds, and how long it has been silent."""
    open_store()
    with transaction(read_only=True) as connection:
        rows = [_row(row) for row in at_work.list_slots(connection)]
    columns = ["name", "host", "pid", "device", "state", "run", "silent", "reason"]
    print_rows(rows, columns, as_json=as_json)


def _row(row: Any) -> dict[str, object]:
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
