"""The ``nasnet`` command: one module a noun.

Modules import what is heavy inside their commands, so that ``nasnet --help`` comes at once.
"""

import os
import sys
import traceback
from typing import Annotated

import typer

from pipeline.cli import (
    dashboard,
    data,
    database,
    doctor,
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
from pipeline.errors import UserError
from pipeline.text import one_line

app = typer.Typer(
    name="nasnet",
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


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    sys.excepthook = lambda *error: _print("".join(traceback.format_exception(*error)))
    for stream in (sys.stdout, sys.stderr):
        # names of files and of searches are printed that the terminal's encoding may lack
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except UserError as error:
        _say(str(error))
    except UnicodeEncodeError as error:  # an argument that the store shall keep, or is asked for
        _say(f"{error.object}: not UTF-8")
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _say(f"{error.filename or 'this machine'}: {error.strerror or error}")
    except Exception as error:
        if not _is_database_error(error):
            raise
        _say(f"the database: {_first_line(getattr(error, 'orig', error))}")


def _say(message: str) -> None:
    _print(f"nasnet: {one_line(message)}\n")
    sys.exit(2)


def _print(text: str) -> None:
    from pipeline.settings import redacted

    sys.stderr.write(redacted(text))


def _is_database_error(error: Exception) -> bool:
    """Whether the database does not answer, is full or is none; a bad statement is our fault."""
    if "sqlalchemy.exc" not in sys.modules:
        return False
    from sqlalchemy.exc import DatabaseError, OperationalError

    return isinstance(error, OperationalError) or (
        isinstance(error, DatabaseError) and "not a database" in str(error.orig)
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]
