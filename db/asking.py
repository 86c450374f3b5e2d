"""One statement of a user's, read-only: the database itself refuses all else.

SQLite opens the file `mode=ro` and asks an authorizer for each thing a statement would do
(`mode=ro` alone lets ATTACH write another file); PostgreSQL declares a cursor, which takes one
SELECT, in a read-only transaction. What a PostgreSQL role may call, such as functions that read
files, is that role's: SECURITY.md.
"""

import contextlib
import datetime as dt
import decimal
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.session import SERVER_GONE, current_engine, sqlite_module
from pipeline.errors import UserError

# Rows that are fetched at a time, and virtual-machine steps between looks at the clock.
PORTION = 1000
STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns by name, and rows that are fetched as they are read; the same on both databases.

    Times are text in UTC, `2026-01-31 12:00:00.000000`; JSON is text; bytes are text in hex.
    """

    columns: list[str]
    rows: Iterator[Sequence[Any]]


@contextlib.contextmanager
def ask(statement: str, *, seconds: float) -> Iterator[Answer]:
    """The answer to a SELECT, which may take so many seconds.

    Raises:
        UserError: the database refuses the statement, now or while rows are read; says why.
    """
    text = statement.strip().removesuffix(";")
    if not text:
        raise UserError('no statement: try nasnet query "select * from searches"')
    if "\0" in text:
        raise UserError("a statement has no NUL characters")
    url = current_engine().url
    sqlite = url.get_backend_name() == "sqlite"
    asking = _ask_sqlite(url.database, text, seconds) if sqlite else _ask_postgres(text, seconds)
    with asking as answer:
        yield answer


@contextlib.contextmanager
def _ask_sqlite(path: str | None, statement: str, seconds: float) -> Iterator[Answer]:
    sqlite = sqlite_module()
    uri = f"{Path(path or '').absolute().as_uri()}?mode=ro"
    connection = sqlite.connect(uri, uri=True, timeout=seconds, isolation_level=None)
    reads = {sqlite.SQLITE_SELECT, sqlite.SQLITE_READ, sqlite.SQLITE_RECURSIVE}

    def allow(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
        function = action == sqlite.SQLITE_FUNCTION and second != "load_extension"
        return int(sqlite.SQLITE_OK if action in reads or function else sqlite.SQLITE_DENY)

    deadline = time.monotonic() + seconds
    connection.set_authorizer(allow)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    with contextlib.closing(connection), _refusals((sqlite.Error, sqlite.Warning), deadline):
        cursor = connection.execute(statement)
        if cursor.description is None:
            raise UserError("query: expected a SELECT")
        names = [column[0] for column in cursor.description]
        yield Answer(names, _rows(iter(lambda: cursor.fetchmany(PORTION), [])))


@contextlib.contextmanager
def _ask_postgres(statement: str, seconds: float) -> Iterator[Answer]:
    try:
        import psycopg
    except ImportError:
        raise UserError(
            "PostgreSQL needs the extra `postgres`: pip install 'nasnet-pipeline[postgres]'"
        ) from None
    deadline = time.monotonic() + seconds
    with _connected(psycopg) as connection, _refusals((psycopg.Error,), deadline):
        cursor = connection.cursor()
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")

        def fetch() -> list[Any]:
            left = max(1, round(1000 * (deadline - time.monotonic())))
            cursor.execute(f"SET LOCAL statement_timeout = {left}")
            rows: list[Any] = cursor.execute(f"FETCH {PORTION} FROM answer").fetchall()
            return rows

        # prepared, so that the server takes one statement; a cursor, so that it takes a SELECT
        cursor.execute(f"DECLARE answer NO SCROLL CURSOR FOR {statement}\n", prepare=True)
        first = fetch()
        names = [column.name for column in cursor.description]
        yield Answer(names, _rows(itertools.chain([first], iter(fetch, []))))


def _connected(psycopg: Any) -> Any:
    """A connection of its own, that hands out JSON as text."""
    url = current_engine().url.set(drivername="postgresql")
    try:
        connection = psycopg.connect(url.render_as_string(hide_password=False), **SERVER_GONE)
    except psycopg.Error as error:
        raise UserError(f"the database does not answer: {_first_line(error)}") from None
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, psycopg.types.string.TextLoader)
    return contextlib.closing(connection)


@contextlib.contextmanager
def _refusals(errors: tuple[type[Exception], ...], deadline: float) -> Iterator[None]:
    """What the database objects to is the user's to mend, whenever a row brings it up."""
    try:
        yield
    except errors as error:
        if time.monotonic() >= deadline:
            raise UserError("query: took too long; --timeout SECONDS allows more") from None
        reason = _first_line(error)
        only = "; only SELECT is allowed" if "authoriz" in reason or "syntax" in reason else ""
        raise UserError(f"query: {reason}{only}") from None


def _rows(portions: Iterator[list[Any]]) -> Iterator[Sequence[Any]]:
    for portion in portions:
        yield from (tuple(map(_plain, row)) for row in portion)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _plain(value: Any) -> Any:
    """A value as both databases give it."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, int | float | str):
        return value
    return str(value)  # an interval, an array, an inet: PostgreSQL has many
