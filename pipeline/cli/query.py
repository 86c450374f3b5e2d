"""``nasnet query``: any question, in SQL."""

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import JsonFlag, print_rows, say
from pipeline.terminal import unescaped

if TYPE_CHECKING:
    from db.asking import Answer

SHOWN = 1000  # rows of a table for people
PORTION = 50_000  # rows of a row group in a Parquet file


def query(
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT statement.")],
    as_json: JsonFlag = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Write this file (extra `notebook`).")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=86_400, help="Seconds it may take.")
    ] = 60.0,
) -> None:
    """Ask the store anything; nothing can be changed this way.

    Tables and views, with every column, are in docs/queries.md.
    """
    from db.asking import ask
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError

    if as_json + as_csv + (parquet is not None) > 1:
        raise UserError("--json, --csv and --parquet: give one of them")
    open_store()
    with ask(statement, seconds=timeout) as answer:
        if as_json:
            _print_json(answer)
        elif as_csv:
            _print_csv(answer)
        elif parquet is not None:
            _write_parquet(answer, parquet)
        else:
            _print_table(answer)


def _print_json(answer: "Answer") -> None:
    """A list of objects, a line each: it need not be held in memory."""
    names = _distinct(answer.columns)
    separator = "[\n"
    for row in answer.rows:
        sys.stdout.write(separator + json.dumps(dict(zip(names, row, strict=True))))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _print_csv(answer: "Answer") -> None:
    # a program gets what is stored; a terminal would obey it
    out = sys.stdout if sys.stdout.isatty() else unescaped(sys.stdout)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def _print_table(answer: "Answer") -> None:
    names = _distinct(answer.columns)
    rows = list(itertools.islice(answer.rows, SHOWN + 1))
    print_rows((dict(zip(names, row, strict=True)) for row in rows[:SHOWN]), names, as_json=False)
    if len(rows) > SHOWN:
        typer.echo(f"these are the first {SHOWN:,} rows; --csv prints all", err=True)


def _write_parquet(answer: "Answer", path: Path) -> None:
    from pipeline import files
    from pipeline.errors import MachineError, UserError

    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            "--parquet needs the extra `notebook`: pip install 'nasnet-pipeline[notebook]'"
        ) from None
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    names = _distinct(answer.columns)
    try:
        parts = [_table(pa, names, rows) for rows in _portions(answer.rows)]
        # a column that begins with nulls gets its type from a later part
        table = pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"--parquet: a column has values of several types: {error}") from None
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    try:
        files.write(str(path), buffer.getbuffer())
    except MachineError as error:
        raise UserError(str(error)) from None
    say(f"{path}: {table.num_rows:,} rows")


def _table(pa: Any, names: list[str], rows: list[Sequence[Any]]) -> Any:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table({name: list(values) for name, values in zip(names, columns, strict=True)})


def _portions(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    """Lists of rows; one that is empty where there are none."""
    portion = list(itertools.islice(rows, PORTION))
    yield portion
    while portion := list(itertools.islice(rows, PORTION)):
        yield portion


def _distinct(columns: list[str]) -> list[str]:
    """Names under which no two columns of a join hide one another: id, id_2."""
    names: list[str] = []
    for column in columns:
        same = itertools.chain([column], (f"{column}_{number}" for number in itertools.count(2)))
        names.append(next(name for name in same if name not in names))
    return names
