"""A search as one table, a row a child: CSV, or Parquet (extra `notebook`)."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from sqlalchemy import Connection

from db.transfer import dump
from pipeline.errors import UserError
from pipeline.search_files.records import time_text

# Columns as in docs/reference/tables.md; `digest` and `genotype` are its genotype's, `repeats`
# says what child had it before: version, arm and k.
COLUMNS = (
    *("id", "version", "arm", "k", "digest", "genotype", "ops_normal", "ops_reduction"),
    *("state", "created_at", "ended_at", "reward", "reward_kind", "stopped_epoch", "accuracy"),
    *("parameters", "macs", "failure", "duplicate_of", "learned_by"),
)
TEXTS = {"arm", "digest", "genotype", "state", "reward_kind", "failure"}
NUMBERS = {"reward", "accuracy"}
TIMES = {"created_at", "ended_at"}


def _rows(connection: Connection, search_id: int) -> Iterator[list[list[Any]]]:
    """Portions of rows, with the genotype as JSON."""
    for rows in dump.child_rows(connection, search_id):
        yield [[_cell(row, column) for column in COLUMNS] for row in rows]


def _cell(row: dump.DumpedChild, column: str) -> Any:
    if column == "genotype":
        return json.dumps(row.body, separators=(",", ":"), sort_keys=True)
    value = getattr(row, column)
    return str(value) if isinstance(value, str) else value


def write_csv(connection: Connection, search_id: int, file: BinaryIO) -> int:
    """Write a search's children, as of one moment; returns how many there are."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    times = [COLUMNS.index(name) for name in TIMES]
    count = 0
    for rows in _rows(connection, search_id):
        for row in rows:
            for place in times:
                row[place] = None if row[place] is None else time_text(row[place])
        writer.writerows(rows)
        count += len(rows)
    text.detach()
    return count


def write_parquet(connection: Connection, search_id: int, file: BinaryIO) -> int:
    """Write a search's children, as of one moment; returns how many there are.

    Raises:
        UserError: the extra `notebook` is not installed.
    """
    try:
        import pyarrow as pa  # an extra
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            "--format parquet needs the extra `notebook`: pip install 'nasnet-pipeline[notebook]'"
        ) from None
    types = {
        **dict.fromkeys(COLUMNS, pa.int64()),
        **dict.fromkeys(TEXTS, pa.string()),
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(TIMES, pa.timestamp("us", tz="UTC")),
    }
    schema = pa.schema([(name, types[name]) for name in COLUMNS])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in _rows(connection, search_id):
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(rows)
    return count
