"""``nasnet db``: the store itself."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import JsonFlag, print_json, say

app = typer.Typer(help="The database: its tables and their health.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Make the tables, or bring them to this release's schema."""
    from db.schema import migrations
    from pipeline.cli.home import open_home

    open_home()
    changed = migrations.upgrade()
    typer.echo("upgraded" if changed else "nothing to do: the schema is this release's")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new file, for the whole SQLite database.")],
) -> None:
    """Copy the database while it is used; artifacts are files of their own."""
    from db.schema.session import backup as copy
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError

    open_store()
    if file.exists():
        raise UserError(f"{file}: is there already; a backup overwrites nothing")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.absolute().parent}")
    copy(file)
    say(f"{file}: {file.stat().st_size:,} bytes")


def _orphans() -> list[str]:
    """Old files of this machine that no row points at, a line each; reconcile deletes them."""
    from tasks import leftovers

    return [f"no row points at {path}" for path in leftovers.orphans()]


def _missing_files() -> set[str]:
    """Files of this machine that rows point at and that are not there, a line each."""
    from db.lifecycle import checkpoints
    from db.schema.session import transaction
    from pipeline.io import files
    from pipeline.io.file_urls import path_of_url

    with transaction(read_only=True) as connection:
        rows = checkpoints.lying(connection)
    return {
        f"artifact {row.id} of run {row.run_id} is missing: {row.uri}"
        for row in rows
        if files.is_local(row.uri) and not Path(path_of_url(row.uri)).exists()
    }


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Check the database's schema, file, rows and the files they point at; exit code 1 if not."""
    from sqlalchemy import text

    from db.reads import soundness
    from db.schema import migrations
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    missing = _missing_files() & _missing_files()  # one that is being deleted is missing once
    orphans = _orphans()
    with transaction(read_only=True) as connection:
        problems = soundness.impossible(connection) + sorted(missing) + orphans
        if connection.dialect.name == "sqlite":
            rows = [*connection.execute(text("PRAGMA quick_check")).scalars()]
            problems += [row for row in rows if row != "ok"]
            problems += [
                f"{row[0]}, row {row[1]}: points at nothing in {row[2]}"
                for row in connection.execute(text("PRAGMA foreign_key_check"))
            ]
        revision = migrations.stored_revision(connection)
    if as_json:
        print_json({"revision": revision, "problems": problems})
    else:
        for line in (f"schema {revision}", *(problems or ["sound"])):
            say(line)
    if problems:
        raise typer.Exit(1)
