"""``nasnet search export`` and ``import``: whole searches in files."""

import enum
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import OUT, JsonFlag, print_json, say
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.search_files.importing import CheckedFile, Imported
    from pipeline.search_files.records import Header


class Form(enum.StrEnum):
    """Of an exported search."""

    JSONL = "jsonl"  # all of it; `import` reads it
    PARQUET = "parquet"
    CSV = "csv"
    TENSORBOARD = "tensorboard"


def export(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="The search's name.")],
    form: Annotated[
        Form,
        typer.Option(
            "--format", help="jsonl: all of it, for `import`; csv, parquet: a row a child."
        ),
    ] = Form.JSONL,
    out: Annotated[
        Path | None,
        typer.Option(*OUT, help="The file (tensorboard: folder); else here, by name."),
    ] = None,
) -> None:
    """Write a search to a file, as it is at this moment; it may run meanwhile.

    A file that is there is replaced, once the new one is whole.
    """
    from db.lifecycle import searches
    from db.schema.session import snapshot
    from pipeline.cli.home import open_store

    open_store()
    path = out or Path(f"{name}.{form}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    with snapshot() as connection:
        search_id = searches.get(connection, name).id
        count = _write(connection, search_id, form, path)
    say(f"{path}: {count:,} children")


def _write(connection: Any, search_id: int, form: Form, path: Path) -> int:
    from pipeline.io import files

    if form is Form.TENSORBOARD:
        from pipeline.search_files.scalars import write_scalars

        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UserError(f"{path}: is there already; TensorBoard would show both together")
        return write_scalars(connection, search_id, path)
    from pipeline.search_files.jsonl import write_jsonl
    from pipeline.search_files.tables import write_csv, write_parquet

    if path.is_dir():
        raise UserError(f"{path}: is a folder")
    write = {Form.JSONL: write_jsonl, Form.CSV: write_csv, Form.PARQUET: write_parquet}[form]
    with files.replacing(path.absolute()) as file:
        return write(connection, search_id, file)


def _try_import(checked: "CheckedFile", name: str) -> None:
    """Import into a store that goes again: a file that is refused must not leave the first one.

    Raises:
        UserError: a line is refused.
    """
    from sqlalchemy import URL

    from db.schema import migrations
    from db.schema.session import make_engine, transaction, using
    from pipeline.search_files.importing import import_search

    with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
        engine = make_engine(URL.create("sqlite", database=f"{folder}/nasnet.db"))
        try:
            with using(engine):
                migrations.upgrade()
                with transaction() as connection:
                    import_search(connection, checked, name)
        finally:
            engine.dispose()


def _import(file: Path, header: "Header", name: str) -> "Imported":
    """Look whether the store has it, check the file, write: only that holds others up."""
    from db.schema import migrations
    from db.schema.session import snapshot, transaction
    from pipeline.cli.home import open_home
    from pipeline.search_files.importing import checked_file, find_imported, import_search

    if migrations.is_made():
        migrations.require()
        with snapshot() as connection:
            known = find_imported(connection, file, header, name)
        if known is not None:
            return known
    with checked_file(file, header) as checked:
        if not migrations.is_made():
            _try_import(checked, name)
        open_home()
        migrations.prepare()
        with transaction() as connection:
            return import_search(connection, checked, name)


def import_(
    file: Annotated[Path, typer.Argument(help="Of `nasnet search export --format jsonl`.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The search's name here; else its own.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a file's search to this store, to be read, compared and retrained from.

    All of it or nothing: a file that is refused, or a kill, leaves nothing behind. A search that
    the store has is not added again.
    """
    from pipeline.cli.request import checked_name
    from pipeline.search_files.importing import read_header

    header = read_header(file)
    done = _import(file, header, checked_name(header.search.name if name is None else name))
    if as_json:
        print_json({"search": done.name, "children": done.children, "added": done.added})
    elif done.added:
        say(f"imported search {done.name!r}: {done.children:,} children")
    else:
        say(f"search {done.name!r} is here already, with all of it: nothing was added")
