"""Whole searches in files: written from the store, and added to it."""

import enum
import tempfile
from pathlib import Path

from sqlalchemy import URL, Connection

from db.lifecycle import searches
from db.schema import migrations
from db.schema.session import make_engine, snapshot, transaction, using
from pipeline.actions.searches import checked_name
from pipeline.actions.stores import open_home, open_store
from pipeline.errors import UserError
from pipeline.io import files
from pipeline.search_files.importing import (
    CheckedFile,
    Imported,
    checked_file,
    find_imported,
    import_search,
    read_header,
)
from pipeline.search_files.jsonl import write_jsonl
from pipeline.search_files.records import Header
from pipeline.search_files.scalars import write_scalars
from pipeline.search_files.tables import write_csv, write_parquet


class Form(enum.StrEnum):
    """Of an exported search."""

    JSONL = "jsonl"  # all of it; `import` reads it
    PARQUET = "parquet"
    CSV = "csv"
    TENSORBOARD = "tensorboard"


def export_search(name: str, form: Form, path: Path) -> int:
    """Write a search as it is at this moment; returns how many children were written.

    A file that is there is replaced, once the new one is whole.

    Raises:
        UserError: there is no such search, or the file cannot be written.
    """
    open_store()
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    with snapshot() as connection:
        search_id = searches.get(connection, name).id
        return _write(connection, search_id, form, path)


def import_file(file: Path, name: str | None) -> Imported:
    """Add a file's search to the store under a name, or its own: all of it, or nothing.

    Raises:
        UserError: the file is refused, or the name is another search's.
    """
    header = read_header(file)
    return _import(file, header, checked_name(header.search.name if name is None else name))


def _write(connection: Connection, search_id: int, form: Form, path: Path) -> int:
    if form is Form.TENSORBOARD:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UserError(f"{path}: is there already; TensorBoard would show both together")
        return write_scalars(connection, search_id, path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder")
    write = {Form.JSONL: write_jsonl, Form.CSV: write_csv, Form.PARQUET: write_parquet}[form]
    with files.replacing(path.absolute()) as file:
        return write(connection, search_id, file)


def _try_import(checked: CheckedFile, name: str) -> None:
    """Import into a store that goes again: a file that is refused must not leave the first one.

    Raises:
        UserError: a line is refused.
    """

    with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
        engine = make_engine(URL.create("sqlite", database=f"{folder}/nasnet.db"))
        try:
            with using(engine):
                migrations.upgrade()
                with transaction() as connection:
                    import_search(connection, checked, name)
        finally:
            engine.dispose()


def _import(file: Path, header: Header, name: str) -> Imported:
    """Look whether the store has it, check the file, write: only that holds others up."""
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
