"""``nasnet worker``: the processes that do the work."""

from typing import Annotated, Any

import typer

from pipeline.cli.output import JsonFlag, duration, print_rows

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
    from pipeline.cli.home import keep_private
    from tasks import worker

    keep_private()
    raise typer.Exit(worker.main(name))


@app.command("list")
def list_workers(as_json: JsonFlag = False) -> None:
    """List worker processes, what each holds, and how long it has been silent."""
    from db.reads import queries
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    with transaction(read_only=True) as connection:
        rows = [_row(row) for row in queries.list_slots(connection)]
    columns = ["name", "host", "pid", "device", "state", "run", "silent", "reason"]
    print_rows(rows, columns, as_json=as_json)


def _row(row: Any) -> dict[str, Any]:
    from db.lifecycle.queue import LEASES_UNTIL_GONE

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
