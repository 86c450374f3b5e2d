"""The ``nasnet`` command: one table of its commands, each in a module of its own.

A module is imported when its command is asked for; help and completion read the table alone. To
add a command, write its module and add a line to the table.
"""

import os
import sys
from typing import Annotated

import typer

from pipeline.cli.lazy import LOOK, Entry, LazyGroup
from pipeline.io.terminal import escape_output

COMMANDS = {
    "run": Entry("pipeline.cli.run:run", "Run a search to its end: create it, or go on with it."),
    "init": Entry("pipeline.cli.init:init", "Write a commented configuration for a data set."),
    "up": Entry("pipeline.cli.run:up", "Keep this machine's processes running until `down`."),
    "down": Entry("pipeline.cli.run:down", "End all processes of this home."),
    "search": Entry("pipeline.cli.search:app", "Create, list, watch, steer and delete searches."),
    "retrain": Entry("pipeline.cli.training:retrain", "Train a search's best genotypes in full."),
    "transfer": Entry("pipeline.cli.training:transfer", "Train a genotype on other data."),
    "baseline": Entry("pipeline.cli.training:baseline", "Train a known network, to compare with."),
    "leaderboard": Entry("pipeline.cli.leaderboard:leaderboard", "List networks trained in full."),
    "genotype": Entry("pipeline.cli.genotype:app", "Architectures that were found, or published."),
    "predict": Entry("pipeline.cli.predict:predict", "Classify images with an exported network."),
    "query": Entry("pipeline.cli.query:query", "Ask the store anything, in SQL."),
    "report": Entry("pipeline.cli.report:report", "Write a search's report as one HTML file."),
    "dashboard": Entry("pipeline.cli.dashboard:dashboard", "Serve the dashboard until Ctrl-C."),
    "network": Entry("pipeline.cli.network:network", "Print what a network costs."),
    "doctor": Entry("pipeline.cli.doctor:doctor", "Say what keeps work from being done."),
    "worker": Entry("pipeline.cli.worker:app", "The processes that do the work."),
    "db": Entry("pipeline.cli.database:app", "The database: its tables and their health."),
    "preset": Entry("pipeline.cli.preset:app", "The configurations that ship with the package."),
    "data": Entry("pipeline.cli.data:app", "Data sets."),
}


class _Commands(LazyGroup):
    entries = COMMANDS


app = typer.Typer(name="nasnet", cls=_Commands, no_args_is_help=True, **LOOK)
COMPLETE = "_NASNET_COMPLETE"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # as slow to load as all else that help needs

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


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    if COMPLETE not in os.environ:  # a shell asks what could be typed, and parts it by tabs
        escape_output()
    try:
        code = app(
            prog_name="nasnet", standalone_mode=False
        )  # it raises what is wrong with the arguments, too
    except Exception as error:  # noqa: BLE001 - the boundary: no kind of error slips through
        from pipeline.cli import faults  # what help does without

        faults.end(error)
    sys.exit(code)
