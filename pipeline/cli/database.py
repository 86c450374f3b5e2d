"""``nasnet db``: the store itself."""

import typer

from pipeline.cli.output import JsonFlag, print_json

app = typer.Typer(help="The database: its tables and their health.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Make the tables, or bring them to this release's schema."""
    from db import schema
    from pipeline.cli.home import open_home

    open_home()
    changed = schema.upgrade()
    typer.echo("upgraded" if changed else "nothing to do: the schema is this release's")


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Check that the database has this release's schema and is sound; exit code 1 if not."""
    from sqlalchemy import text

    from db import schema
    from db.session import transaction

    schema.require()
    with transaction(read_only=True) as connection:
        problems = []
        if connection.dialect.name == "sqlite":
            rows = [*connection.execute(text("PRAGMA quick_check")).scalars()]
            problems += [row for row in rows if row != "ok"]
            problems += [
                f"{row[0]}, row {row[1]}: points at nothing in {row[2]}"
                for row in connection.execute(text("PRAGMA foreign_key_check"))
            ]
        revision = schema.stored_revision(connection)
    if as_json:
        print_json({"revision": revision, "problems": problems})
    else:
        typer.echo("\n".join([f"schema {revision}", *(problems or ["sound"])]))
    if problems:
        raise typer.Exit(1)
