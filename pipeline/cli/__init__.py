"""The ``nasnet`` command: one module a noun.

Modules import what is heavy inside their commands, so that ``nasnet --help`` comes at once.
"""

import os
from typing import Annotated

import typer

from pipeline.cli import (
    dashboard,
    data,
    database,
    doctor,
    faults,
    genotype,
    init,
    leaderboard,
    network,
    predict,
    preset,
    query,
    report,
    run,
    search,
    training,
    worker,
)
from pipeline.io.terminal import escape_output

app = typer.Typer(
    name="nasnet",
    cls=faults.EscapingGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nasnet {version('nasnet-pipeline')}")
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Search for neural network architectures: a job queue that survives any crash."""


app.command("run")(run.run)
app.command("init")(init.init)
app.command("up")(run.up)
app.command("down")(run.down)
app.add_typer(search.app, name="search")
app.command("retrain")(training.retrain)
app.command("transfer")(training.transfer)
app.command("baseline")(training.baseline)
app.command("leaderboard")(leaderboard.leaderboard)
app.add_typer(genotype.app, name="genotype")
app.command("predict")(predict.predict)
app.command("query")(query.query)
app.command("report")(report.report)
app.command("dashboard")(dashboard.dashboard)
app.command("network")(network.network)
app.command("doctor")(doctor.doctor)
app.add_typer(worker.app, name="worker")
app.add_typer(database.app, name="db")
app.add_typer(preset.app, name="preset")
app.add_typer(data.app, name="data")


COMPLETE = "_NASNET_COMPLETE"


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    if COMPLETE not in os.environ:  # a shell asks what could be typed, and parts it by tabs
        escape_output()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the boundary: no kind of error slips through
        faults.end(error)
