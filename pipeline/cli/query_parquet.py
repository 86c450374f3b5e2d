"""The answer to ``nasnet query`` as a Parquet file, of any length.

A column that begins with nulls gets its type from a later row: the rows wait in a temporary file
until all types are known.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from db.reads.sql import QueryResult
from pipeline.cli.output import say
from pipeline.errors import MachineError, UserError
from pipeline.io import files

# Of a row group.
PORTION = 50_000
PORTION_BYTES = 2**25


def write_parquet(answer: QueryResult, names: list[str], path: Path) -> None:
    """Write an answer's rows.

    Raises:
        UserError: there is no such folder, no library, or a column has values of several types.
    """
    try:
        import pyarrow as pa  # an extra
    except ImportError:
        raise UserError(
            "--parquet needs the extra `notebook`: pip install 'nasnet-pipeline[notebook]'"
        ) from None
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder")
    try:
        with tempfile.TemporaryFile() as waiting:
            schemas = [
                _wait(pa, waiting, names, rows) for rows in _portions(answer.rows, len(names))
            ]
            schema = pa.unify_schemas(schemas, promote_options="permissive")
            waiting.seek(0)
            with files.replacing(path.absolute()) as file:
                count = _write(pa, waiting, len(schemas), schema, file)
    except (pa.ArrowException, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--parquet: a column has values of several types, or too large ones: {reason}"
        ) from None
    except MachineError as error:
        raise UserError(str(error)) from None
    say(f"{path}: {count:,} rows")


def _wait(
    pa: ModuleType, file: BinaryIO, names: list[str], rows: list[Sequence[object]]
) -> object:
    """Put rows aside; what types they have."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = [pa.array(list(values)) for values in columns]
    table = pa.table(arrays, names=names)
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return table.schema


def _write(
    pa: ModuleType, waiting: BinaryIO, portions: int, schema: object, file: BinaryIO
) -> int:
    from pyarrow import parquet  # an extra

    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for _ in range(portions):
            table = pa.ipc.open_stream(waiting).read_all()
            writer.write_table(table.cast(schema))
            count += table.num_rows
    return count


def _portions(rows: Iterator[Sequence[object]], columns: int) -> Iterator[list[Sequence[object]]]:
    """Lists of rows that may be held; one that is empty where there are none."""
    portion: list[Sequence[object]] = []
    held, is_first = 0, True
    for row in rows:
        portion.append(row)
        held += 50 * columns + sum(len(value) for value in row if isinstance(value, str))
        if len(portion) == PORTION or held > PORTION_BYTES:
            yield portion
            portion, held, is_first = [], 0, False
    if portion or is_first:
        yield portion
