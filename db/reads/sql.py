"""One statement of a user's, read-only: the database itself refuses all else.

SQLite opens the file `mode=ro` and asks an authorizer for each thing a statement would do
(`mode=ro` alone lets ATTACH write another file); PostgreSQL declares a cursor, which takes one
SELECT, in a read-only transaction. What a PostgreSQL role may call, such as functions that read
files, is that role's: SECURITY.md.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.reads.sql_values import Row, Texts, plain, prefer_text, size
from db.schema.session import SERVER_GONE, current_engine, sqlite_module
from pipeline.errors import UserError

# Virtual-machine steps between looks at the clock.
STEPS = 10_000
# Bytes of one row; the largest state of a policy has less than half. In hex or JSON they are up
# to six times as many.
MOST_ROW = 2**23
MOST_COLUMNS = 1000
# Bytes that SQLite may take in this process: its cache is 64 MiB, the rest is for rows and sorts.
# From then on, too: a process may only lower it.
MOST_HEAP = 2**27
# What SQLite may be asked, where its module lets that be set (pysqlite3's does not).
LIMITS = {
    "SQLITE_LIMIT_LENGTH": MOST_ROW,
    "SQLITE_LIMIT_SQL_LENGTH": 2**20,
    "SQLITE_LIMIT_COLUMN": MOST_COLUMNS,
    "SQLITE_LIMIT_EXPR_DEPTH": 500,
    "SQLITE_LIMIT_COMPOUND_SELECT": 100,
    "SQLITE_LIMIT_LIKE_PATTERN_LENGTH": 1000,
}
TOO_LARGE = f"a row has more than {MOST_ROW:,} bytes"
LESS = "ask for less of it, such as length(...)"
# PostgreSQL sends a row as a whole, a gigabyte if it is asked: it shall look before it does. A
# cast that fails is its only way to say so in SQL.
ROW = '"nasnet row"'
MEASURED = f"""
    SELECT {ROW}.*, CASE WHEN pg_column_size({ROW}) > {MOST_ROW}
        THEN CAST('{TOO_LARGE}: ' || pg_column_size({ROW}) AS integer) END
    FROM ({{}}
    ) AS {ROW}
"""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Columns by name, and rows that are fetched as they are read; the same on both databases.

    Times are text in UTC, `2026-01-31 12:00:00.000000`; JSON is text; bytes are text in hex.
    """

    columns: list[str]
    rows: Iterator[Row]


@contextlib.contextmanager
def ask(statement: str, *, seconds: float) -> Iterator[QueryResult]:
    """The result of a SELECT, which may take some seconds, those between its rows as well.

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
    with asking as result:
        yield result


@contextlib.contextmanager
def _ask_sqlite(path: str | None, statement: str, seconds: float) -> Iterator[QueryResult]:
    sqlite = sqlite_module()
    uri = f"{Path(path or '').absolute().as_uri()}?mode=ro"
    connection = sqlite.connect(uri, uri=True, timeout=seconds, isolation_level=None)
    reads = {sqlite.SQLITE_SELECT, sqlite.SQLITE_READ, sqlite.SQLITE_RECURSIVE}

    def allow(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
        function = action == sqlite.SQLITE_FUNCTION and second != "load_extension"
        return int(sqlite.SQLITE_OK if action in reads or function else sqlite.SQLITE_DENY)

    deadline = time.monotonic() + seconds
    connection.execute(f"PRAGMA hard_heap_limit = {MOST_HEAP}")
    if hasattr(connection, "setlimit"):
        for name, most in LIMITS.items():
            connection.setlimit(getattr(sqlite, name), most)
    texts = Texts(MOST_ROW, _too_large)
    connection.text_factory = texts.decode
    connection.set_authorizer(allow)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    with contextlib.closing(connection), _refusals((sqlite.Error, sqlite.Warning), deadline):
        cursor = connection.execute(statement)
        if cursor.description is None:
            raise UserError("query: expected a SELECT")
        # an EXPLAIN has columns, too, but is no table to select from; this compiles, and runs not
        connection.execute(f"EXPLAIN SELECT 1 FROM (\n{statement}\n)").close()
        names = [column[0] for column in cursor.description]
        yield QueryResult(_few(names), _rows(texts.rows(cursor), deadline))


@contextlib.contextmanager
def _ask_postgres(statement: str, seconds: float) -> Iterator[QueryResult]:
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
        cursor.execute("SET LOCAL DateStyle = 'ISO'")
        cursor.execute(f"SET LOCAL statement_timeout = {max(1, round(1000 * seconds))}")
        # prepared, so that the server takes one statement; a cursor, so that it takes a SELECT
        measured = MEASURED.replace("{}", statement)
        cursor.execute(f"DECLARE answer NO SCROLL CURSOR FOR {measured}", prepare=True)
        cursor.execute("FETCH 0 FROM answer")
        names = [column.name for column in cursor.description[:-1]]
        # row by row: a thousand of them may be larger than the memory
        found = (row[:-1] for row in cursor.stream("FETCH ALL FROM answer"))
        yield QueryResult(_few(names), _rows(found, deadline))


def _connected(psycopg: Any) -> Any:
    """A connection of its own, that hands out as text what Python has no words for."""
    url = current_engine().url.set(drivername="postgresql")
    try:
        connection = psycopg.connect(url.render_as_string(hide_password=False), **SERVER_GONE)
    except psycopg.Error as error:
        raise UserError(f"the database does not answer: {_first_line(error)}") from None
    prefer_text(psycopg, connection)
    return contextlib.closing(connection)


@contextlib.contextmanager
def _refusals(errors: tuple[type[Exception], ...], deadline: float) -> Iterator[None]:
    """What the database objects to is the user's to mend, whenever a row brings it up."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"query: it takes more than {MOST_HEAP:,} bytes of memory; ask for less at a time"
        ) from None
    except UnicodeDecodeError:
        raise UserError("query: a text is in no encoding that can be read; cast it") from None
    except errors as error:
        if time.monotonic() >= deadline:
            raise UserError("query: took too long; --timeout SECONDS allows more") from None
        reason = _first_line(error)
        if TOO_LARGE in reason or "string or blob too big" in reason:
            raise _too_large() from None
        only = "; only SELECT is allowed" if "authoriz" in reason or "syntax" in reason else ""
        raise UserError(f"query: {reason}{only}") from None


def _rows(rows: Iterator[Row], deadline: float) -> Iterator[Row]:
    for count in itertools.count():
        if time.monotonic() >= deadline:
            raise UserError(
                f"query: took too long, after {count:,} rows; --timeout SECONDS allows more"
            )
        row = next(rows, None)
        if row is None:
            return
        if sum(map(size, row)) > MOST_ROW:
            raise _too_large()
        yield tuple(map(plain, row))


def _too_large() -> UserError:
    return UserError(f"query: {TOO_LARGE}; {LESS}")


def _few(names: list[str]) -> list[str]:
    if len(names) > MOST_COLUMNS:
        raise UserError(f"query: {len(names):,} columns; ask for at most {MOST_COLUMNS:,}")
    return names


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
