"""``nasnet query``: any question, in SQL."""

import contextlib
import csv
import itertools
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from db.reads.sql import QueryResult, ask
from pipeline.actions.stores import open_store
from pipeline.cli.output import JsonFlag, print_rows
from pipeline.cli.query_parquet import write_parquet
from pipeline.errors import UserError
from pipeline.io.terminal import unescaped

SHOWN = 1000  # rows of a table for people
SHOWN_LETTERS = 2**20  # of all of them together
CELL = 5000  # letters of one value in it
GRACE = 5.0  # seconds after which what does not end by itself is ended


def query(
    statement: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="One SELECT statement, in the database's own SQL."),
    ],
    as_json: JsonFlag = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print comma-separated values instead of a table.")
    ] = False,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", help="Write the rows to this Parquet file (extra `notebook`)."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=86_400, help="How many seconds it may take.")
    ] = 60.0,
) -> None:
    """Ask the store anything; nothing can be changed this way.

    Tables and views, with every column, are in docs/reference/tables.md.
    """
    if as_json + as_csv + (parquet is not None) > 1:
        raise UserError("--json, --csv and --parquet: give one of them")
    open_store()
    with _ended(timeout), ask(statement, seconds=timeout) as answer:
        if as_json:
            _print_json(answer)
        elif as_csv:
            _print_csv(answer)
        elif parquet is not None:
            write_parquet(answer, _distinct(answer.columns), parquet)
        else:
            _print_table(answer)


@contextlib.contextmanager
def _ended(seconds: float) -> Iterator[None]:
    """End the process some time after it should have.

    A single function of the database's may take hours without a look at the clock, and whoever
    reads our output may have stopped reading.
    """
    timer = threading.Timer(seconds + GRACE, _end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end() -> None:
    os.write(2, b"nasnet: query: took too long; --timeout SECONDS allows more\n")
    os._exit(2)


def _out() -> TextIO:
    """A program gets what is stored; a terminal would obey it."""
    return sys.stdout if sys.stdout.isatty() else unescaped(sys.stdout)


def _print_json(answer: QueryResult) -> None:
    """A list of objects, a line each: it need not be held in memory."""
    names = _distinct(answer.columns)
    out, separator = _out(), "[\n"
    for row in answer.rows:
        line = json.dumps(dict(zip(names, map(_strict, row), strict=True)), allow_nan=False)
        out.write(separator)
        out.write(line)
        separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")


def _strict(value: object) -> object:
    """JSON has no infinity: a text, as PostgreSQL's own to_json gives it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _print_csv(answer: QueryResult) -> None:
    writer = csv.writer(_out(), lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def _print_table(answer: QueryResult) -> None:
    names = _distinct(answer.columns)
    rows: list[dict[str, object]] = []
    letters, more = 0, False
    for row in answer.rows:
        if len(rows) == SHOWN or letters > SHOWN_LETTERS:
            more = True
            break
        cut = [_cut(value) for value in row]
        letters += sum(len(value) for value in cut if isinstance(value, str))
        rows.append(dict(zip(names, cut, strict=True)))
    print_rows(rows, names, as_json=False)
    if more:
        typer.echo(f"these are the first {len(rows):,} rows; --csv prints all", err=True)


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > CELL:
        return f"{value[:CELL]}..."
    return value


def _distinct(columns: list[str]) -> list[str]:
    """Names under which no two columns of a join hide one another: id, id_2."""
    names: dict[str, None] = {}
    counts = {column: itertools.count(2) for column in columns}
    for column in columns:
        name = column
        while name in names:
            name = f"{column}_{next(counts[column])}"
        names[name] = None
    return list(names)
