"""How commands print: tables for people, JSON for programs."""

import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli.console import make_console
from pipeline.io.text import one_line

COUNTS = {"parameters", "macs"}  # columns of large numbers, shown with commas

WIDE = 250

OUT = ("--out", "--output")  # what every command that writes a file calls it

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(data: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(data, default=_plain) + "\n")
    sys.stdout.flush()


def say(text: str, *, to_stderr: bool = False) -> None:
    """One line on standard output, whatever names and reasons are in it."""
    typer.echo(one_line(text), err=to_stderr)


def print_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Rows as a table of some columns, or as a JSON list of all."""
    rows = [dict(row) for row in rows]
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        # Text: a name or an error message is never read as markup
        table.add_row(*(Text(_cell(column, row.get(column))) for column in columns))
    # a file or a pipe has no width to fold for
    console = make_console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table if rows else Text("none"))


def _cell(column: str, value: object) -> str:
    return f"{value:,}" if column in COUNTS and value is not None else shown(value)


def shown(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if not 0 < abs(value) < 1e-3 else f"{value:g}"
    if isinstance(value, list):
        return one_line("; ".join(map(str, value))) or "-"
    if isinstance(value, dt.datetime):
        return _local_time(value)
    return one_line(str(value))


def _local_time(time: dt.datetime) -> str:
    try:
        time = time.astimezone()
    except (OverflowError, ValueError, OSError):  # of year 1 or 9999, which no zone need have
        return f"{time:%Y-%m-%d %H:%M:%S} UTC"
    return f"{time:%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Seconds as people read them: 42s, 3m10s, 5h02m, 3d4h."""
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _plain(value: object) -> str | None:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return None
    raise TypeError(f"not JSON: {type(value)}")
