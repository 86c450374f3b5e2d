"""One connection a process, and the only way to a transaction.

Statements run on a plain connection: rows come back as values, and nothing goes stale.
"""

import contextlib
import functools
import os
import sqlite3
import threading
import time
import types
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from pipeline.errors import UserError
from pipeline.settings import Settings, get_settings

# Before 3.51.3 two connections that write and checkpoint at one moment can corrupt a WAL
# database (sqlite.org/wal.html#walresetbug). Where only such a SQLite is to be had, nobody
# checkpoints but reconcile: `checkpoint_wal`.
SAFE_WAL = (3, 51, 3)
# A server whose host has vanished without a goodbye is given up after 20 to 30 seconds.
SERVER_GONE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds, of what was sent
}
# Arguments of psycopg.connect that are no options of libpq.
PSYCOPG_OWN = {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
# Bytes; MAX_PATHNAME of SQLite's os_unix.c is 512, and "-journal" must fit behind.
MAX_SQLITE_PATH = 504
# One connection a process, waited for in turn.
_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 1,
    "max_overflow": 0,
    "pool_timeout": 120,  # seconds
}
# Seconds for which a connection that was just used is taken to stand.
TRUSTED = 1.0


def sqlite_module() -> types.ModuleType:
    """The SQLite with the WAL fix where a wheel brings one, else Python's own."""
    try:
        from pysqlite3 import dbapi2

        return dbapi2  # type: ignore[no-any-return]
    except ImportError:
        return sqlite3


def sqlite_is_safe() -> bool:
    """Whether this process's SQLite has the WAL-reset fix."""
    return bool(sqlite_module().sqlite_version_info >= SAFE_WAL)


def database_url(settings: Settings) -> URL:
    """Where a machine's database is.

    Raises:
        UserError: what its settings say is no URL, or a path too long for SQLite.
    """
    path = settings.database_path
    if path is not None:
        if len(os.fsencode(path)) > MAX_SQLITE_PATH:
            raise UserError(
                f"NASNET_HOME: SQLite opens no file whose path is longer than {MAX_SQLITE_PATH} "
                f"bytes; choose a folder with a shorter one than {settings.home}"
            )
        return URL.create("sqlite", database=str(path))
    url = _parsed(settings.database_url or "")
    if url.drivername in {"postgres", "postgresql"}:  # psycopg 3 by its own name
        return url.set(drivername="postgresql+psycopg")
    return url


