"""Whether a store is sound: its schema, rows and database file, and the files it points at."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from db.lifecycle import checkpoints
from db.reads import soundness
from db.schema import migrations
from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.io import files
from pipeline.io.file_urls import path_of_url
from tasks import leftovers


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What was found."""

    revision: str | None  # of the schema
    problems: list[str]  # a line each; none: it is sound


def check_store() -> StoreCheck:
    """Look at all of a store.

    Raises:
        UserError: there is none, or it is older than this release.
    """
    open_store()
    missing = _missing_files() & _missing_files()  # one that is being deleted is missing once
    without_row = _files_without_row()
    with transaction(read_only=True) as connection:
        problems = soundness.impossible(connection) + sorted(missing) + without_row
        if connection.dialect.name == "sqlite":
            rows = [*connection.execute(text("PRAGMA quick_check")).scalars()]
            problems += [row for row in rows if row != "ok"]
            problems += [
                f"{row[0]}, row {row[1]}: points at nothing in {row[2]}"
                for row in connection.execute(text("PRAGMA foreign_key_check"))
            ]
        revision = migrations.stored_revision(connection)
    return StoreCheck(revision, problems)


def _files_without_row() -> list[str]:
    """Old files of this machine that no row points at, a line each; reconcile deletes them."""
    return [f"no row points at {path}" for path in leftovers.files_without_row()]


def _missing_files() -> set[str]:
    """Files of this machine that rows point at and that are not there, a line each."""
    with transaction(read_only=True) as connection:
        rows = checkpoints.lying(connection)
    return {
        f"artifact {row.id} of run {row.run_id} is missing: {row.uri}"
        for row in rows
        if files.is_local(row.uri) and not Path(path_of_url(row.uri)).exists()
    }
