"""``nasnet db``: the store itself."""

from pathlib import Path
from typing import Annotated

import typer

from db.schema import migrations
from db.schema.session import backup as copy
from pipeline.actions.store_checks import check_store
from pipeline.actions.stores import open_home, open_store
from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.errors import UserError

app = typer.Typer(help="The database: its tables and their health.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Make the tables, or bring them to this release's schema."""
    open_home()
    changed = migrations.upgrade()
    typer.echo("upgraded" if changed else "nothing to do: the schema is this release's")


@app.command()
def backup(
    file: Annotated[
        Path,
        typer.Argument(help="The copy of the SQLite database; no file of that name may be there."),
    ],
) -> None:
    """Copy the database while it is used; artifacts are files of their own."""
    open_store()
    if file.exists():
        raise UserError(f"{file}: is there already; a backup overwrites nothing")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.absolute().parent}")
    copy(file)
    say(f"{file}: {file.stat().st_size:,} bytes")


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Check the database's schema, file, rows and the files they point at; exit code 1 if not."""
    found = check_store()
    if as_json:
        print_json({"revision": found.revision, "problems": found.problems})
    else:
        for line in (f"schema {found.revision}", *(found.problems or ["sound"])):
            say(line)
    if found.problems:
        raise typer.Exit(1)