def _parsed(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        raise UserError("NASNET_DATABASE_URL: not a database URL") from None


def make_engine(url: str | URL) -> Engine:
    """An engine with one connection, shared by the process's threads in turn.

    Raises:
        UserError: the URL names no database that can be used here.
    """
    parsed = _parsed(url)
    backend = parsed.get_backend_name()
    try:
        if backend == "sqlite":
            return _make_sqlite(parsed)
        if backend == "postgresql":
            engine = create_engine(parsed, connect_args=SERVER_GONE, **_POOL)
            _check_options(engine, parsed)
            return _ask_after_rest(engine)
    except NoSuchModuleError:
        raise UserError(f"NASNET_DATABASE_URL: unknown driver {parsed.drivername}") from None
    except ImportError:
        raise UserError(
            "PostgreSQL needs the extra `postgres`: pip install 'nasnet-pipeline[postgres]'"
        ) from None
    raise UserError(f"NASNET_DATABASE_URL: expected postgresql:// or sqlite://, got {backend}://")


def _check_options(engine: Engine, url: URL) -> None:
    """Refuse an option in a URL that the server's library does not know."""
    if engine.dialect.driver != "psycopg":
        return
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    _, options = engine.dialect.create_connect_args(url)
    known = {key: value for key, value in options.items() if key not in PSYCOPG_OWN}
    try:
        make_conninfo(**known)
    except ProgrammingError as error:
        raise UserError(f"NASNET_DATABASE_URL: {str(error).strip()}") from None


def _ask_after_rest(engine: Engine) -> Engine:
    """Ask a connection that has rested whether it still stands; each time would be too often."""

    @event.listens_for(engine, "checkin")
    def _note(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < TRUSTED:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise DisconnectionError from None  # the pool makes another, and asks again

    return engine


def _make_sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        module=sqlite_module(),
        connect_args={"timeout": 30, "check_same_thread": False},
        **_POOL,
    )
    checkpoints = 1000 if sqlite_is_safe() else 0

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 begins nothing by itself: see _begin
        for pragma in (
            "busy_timeout=30000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "cache_size=-65536",  # 64 MiB: the default of 2 is less than the indexes in use
            f"wal_autocheckpoint={checkpoints}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a deferred transaction that turns to writing fails at once when another wrote meanwhile
        read_only = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")

    return engine


@functools.cache
def get_engine() -> Engine:
    """The process's engine; made at first use, so never before a fork."""
    return make_engine(database_url(get_settings()))


_used: ContextVar[Engine | None] = ContextVar("_used", default=None)


@contextlib.contextmanager
def using(engine: Engine) -> Iterator[None]:
    """Let what is done meanwhile, in this thread, be done to another store than the process's."""
    token = _used.set(engine)
    try:
        yield
    finally:
        _used.reset(token)


def current_engine() -> Engine:
    """The engine of the store that is in use: the process's, or the one of ``using``."""
    return _used.get() or get_engine()


@contextlib.contextmanager
def transaction(*, read_only: bool = False) -> Iterator[Connection]:
    """A connection in a transaction: committed at the end, rolled back by an exception.

    Never nest two in a thread: there is one connection.
    """
    with current_engine().connect() as connection:
        if read_only and connection.dialect.name == "postgresql":
            # a statement sees what is committed, in a transaction or not: spare begin and end
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        elif read_only:
            connection = connection.execution_options(read_only=True)
        with connection.begin():
            yield connection


@contextlib.contextmanager
def snapshot() -> Iterator[Connection]:
    """A connection that reads what the store was at one moment, in as many statements as it takes.

    SQLite's transactions are that by themselves; PostgreSQL's ``transaction(read_only=True)`` is
    not: there each statement sees what was committed before it.
    """
    with current_engine().connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        else:
            connection = connection.execution_options(read_only=True)
        with connection.begin():
            yield connection


# What a database that does not answer raises, in time or at once.
AWAY = (DBAPIError, PoolTimeoutError)


def fault(error: BaseException) -> str:
    """What a database said, in a line, with where it is if it is a file."""
    reason = " ".join(str(getattr(error, "orig", None) or error).splitlines()[0].split())
    path = get_settings().database_path
    if path is None:
        return f"the database: {reason}"
    if reason == "database is locked":  # for longer than the busy timeout
        reason += ": something writes to it, such as a long `nasnet search import`; try again"
    if not os.access(path.parent, os.W_OK):
        reason += " (the folder cannot be written: is its disk read-only?)"
    return f"the database {path}: {reason}"


def is_away(error: BaseException) -> bool:
    """Whether the database does not answer or is locked: another try may do better."""
    return isinstance(error, OperationalError | PoolTimeoutError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def retrying(seconds: float, stopping: threading.Event) -> Retrying:
    """Attempts at a whole transaction while the database is away, for a number of seconds.

    Gives up earlier once ``stopping`` is set.

    For work that cannot be had again, such as a training's result; everything else fails fast
    and is found by reconcile.
    """
    return Retrying(
        retry=retry_if_exception(is_away),
        stop=stop_any(stop_after_delay(seconds), stop_when_event_set(stopping)),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )


def checkpoint_wal() -> None:
    """Fold the write-ahead log into the database file, where nobody else may (see SAFE_WAL)."""
    engine = current_engine()
    if engine.dialect.name == "sqlite" and not sqlite_is_safe():
        with engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def backup(path: Path) -> None:
    """Copy a SQLite database to a new file, whole, while others write.

    Raises:
        UserError: the database is a server's, which has tools of its own.
    """
    engine = current_engine()
    if engine.dialect.name != "sqlite":
        raise UserError("the database is PostgreSQL: back it up with pg_dump")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    source = engine.raw_connection()
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # as the store itself
    try:
        target = sqlite_module().connect(str(beside))
        try:
            source.driver_connection.backup(target)  # type: ignore[union-attr]
        finally:
            target.close()
        beside.replace(path)
    finally:
        source.close()
        beside.unlink(missing_ok=True)
