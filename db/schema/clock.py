"""Time as the database tells it, so that no worker's clock can matter."""

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Float, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UTCDateTime(TypeDecorator[dt.datetime]):
    """An aware datetime in UTC on every database; SQLite by itself hands back naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: Dialect
    ) -> dt.datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: dt.datetime | None, dialect: Dialect
    ) -> dt.datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=dt.UTC)


class clock(FunctionElement[dt.datetime]):  # noqa: N801 - reads like the SQL function it is
    """The database's time inside a statement, moved by some seconds: ``clock(bindparam("ttl"))``.

    SQLite's is the host's clock (it serves one host), PostgreSQL's the server's.
    """

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0) -> None:
        if isinstance(seconds, int | float):
            seconds = bindparam(None, float(seconds), type_=Float)
        super().__init__(seconds)


@compiles(clock, "postgresql")
def _postgresql(element: clock, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => CAST({seconds} AS double precision)))"


@compiles(clock, "sqlite")
def _sqlite(element: clock, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    # milliseconds, padded to the six digits that SQLAlchemy stores: text must compare as time
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


class seconds_between(FunctionElement[float]):  # noqa: N801 - likewise
    """Seconds from one time to another, inside a statement."""

    type = Float()
    inherit_cache = True


@compiles(seconds_between, "postgresql")
def _between_postgresql(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(time, **kw) for time in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({end} - {start})) AS double precision)"


@compiles(seconds_between, "sqlite")
def _between_sqlite(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(time, **kw) for time in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400.0)"
